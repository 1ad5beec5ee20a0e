"""A table: one file, or many that hang together, with row numbers that count through all of them."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Self

from batchchat import storage
from batchchat.dataset.delimited import DelimitedPart
from batchchat.dataset.encoding import check_delimiter, find_encoding
from batchchat.dataset.jsonl import JsonlPart
from batchchat.dataset.memorypart import FramePart, TablePart
from batchchat.dataset.parquet import ParquetPart
from batchchat.defaults import CHECK_BYTES
from batchchat.errors import Misspelt, UsageError
from batchchat.records import Batch
from batchchat.spelling import did_you_mean, nearest_file
from batchchat.tables import SUFFIXES, find_format, require_format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Part = DelimitedPart | JsonlPart | ParquetPart | TablePart | FramePart


class Dataset(ABC):
    """Rows in.

    Attributes:
        name: as it was typed, for messages.
        paths: the files it consists of, in the order of their rows.
        is_text: whether they consist of lines.
    """

    name: str
    paths: tuple[str, ...]
    is_text: bool

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns' names. Of JSONL those that were seen; `check` may find more."""

    @abstractmethod
    def count(self) -> int | None:
        """How many rows, the limit counted in; None where that takes a long scan (text that was not read through)."""

    @abstractmethod
    def check(
        self,
        limit_bytes: int = CHECK_BYTES,
        *,
        columns: Sequence[str] = (),
        look: Callable[[Batch], None] | None = None,
    ) -> None:
        """Reads a text table through, its first `limit_bytes` at least.

        Args:
            limit_bytes: how much of it.
            columns: what `look` is shown.
            look: is shown each batch of text that was checked: what must read all of it anyway need not read it twice.

        Raises:
            UsageError: the first fault, with file, row and line.
        """

    @abstractmethod
    def unlimited(self) -> Dataset:
        """The same table with all its rows."""

    @abstractmethod
    def batches(self, columns: Sequence[str], *, start: int = 1) -> Iterator[Batch]:
        """The rows from `start` on. Only these columns are read and decoded.

        Boundaries depend on the content and the limit only; a start in the middle of a batch gives the rest of it.

        Raises:
            InputFault: a fault in the table, after the rows before it.
        """

    @abstractmethod
    def where(self, row: int) -> str:
        """The place of a row in a message: `reviews.csv, row 3 (line 5)`; the line of text only."""


class FileDataset(Dataset):
    """A table in files.

    Attributes:
        parts: the files, each with rows from 1.
        limit: only so many rows count, None: all.
    """

    def __init__(self, name: str, parts: Sequence[Part], *, limit: int | None) -> None:
        self.name = name
        self.parts = tuple(parts)
        self.limit = limit
        self.paths = tuple(part.path for part in parts)
        self.is_text = parts[0].form.is_text

    @property
    def columns(self) -> tuple[str, ...]:
        """Of all files."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    def unlimited(self) -> Self:
        """The same table with all its rows."""
        other = copy.copy(self)
        other.limit = None
        return other

    def count(self) -> int | None:
        """From the metadata, or what was read so far."""
        total = 0
        for part in self.parts:
            if self.limit is not None and total >= self.limit:
                break
            if part.rows is None:
                known = self.limit is not None and total + part.at_least >= self.limit
                return self.limit if known else None
            total += part.rows
        return total if self.limit is None else min(total, self.limit)

    def check(
        self,
        limit_bytes: int = CHECK_BYTES,
        *,
        columns: Sequence[str] = (),
        look: Callable[[Batch], None] | None = None,
    ) -> None:
        """File after file."""
        for part, stop in self.spans():
            told = None if look is None else partial(_look, look, part.before)
            limit_bytes -= part.check(limit_bytes, stop, columns, told)
            if limit_bytes <= 0:
                return

    def spans(self) -> Iterator[tuple[Part, int | None]]:
        """Each file that counts, with the last of its rows that does (None: all). Each must be read before the next."""
        before = 0
        for part in self.parts:
            left = None if self.limit is None else self.limit - before
            if left is not None and left <= 0 and part is not self.parts[0]:
                return
            part.before = before
            yield part, left
            before += part.rows if part.rows is not None else left or 0

    def batches(self, columns: Sequence[str], *, start: int = 1) -> Iterator[Batch]:
        """File after file; no batch spans two."""
        for part, stop in self.spans():
            if part.rows is not None and part.before + part.rows < start:
                continue
            for batch in part.batches(columns, max(1, start - part.before), stop):
                yield Batch(start=part.before + batch.start, size=batch.size, columns=batch.columns)

    def where(self, row: int) -> str:
        """The file and its line, with the row's number in the whole table."""
        for part in self.parts:
            if part.rows is None or row <= part.before + part.rows:
                return part.where(row - part.before)
        return f"{self.name}, row {row}"


