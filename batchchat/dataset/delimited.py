r"""CSV and TSV files: records that keep their own bytes, and cells as they stand there.

The csv module cuts the records, over byte text. Measured on 149 MB, 1,000,001 rows of 5 cells, a third of them quoted
with a line end inside (Python 3.11, pandas 3.1, pyarrow 26; CPU seconds of the import, MB read in a CPU second):

    csv module, cells only                       0.0 s   184   quoting, line ends and blank lines are lost
    csv module, records with their own bytes     0.0 s    92   every byte of every record: what is done here
    pandas, text columns, chunks                 0.3 s   148   short rows are filled up with nulls
    pyarrow.csv, text columns                    0.1 s   739   line ends and blank lines are lost

So the csv module reads: nothing else can pass a record through unchanged, and where the rows were cut twice by two
readers that differ in an odd case (a quote inside a cell, a lone `\r`), completions would stand beside the wrong rows.

Rules: a line ends with `\n`, `\r\n` or `\r`. Blank lines between records are no rows; they stay where they are. In a
table of one column a blank line is a row with an empty cell, but at the end of the file. Quotes inside an unquoted cell
are ordinary characters.
"""

from __future__ import annotations

import csv
from collections import Counter
from typing import TYPE_CHECKING, Any

from batchchat.dataset.encoding import UTF8_BOM, Encoding
from batchchat.dataset.lines import Lines, Unreadable
from batchchat.dataset.textpart import Block, Mark, TextPart, line_ends
from batchchat.errors import UsageError
from batchchat.tables import Dialect, TextRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchchat.tables import Format

# A cell may be this long; the csv module takes four times as much memory for it. A quote that is never closed makes a
# cell of the rest of the file, and is found here at the latest.
LONGEST_CELL = 64 << 20
_LONGEST_HEADER = 4 << 20
_BLOCK = 1 << 20
_DELIMITERS = {"csv": ",;\t", "tsv": "\t"}


