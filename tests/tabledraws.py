"""Hypothesis' tables: text of any dialect, lines of JSON, Arrow tables of any schema. For tests of what comes back."""

from __future__ import annotations

import json
from typing import NamedTuple

import pyarrow as pa
from hypothesis import strategies as st

letters = st.sampled_from([*"abé\"',;\t\n\r |0=", "\r\n", '""', "NA", "\0", "漢", "👩", "\ufeff", "\x85", "\u2028"])
words = st.sampled_from(["", "007", "NA", "null", "NaN", "None", "-0.0", "1e5", " x ", "true", "2024-01-01", "=1+1"])
cell = st.lists(letters, max_size=6).map("".join) | words


class CsvTable(NamedTuple):
    """A CSV file with a dialect of its own: its text, its cells; of each record what is before it, itself, its end."""

    text: str
    names: list
    rows: list
    delimiter: str
    records: list


def in_quotes(value, delimiter, *, always):
    needs = always or value.startswith('"') or any(sign in value for sign in f"{delimiter}\r\n")
    return '"' + value.replace('"', '""') + '"' if needs else value


@st.composite
def csv_tables(draw, *, columns=4, rows=8):
    width = draw(st.integers(1, columns))
    names = [f"{name}{number}" for number, name in enumerate(draw(st.lists(cell, min_size=width, max_size=width)))]
    cells = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=rows))
    delimiter = draw(st.sampled_from(",;\t|"))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    blank = draw(st.booleans()) and width > 1
    records = []
    for number, row in enumerate([names, *cells]):
        always = number == 0 or row == [""] or draw(st.booleans())
        body = delimiter.join(in_quotes(value, delimiter, always=always) for value in row)
        records.append([newline if blank and draw(st.booleans()) else "", body, newline])
    if draw(st.booleans()):
        records[-1][2] = ""
    mark = "\ufeff" if draw(st.booleans()) else ""
    records[0][0] = mark + records[0][0]
    return CsvTable("".join(map("".join, records)), names, cells, delimiter, records)


texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
keys = st.sampled_from(["a", "b", "é", "x y", "", '"', "errors", "completion "])


@st.composite
def jsonl_tables(draw):
    """Objects, the first with the key `a`, and a line for each in a style of its own."""
    rows = draw(st.lists(st.dictionaries(keys, values, max_size=4), min_size=1, max_size=8))
    rows[0]["a"] = 1
    lines = []
    for row in rows:
        style = draw(st.sampled_from([None, (",", ":"), (" , ", " : ")]))
        line = json.dumps(row, ensure_ascii=draw(st.booleans()), separators=style)
        lines.append(line + draw(st.sampled_from(["", " ", "\r"])))
    return rows, lines


plain = [
    pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(),
    pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.time64("us"),
    pa.duration("us"), pa.decimal128(9, 2), pa.binary(3), pa.null(),
]  # fmt: skip
rare = [
    pa.large_binary(), pa.float16(), pa.int16(), pa.uint8(), pa.int32(), pa.uint32(), pa.date64(), pa.time32("s"),
    pa.time32("ms"), pa.time64("ns"), pa.timestamp("s"), pa.timestamp("ms", "Europe/Berlin"), pa.duration("ns"),
    pa.timestamp("us", "+05:30"), pa.decimal128(38, 0), pa.decimal256(50, 2), pa.string_view(), pa.binary_view(),
]  # fmt: skip


def fields_of(kinds):
    return st.lists(kinds, min_size=1, max_size=3).map(lambda some: [(f"f{n}", kind) for n, kind in enumerate(some)])


def nested(scalars):
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            inner.map(pa.list_),
            inner.map(pa.large_list),
            inner.map(lambda kind: pa.list_(kind, 2)),
            inner.map(lambda kind: pa.map_(pa.string(), kind)),
            fields_of(inner).map(pa.struct),
        ),
        max_leaves=4,
    )


def of_kind(kind):
    """A strategy for values of an Arrow type, null among them."""
    if pa.types.is_struct(kind):
        known = st.fixed_dictionaries({kind.field(n).name: of_kind(kind.field(n).type) for n in range(kind.num_fields)})
    elif pa.types.is_map(kind):
        known = st.lists(st.tuples(texts, of_kind(kind.item_type)), max_size=3)
    elif pa.types.is_fixed_size_list(kind):
        known = st.lists(of_kind(kind.value_type), min_size=kind.list_size, max_size=kind.list_size)
    elif pa.types.is_nested(kind):
        known = st.lists(of_kind(kind.value_type), max_size=3)
    else:
        known = of_scalar(kind)
    return st.one_of(st.none(), known)


