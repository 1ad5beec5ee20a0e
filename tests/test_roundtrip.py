"""No cell changes on the way through a whole run: any table, the simulator over a socket, and what is published.

`ROUNDTRIP_EXAMPLES=2000 python -m pytest tests/test_roundtrip.py --timeout 7200` draws many more tables.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, reject, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tabledraws import Label, arrow_tables, csv_tables, jsonl_tables, parquet_options, same

import batchchat
from batchchat.api import execute, export_job
from batchchat.errors import UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.serve import Simulator

RESULTS = ["completion", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "error"]
EXAMPLES = int(os.environ.get("ROUNDTRIP_EXAMPLES", "12"))

some = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.fixture(scope="module")
def sim():
    """A simulator that refuses some rows and answers others with what they asked."""
    with Simulator(text="echo", faults={"400": 0.1}) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def _plain_surroundings():
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("OPENAI_", "BATCHCHAT_")):
                patch.delenv(name)
        yield


@contextlib.contextmanager
def known_extension():
    pa.register_extension_type(Label())
    try:
        yield
    finally:
        pa.unregister_extension_type("batchchat.test.label")


def run(sim, source, output, column, **options):
    """A whole run of this table, whose every row is sent; its summary."""
    prompt = f"about {{{{ row[{column!r}] }}}}"
    told = {"base_url": sim.base_url, "model": "sim", "prompt": prompt, "output": str(output)}
    return execute(resolve({**told, **options}, input=str(source), environ={}), observer=Observer())


def cells_of(text, delimiter):
    """Its records by the csv module, without blank lines."""
    found = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter=delimiter)
    return [row for row in found if row]


def as_written(values, delimiter):
    """A pattern for result cells: null is nothing, an empty text two quotes."""
    found = ""
    for value in values:
        quoted = any(sign in value for sign in f'{delimiter}"\r\n') or value.startswith("\ufeff")
        text = '"' + value.replace('"', '""') + '"' if quoted else value
        found += re.escape(delimiter) + (re.escape(text) if value else '(?:"")?')
    return found


@some
@given(csv_tables(), st.sampled_from(["utf-8", "utf-16", "utf-8.gz"]))
def test_text_comes_back_byte_for_byte(sim, table, encoding):
    """Cells, quotes, delimiters, line ends, blank lines, byte-order mark: all as they were, results behind each row."""
    text, names, rows, delimiter, records = table
    codec, _, packed = encoding.partition(".")
    text = text.removeprefix("\ufeff") if codec == "utf-16" else text
    with tempfile.TemporaryDirectory() as folder:
        source, output = (Path(folder) / f"{name}.csv{'.gz' * bool(packed)}" for name in ("t", "o"))
        raw = text.encode(codec)
        source.write_bytes(gzip.compress(raw) if packed else raw)
        summary = run(sim, source, output, names[0], delimiter=delimiter, encoding=codec)
        assert (summary.status in {0, 3}, summary.rows) == (True, len(rows))
        raw = output.read_bytes()
        out = (gzip.decompress(raw) if packed else raw).decode(codec)
        found = cells_of(out, delimiter)
        width = len(names)
        assert [row[:width] for row in found] == [names, *rows]
        assert [row[width:] for row in found[:1]] == [RESULTS]
        assert all(row[width] == f"about {row[0]}" or row[-1] for row in found[1:])
        expected = ""
        for (before, body, end), row in zip(records, found, strict=True):
            mark = before.removeprefix("\ufeff") if codec == "utf-16" else before
            expected += re.escape(mark + body) + as_written(row[width:], delimiter) + re.escape(end)
        assert re.fullmatch(expected, out, re.DOTALL)
        calm = output.read_bytes()
        again = run(sim, source, output, names[0], delimiter=delimiter, encoding=codec)
        assert (again.requests, output.read_bytes()) == (0, calm)


@some
@given(csv_tables(columns=3, rows=4), st.data())
def test_a_ragged_table_is_refused_before_anything_is_sent(sim, table, data):
    """One record with a cell too many, or too few, is a usage error that names its row."""
    _, names, rows, delimiter, records = table
    assume(rows)
    row = data.draw(st.integers(1, len(rows)))
    cells = len(names) + data.draw(st.sampled_from([1, -1] if len(names) > 1 else [1]))
    pieces = [list(record) for record in records]
    pieces[row][1] = delimiter.join(["x"] * cells)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "t.csv"
        source.write_bytes("".join(map("".join, pieces)).encode())
        before = sim.stats()["received"]
        with pytest.raises(UsageError, match=rf"row {row} .*has {cells} cells"):
            run(sim, source, source.with_name("o.csv"), names[0], delimiter=delimiter)
        assert sim.stats()["received"] == before
        assert [path.name for path in Path(folder).iterdir()] == ["t.csv"]


@some
@given(csv_tables())
def test_text_keeps_its_cells_in_other_formats(sim, table):
    """From one checkpoint, without another request: strings in Parquet and JSONL, and the same cells with tabs."""
    text, names, rows, delimiter, _ = table
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "t.csv"
        source.write_bytes(text.encode())
        run(sim, source, Path(folder) / "o.parquet", names[0], delimiter=delimiter)
        before = sim.stats()["received"]
        found = parquet.read_table(Path(folder) / "o.parquet")
        assert found.column_names == [*names, *RESULTS]
        assert [list(row.values()) for row in found.select(names).to_pylist()] == rows
        assert set(found.schema.types[: len(names)]) == {pa.string()}
        for name in ("o.tsv", "o.jsonl"):
            export_job(f"{folder}/o.parquet", f"{folder}/{name}")
        tsv = (Path(folder) / "o.tsv").read_bytes().decode()
        assert [row[: len(names)] for row in cells_of(tsv, "\t")] == [names, *rows]
        lines = (Path(folder) / "o.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
        assert [[json.loads(line)[name] for name in names] for line in lines] == rows
        assert sim.stats()["received"] == before


@some
@given(jsonl_tables())
def test_lines_of_json_come_back_as_they_began(sim, table):
    """Each line keeps its own text, digits and escapes, and has the results behind it."""
    rows, lines = table
    with tempfile.TemporaryDirectory() as folder:
        source, output = Path(folder) / "t.jsonl", Path(folder) / "o.jsonl"
        source.write_bytes("\n".join(lines).encode())
        run(sim, source, output, "a")
        found = output.read_bytes().decode().split("\n")
        assert len(found) == len(rows)
        for line, row, out in zip(lines, rows, found, strict=True):
            assert out.startswith(line.rstrip()[:-1])
            read = json.loads(out)
            assert [*read] == [*row, *RESULTS]
            assert {key: read[key] for key in row} == row


@some
@given(arrow_tables(every_type=True), parquet_options())
def test_parquet_comes_back_unchanged(sim, table, options):
    """Types, values, nulls, order and all metadata of every column, whether the file is whole or cut by a limit."""
    with tempfile.TemporaryDirectory() as folder, known_extension():
        source, output = Path(folder) / "t.parquet", Path(folder) / "o.parquet"
        try:
            parquet.write_table(table, source, **options)
        except pa.ArrowNotImplementedError:  # no such file can be there, as of views within lists cut into row groups
            reject()
        given_table = parquet.read_table(source)
        for limit in (2, None):
            run(sim, source, output, "c0", limit=limit)
            found = parquet.read_table(output)
            found.validate(full=True)
            rows = given_table.num_rows if limit is None else min(limit, given_table.num_rows)
            assert same(found.select(given_table.column_names), given_table.slice(0, rows))
            assert found.column_names[given_table.num_columns :] == RESULTS
            assert all(a or b for a, b in zip(*found.select(["completion", "error"]).to_pydict().values(), strict=True))


@some
@given(arrow_tables(every_type=True))
def test_a_table_in_memory_comes_back_unchanged(sim, table):
    """`batchchat.run` gives the Table that it was given, with columns behind it; the input is not touched."""
    with tempfile.TemporaryDirectory() as folder, known_extension():
        checkpoint = f"{folder}/c.batchchat"
        prompt = "about {{ row['c0'] }}"
        found = batchchat.run(table, prompt=prompt, base_url=sim.base_url, model="sim", checkpoint=checkpoint)
        found.validate(full=True)
        assert same(found.select(table.column_names), table)
        assert found.column_names == [*table.column_names, *RESULTS]
