"""Parquet out: spliced where a whole file goes in, else written anew."""

from __future__ import annotations

import datetime as dt
import json
import struct
import subprocess
import sys
from decimal import Decimal

import pyarrow as pa
import pytest
from pyarrow import parquet
from tablework import COLUMNS, TEXT, constant, lookup, through, write

from batchchat.dataset import open_dataset
from batchchat.errors import InputFault
from batchchat.output import publish
from batchchat.output.compact import BINARY, I64, LIST, STRUCT, Struct, binary
from batchchat.records import ResultColumn


def table(rows=10):
    """Arrow types of many kinds, with metadata everywhere."""
    numbers = list(range(rows))
    columns = {
        "text": pa.array([None if n % 4 == 0 else f"é {n}" for n in numbers]),
        "large": pa.array([f"{n}" for n in numbers], pa.large_string()),
        "small": pa.array([n % 100 for n in numbers], pa.uint8()),
        "half": pa.array([n % 100 for n in numbers], pa.int64()).cast(pa.float16()),
        "decimal": pa.array([Decimal(n) / 100 for n in numbers], pa.decimal128(20, 2)),
        "wide": pa.array([Decimal(10) ** 40 + n for n in numbers], pa.decimal256(50, 0)),
        "dictionary": pa.array([f"{n % 3}" for n in numbers]).dictionary_encode(),
        "ordered": pa.DictionaryArray.from_arrays(
            pa.array([n % 2 for n in numbers], pa.int8()), pa.array(["b", "a"]), ordered=True
        ),
        "nanoseconds": pa.array([n * 1_000_000_007 for n in numbers], pa.timestamp("ns", "America/New_York")),
        "seconds": pa.array(numbers, pa.timestamp("s")),
        "time": pa.array(numbers, pa.time64("ns")),
        "duration": pa.array(numbers, pa.duration("ms")),
        "date": pa.array([dt.date.fromordinal(n + 1) for n in numbers]),
        "fixed": pa.array([n.to_bytes(4, "big") for n in numbers], pa.binary(4)),
        "nested": pa.array([[{"x": n, "y": [str(n), None]}] if n % 3 else None for n in numbers]),
        "map": pa.array([[("k", n)] for n in numbers], pa.map_(pa.string(), pa.int32())),
        "list": pa.array([[n, n] for n in numbers], pa.list_(pa.int16(), 2)),
        "nothing": pa.nulls(rows),
        "flag": pa.array([bool(n % 2) for n in numbers]),
        "uuid": pa.array([n.to_bytes(16, "big") for n in numbers], pa.uuid()),
    }
    if hasattr(pa, "json_"):  # pyarrow 18 has none
        columns["json"] = pa.array([json.dumps(n) for n in numbers], pa.json_())
    found = pa.table(columns)
    field = found.schema.field("text").with_metadata({"unit": "none"})
    required = pa.field("small", pa.uint8(), nullable=False)
    schema = found.schema.set(0, field).set(2, required)
    return found.cast(schema).replace_schema_metadata({"author": "somebody", "pandas": "{}"})


def results_of(rows, columns=COLUMNS):
    return pa.table(
        {c.name: pa.array(lookup(1, rows)[c.name], pa.int64() if c.kind == "int64" else pa.string()) for c in columns}
    )