class DelimitedPart(TextPart):
    """A CSV or TSV file.

    Attributes:
        header: the byte text before the first record: byte-order mark, header line, line end.

    Raises:
        UsageError: no header line, or an empty or doubled name in it.
    """

    def __init__(self, path: str, form: Format, encoding: Encoding, delimiter: str | None) -> None:
        super().__init__(path, form, encoding, newline="")
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
        self._guessed = delimiter is None and form.kind == "csv"
        try:
            self.header, names, found = self._read_header(delimiter or _DELIMITERS[form.kind])
        except Unreadable as error:
            raise UsageError(f"{path}, header line: {error}.") from error
        ending = self.header[len(self.header.rstrip("\r\n")) :]
        newline = "\r\n" if ending.startswith("\r\n") else ending[:1]
        self.dialect = Dialect(delimiter=found, newline=newline or "\n", codec=encoding.codec, outer=encoding.outer)
        self._columns = self._named(names)
        self._index = {name: number for number, name in enumerate(self._columns)}
        self._blank = [""] if len(self._columns) == 1 else None
        self._marks = [Mark(row=1, offset=len(self.header), line=1 + line_ends(self.header))]

    @property
    def columns(self) -> tuple[str, ...]:
        """The names in the header line."""
        return self._columns

    def _read_header(self, delimiters: str) -> tuple[str, list[str], str]:
        """The header, its cells, and the delimiter that makes the most cells of it (of equals the first)."""
        with self._open(0) as opened:
            file = iter(opened)
            before, first = "", next(file, "")
            if self._encoding.codec == "utf-8" and first.startswith(UTF8_BOM):
                before, first = UTF8_BOM, first.removeprefix(UTF8_BOM)
            while first and not first.strip():
                before, first = before + first, next(file, "")
            if opened.fault:
                raise opened.fault
            if not first:
                raise UsageError(f"{self.path}: is empty; it has no header line.")
            lines = [first]
            found = [(*_first_record(lines, file, delimiter), delimiter) for delimiter in delimiters]
            if opened.fault:
                raise opened.fault
        count, cells, delimiter = max(found, key=lambda candidate: len(candidate[1]))
        return before + "".join(lines[:count]), cells, delimiter

    def _named(self, cells: list[str]) -> tuple[str, ...]:
        try:
            names = tuple(self.dialect.decode(cell) for cell in cells)
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self.path}, header line: the byte 0x{error.object[error.start]:02X} is not {self._encoding.codec}; "
                "where the file is in another encoding, name it: --encoding cp1252, for example."
            ) from error
        if "" in names:
            raise UsageError(
                f"{self.path}, header line: column {names.index('') + 1} of {len(names)} has no name. Give it one "
                "(pandas writes its index so, unless it is told index=False)."
            )
        doubled = [name for name, count in Counter(names).items() if count > 1]
        if doubled:
            raise UsageError(f"{self.path}, header line: two columns are named {doubled[0]!r}. Rename one.")
        return names

    def _column(self, rows: TextRows, name: str) -> list[Any]:
        at = self._index[name]
        values = [cells[at] for cells in rows.cells]
        return values if "".join(values).isascii() else [self.dialect.decode(value) for value in values]

    def _read(self, file: Lines, line: int) -> Iterator[Block]:
        """The last record of what was read is cut again with what follows: it may go on there."""
        carried: list[str] = []
        while True:
            fresh = file.block(max(_BLOCK, sum(map(len, carried))))
            lines = carried + fresh
            if not lines:
                break
            records, ends, fault = _cut(lines, self.dialect.delimiter)
            if fault is None and (fresh or (file.fault and not lines[-1].endswith(("\r", "\n")))):
                del records[-1], ends[-1]
            elif fault is None and (opened := self._open_quote(lines, records, ends, line)):
                fault = file.fault or opened
            yield from self._block(lines, records, ends)
            if fault:
                raise fault
            done = ends[-1] if ends else 0
            carried = lines[done:]
            line += done
            if not fresh:
                break
        if file.fault:
            raise file.fault

    def _block(self, lines: list[str], records: list[list[str]], ends: list[int]) -> Iterator[Block]:
        """These records, up to the first that has too many cells or too few."""
        if not records:
            return
        starts = [0, *ends]
        single = len(records) == ends[-1]  # one line each
        raws = lines[: ends[-1]] if single else ["".join(lines[a:b]) for a, b in zip(starts, ends, strict=False)]
        counts = [b - a for a, b in zip(starts, ends, strict=False)]
        if set(map(len, records)) == {len(self._columns)}:
            yield Block(raws=raws, cells=records, lines=counts)
            return
        cells: list[list[str] | None] = []
        for record, raw in zip(records, raws, strict=True):
            try:
                cells.append(record if len(record) == len(self._columns) else self._odd(record, raw))
            except Unreadable:
                yield Block(raws=raws[: len(cells)], cells=cells, lines=counts, smooth=False)
                raise
        yield Block(raws=raws, cells=cells, lines=counts, smooth=False)

    def _open_quote(
        self, lines: list[str], records: list[list[str]], ends: list[int], before: int
    ) -> Unreadable | None:
        """The fault of the last record of the file, where it ends inside quotes; it is taken from the records then."""
        raw = "".join(lines[ends[-2] if len(ends) > 1 else 0 :])
        if not _is_open(raw, self.dialect.delimiter):
            return None
        opened = line_ends(records[-1][-1])  # that cell goes from its quote to the end
        line = before + ends[-1] - opened + raw.endswith(("\r", "\n"))
        del records[-1], ends[-1]
        return Unreadable("a quote opens a cell here and nothing closes it before the end of the file", line=line)

    def _odd(self, cells: list[str], raw: str) -> list[str] | None:
        """What a record with another number of cells says: nothing, where it is a blank line; else it is a fault."""
        if not cells or (len(cells) == 1 and not raw.strip()):
            return None
        lines = line_ends(raw.rstrip("\r\n")) + 1
        over = f" in {lines} lines (is a quote not closed?)" if lines > 1 else ""
        told = f", separated by {self.dialect.delimiter!r} (--delimiter names another)" if self._guessed else ""
        raise Unreadable(f"has {len(cells)} cells{over}, the header line has {len(self._columns)}{told}")


def _cut(lines: list[str], delimiter: str) -> tuple[list[list[str]], list[int], Unreadable | None]:
    """The records that these lines are, after how many lines each one ends, and what stopped it."""
    records: list[list[str]] = []
    ends: list[int] = []
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in reader:
            records.append(cells)
            ends.append(reader.line_num)
    except csv.Error as error:
        message = f"a cell is longer than {LONGEST_CELL >> 20} MB, or a quote is never closed ({error})"
        return records, ends, Unreadable(message)
    return records, ends, None


def _is_open(raw: str, delimiter: str) -> bool:
    """Whether a record ends inside quotes: a line after it would belong to it."""
    return '"' in raw and len(list(csv.reader((raw, "x"), delimiter=delimiter))) == 1


def _first_record(lines: list[str], file: Iterable[str], delimiter: str) -> tuple[int, list[str]]:
    """How many lines the first record has with this delimiter, and its cells. What had to be read stays in `lines`."""

    def feed() -> Iterator[str]:
        yield from tuple(lines)
        for line in file:
            lines.append(line)
            if sum(map(len, lines)) > _LONGEST_HEADER:
                raise Unreadable(f"is longer than {_LONGEST_HEADER >> 20} MB: is a quote not closed?")
            yield line

    reader = csv.reader(feed(), delimiter=delimiter)
    cells = next(reader)
    if _is_open("".join(lines[: reader.line_num]), delimiter):
        raise Unreadable("a quote opens a cell and nothing closes it before the end of the file")
    return reader.line_num, cells
