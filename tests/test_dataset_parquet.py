"""Parquet in: columns as Python values, and how little is read for them."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from pyarrow import parquet
from tablework import rows_of, write

from batchchat.dataset import open_dataset
from batchchat.dataset.values import python_values
from batchchat.errors import InputFault, UsageError

EPOCH = dt.datetime.fromisoformat("1970-01-01")


@pytest.fixture
def table(tmp_path):
    """`table({name: array})` is an opened Parquet file."""

    def make(columns, **options):
        path = tmp_path / "t.parquet"
        parquet.write_table(pa.table(columns), path, **options)
        return open_dataset(path)

    return make


def test_python_values_of_many_types(table):
    """What a template gets to see."""
    columns = {
        "text": pa.array(["é", None]),
        "large": pa.array(["x", ""], pa.large_string()),
        "number": pa.array([1, None], pa.int8()),
        "float": pa.array([0.1, None], pa.float32()),
        "half": pa.array([0.5, 2.0]).cast(pa.float16()),
        "decimal": pa.array([Decimal("1.10"), None]),
        "dictionary": pa.array(["a", None]).dictionary_encode(),
        "binary": pa.array([b"\0\xff", None]),
        "date": pa.array([dt.date(2024, 2, 29), None]),
        "seconds": pa.array([1, None], pa.timestamp("s")),
        "list": pa.array([["a", None], None]),
        "struct": pa.array([{"a": 1, "b": None}, None], pa.struct([("a", pa.int64()), ("b", pa.string())])),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "null": pa.nulls(2),
        "uuid": pa.array([uuid.UUID(int=5).bytes, None], pa.uuid()),
    }
    first, second = rows_of(table(columns))
    assert first == (
        "é", "x", 1, 0.1, 0.5, Decimal("1.10"), "a", b"\0\xff", dt.date(2024, 2, 29), EPOCH + dt.timedelta(seconds=1),
        ["a", None], {"a": 1, "b": None}, [("k", 1)], None, uuid.UUID(int=5),
    )  # fmt: skip
    assert second == (None, "", None, None, 2.0, *[None] * 10)


def test_nanoseconds_are_not_lost():
    """A datetime where microseconds hold it, else text with nine digits, however deep it stands."""
    whole, part = 1_000_000_123_456_000, 1_000_000_123_456_789
    naive = pa.array([whole, part, None, -1], pa.timestamp("ns"))
    moment = EPOCH + dt.timedelta(microseconds=whole // 1000)
    text = "1970-01-12T13:46:40.123456789"
    assert python_values(naive) == [moment, text, None, "1969-12-31T23:59:59.999999999"]
    zoned = python_values(pa.array([whole, part], pa.timestamp("ns", "Europe/Berlin")))
    assert zoned == [
        (moment + dt.timedelta(hours=1)).replace(tzinfo=ZoneInfo("Europe/Berlin")),
        "1970-01-12T14:46:40.123456789+01:00",
    ]
    assert python_values(pa.array([1000, 1], pa.duration("ns"))) == [dt.timedelta(microseconds=1), "PT0.000000001S"]
    assert python_values(pa.array([1000, 1], pa.time64("ns"))) == [dt.time(0, 0, 0, 1), "00:00:00.000000001"]
    lists = pa.array([[whole, None], None, [], [part]], pa.list_(pa.timestamp("ns")))
    assert python_values(lists) == [[moment, None], None, [], [text]]
    assert python_values(lists.slice(3)) == [[text]]
    struct = pa.array([{"t": part}, None], pa.struct([("t", pa.timestamp("ns"))]))
    assert python_values(struct) == [{"t": text}, None]
    assert python_values(struct.slice(1)) == [None]
    assert python_values(pa.array([[("k", part)]], pa.map_(pa.string(), pa.timestamp("ns")))) == [[("k", text)]]
    assert python_values(naive.dictionary_encode()) == python_values(naive)


def test_only_what_is_asked_for_is_read(table):
    """Names with dots are whole names, beside a struct whose field has the same path."""
    columns = {"a": pa.array([{"b": 1}]), "a.b": pa.array(["x"]), "c": pa.array([2])}
    dataset = table(columns)
    assert dataset.columns == ("a", "a.b", "c")
    assert rows_of(dataset, "a.b") == [("x",)]
    assert rows_of(dataset, "a") == [({"b": 1},)]
    assert list(next(dataset.batches(["c"])).columns) == ["c"]


def test_batches_do_not_cross_row_groups(table):
    """So that a start in the middle can skip the groups before it; boundaries stay where they were."""
    dataset = table({"a": range(5000)}, row_group_size=2000)
    ends = [batch.start + batch.size for batch in dataset.batches(["a"])]
    assert ends == [1025, 2001, 3025, 4001, 5001]
    for start in (1, 2, 1025, 2000, 2001, 3100, 5000):
        assert rows_of(dataset, start=start) == [(row,) for row in range(start - 1, 5000)]
        found = [batch.start + batch.size for batch in dataset.batches(["a"], start=start)]
        assert found == [end for end in ends if end > start]
    assert rows_of(dataset, start=5001) == []


def test_a_limit(tmp_path, table):
    """The first N rows, across row groups."""
    table({"a": range(5000)}, row_group_size=2000)
    dataset = open_dataset(tmp_path / "t.parquet", limit=2100)
    assert dataset.count() == 2100
    assert len(rows_of(dataset)) == 2100
    assert len(rows_of(dataset, start=2050)) == 51


def test_huge_values_make_small_batches(table):
    """By what the metadata says, and where a dictionary hides it, by what was read."""
    text = "x" * (1 << 20)
    assert max(batch.size for batch in table({"a": [text + str(n) for n in range(40)]}).batches(["a"])) < 10
    assert max(batch.size for batch in table({"a": [text] * 200}).batches(["a"])) < 40


@pytest.mark.parametrize("content", [b"", b"PAR1", b"a,b\n1,2\n", b"PAR1" + b"\0" * 50 + b"PAR1"])
def test_a_file_that_is_none(tmp_path, content):
    """It is said at once."""
    with pytest.raises(UsageError, match=r"t.parquet: is no Parquet file"):
        open_dataset(write(tmp_path / "t.parquet", content))


def test_doubled_names(tmp_path):
    """They cannot be told apart."""
    parquet.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "t.parquet")
    with pytest.raises(UsageError, match="two columns are named 'a'"):
        open_dataset(tmp_path / "t.parquet")


def test_damage_is_found_when_it_is_read(tmp_path, table):
    """A page that was overwritten stops the job."""
    table({"a": [f"text {n}" for n in range(5000)]}, compression="zstd")
    path = tmp_path / "t.parquet"
    data = bytearray(path.read_bytes())
    data[100:2000] = b"\xff" * 1900
    path.write_bytes(data)
    with pytest.raises(InputFault, match=r"t.parquet: cannot be read on"):
        rows_of(open_dataset(path))


def test_a_changed_file(tmp_path, table):
    """Rows that were counted are not there any more."""
    dataset = table({"a": [1, 2]})
    parquet.write_table(pa.table({"a": [1, 2, 3]}), tmp_path / "t.parquet")
    with pytest.raises(InputFault, match="changed"):
        rows_of(dataset)


COUNTED_READ = """
import sys
from pathlib import Path

def read():
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["rchar"])

import pyarrow.parquet
from batchchat.dataset import open_dataset
before = read()
batch = next(open_dataset(sys.argv[1], limit=1000).batches(["prompt"]))
assert batch.size == 1000
print(read() - before, "pandas" in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
def test_the_first_batch_of_a_large_file_reads_little_of_it(tmp_path):
    """One column of one row group of 80 MB: at most 16 MB, and no pandas."""
    path = tmp_path / "t.parquet"
    texts = [f"{n:07d} " + "x" * 100 for n in range(400_000)]
    other = [f"{n:0100d}" for n in range(400_000)]
    columns = {"prompt": texts, "other": other}
    parquet.write_table(pa.table(columns), path, compression="none", use_dictionary=False, row_group_size=400_000)
    assert path.stat().st_size > 80_000_000
    run = subprocess.run([sys.executable, "-c", COUNTED_READ, path], capture_output=True, text=True, check=True)
    size, pandas = run.stdout.split()
    assert int(size) < 16_000_000
    assert pandas == "False"