def assert_unchanged(path, given, rows):
    """Every column, type and piece of metadata of the input, and the results behind them."""
    with parquet.ParquetFile(path) as file:
        found = file.read()
    found.validate(full=True)
    kept = found.select(given.column_names)
    assert kept.schema.equals(given.schema, check_metadata=True)
    assert kept.equals(given)
    assert found.column_names == [*given.column_names, *(column.name for column in COLUMNS)]
    assert found.drop_columns(given.column_names).replace_schema_metadata().equals(results_of(rows))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "zstd", "row_group_size": 7, "write_page_index": True},
        {"compression": "none", "use_dictionary": False, "data_page_version": "2.0"},
        {"compression": {"text": "gzip", "small": "brotli"}, "write_statistics": False},
        {
            "version": "2.4",
            "store_schema": False,
            "write_page_checksum": True,
            "coerce_timestamps": "us",
            "allow_truncated_timestamps": True,
        },
        {"use_deprecated_int96_timestamps": True, "compression": "lz4", "sorting_columns": [parquet.SortingColumn(2)]},
    ],
)
def test_a_spliced_file_is_unchanged(tmp_path, options):
    """Whatever its compression, pages, indexes and row groups."""
    path = tmp_path / "t.parquet"
    parquet.write_table(table(50), path, **options)
    given = parquet.read_table(path)
    through(path, tmp_path / "o.parquet")
    assert_unchanged(tmp_path / "o.parquet", given, 50)


def test_the_input_is_copied_byte_for_byte(tmp_path):
    """Everything before its footer, and what the footer says of each chunk."""
    path = tmp_path / "t.parquet"
    parquet.write_table(table(100), path, row_group_size=30, compression="zstd", write_page_index=True)
    data = path.read_bytes()
    footer = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    assert through(path, tmp_path / "o.parquet")[:footer] == data[:footer]
    with parquet.ParquetFile(path) as one, parquet.ParquetFile(tmp_path / "o.parquet") as two:
        assert two.metadata.created_by == one.metadata.created_by
        assert two.num_row_groups == one.num_row_groups
        for number in range(one.num_row_groups):
            given, found = one.metadata.row_group(number), two.metadata.row_group(number)
            assert found.num_rows == given.num_rows
            for column in range(given.num_columns):
                assert found.column(column).to_dict() == given.column(column).to_dict()
            assert found.column(given.num_columns).compression == "ZSTD"
            assert found.total_byte_size > given.total_byte_size


def test_large_row_groups_and_pieces_of_results(tmp_path):
    """A column chunk is made of the pages of many pieces; all kinds of result columns, with nulls."""
    path = tmp_path / "t.parquet"
    rows = 50_000
    parquet.write_table(pa.table({"a": range(rows)}), path, row_group_size=40_000)
    columns = [ResultColumn(name=name, kind=name) for name in ("string", "strings", "int64", "float64")]

    def results(start, size):
        numbers = [None if n % 5 == 0 else n for n in range(start, start + size)]
        return {
            "string": [None if n is None else "x" * (n % 50) for n in numbers],
            "strings": [None if n is None else [f"{n}", None][: n % 3] for n in numbers],
            "int64": numbers,
            "float64": [None if n is None else n / 2 for n in numbers],
        }

    through(path, tmp_path / "o.parquet", columns, results)
    found = parquet.read_table(tmp_path / "o.parquet")
    found.validate(full=True)
    for name, values in results(1, rows).items():
        assert found.column(name).to_pylist() == values


def test_huge_completions_keep_memory_small(tmp_path):
    """Pieces shrink when the answers are long: never more than some megabytes are asked for at once."""
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": range(2000)}), path)
    asked = []

    def results(start, size):
        asked.append(size)
        return {"completion": ["x" * 100_000] * size}

    through(path, tmp_path / "o.parquet", TEXT, results)
    assert asked[0] == 256
    assert max(asked[1:]) < 100
    assert (
        parquet.read_table(tmp_path / "o.parquet", columns=["completion"]).column(0).to_pylist()
        == ["x" * 100_000] * 2000
    )


@pytest.mark.parametrize(
    "options", [{}, {"row_group_size": 8}, {"use_deprecated_int96_timestamps": True}, {"store_schema": False}]
)
def test_a_limit_inside_a_row_group_writes_anew(tmp_path, options):
    """Types, values, metadata and compression stay."""
    path = tmp_path / "t.parquet"
    parquet.write_table(table(50), path, compression="zstd", **options)
    given = parquet.read_table(path)
    through(path, tmp_path / "o.parquet", limit=20)
    assert_unchanged(tmp_path / "o.parquet", given.slice(0, 20), 20)
    with parquet.ParquetFile(path) as one, parquet.ParquetFile(tmp_path / "o.parquet") as two:
        assert two.metadata.row_group(0).column(0).compression == "ZSTD"
        types = [[f.schema.column(n).physical_type for n in range(len(one.schema))] for f in (one, two)]
        assert types[0] == types[1]


