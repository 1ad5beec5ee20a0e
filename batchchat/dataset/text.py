"""The lines of a text file, as byte text (see `tables`), from any place in it; and which encodings there are.

What cannot be read raises `Unreadable`, with a sentence that says why; who calls it knows the row.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from batchchat import storage
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from _typeshed import WriteableBuffer

_BUFFER = 1 << 20
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


class Unreadable(Exception):
    """A text file cannot be read on. It never leaves this room: it becomes a UsageError or an InputFault.

    Attributes:
        row: number in its file of the row that is at fault, None where only the file is known.
        line: number in its file of the line at which that row, or the fault in it, begins.
    """

    def __init__(self, message: str, *, row: int | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.row = row
        self.line = line


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


@contextlib.contextmanager
def open_lines(path: str, encoding: Encoding, *, compressed: bool, newline: str, offset: int = 0) -> Iterator[TextIO]:
    r"""The file's lines from a byte offset on, as byte text with their own line ends.

    The newline is "" where `\r`, `\n` and `\r\n` end a line, "\n" where only that does. The offset counts in what is
    read: the decompressed file, or its UTF-8 where it is carried as that.

    Raises:
        Unreadable: while reading, too.
    """
    with contextlib.ExitStack() as stack:
        try:
            raw: BinaryIO = stack.enter_context(storage.open_input(path))
            if compressed:
                raw = cast("BinaryIO", stack.enter_context(gzip.open(raw)))
            if encoding.outer is not None:
                raw = cast("BinaryIO", io.BufferedReader(_Transcoded(raw, encoding.outer), _BUFFER))
            _skip(raw, offset)
            yield io.TextIOWrapper(raw, encoding="latin-1", newline=newline)
        except EOFError as error:
            raise Unreadable("the gzip stream ends too early: the file was cut off") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise Unreadable(f"the gzip stream is damaged ({error})") from error
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror or error}") from error


def _skip(file: BinaryIO, offset: int) -> None:
    if file.seekable():
        file.seek(offset)
        return
    while offset:
        passed = len(file.read(min(offset, _BUFFER)))
        if not passed:
            raise Unreadable("it became shorter while it was read")
        offset -= passed


class _Transcoded(io.RawIOBase):
    """UTF-16 or UTF-32 as UTF-8, a byte-order mark included. What is before a fault is passed on first."""

    def __init__(self, file: BinaryIO, codec: str) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder(codec)()
        self._codec = codec
        self._ready = b""
        self._read = 0
        self._fault: Unreadable | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._ready:
            if self._fault:
                raise self._fault
            if not self._fill():
                return 0
        count = min(len(view), len(self._ready))
        view[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def _fill(self) -> bool:
        piece = self._file.read(_BUFFER // 4)
        pending = len(self._decoder.getstate()[0])
        try:
            text = self._decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            at = self._read - pending + error.start
            bad = error.object[error.start : error.end].hex(" ").upper()
            self._fault = Unreadable(f"the bytes {bad} (at {at}) are no {self._codec}")
            text = error.object[: error.start].decode(self._codec)
        self._read += len(piece)
        self._ready = text.encode("utf-8")
        return bool(piece) or bool(self._fault)
