"""One text file of a table: what CSV and JSONL have in common.

A subclass cuts the file into records (`_read`) and picks columns out of them (`_column`). Here is what stands around
that: batches and where they begin (remembered, so that a reader that starts in the middle need not begin at the front),
the check, counting, and places in messages.
"""

from __future__ import annotations

import bisect
import contextlib
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchchat import storage
from batchchat.dataset.lines import Lines, Unreadable, open_lines
from batchchat.defaults import BATCH_BYTES, BATCH_ROWS
from batchchat.errors import InputFault, UsageError
from batchchat.records import Batch
from batchchat.tables import TextRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from batchchat.dataset.encoding import Encoding
    from batchchat.tables import Dialect, Format

_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a batch begins: its first row, the byte, and the line, each counted in the file (rows and lines from 1)."""

    row: int
    offset: int
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Consecutive records of a file, as they were cut.

    Attributes:
        raws: their byte text.
        cells: what each says; None for a blank line.
        lines: how many lines each has.
        smooth: whether none is a blank line.
    """

    raws: Sequence[str]
    cells: Sequence[Any]
    lines: Sequence[int]
    smooth: bool = True


class _Batch:
    """The batch that is being filled. It ends after a number of rows, or earlier where they are huge."""

    def __init__(self, mark: Mark, blank: Any) -> None:
        self.mark = mark
        self._blank = blank
        self._raws: list[str] = []
        self._cells: list[Any] = []
        self._blanks: list[str] = []
        self._size = 0
        self._line = mark.line

    @property
    def full(self) -> bool:
        return len(self._raws) >= BATCH_ROWS or self._size >= BATCH_BYTES

    @property
    def next_row(self) -> int:
        return self.mark.row + len(self._raws)

    @property
    def next_line(self) -> int:
        return self._line + len(self._blanks)

    def fill(self, block: Block, at: int) -> int:
        """Takes records of a block, from one on, until the batch is full. Returns which is the next."""
        if block.smooth and not self._blanks:
            end = at + BATCH_ROWS - len(self._raws)
            raws = block.raws[at:end]
            size = sum(map(len, raws))
            if self._size + size < BATCH_BYTES:
                self._raws += raws
                self._cells += block.cells[at:end]
                self._size += size
                self._line += sum(block.lines[at:end])
                return at + len(raws)
        self._add(block.raws[at], block.cells[at], block.lines[at])
        return at + 1

    def _add(self, raw: str, cells: Any, lines: int) -> None:
        if cells is None:
            self._blanks.append(raw)
            return
        if self._blanks:
            raw = self._join_blanks() + raw
        self._raws.append(raw)
        self._cells.append(cells)
        self._size += len(raw)
        self._line += lines

    def _join_blanks(self) -> str:
        """What stands before a record: blank lines, unless they are rows of their own."""
        blanks, self._blanks = self._blanks, []
        self._line += len(blanks)
        if self._blank is None:
            return "".join(blanks)
        self._raws += blanks
        self._cells += [self._blank] * len(blanks)
        self._size += sum(map(len, blanks))
        return ""

    def take(self, *, tail: bool = False) -> TextRows:
        """The batch; the next begins after it."""
        after = "".join(self._blanks) if tail else ""
        rows = TextRows(start=self.mark.row, raws=self._raws, cells=self._cells, tail=after)
        self.mark = Mark(row=self.next_row, offset=self.mark.offset + self._size, line=self._line)
        self._raws, self._cells, self._size = [], [], 0
        return rows


def line_ends(text: str) -> int:
    """How many lines end in the text."""
    return len(_LINE_END.findall(text)) if "\r" in text else text.count("\n")