def test_a_table_without_rows(tmp_path):
    """With a row group of no rows, and without any."""
    path = tmp_path / "t.parquet"
    for data in (table(0), table(5).schema.empty_table()):
        parquet.write_table(data, path)
        through(path, tmp_path / "o.parquet")
        found = parquet.read_table(tmp_path / "o.parquet")
        assert (found.num_rows, found.num_columns) == (0, len(data.column_names) + 3)
    with parquet.ParquetWriter(path, table(0).schema):
        pass
    through(path, tmp_path / "o.parquet")
    assert parquet.read_table(tmp_path / "o.parquet").column_names[-1] == "error"


def test_many_files_into_one(tmp_path):
    """Their row groups one after another, places moved; with indexes and dictionaries."""
    (tmp_path / "in").mkdir()
    whole = table(90)
    for number in range(3):
        part = whole.slice(30 * number, 30)
        parquet.write_table(part, tmp_path / "in" / f"{number}.parquet", row_group_size=20, write_page_index=True)
    through(tmp_path / "in", tmp_path / "o.parquet")
    assert_unchanged(tmp_path / "o.parquet", parquet.read_table(tmp_path / "in"), 90)
    with parquet.ParquetFile(tmp_path / "o.parquet") as file:
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [20, 10] * 3
        assert file.metadata.row_group(5).column(0).has_offset_index


def test_many_files_of_different_make_into_one(tmp_path):
    """Where the same Arrow types are stored differently, they are written anew."""
    (tmp_path / "in").mkdir()
    given = pa.table({"a": pa.array([1, 2], pa.timestamp("ns")), "b": ["x", "y"]})
    parquet.write_table(given, tmp_path / "in" / "1.parquet")
    parquet.write_table(given, tmp_path / "in" / "2.parquet", use_deprecated_int96_timestamps=True)
    through(tmp_path / "in", tmp_path / "o.parquet", TEXT, constant("ok"))
    found = parquet.read_table(tmp_path / "o.parquet")
    assert found.select(["a", "b"]).equals(pa.concat_tables([given, given]))


def test_csv_to_parquet(tmp_path):
    """Text stays text, empty cells are empty strings."""
    path = write(tmp_path / "t.csv", "id,x\n007,NA\n,\n“é”,1e5\n".encode("cp1252"))
    through(path, tmp_path / "o.parquet", TEXT, constant(None), encoding="cp1252")
    found = parquet.read_table(tmp_path / "o.parquet")
    assert found.schema.types == [pa.string()] * 3
    assert found.to_pydict() == {"id": ["007", "", "“é”"], "x": ["NA", "", "1e5"], "completion": [None] * 3}


def test_jsonl_to_parquet(tmp_path):
    """Each column has the type that holds all its values; what has none is JSON text."""
    rows = [
        {"i": 1, "f": 1, "s": "a", "b": True, "m": 1, "n": None, "o": {"k": 1.50}, "big": 2**70},
        {"i": -5, "f": 1.5, "s": "é", "b": None, "m": "x", "n": None, "o": [1], "late": 1},
    ]
    path = write(tmp_path / "t.jsonl", "\n".join(json.dumps(row) for row in rows).replace("1.5}", "1.50}"))
    through(path, tmp_path / "o.parquet", TEXT, constant("x"))
    found = parquet.read_table(tmp_path / "o.parquet")
    assert found.to_pydict() == {
        "i": [1, -5], "f": [1.0, 1.5], "s": ["a", "é"], "b": [True, None], "m": ["1", '"x"'], "n": [None, None],
        "o": ['{"k": 1.50}', "[1]"], "big": [str(2**70), None], "late": [None, 1], "completion": ["x", "x"],
    }  # fmt: skip
    kinds = [pa.int64(), pa.float64(), pa.string(), pa.bool_()]
    assert found.schema.types[:4] == kinds


