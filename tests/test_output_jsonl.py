"""JSONL out: every line as it was, and the results inside its last brace."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from pyarrow import parquet
from tablework import TEXT, constant, through, write

from batchchat.dataset import open_dataset
from batchchat.errors import InputFault
from batchchat.output import publish
from batchchat.records import ResultColumn


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ('{"a": 1.50}\n', '{"a": 1.50, "completion": "é"}\n'),
        ('{"a":1e400,"b":{"c":{}}}\r\n', '{"a":1e400,"b":{"c":{}}, "completion": "é"}\r\n'),
        ('{"a": "}"}', '{"a": "}", "completion": "é"}'),
        ('\ufeff{ "a" : "{" }  \n', '\ufeff{ "a" : "{" , "completion": "é"}  \n'),
        ('{"a":1}\n{}\n', '{"a":1, "completion": "é"}\n{"completion": "é"}\n'),
        ('{"a":1}\n{ }\n', '{"a":1, "completion": "é"}\n{ "completion": "é"}\n'),
        ('\n{"a": "\\ud83d\\u0000"}\n\n', '\n{"a": "\\ud83d\\u0000", "completion": "é"}\n\n'),
        ('{"a": NaN, "a": -0}\n', '{"a": NaN, "a": -0, "completion": "é"}\n'),
    ],
)
def test_lines_pass_through(tmp_path, given, expected):
    """Digits, escapes, white space, doubled keys, blank lines, line ends: all stay."""
    path = write(tmp_path / "t.jsonl", given)
    assert through(path, tmp_path / "o.jsonl", TEXT, constant("é")) == expected.encode()


def test_kinds_of_result_columns(tmp_path):
    """As JSON has them."""
    columns = [ResultColumn(name=name, kind=name) for name in ("string", "strings", "int64", "float64")]
    values = {"string": ['"\n\0\ud800'], "strings": [["a", None]], "int64": [5], "float64": [0.5]}
    path = write(tmp_path / "t.jsonl", "{}\n" + '{"a": 1}\n')
    text = through(path, tmp_path / "o.jsonl", columns, lambda _, size: {k: v * size for k, v in values.items()})
    last = '{"string": "\\"\\n\\u0000\ufffd", "strings": ["a", null], "int64": 5, "float64": 0.5}'
    assert text.decode().splitlines()[0] == last


def test_results_in_other_encodings(tmp_path):
    """What an encoding may lack is escaped as JSON does; in UTF-16 nothing is lacking."""
    path = write(tmp_path / "t.jsonl", '{"a": "é"}\n'.encode("cp1252"))
    found = through(path, tmp_path / "o.jsonl", TEXT, constant("é👩"), encoding="cp1252")
    assert found == '{"a": "é", "completion": "\\u00e9\\ud83d\\udc69"}\n'.encode("cp1252")
    path = write(tmp_path / "t.jsonl", '{"a": "é"}\n'.encode("utf-16"))
    found = through(path, tmp_path / "o.jsonl", TEXT, constant("👩"), encoding="utf-16")
    assert found == '{"a": "é", "completion": "👩"}\n'.encode("utf-16")


def test_a_key_that_is_a_result_column_is_found_late(tmp_path):
    """Where the check at the start did not reach; the word as a value is harmless."""
    lines = '{"a": "\\"completion\\": ", "b": "completion"}\n' * 2000
    dataset = open_dataset(write(tmp_path / "t.jsonl", lines + '{"completion": 1}\n'))
    with pytest.raises(InputFault, match=r"row 2001 \(line 2001\): has the key 'completion'"):
        publish(dataset, str(tmp_path / "o.jsonl"), TEXT, constant("x"))
    with pytest.raises(InputFault, match="has the key 'completion'"):
        publish(open_dataset(dataset.name), str(tmp_path / "o.csv"), TEXT, constant("x"))
    assert [path.name for path in tmp_path.iterdir()] == ["t.jsonl"]


def test_csv_to_jsonl(tmp_path):
    """All cells are strings; the output is UTF-8."""
    path = write(tmp_path / "t.csv", "a,b\n007,\n“x”,2\n".encode("cp1252"))
    found = through(path, tmp_path / "o.jsonl", TEXT, constant(None), encoding="cp1252")
    assert found.decode() == ('{"a": "007", "b": "", "completion": null}\n{"a": "“x”", "b": "2", "completion": null}\n')


def test_parquet_to_jsonl(tmp_path):
    """Numbers with their digits, times in ISO 8601, bytes in base64, NaN as null."""
    columns = {
        "decimal": pa.array(["1.10", None]).cast(pa.decimal128(5, 2)),
        "float": pa.array([0.1, float("nan")], pa.float32()),
        "time": pa.array([1_000, 1], pa.timestamp("ns", "UTC")),
        "duration": pa.array([90_500_000, -1], pa.duration("us")),
        "date": pa.array([0, None], pa.date32()),
        "bytes": pa.array([b"\0\xff", None]),
        "nested": pa.array([[{"x": True}], []]),
    }
    parquet.write_table(pa.table(columns), tmp_path / "t.parquet")
    found = through(tmp_path / "t.parquet", tmp_path / "o.jsonl", TEXT, constant("x")).decode().splitlines()
    assert found[0] == (
        '{"decimal": 1.10, "float": 0.1, "time": "1970-01-01T00:00:00.000001+00:00", "duration": "PT90.5S", '
        '"date": "1970-01-01", "bytes": "AP8=", "nested": [{"x": true}], "completion": "x"}'
    )
    assert json.loads(found[1]) == {
        "decimal": None, "float": None, "time": "1970-01-01T00:00:00.000000001+00:00", "duration": "-PT0.000001S",
        "date": None, "bytes": None, "nested": [], "completion": "x",
    }  # fmt: skip
