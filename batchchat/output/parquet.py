"""Parquet out, written anew: from text, or from a Parquet file of which a limit cuts a row group.

(A whole Parquet file is not written anew but spliced: see `splice`.)

Row groups have at most `ROWS` rows or about `BYTES`, since pyarrow holds one in memory. Text columns of CSV are
strings, empty cells empty strings. A column of JSONL is bool, int64, double or string where all its values are; numbers
of both kinds are doubles; anything else, objects and arrays among them, is a string with the value's JSON.
"""

from __future__ import annotations

import contextlib
from itertools import chain
from typing import TYPE_CHECKING, Any, Self

from batchchat.output import arrays
from batchchat.output.cells import json_text, plain
from batchchat.tables import Digits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchchat.output.delimited import Sink
    from batchchat.output.results import Piece, Results
    from batchchat.output.source import JsonSource, ParquetSource, Source

    Column = tuple[Any, Callable[[Sequence[Any]], Any]]  # an Arrow type, and how its array is made of values

ROWS = 65_536
BYTES = 64 << 20
_INT64 = range(-(2**63), 2**63)
_LONGEST_INT = 20  # its digits and its sign; Python refuses to read thousands
_ARROW_SCHEMA = b"ARROW:schema"


class RowGroups:
    """A Parquet file that is written a row group at a time, with bounded memory."""

    def __init__(self, sink: Sink, schema: Any, **options: Any) -> None:
        from pyarrow import parquet

        self._writer = parquet.ParquetWriter(sink, schema, **options)
        self._schema = schema
        self._batches: list[Any] = []
        self._rows = self._bytes = 0

    def add(self, batch: Any) -> None:
        """Takes a record batch."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= ROWS or self._bytes >= BYTES:
            self.end_group()

    def end_group(self) -> None:
        """Ends a row group, if one was begun."""
        import pyarrow as pa

        if self._rows:
            self._writer.write_table(pa.Table.from_batches(self._batches, self._schema), row_group_size=self._rows)
        self._batches, self._rows, self._bytes = [], 0, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.end_group()
            self._writer.close()
            return
        with contextlib.suppress(Exception):  # the file is given up; pyarrow would close it some time later
            self._writer.close()


def fields(results: Results) -> list[Any]:
    """The Arrow fields of the result columns."""
    import pyarrow as pa

    return [pa.field(column.name, arrays.arrow_type(column.kind)) for column in results.columns]


def result_arrays(results: Results, piece: Piece) -> list[Any]:
    """The Arrow arrays of a piece of results."""
    return [arrays.arrow_array(column.kind, piece[column.name]) for column in results.columns]


def from_parquet(sink: Sink, spans: Iterable[tuple[ParquetSource, int | None]], results: Results) -> Iterator[int]:
    """Writes the rows of Parquet files anew. Yields how many rows were written each time."""
    import pyarrow as pa

    spans = iter(spans)
    first = next(spans)
    schema = first[0].schema
    for field in fields(results):
        schema = schema.append(field)
    with RowGroups(sink, schema, **_options(first[0])) as groups:
        for part, stop in chain((first,), spans):
            for start, batch in part.arrow_batches(None, 1, stop):
                at = 0
                for count, piece in results.pieces(part.before + start, batch.num_rows):
                    columns = [*batch.slice(at, count).columns, *result_arrays(results, piece)]
                    groups.add(pa.RecordBatch.from_arrays(columns, schema=schema))
                    at += count
                    yield count


def _options(part: ParquetSource) -> dict[str, Any]:
    """Written as the input was: compression by column, timestamps of 96 bits, Arrow's schema."""
    if not part.size:
        return {"compression": "zstd"}
    with part.open() as file:
        metadata = file.metadata
        if not metadata.num_row_groups:
            return {"compression": "zstd"}
        group = metadata.row_group(0)
        chunks = [group.column(number) for number in range(group.num_columns)]
        known = {chunk.path_in_schema: _codec(chunk.compression) for chunk in chunks}
        return {
            "compression": known,
            "use_deprecated_int96_timestamps": any(chunk.physical_type == "INT96" for chunk in chunks),
            "store_schema": _ARROW_SCHEMA in (metadata.metadata or {}),
        }


def _codec(name: str) -> str:
    return "NONE" if name == "UNCOMPRESSED" else name


def from_text(
    sink: Sink,
    spans: Iterable[tuple[Source, int | None]],
    results: Results,
    columns: Mapping[str, Column],
) -> Iterator[int]:
    """Writes rows of text as Parquet; `columns` says each one's Arrow type and how its array is made."""
    import pyarrow as pa

    schema = pa.schema([*(pa.field(name, kind) for name, (kind, _) in columns.items()), *fields(results)])
    names = list(columns)
    with RowGroups(sink, schema, compression="zstd") as groups:
        for part, stop in spans:
            for batch in part.batches(names, 1, stop):
                at = 0
                for count, piece in results.pieces(part.before + batch.start, batch.size):
                    given = [make(batch.columns[name][at : at + count]) for name, (_, make) in columns.items()]
                    groups.add(pa.RecordBatch.from_arrays([*given, *result_arrays(results, piece)], schema=schema))
                    at += count
                    yield count


def text_columns(names: Sequence[str]) -> dict[str, Column]:
    """Columns of CSV: strings."""
    import pyarrow as pa

    return {name: (pa.string(), arrays.strings) for name in names}


def json_columns(spans: Iterable[tuple[JsonSource, int | None]], names: Sequence[str]) -> dict[str, Column]:
    """Columns of JSONL, each of the type that holds all its values: the files are read through for that."""
    kinds: dict[str, set[str]] = {name: set() for name in names}
    for part, stop in spans:
        for rows in part.with_digits().records(1, stop):
            for record in rows.cells:
                for name, value in record.items():
                    kinds.setdefault(name, set()).add(_kind(value))
    return {name: _column(found - {"null"}) for name, found in kinds.items()}


def _kind(value: Any) -> str:
    if isinstance(value, Digits):
        if value.lstrip("-").isdigit():
            return "int" if len(value) <= _LONGEST_INT and int(value) in _INT64 else "json"
        return "float"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "bool" if isinstance(value, bool) else "json"


def _column(kinds: set[str]) -> Column:
    import pyarrow as pa

    if kinds == {"bool"}:
        return pa.bool_(), arrays.booleans
    if kinds == {"int"}:
        return pa.int64(), lambda values: arrays.integers([None if v is None else int(v) for v in values])
    if kinds and kinds <= {"int", "float"}:
        return pa.float64(), lambda values: arrays.floats([None if v is None else float(v) for v in values])
    show = plain if kinds == {"string"} else json_text
    return pa.string(), lambda values: arrays.strings([None if v is None else show(v) for v in values])
