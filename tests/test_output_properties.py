"""Round trips of tables that nobody thought of: text with any dialect, Arrow tables of any schema."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tabledraws import arrow_tables, cell, csv_tables, jsonl_tables, parquet_options, same
from tablework import COLUMNS, lookup, rows_of, through, write

from batchchat.dataset import open_dataset
from batchchat.output import publish
from batchchat.records import ResultColumn

usual = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Many boundaries in small tables."""
    monkeypatch.setattr("batchchat.dataset.textpart.BATCH_ROWS", 3)
    monkeypatch.setattr("batchchat.output.results._FIRST", 2)


@usual
@given(csv_tables(), st.sampled_from(["utf-8", "utf-16", "utf-8.gz"]))
def test_csv_comes_back_unchanged(table, encoding):
    """Every byte of the input stands in the output, in its place; every cell is read as it was meant."""
    text, names, rows, delimiter, _ = table
    codec, _, packed = encoding.partition(".")
    text = text.removeprefix("\ufeff") if codec == "utf-16" else text
    with tempfile.TemporaryDirectory() as folder:
        raw = text.encode(codec)
        name = "t.csv.gz" if packed else "t.csv"
        path = write(Path(folder) / name, gzip.compress(raw) if packed else raw)
        options = {"delimiter": delimiter, "encoding": codec}
        dataset = open_dataset(path, **options)
        dataset.check()
        assert dataset.columns == tuple(names)
        assert rows_of(dataset) == [tuple(row) for row in rows]
        assert dataset.count() == len(rows)
        for start in range(1, len(rows) + 2):
            assert rows_of(dataset, start=start) == [tuple(row) for row in rows[start - 1 :]]
        out = through(path, Path(folder) / "o.csv", **options).decode(codec)
        assert without_results(out, text, delimiter) == text
        read = list(csv.reader(io.StringIO(out.removeprefix("\ufeff"), newline=""), delimiter=delimiter))
        expected = lookup(1, len(rows))
        kept = [row for row in read if row][1:]
        for number, row in enumerate(kept):
            values = [expected[column.name][number] for column in COLUMNS]
            assert row == rows[number] + ["" if value is None else str(value) for value in values]


def without_results(out, text, delimiter):
    """The output without what was added: at each record's end as much as the csv module says was there."""
    added = [[column.name for column in COLUMNS]]
    rows = len(
        [row for row in csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter) if row]
    )
    expected = lookup(1, rows)
    added += [[expected[column.name][number] for column in COLUMNS] for number in range(rows - 1)]
    found, at = [], 0
    for values in added:
        cells = ""
        for value in values:
            plain = "" if value is None else '""' if value == "" else str(value)
            quote = plain != '""' and any(sign in plain for sign in f'{delimiter}"\r\n')
            cells += delimiter + (f'"{plain}"' if quote else plain)
        end = out.index(cells, at)
        found.append(out[at:end])
        at = end + len(cells)
    return "".join(found) + out[at:]


@usual
@given(csv_tables())
def test_csv_in_other_formats_keeps_its_cells(table):
    """Strings everywhere, in Parquet, JSONL and with another delimiter."""
    text, names, rows, delimiter, _ = table
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.csv", text)
        for suffix in ("parquet", "tsv", *(["jsonl"] if rows else [])):
            through(path, Path(folder) / f"o.{suffix}", delimiter=delimiter)
            found = rows_of(open_dataset(f"{folder}/o.{suffix}"), *names)
            assert found == [tuple(row) for row in rows]


@usual
@given(jsonl_tables())
def test_jsonl_comes_back_unchanged(table):
    """Each line begins as it did, and says what it said, and the results."""
    rows, lines = table
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.jsonl", "\n".join(lines))
        found = through(path, Path(folder) / "o.jsonl").decode().split("\n")
    expected = lookup(1, len(rows))
    assert len(found) == len(rows)
    for number, (line, out) in enumerate(zip(lines, found, strict=True)):
        assert out.startswith(line.rstrip()[:-1])
        assert json.loads(out) == rows[number] | {key: column[number] for key, column in expected.items()}


@usual
@given(arrow_tables(), parquet_options())
def test_parquet_comes_back_unchanged(table, options):
    """Spliced, and written anew up to a limit: types, values and metadata are those of the input."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        parquet.write_table(table, path, **options)
        given_table = parquet.read_table(path)
        for limit in (None, 1, 3):
            through(path, Path(folder) / "o.parquet", limit=limit)
            rows = given_table.num_rows if limit is None else min(limit, given_table.num_rows)
            found = parquet.read_table(Path(folder) / "o.parquet")
            found.validate(full=True)
            assert same(found.select(given_table.column_names), given_table.slice(0, rows))
            assert found.select([column.name for column in COLUMNS]).to_pydict() == lookup(1, rows)


@usual
@given(arrow_tables())
def test_parquet_as_text_has_a_row_for_each_row(table):
    """Whatever its types, CSV and JSONL can be written, and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        parquet.write_table(table, path, row_group_size=3)
        rows = table.num_rows
        through(path, Path(folder) / "o.csv")
        assert rows_of(open_dataset(f"{folder}/o.csv"), "total_tokens") == [
            ("" if value is None else str(value),) for value in lookup(1, rows)["total_tokens"]
        ]
        lines = through(path, Path(folder) / "o.jsonl").decode().split("\n")
        assert [json.loads(line)["total_tokens"] for line in lines[:-1]] == lookup(1, rows)["total_tokens"]


completions = st.one_of(st.none(), st.text(max_size=10), cell)


@usual
@given(st.lists(completions, min_size=1, max_size=9), st.sampled_from(["csv", "tsv", "jsonl", "parquet"]))
def test_any_completion_comes_back(answers, suffix):
    """In every format; a lone surrogate as U+FFFD, null in CSV as an empty cell."""
    columns = [ResultColumn(name="completion", kind="string"), ResultColumn(name="all", kind="strings")]

    def results(start, size):
        part = answers[start - 1 :][:size]
        return {"completion": part, "all": [None if text is None else [text, None] for text in part]}

    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.csv", "a\n" + "1\n" * len(answers))
        publish(open_dataset(path), f"{folder}/o.{suffix}", columns, results)
        found = rows_of(open_dataset(f"{folder}/o.{suffix}"), "completion", "all")
    text_only = suffix in {"csv", "tsv"}
    for answer, (one, several) in zip(answers, found, strict=True):
        clean = None if answer is None else answer.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        assert one == ("" if text_only and clean is None else clean)
        expected = None if clean is None else [clean, None]
        assert (json.loads(several or "null") if text_only else several) == expected