class TextPart(ABC):
    """A text file, as rows from 1.

    Attributes:
        path: as typed, or as the folder or pattern gave it.
        before: how many rows of the table stand in the files before this one; messages count with it.
        columns: their names; of JSONL those seen so far.
        dialect: how it is written.
    """

    dialect: Dialect

    def __init__(self, path: str, form: Format, encoding: Encoding, *, newline: str) -> None:
        self.path = path
        self.form = form
        self.before = 0
        self._encoding = encoding
        self._newline = newline
        self._blank: Any = None  # what a blank line says where it is a row
        self._stamp = storage.stamp(path)
        self._marks: list[Mark] = []
        self._end: list[int] = []  # the number of rows, once it is known

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The columns' names."""

    @property
    def rows(self) -> int | None:
        """How many rows the file has, None until something has read it to its end."""
        return self._end[0] if self._end else None

    @property
    def at_least(self) -> int:
        """How many rows were read already."""
        return self._marks[-1].row - 1

    @abstractmethod
    def _read(self, file: Lines, line: int) -> Iterator[Block]:
        """The records of the file from where it stands; `line` is how many lines are before that.

        Raises:
            Unreadable: after the records before the fault; the row is known to the caller, the line where none is said.
        """

    @abstractmethod
    def _column(self, rows: TextRows, name: str) -> list[Any]:
        """One column of these rows, as Python values. Raises UnicodeDecodeError."""

    def _check_rows(self, rows: TextRows) -> None:
        """Checks these rows beyond what `_scan` does: here, that every byte is text. Raises Unreadable."""
        text = "".join(rows.raws)
        if text.isascii():
            return
        try:
            self.dialect.decode(text)
        except UnicodeDecodeError:
            self._locate(rows)

    def _open(self, offset: int) -> AbstractContextManager[Lines]:
        compressed, newline = self.form.compressed, self._newline
        return open_lines(self.path, self._encoding, compressed=compressed, newline=newline, offset=offset)

    def _scan(self, mark: Mark) -> Iterator[TextRows]:
        """All batches from a mark on. What is before a fault comes first."""
        batch = _Batch(mark, self._blank)
        fault: Unreadable | None = None
        with self._open(mark.offset) as file:
            try:
                for block in self._read(file, mark.line - 1):
                    at = 0
                    while at < len(block.raws):
                        at = batch.fill(block, at)
                        if batch.full:
                            rows = batch.take()
                            self._remember(batch.mark)
                            yield rows
            except Unreadable as error:
                fault = Unreadable(str(error), row=batch.next_row, line=error.line or batch.next_line)
        rows = batch.take(tail=not fault)
        self._remember(batch.mark)
        if not fault:
            self._end[:] = [batch.mark.row - 1]
        if rows.raws or rows.tail:
            yield rows
        if fault:
            raise fault

    def records(
        self, start: int = 1, stop: int | None = None, error: type[InputFault | UsageError] = InputFault
    ) -> Iterator[TextRows]:
        """The rows from `start` to `stop` (both counted in, None: to the end), a batch at a time.

        Raises:
            InputFault, UsageError: which of them, the caller says; the message names file, row and line.
        """
        if stop is not None and stop < start:
            return
        with self._naming(error):
            self._require_same()
            for rows in self._scan(self._mark_before(start)):
                found = _cut(rows, start, stop)
                if found.raws or found.tail:
                    yield found
                if stop is not None and rows.start + len(rows.raws) > stop:
                    return

    def _require_same(self) -> None:
        if storage.stamp(self.path) != self._stamp:
            raise Unreadable("the file was changed while it was read; run again")

    def require_unchanged(self) -> None:
        """Raises InputFault where the file is not what it was when it was opened."""
        with self._naming(InputFault):
            self._require_same()

    @contextlib.contextmanager
    def _naming(self, error: type[InputFault | UsageError]) -> Iterator[None]:
        """Turns what is wrong with the file into an error for people, with the place."""
        try:
            yield
        except OSError as fault:
            raise error(f"{self.path}: cannot be read: {fault.strerror or fault}.") from fault
        except Unreadable as fault:
            raise error(f"{self._place(fault.row, fault.line)}: {fault}.") from fault

    def batches(self, columns: Sequence[str], start: int = 1, stop: int | None = None) -> Iterator[Batch]:
        """The same rows, by column."""
        for rows in self.records(start, stop):
            if rows.raws:
                with self._naming(InputFault):
                    values = self._columns_of(rows, columns)
                yield Batch(start=rows.start, size=len(rows.raws), columns=values)

    def _columns_of(self, rows: TextRows, columns: Sequence[str]) -> dict[str, list[Any]]:
        try:
            return {name: self._column(rows, name) for name in columns}
        except UnicodeDecodeError as error:
            self._locate(rows)
            raise self._not_text(error) from error

    def check(
        self,
        budget: int,
        stop: int | None,
        columns: Sequence[str] = (),
        look: Callable[[Batch], None] | None = None,
    ) -> int:
        """Reads at most about `budget` bytes and returns how many it read. Raises UsageError."""
        read = 0
        for rows in self.records(1, stop, UsageError):
            with self._naming(UsageError):
                self._check_rows(rows)
                if look is not None and rows.raws:
                    look(Batch(start=rows.start, size=len(rows.raws), columns=self._columns_of(rows, columns)))
            read += sum(map(len, rows.raws))
            if read >= budget:
                break
        return read

    def where(self, row: int) -> str:
        """`reviews.csv, row 3 (line 5)`."""
        return self._place(row, self._line(row))

    def _not_text(self, error: UnicodeDecodeError, **place: int | None) -> Unreadable:
        """The fault of a byte that is no text."""
        return Unreadable(
            f"the byte 0x{error.object[error.start]:02X} is not {self._encoding.codec}; where the file is in another "
            "encoding, name it (--encoding cp1252, for example)",
            **place,
        )

    def _locate(self, rows: TextRows) -> None:
        """Raises Unreadable for the first byte in these rows that is no text."""
        for number, raw in enumerate(rows.raws, rows.start):
            try:
                self.dialect.decode(raw)
            except UnicodeDecodeError as error:
                first = self._line(number)
                line = first and first + line_ends(raw[: error.start]) - _blank_lines(raw)
                raise self._not_text(error, row=number, line=line) from error

    def _line(self, row: int) -> int | None:
        """The line at which a row begins, None where the file cannot be read that far."""
        mark = self._mark_before(row)
        try:
            for rows in self._scan(mark):
                if rows.start + len(rows.raws) > row:
                    raws = rows.raws[: row - rows.start]
                    before = self._mark_before(rows.start).line + sum(map(line_ends, raws))
                    return before + _blank_lines(rows.raws[row - rows.start])
        except (Unreadable, OSError):
            return None
        return None

    def _place(self, row: int | None, line: int | None) -> str:
        if row is None:
            return self.path
        return f"{self.path}, row {self.before + row}" + (f" (line {line})" if line else "")

    def _mark_before(self, row: int) -> Mark:
        return self._marks[bisect.bisect_right(self._marks, row, key=lambda mark: mark.row) - 1]

    def _remember(self, mark: Mark) -> None:
        if mark.row > self._marks[-1].row:
            self._marks.append(mark)


def _cut(rows: TextRows, start: int, stop: int | None) -> TextRows:
    """These rows, as far as they are between `start` and `stop`; what follows the last row only where all are."""
    first = max(0, start - rows.start)
    last = len(rows.raws) if stop is None else min(len(rows.raws), stop - rows.start + 1)
    if first == 0 and last == len(rows.raws) and (stop is None or stop >= rows.start):
        return rows
    return TextRows(start=rows.start + first, raws=rows.raws[first:last], cells=rows.cells[first:last])


def _blank_lines(raw: str) -> int:
    """How many blank lines stand before a record's own text (which may be white space too)."""
    text = raw.lstrip(" \t\r\n")
    return line_ends(raw[: len(raw) - len(text)] if text else re.sub(r"(\r\n|\r|\n)\Z", "", raw))
