"""Parquet in, Parquet out: the input's bytes as they are, the result columns behind them, and a new footer.

A Parquet file is column chunks and a footer that says where they are. So nothing of the input has to be decoded or
written anew: types, encodings, compression, row groups, statistics, indexes and metadata are what they were, at the
speed of a copy (a million rows: 0.1 s, where reading and writing with pyarrow takes seconds), and in memory that does
not grow with a row group, which pyarrow would hold as a whole. The price is this file, which has to know the footer:
the numbers of its fields are those of `parquet.thrift` in the format's specification.

The result columns are written by pyarrow, in pieces without dictionaries: the pages of such pieces, one behind the
other, are a column chunk. The chunks of a row group need not stand together.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from batchchat.errors import InputFault
from batchchat.output import parquet
from batchchat.output.compact import BINARY, Struct, binary

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchchat.output.results import Piece, Results
    from batchchat.output.source import ParquetSource

    Span = tuple[ParquetSource, int | None]

    class ScratchSink(Protocol):
        """What is written to."""

        def write(self, data: bytes, /) -> int:
            """Takes bytes."""

        def tell(self) -> int:
            """How many it took."""

        def scratch(self) -> BinaryIO:
            """A temporary file near it."""


_MAGIC = b"PAR1"
_ARROW_SCHEMA = b"ARROW:schema"
_PIECE = 1 << 20
_CODECS = {0: "NONE", 1: "SNAPPY", 2: "GZIP", 4: "BROTLI", 6: "ZSTD", 7: "LZ4"}

# FileMetaData
_SCHEMA, _ROWS, _GROUPS, _PAIRS, _ORDERS, _ENCRYPTION = 2, 3, 4, 5, 7, 8
# SchemaElement
_CHILDREN = 5
# RowGroup
_COLUMNS, _GROUP_BYTES, _GROUP_ROWS, _GROUP_OFFSET, _GROUP_COMPRESSED, _ORDINAL = 1, 2, 3, 5, 6, 7
# ColumnChunk
_CHUNK_OFFSET, _META, _OFFSET_INDEX, _COLUMN_INDEX = 2, 3, 4, 6
# ColumnMetaData
_CODEC, _VALUES, _PLAIN_BYTES, _COMPRESSED, _DATA, _INDEX, _DICTIONARY = 4, 5, 6, 7, 9, 10, 11
_STATISTICS, _ENCODING_STATS, _BLOOM, _SIZE_STATS = 12, 13, 14, 16


def fits(spans: Sequence[Span]) -> bool:
    """Whether these files can be spliced: read whole, not encrypted, and alike down to the physical schema."""
    if any(stop is not None and part.rows is not None and stop < part.rows for part, stop in spans):
        return False
    if any(not part.size for part, _ in spans):  # in memory: there are no bytes to copy
        return False
    footers = [_Footer(part) for part, _ in spans]
    return all(footer.plain and footer.kind == footers[0].kind for footer in footers)


def spliced(sink: ScratchSink, spans: Iterable[Span], results: Results) -> Iterator[int]:
    """Writes these files, as one, with their results. Yields how many rows were written each time."""
    groups: list[Struct] = []
    first: _Footer | None = None
    for part, _ in spans:
        footer = _Footer(part)
        shift = sink.tell() - len(_MAGIC) if first else 0
        for data in part.raw(len(_MAGIC) if first else 0, footer.start):
            sink.write(data)
        first = first or footer
        start = part.before + 1
        for group in footer.groups():
            _shift_group(group, shift)
            rows = group.integer(_GROUP_ROWS)
            if not rows:
                continue
            columns = _Columns(results, first.codec)
            yield from columns.gather(sink, start, rows)
            columns.append(sink, group)
            start += rows
            groups.append(group)
    if first:
        sink.write(first.extended(results, groups))


class _Footer:
    """The footer of a file."""

    def __init__(self, part: ParquetSource) -> None:
        self._part = part
        tail = b"".join(part.raw(part.size - 8, part.size))
        self.start = part.size - 8 - int.from_bytes(tail[:4], "little")
        self.plain = tail[4:] == _MAGIC
        if not self.plain:  # encrypted: its footer is something else
            self.kind = b""
            return
        try:
            self._data = Struct(b"".join(part.raw(self.start, part.size - 8)))
            self.plain = _ENCRYPTION not in self._data
            self.kind = self._data.raw(_SCHEMA) + (self._arrow_schema() or b"")
        except (IndexError, KeyError) as error:
            raise InputFault(f"{part.path}: its footer is damaged.") from error

    def groups(self) -> list[Struct]:
        """Its row groups."""
        return [Struct(raw) for raw in self._data.items(_GROUPS)]

    @property
    def codec(self) -> str:
        """How the result columns are to be compressed: as the first column is."""
        groups = self.groups()
        columns = groups[0].items(_COLUMNS) if groups else []
        if not columns:
            return "ZSTD"
        return _CODECS.get(Struct(Struct(columns[0]).raw(_META)).integer(_CODEC), "SNAPPY")

    def _arrow_schema(self) -> bytes | None:
        pairs = map(Struct, self._data.items(_PAIRS))
        return next((pair.text(2) for pair in pairs if pair.text(1) == _ARROW_SCHEMA and 2 in pair), None)

    def extended(self, results: Results, groups: list[Struct]) -> bytes:
        """The bytes of the new footer, of these row groups and with the result columns, and the file's end."""
        added = _sidecar(results, None, "NONE")[1]
        schema = self._data.items(_SCHEMA)
        root = Struct(schema[0])
        root.put_integer(_CHILDREN, (root.integer(_CHILDREN) if _CHILDREN in root else 0) + len(results.columns))
        data = self._data
        data.put_items(_SCHEMA, [root.encode(), *schema[1:], *added.items(_SCHEMA)[1:]])
        data.put_integer(_ROWS, sum(group.integer(_GROUP_ROWS) for group in groups))
        for number, group in enumerate(groups):
            if _ORDINAL in group:
                group.put_integer(_ORDINAL, number)
        data.put_items(_GROUPS, [group.encode() for group in groups])
        if _ORDERS in data:
            data.put_items(_ORDERS, data.items(_ORDERS) + added.items(_ORDERS))
        if (arrow := self._arrow_schema()) is not None:
            self._put_arrow_schema(_with_fields(arrow, results))
        raw = data.encode()
        return raw + len(raw).to_bytes(4, "little") + _MAGIC

    def _put_arrow_schema(self, schema: bytes) -> None:
        pairs = [Struct(raw) for raw in self._data.items(_PAIRS)]
        for pair in pairs:
            if pair.text(1) == _ARROW_SCHEMA:
                pair.put(2, binary(schema), BINARY)
        self._data.put_items(_PAIRS, [pair.encode() for pair in pairs])


