"""CSV and TSV out.

A record that comes from a file with the same delimiter is passed through byte for byte, and the result cells are put
before its line end. Everything else is written anew, with quotes where they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchchat.output.cells import cells, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchchat.output.results import Lookup, Piece, Results
    from batchchat.output.source import Source, TextSource
    from batchchat.records import ResultColumn
    from batchchat.tables import Dialect

    class Sink(Protocol):
        """What is written to."""

        def write(self, data: bytes, /) -> int:
            """Takes bytes."""


# As OWASP lists them, with the full-width forms that some spreadsheets take for the same signs.
_RUN_BY_SPREADSHEETS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def passing_through(sink: Sink, spans: Iterable[tuple[TextSource, int | None]], results: Results) -> Iterator[int]:
    """Writes the records of these files with their results. Yields how many rows were written each time."""
    newline, ending = "", None
    for part, stop in spans:
        dialect = part.dialect
        delimiter = dialect.delimiter
        if ending is None:
            names = [delimiter + quoted(dialect.encode(column.name), delimiter) for column in results.columns]
            header, ending = _split(part.header)
            newline = dialect.newline
            sink.write(dialect.to_file(header + "".join(names) + ending))
        for rows in part.records(1, stop):
            at = 0
            for count, piece in results.pieces(part.before + rows.start, len(rows.raws)):
                text: list[str] = []
                for raw, added in zip(rows.raws[at : at + count], _added(piece, results, dialect), strict=True):
                    body, after = _split(raw)
                    text += (body, added, after)
                if not ending:  # the file before this one ended without a line end
                    text.insert(0, newline)
                ending = after
                sink.write(dialect.to_file("".join(text)))
                at += count
                yield count
            if rows.tail:
                sink.write(dialect.to_file(rows.tail))
                ending = _split(rows.tail)[1]


def _split(raw: str) -> tuple[str, str]:
    """A record, and its line end."""
    if raw.endswith("\r\n"):
        return raw[:-2], "\r\n"
    return (raw[:-1], raw[-1]) if raw.endswith(("\n", "\r")) else (raw, "")


def _added(piece: Piece, results: Results, dialect: Dialect) -> list[str]:
    """The result cells of each row, each after a delimiter, as byte text."""
    delimiter = dialect.delimiter
    columns = [cells(piece[column.name], delimiter) for column in results.columns]
    return [dialect.encode(delimiter + delimiter.join(row)) for row in zip(*columns, strict=True)]


def anew(
    sink: Sink, spans: Iterable[tuple[Source, int | None]], results: Results, columns: Sequence[str], dialect: Dialect
) -> Iterator[int]:
    """Writes the rows of any files as CSV. Yields how many rows were written each time."""
    delimiter, newline = dialect.delimiter, dialect.newline

    def lines(table: Sequence[Sequence[str]]) -> bytes:
        return dialect.to_file(
            dialect.encode("".join(delimiter.join(row) + newline for row in zip(*table, strict=True)))
        )

    names = [*columns, *(column.name for column in results.columns)]
    sink.write(lines([[quoted(name, delimiter)] for name in names]))
    for part, stop in spans:
        for batch in part.batches(columns, 1, stop):
            at = 0
            for count, piece in results.pieces(part.before + batch.start, batch.size):
                given = [cells(batch.columns[name][at : at + count], delimiter) for name in columns]
                if part.form.is_delimited:
                    given = [["" if cell == '""' else cell for cell in column] for column in given]
                added = [cells(piece[column.name], delimiter) for column in results.columns]
                sink.write(lines([*given, *added]))
                at += count
                yield count


def tamed(lookup: Lookup, columns: Sequence[ResultColumn]) -> Lookup:
    """The same results, where a text that a spreadsheet would run as a formula has an apostrophe before it."""
    names = {column.name for column in columns if column.kind == "string"}

    def found(start: int, size: int) -> Piece:
        piece = lookup(start, size)
        return {name: _tame(values) if name in names else values for name, values in piece.items()}

    return found


def _tame(values: Sequence[str | None]) -> list[str | None]:
    return [f"'{value}" if value and value[0] in _RUN_BY_SPREADSHEETS else value for value in values]
