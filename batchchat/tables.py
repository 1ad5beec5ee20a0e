"""What a table is to both sides: the accepted formats, in one place, and text rows that pass through unchanged.

`dataset` makes `TextRows`, `output` writes them; neither knows the other. No I/O here.

*Byte text* is a `str` with one character for each byte of the file (its Latin-1 decoding). Delimiters, quotes and line
ends are single ASCII bytes in every encoding that is accepted, so records can be cut without decoding them, any byte
survives, and only the cells that somebody asks for are ever decoded. UTF-16 and UTF-32 are carried as UTF-8 inside.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from batchchat.errors import Misspelt
from batchchat.spelling import did_you_mean, nearest, nearest_file

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["csv", "tsv", "parquet", "jsonl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of table file, as its suffix tells.

    Attributes:
        kind: csv, tsv, parquet or jsonl.
        suffix: with its dots, `.csv.gz` included.
        compressed: True where the file is a gzip stream.
    """

    kind: Kind
    suffix: str
    compressed: bool = False

    @property
    def is_text(self) -> bool:
        """Whether the file consists of lines."""
        return self.kind != "parquet"

    @property
    def is_delimited(self) -> bool:
        """Whether it has a header line and cells between delimiters."""
        return self.kind in {"csv", "tsv"}


FORMATS = (
    Format(kind="csv", suffix=".csv"),
    Format(kind="tsv", suffix=".tsv"),
    Format(kind="parquet", suffix=".parquet"),
    Format(kind="jsonl", suffix=".jsonl"),
    Format(kind="csv", suffix=".csv.gz", compressed=True),
    Format(kind="tsv", suffix=".tsv.gz", compressed=True),
    Format(kind="jsonl", suffix=".jsonl.gz", compressed=True),
)
SUFFIXES = tuple(form.suffix for form in FORMATS)


def find_format(path: str | os.PathLike[str]) -> Format | None:
    """The format that the path's suffix names (in upper or lower case), None where it names none."""
    name = os.fspath(path).lower()
    return next((form for form in FORMATS if name.endswith(form.suffix)), None)


def require_format(path: str | os.PathLike[str], what: str, *, new: bool = False) -> Format:
    """The path's format. `what` is what the path is for, as the message begins: `the output out.txt`.

    Args:
        path: of a file.
        what: as above.
        new: whether the file is to be written: then another name is as good.

    Raises:
        UsageError: the suffix is none of `SUFFIXES`.
    """
    form = find_format(path)
    if form is None:
        meant = _with_known_suffix(os.fspath(path), new=new)
        formats = f"The table formats are {', '.join(SUFFIXES[:4])} (text also .gz)"
        told = f"{what}: unknown suffix{did_you_mean(meant) or '.'} {formats}."
        raise Misspelt(told, wrong=os.fspath(path), meant=meant)
    return form


def _with_known_suffix(name: str, *, new: bool) -> str | None:
    """The name as it may be meant; of a file that is to be read one that is there."""
    if not new:
        return nearest_file(name, SUFFIXES)
    plain = name.removesuffix(".gz")
    suffix = Path(plain).suffix + name[len(plain) :]
    near = nearest(suffix, SUFFIXES) if suffix else None
    return None if near is None else name.removesuffix(suffix) + near


def beside(path: str, label: str) -> str:
    """The path with `label` before its suffix: `a/b.csv.gz` and `completions` give `a/b.completions.csv.gz`."""
    form = find_format(path)
    if form is None:
        return f"{path.rstrip('/').rstrip(os.sep)}.{label}"
    stem, suffix = path[: -len(form.suffix)], path[-len(form.suffix) :]
    return f"{stem}.{label}{suffix}"


class Digits(str):
    """A number as the file has it, digit by digit."""

    __slots__ = ()


def without_surrogates(text: str) -> str:
    """The text with U+FFFD for each lone surrogate; a pair of them becomes the character that it stands for."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    r"""How a text table is written.

    Attributes:
        delimiter: one ASCII character; empty for JSONL.
        newline: as its first line ends; `\n` where that has no end.
        codec: what byte text is to be decoded with, cell by cell.
        outer: the file's own codec where the bytes are carried as UTF-8 inside (UTF-16, UTF-32); else None.
    """

    delimiter: str = ","
    newline: str = "\n"
    codec: str = "utf-8"
    outer: str | None = None

    def decode(self, text: str) -> str:
        """A cell's text. Raises UnicodeDecodeError."""
        return text if text.isascii() else text.encode("latin-1").decode(self.codec)

    def encode(self, text: str) -> str:
        r"""Byte text of a text; a character that the encoding lacks becomes an escape such as `\u20ac`."""
        if text.isascii():
            return text
        try:
            raw = text.encode(self.codec)
        except UnicodeEncodeError:
            raw = without_surrogates(text).encode(self.codec, "backslashreplace")
        return raw.decode("latin-1")

    def to_file(self, text: str) -> bytes:
        """Byte text as the file has it."""
        raw = text.encode("latin-1")
        return raw if self.outer is None else raw.decode("utf-8").encode(self.outer)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRows:
    """Consecutive records of one text file.

    Attributes:
        start: number of the first one in its file, from 1.
        raws: each record's own byte text, its line end and the blank lines before it included.
        cells: what it says: a list of cells in byte text (CSV, TSV), or the decoded object (JSONL).
        tail: blank lines after the last record of the file.
    """

    start: int
    raws: Sequence[str]
    cells: Sequence[Any]
    tail: str = ""
