"""Which encodings text tables may have, and which delimiters; and what a file is that is no text."""

from __future__ import annotations

import codecs
import gzip
import zlib
from dataclasses import dataclass

from batchchat import storage
from batchchat.errors import UsageError

UTF8_BOM = "\xef\xbb\xbf"  # in byte text

# Encodings in which every structural character of a table is one byte, and no part of another character.
_MULTIBYTE = {
    "big5", "big5hkscs", "cp932", "cp949", "cp950", "euc_jis_2004", "euc_jisx0213", "euc_jp", "euc_kr", "gb18030",
    "gb2312", "gbk", "shift_jis", "shift_jis_2004", "shift_jisx0213", "utf-8",
}  # fmt: skip
_WIDE = {"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"}
_STATEFUL = ("iso2022", "hz", "utf-7", "punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs")
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MAGIC = {b"PK\x03\x04": "a ZIP archive (a spreadsheet?)", b"PAR1": "a Parquet file", b"SQLi": "an SQLite database"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How bytes become text.

    Attributes:
        codec: what byte text is decoded with.
        outer: the file's codec where it is carried as UTF-8 inside, else None.
    """

    codec: str
    outer: str | None = None


def find_encoding(path: str, encoding: str | None, *, compressed: bool) -> Encoding:
    """What `--encoding` means for this file; UTF-8 where it was not given.

    Raises:
        UsageError: there is no such encoding, tables cannot be cut in it, or the file is something else.
        OSError: the file cannot be opened.
    """
    head = _head(path, compressed=compressed)
    name = _lookup(encoding or "utf-8")
    if name in _WIDE:
        told = next((codec for bom, codec in _BOMS if head.startswith(bom) and codec.startswith(name[:6])), None)
        return Encoding(codec="utf-8", outer=name if name[-1] == "e" else told or f"{name}-le")
    if encoding is None:
        _reject_other_files(path, head)
    return Encoding(codec=name)


def _lookup(encoding: str) -> str:
    try:
        info = codecs.lookup(encoding)
    except (LookupError, ValueError) as error:
        raise UsageError(f"--encoding {encoding}: there is no such encoding. Try utf-8, cp1252 or utf-16.") from error
    name = "utf-8" if info.name == "utf-8-sig" else info.name
    if name in _WIDE or name in _MULTIBYTE:
        return name
    if not getattr(info, "_is_text_encoding", True) or name.startswith(_STATEFUL) or not _keeps_ascii(name):
        raise UsageError(f"--encoding {encoding}: tables cannot be read in it. Convert the file to UTF-8 first.")
    return name


def _keeps_ascii(name: str) -> bool:
    """Whether it is a one-byte encoding in which ASCII is ASCII."""
    try:
        return (
            bytes(range(128)).decode(name) == bytes(range(128)).decode("ascii")
            and len("é".encode(name, "replace")) == 1
        )
    except UnicodeError:
        return False


def check_delimiter(delimiter: str, encoding: str | None) -> str:
    r"""What `--delimiter` means: one ASCII character, also written `\t` or `tab`. Raises UsageError."""
    found = "\t" if delimiter in {"\\t", "tab"} else delimiter
    if len(found) != 1 or not found.isascii() or found in '"\r\n\0':
        raise UsageError(f"--delimiter {delimiter!r}: is not one ASCII character, such as ; or , or | or \\t.")
    halves = found.isdigit() or found >= "@"  # what may be the second half of a character
    if encoding and halves and _lookup(encoding) in _MULTIBYTE - {"utf-8", "euc_jp", "euc_kr"}:
        raise UsageError(f"--delimiter {found}: can be a part of a character in {encoding}. Convert the file to UTF-8.")
    return found


def _head(path: str, *, compressed: bool) -> bytes:
    try:
        with storage.open_input(path) as file:
            return gzip.open(file).read(8) if compressed else file.read(8)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UsageError(f"{path}: is no gzip file, though its name ends in .gz ({error}).") from error


def _reject_other_files(path: str, head: bytes) -> None:
    wide = next((codec for bom, codec in _BOMS if head.startswith(bom)), None)
    if wide:
        raise UsageError(f"{path}: is not UTF-8 but {wide[:6].upper()}. Add --encoding {wide[:6]}.")
    if head.startswith(b"\x1f\x8b"):
        raise UsageError(f"{path}: is compressed with gzip. Give it a name that ends in .gz.")
    if head[:4] in _MAGIC:
        raise UsageError(f"{path}: is {_MAGIC[head[:4]]}, not text. Save the table as CSV, TSV, JSONL or Parquet.")
