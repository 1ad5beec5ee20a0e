"""JSONL in: one object a line."""

from __future__ import annotations

import json

import pytest
from tablework import rows_of, write

from batchchat.dataset import open_dataset
from batchchat.errors import InputFault, UsageError


def opened(path, content, **options):
    dataset = open_dataset(write(path, content), **options)
    dataset.check()
    return dataset


def test_values_are_what_json_says(tmp_path):
    """Numbers, truth, null, lists and objects; a missing key is null."""
    dataset = opened(tmp_path / "t.jsonl", '{"a": 1.50, "b": [1, {"c": null}]}\n{"b": "x\\ny", "d": true}\n')
    assert dataset.columns == ("a", "b", "d")
    assert rows_of(dataset) == [(1.5, [1, {"c": None}], None), (None, "x\ny", True)]


def test_columns_come_in_order_of_first_appearance(tmp_path):
    """Of everything that was checked, not only of the first batch."""
    lines = ['{"b": 1, "a": 2}'] * 2000 + ['{"c": 3, "a": 4}']
    dataset = open_dataset(write(tmp_path / "t.jsonl", "\n".join(lines)))
    assert dataset.columns == ("b", "a")
    dataset.check()
    assert dataset.columns == ("b", "a", "c")
    assert rows_of(dataset, "c", start=2000) == [(None,), (3,)]


def test_blank_lines_are_no_rows(tmp_path):
    """Windows line ends neither; a line separator inside a string is no line end."""
    dataset = opened(tmp_path / "t.jsonl", '\ufeff{"a": 1}\r\n\r\n  \n{"a": "\u2028\x85"}\r\n\n')
    assert rows_of(dataset) == [(1,), ("\u2028\x85",)]
    assert dataset.where(2).endswith("row 2 (line 4)")
    assert dataset.count() == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "t.jsonl: is empty"),
        ('{"a": 1}\n{"a": }\n', "t.jsonl, row 2 (line 2): the line is no JSON object: Expecting value at column 7"),
        ('{"a": 1}\n\n[1]\n', "t.jsonl, row 2 (line 3): the line is no JSON object but an array: [1]"),
        ('{"a": 1}\n7\n', "row 2 (line 2): the line is no JSON object but a number: 7"),
        ('{"a": 1}\nnull\n', "row 2 (line 2): the line is no JSON object but null"),
        ('{"a": 1} {"a": 2}\n', "row 1 (line 1): the line is no JSON object: Extra data"),
        ('{"a":\n1}\n', "row 1 (line 1): the line is no JSON object"),
        (b'{"a": 1}\n{"a": "\xe9"}\n', "row 2 (line 2): the byte 0xE9 is not utf-8"),
        ("[" * 100_000, "row 1 (line 1): the line is no JSON object"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path, content, said):
    """Before the first request."""
    with pytest.raises(UsageError) as caught:
        opened(tmp_path / "t.jsonl", content)
    assert said in str(caught.value)


def test_a_fault_found_late(tmp_path):
    """The rows before it come first."""
    dataset = open_dataset(write(tmp_path / "t.jsonl", '{"a": 1}\n' * 3000 + "oops\n"))
    dataset.check(limit_bytes=10)
    with pytest.raises(InputFault, match=r"row 3001 \(line 3001\)"):
        rows_of(dataset)


def test_starts_anywhere(tmp_path):
    """In one byte encodings and in wide ones."""
    lines = "".join(json.dumps({"a": row, "b": "é" * (row % 5)}, ensure_ascii=False) + "\n" for row in range(2500))
    for encoding in ("utf-8", "cp1252", "utf-16"):
        dataset = opened(tmp_path / "t.jsonl", lines.encode(encoding), encoding=encoding)
        for start in (1, 2, 1025, 2400):
            assert rows_of(dataset, "a", start=start) == [(row,) for row in range(start - 1, 2500)]


def test_a_doubled_key_counts_once(tmp_path):
    """The last one, as in Python; a null byte and a lone surrogate are characters."""
    dataset = opened(tmp_path / "t.jsonl", '{"a": 1, "a": "\\u0000\\ud800"}\n')
    assert rows_of(dataset) == [("\0\ud800",)]