def _with_fields(schema: bytes, results: Results) -> bytes:
    """The Arrow schema that stands in the metadata, with the result columns."""
    import pyarrow as pa

    found = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema)))
    for field in parquet.fields(results):
        found = found.append(field)
    return base64.b64encode(found.serialize().to_pybytes())


def _shift_group(group: Struct, shift: int) -> None:
    """Moves everything that a row group says about places in the file."""
    if not shift:
        return
    columns = []
    for raw in group.items(_COLUMNS):
        chunk = Struct(raw)
        meta = Struct(chunk.raw(_META))
        _shift(meta, shift, _DATA, _INDEX, _DICTIONARY, _BLOOM)
        chunk.put(_META, meta.encode(), 12)
        _shift(chunk, shift, _CHUNK_OFFSET, _OFFSET_INDEX, _COLUMN_INDEX)
        columns.append(chunk.encode())
    group.put_items(_COLUMNS, columns)
    _shift(group, shift, _GROUP_OFFSET)


def _shift(struct: Struct, shift: int, *numbers: int) -> None:
    for number in numbers:
        if number in struct and (at := struct.integer(number)):  # 0 is said by some writers for "nowhere"
            struct.put_integer(number, at + shift)


class _Columns:
    """The result columns of one row group."""

    def __init__(self, results: Results, codec: str) -> None:
        self._results = results
        self._codec = codec
        self._chunks: list[Struct] = []
        self._pages: list[BinaryIO] = []
        self._totals: list[list[int]] = []

    def gather(self, sink: ScratchSink, start: int, rows: int) -> Iterator[int]:
        """Writes the pages of all pieces to temporary files, one a column."""
        self._pages = [sink.scratch() for _ in self._results.columns]
        self._totals = [[0, 0, 0] for _ in self._results.columns]
        for count, piece in self._results.pieces(start, rows):
            data, footer = _sidecar(self._results, piece, self._codec)
            self._chunks = [Struct(raw) for raw in Struct(footer.items(_GROUPS)[0]).items(_COLUMNS)]
            for chunk, pages, totals in zip(self._chunks, self._pages, self._totals, strict=True):
                meta = Struct(chunk.raw(_META))
                at, size = meta.integer(_DATA), meta.integer(_COMPRESSED)
                pages.write(data[at : at + size])
                for number, field in enumerate((_VALUES, _PLAIN_BYTES, _COMPRESSED)):
                    totals[number] += meta.integer(field)
            yield count

    def append(self, sink: ScratchSink, group: Struct) -> None:
        """Writes one chunk a column behind what is there, and puts them into the row group."""
        columns = group.items(_COLUMNS)
        for chunk, pages, totals in zip(self._chunks, self._pages, self._totals, strict=False):
            meta = Struct(chunk.raw(_META))
            for field, total in zip((_VALUES, _PLAIN_BYTES, _COMPRESSED), totals, strict=True):
                meta.put_integer(field, total)
            meta.put_integer(_DATA, sink.tell())
            meta.drop(_INDEX, _DICTIONARY, _STATISTICS, _ENCODING_STATS, _SIZE_STATS)
            chunk.put(_META, meta.encode(), 12)
            chunk.put_integer(_CHUNK_OFFSET, 0)  # deprecated: where a copy of the metadata would be
            columns.append(chunk.encode())
            pages.seek(0)
            while data := pages.read(_PIECE):
                sink.write(data)
            pages.close()
            group.put_integer(_GROUP_BYTES, group.integer(_GROUP_BYTES) + totals[1])
            if _GROUP_COMPRESSED in group:
                group.put_integer(_GROUP_COMPRESSED, group.integer(_GROUP_COMPRESSED) + totals[2])
        group.put_items(_COLUMNS, columns)


def _sidecar(results: Results, piece: Piece | None, codec: str) -> tuple[bytes, Struct]:
    """A Parquet file of these results alone (None: of no rows), and its footer."""
    import pyarrow as pa
    from pyarrow import parquet as writer

    schema = pa.schema(parquet.fields(results))
    arrays = parquet.result_arrays(results, piece) if piece else [pa.nulls(0, field.type) for field in schema]
    options: dict[str, Any] = {"use_dictionary": False, "write_statistics": False, "store_schema": False}
    out = io.BytesIO()
    writer.write_table(pa.Table.from_arrays(arrays, schema=schema), out, compression=codec, **options)
    data = out.getvalue()
    size = int.from_bytes(data[-8:-4], "little")
    return data, Struct(data[-8 - size : -8])