def _look(look: Callable[[Batch], None], before: int, batch: Batch) -> None:
    """Shows a batch of a file as one of the table."""
    look(Batch(start=before + batch.start, size=batch.size, columns=batch.columns))


def open_dataset(
    source: str | os.PathLike[str],
    *,
    delimiter: str | None = None,
    encoding: str | None = None,
    limit: int | None = None,
) -> FileDataset:
    """Opens a table: a file, a folder or glob pattern of files, here or on remote storage.

    Args:
        source: its path.
        delimiter: of CSV and TSV; None: the header line tells.
        encoding: of text; None: UTF-8, with or without a byte-order mark.
        limit: only the first so many rows count.

    Raises:
        UsageError: the message says what is wrong with it.
    """
    name = os.fspath(source)
    separator = None if delimiter is None else check_delimiter(delimiter, encoding)
    try:
        paths = _find(name)
        parts = [_open(path, separator, encoding) for path in paths]
    except OSError as error:
        raise UsageError(f"{error.filename or name}: cannot be read: {error.strerror or error}.") from error
    for part in parts[1:]:
        _require_same(parts[0], part)
    return FileDataset(name, parts, limit=limit)


def _find(name: str) -> list[str]:
    """The files that the source names, all of one kind."""
    if storage.is_file(name):
        require_format(name, name)
        return [name]
    folder = storage.is_folder(name)
    if not folder and not storage.has_pattern(name):
        meant = nearest_file(name, (*SUFFIXES, ".toml"))
        raise Misspelt(f"{name}: there is no such file{did_you_mean(meant) or '.'}", wrong=name, meant=meant)
    paths = [path for path in (storage.list_folder(name) if folder else storage.match(name)) if find_format(path)]
    if not paths:
        what = "the folder has no tables in it" if folder else "no table matches"
        raise UsageError(f"{name}: {what} (files that end in {', '.join(SUFFIXES)}).")
    first = require_format(paths[0], paths[0])
    other = next((path for path in paths if require_format(path, path).kind != first.kind), None)
    if other:
        raise UsageError(f"{name}: {paths[0]} and {other} are tables of different formats. Name one kind, as in *.csv.")
    return paths


def _open(path: str, delimiter: str | None, encoding: str | None) -> Part:
    form = require_format(path, path)
    if not form.is_text:
        return ParquetPart(path, form)
    told = find_encoding(path, encoding, compressed=form.compressed)
    return DelimitedPart(path, form, told, delimiter) if form.is_delimited else JsonlPart(path, form, told)


def _require_same(first: Part, other: Part) -> None:
    """All files of a table have the same columns, and are written alike."""
    if isinstance(first, JsonlPart) or first.columns == other.columns:
        what = _difference(first, other)
    else:
        missing = [name for name in first.columns if name not in other.columns]
        more = [name for name in other.columns if name not in first.columns]
        what = f"lacks {missing[0]!r}" if missing else f"has {more[0]!r} too" if more else "has them in another order"
        what = f"columns differ: {other.path} {what}"
    if what:
        raise UsageError(f"{first.path} and {other.path} are not one table: {what}.")


def _difference(first: Part, other: Part) -> str | None:
    if isinstance(first, ParquetPart) and isinstance(other, ParquetPart):
        for one, two in zip(first.schema, other.schema, strict=True):
            if not one.equals(two):
                return f"column {one.name!r} is {one.type} in one and {two.type} in the other"
    elif isinstance(first, DelimitedPart) and isinstance(other, DelimitedPart):
        return None if first.dialect.delimiter == other.dialect.delimiter else "their delimiters differ"
    return None