def test_large_text_is_written_in_row_groups(tmp_path):
    """Of bounded size; the same every time."""
    path = write(tmp_path / "t.csv", "a\n" + "".join(f"{n}\n" for n in range(70_000)))
    one = through(path, tmp_path / "one.parquet")
    with parquet.ParquetFile(tmp_path / "one.parquet") as file:
        assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [65_536, 4464]
        assert file.read().column("total_tokens").to_pylist() == lookup(1, 70_000)["total_tokens"]
    assert one == through(path, tmp_path / "two.parquet")


def test_strange_text_in_results(tmp_path):
    """NUL, lone surrogates, right-to-left, five megabytes."""
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": range(5)}), path)
    values = ["\0", "a\ud800b", "שלום", "x" * (5 << 20), "\ud83d\ude00"]
    through(path, tmp_path / "o.parquet", TEXT, lambda start, size: {"completion": values[start - 1 :][:size]})
    found = parquet.read_table(tmp_path / "o.parquet").column("completion").to_pylist()
    assert found == ["\0", "a\ufffdb", "שלום", "x" * (5 << 20), "😀"]


def test_a_file_that_changed_is_not_spliced(tmp_path):
    """Its footer would be another's."""
    path = tmp_path / "t.parquet"
    parquet.write_table(pa.table({"a": [1]}), path)
    dataset = open_dataset(path)
    parquet.write_table(pa.table({"a": [1, 2]}), path)
    with pytest.raises(InputFault, match="changed"):
        publish(dataset, str(tmp_path / "o.parquet"), COLUMNS, lookup)
    assert not (tmp_path / "o.parquet").exists()


def test_no_pandas_in_a_whole_publish(tmp_path):
    """Reading, splicing, writing anew, CSV and JSONL in and out: pandas takes seconds and is not needed."""
    code = """
import sys
from pyarrow import parquet
import pyarrow as pa
from batchchat.dataset import open_dataset
from batchchat.output import publish
sys.path.insert(0, sys.argv[1])
from tablework import COLUMNS, lookup
folder = sys.argv[2]
for name, limit in (("t.parquet", None), ("t.parquet", 7), ("t.csv", None), ("t.jsonl", None)):
    for suffix in ("parquet", "csv", "jsonl"):
        dataset = open_dataset(f"{folder}/{name}", limit=limit)
        dataset.check()
        assert sum(batch.size for batch in dataset.batches(dataset.columns)) > 0
        publish(dataset, f"{folder}/o.{suffix}", COLUMNS, lookup)
print("pandas" in sys.modules)
"""
    parquet.write_table(table(20), tmp_path / "t.parquet")
    write(tmp_path / "t.csv", "a,b\n1,2\n")
    write(tmp_path / "t.jsonl", '{"a": 1}\n')
    run = subprocess.run([sys.executable, "-c", code, "tests", tmp_path], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_thrift_structs_come_out_as_they_went_in():
    """Fields that are far apart, long lists, negative numbers, booleans, maps, and fields that nobody asked for."""
    inner = Struct()
    inner.put_integer(1, -(2**40), I64)
    inner.put(300, binary(b"far"), BINARY)
    outer = Struct()
    outer.put_items(2, [inner.encode()] * 20, STRUCT)
    outer.put_items(3, [inner.encode()], STRUCT)
    outer.put(4, b"", 1)
    outer.put(6, b"\x01\x88\x01a\x02bc", 11)
    outer.put(7, b"\0" * 8, 7)
    outer.put(8, b"\x25\x02\x04", LIST)
    data = outer.encode()
    found = Struct(data)
    assert found.encode() == data
    again = Struct(found.items(2)[19])
    assert (again.integer(1), again.text(300)) == (-(2**40), b"far")
    assert len(found.items(3)) == 1
    assert found.items(9) == []