def of_scalar(kind):
    """The first rule that knows the type."""
    is_a = pa.types
    bits = kind.bit_width if is_a.is_integer(kind) or is_a.is_floating(kind) else 0
    rules = [
        (is_a.is_string, texts),
        (is_a.is_large_string, texts),
        (is_a.is_string_view, texts),
        (is_a.is_fixed_size_binary, st.binary(min_size=3, max_size=3)),
        (lambda kind: is_a.is_binary(kind) or is_a.is_large_binary(kind), st.binary(max_size=5)),
        (is_a.is_binary_view, st.binary(max_size=20)),
        (is_a.is_unsigned_integer, st.integers(0, 2**bits - 1)),
        (is_a.is_signed_integer, st.integers(-(2**bits) // 2, 2**bits // 2 - 1)),
        (is_a.is_floating, st.floats(width=bits or 64)),
        (is_a.is_decimal, st.decimals(-99999, 99999, places=getattr(kind, "scale", 0))),
        (is_a.is_date, st.dates()),
        (is_a.is_time32, st.integers(0, 86_399)),
        (is_a.is_temporal, st.integers(0, 86_399_999_999)),
        (is_a.is_boolean, st.booleans()),
        (is_a.is_null, st.none()),
    ]
    return next(strategy for fits, strategy in rules if fits(kind))


class Label(pa.ExtensionType):
    """A type that only this test knows: a reader that lacks it sees what it is stored as."""

    def __init__(self):
        super().__init__(pa.string(), "batchchat.test.label")

    def __arrow_ext_serialize__(self):
        return b"of a test"

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type, serialized):
        return cls()


@st.composite
def arrow_columns(draw, scalars, rows):
    """A column of any type; of text perhaps a dictionary, or an extension type."""
    kind = draw(nested(scalars))
    array = pa.array(draw(st.lists(of_kind(kind), min_size=rows, max_size=rows)), kind)
    if not pa.types.is_string(kind) and not pa.types.is_int64(kind):
        return array
    shape = draw(st.sampled_from(["plain", "plain", "dictionary", "extension"]))
    if shape == "extension" and pa.types.is_string(kind):
        return pa.ExtensionArray.from_storage(Label(), array)
    return array if shape == "plain" else array.dictionary_encode()


@st.composite
def arrow_tables(draw, *, every_type=False):
    """A table of a few columns of any type, with metadata of its own and of its fields."""
    rows = draw(st.integers(0, 7))
    scalars = st.sampled_from([*plain, *rare] if every_type else plain)
    columns = draw(st.lists(arrow_columns(scalars, rows), min_size=1, max_size=4))
    fields = []
    for number, column in enumerate(columns):
        unit = draw(st.sampled_from([None, {"unit": "m"}]))
        nullable = column.null_count > 0 or pa.types.is_null(column.type) or draw(st.booleans())
        fields.append(pa.field(f"c{number}", column.type, nullable=nullable, metadata=unit))
    metadata = draw(st.sampled_from([None, {"k": "v"}, {"pandas": '{"index_columns": []}', "é": "\n"}]))
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=metadata))


@st.composite
def parquet_options(draw):
    """How a Parquet file is written."""
    return {
        "row_group_size": draw(st.integers(1, 4)),
        "compression": draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
        "use_dictionary": draw(st.booleans()),
        "data_page_version": draw(st.sampled_from(["1.0", "2.0"])),
        "write_page_index": draw(st.booleans()),
        "store_schema": draw(st.booleans()),
    }


def same(one, other):
    """Whether two tables have the same schema, metadata and cells. NaN, which equals nothing, is compared as text."""
    return one.schema.equals(other.schema, check_metadata=True) and all(
        a.equals(b) or _text(a) == _text(b) for a, b in zip(one.columns, other.columns, strict=True)
    )


def _text(column):
    return pa.chunked_array(column.chunks, column.type).combine_chunks().to_string(window=100, container_window=100)
