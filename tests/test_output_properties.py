"""Round trips of tables that nobody thought of: text with any dialect, Arrow tables of any schema."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from tablework import COLUMNS, lookup, rows_of, through, write

from batchchat.dataset import open_dataset
from batchchat.output import publish
from batchchat.records import ResultColumn

usual = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
letters = st.sampled_from([*"abé\"',;\t\n\r |0=", "\r\n", '""', "NA", "\0", "漢", "👩", "\ufeff", "\x85", "\u2028"])
cell = st.lists(letters, max_size=6).map("".join)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    """Many boundaries in small tables."""
    monkeypatch.setattr("batchchat.dataset.textpart.BATCH_ROWS", 3)
    monkeypatch.setattr("batchchat.output.results._FIRST", 2)


def in_quotes(value, delimiter, *, always):
    needs = always or value.startswith('"') or any(sign in value for sign in f"{delimiter}\r\n")
    return '"' + value.replace('"', '""') + '"' if needs else value


@st.composite
def csv_tables(draw):
    """A CSV file with a dialect of its own: its text, its cells, and how to open it."""
    width = draw(st.integers(1, 4))
    names = [f"{name}{number}" for number, name in enumerate(draw(st.lists(cell, min_size=width, max_size=width)))]
    rows = draw(st.lists(st.lists(cell, min_size=width, max_size=width), max_size=8))
    delimiter = draw(st.sampled_from(",;\t|"))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    blank = draw(st.booleans()) and width > 1
    text = ""
    for number, row in enumerate([names, *rows]):
        if blank and draw(st.booleans()):
            text += newline
        always = number == 0 or row == [""] or draw(st.booleans())
        text += delimiter.join(in_quotes(value, delimiter, always=always) for value in row) + newline
    if draw(st.booleans()):
        text = text.removesuffix(newline)
    return ("\ufeff" if draw(st.booleans()) else "") + text, names, rows, delimiter


@usual
@given(csv_tables(), st.sampled_from(["utf-8", "utf-16", "utf-8.gz"]))
def test_csv_comes_back_unchanged(table, encoding):
    """Every byte of the input stands in the output, in its place; every cell is read as it was meant."""
    text, names, rows, delimiter = table
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
    text, names, rows, delimiter = table
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.csv", text)
        for suffix in ("parquet", "tsv", *(["jsonl"] if rows else [])):
            through(path, Path(folder) / f"o.{suffix}", delimiter=delimiter)
            found = rows_of(open_dataset(f"{folder}/o.{suffix}"), *names)
            assert found == [tuple(row) for row in rows]


texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
keys = st.sampled_from(["a", "b", "é", "x y", "", '"', "errors", "completion "])


@usual
@given(st.lists(st.dictionaries(keys, values, max_size=4), min_size=1, max_size=8), st.data())
def test_jsonl_comes_back_unchanged(rows, data):
    """Each line begins as it did, and says what it said, and the results."""
    rows[0]["a"] = 1
    lines = []
    for row in rows:
        style = data.draw(st.sampled_from([None, (",", ":"), (" , ", " : ")]))
        lines.append(
            json.dumps(row, ensure_ascii=data.draw(st.booleans()), separators=style)
            + data.draw(st.sampled_from(["", " ", "\r"]))
        )
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "t.jsonl", "\n".join(lines))
        found = through(path, Path(folder) / "o.jsonl").decode().split("\n")
    expected = lookup(1, len(rows))
    assert len(found) == len(rows)
    for number, (line, out) in enumerate(zip(lines, found, strict=True)):
        assert out.startswith(line.rstrip()[:-1])
        assert json.loads(out) == rows[number] | {key: column[number] for key, column in expected.items()}


scalars = st.sampled_from([
    pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(),
    pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("us"), pa.timestamp("ns", "UTC"), pa.time64("us"),
    pa.duration("us"), pa.decimal128(9, 2), pa.binary(3), pa.null(),
])  # fmt: skip
kinds = st.recursive(
    scalars,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda kind: pa.map_(pa.string(), kind)),
        st.lists(inner, min_size=1, max_size=3).map(
            lambda fields: pa.struct([(f"f{n}", f) for n, f in enumerate(fields)])
        ),
    ),
    max_leaves=4,
)


def of_kind(kind):
    """A strategy for values of an Arrow type, null among them."""
    if pa.types.is_struct(kind):
        known = st.fixed_dictionaries({kind.field(n).name: of_kind(kind.field(n).type) for n in range(kind.num_fields)})
    elif pa.types.is_map(kind):
        known = st.lists(st.tuples(texts, of_kind(kind.item_type)), max_size=3)
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
        (is_a.is_fixed_size_binary, st.binary(min_size=3, max_size=3)),
        (is_a.is_binary, st.binary(max_size=5)),
        (is_a.is_unsigned_integer, st.integers(0, 2**bits - 1)),
        (is_a.is_signed_integer, st.integers(-(2**bits) // 2, 2**bits // 2 - 1)),
        (is_a.is_floating, st.floats(width=bits or 64, allow_nan=False)),
        (is_a.is_decimal, st.decimals(-99999, 99999, places=2)),
        (is_a.is_date, st.dates()),
        (is_a.is_temporal, st.integers(0, 86_399_999_999)),
        (is_a.is_boolean, st.booleans()),
        (is_a.is_null, st.none()),
    ]
    return next(strategy for fits, strategy in rules if fits(kind))


@st.composite
def arrow_tables(draw):
    """A table of a few columns of any type."""
    schema = draw(st.lists(kinds, min_size=1, max_size=4))
    rows = draw(st.integers(0, 7))
    columns = []
    for kind in schema:
        array = pa.array(draw(st.lists(of_kind(kind), min_size=rows, max_size=rows)), kind)
        plain = pa.types.is_string(kind) or pa.types.is_int64(kind)
        columns.append(array.dictionary_encode() if plain and draw(st.booleans()) else array)
    fields = [
        pa.field(f"c{n}", c.type, metadata=draw(st.sampled_from([None, {"unit": "m"}]))) for n, c in enumerate(columns)
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, metadata=draw(st.sampled_from([None, {"k": "v"}]))))


@usual
@given(arrow_tables(), st.data())
def test_parquet_comes_back_unchanged(table, data):
    """Spliced, and written anew up to a limit: types, values and metadata are those of the input."""
    options = {
        "row_group_size": data.draw(st.integers(1, 4)),
        "compression": data.draw(st.sampled_from(["none", "snappy", "zstd", "gzip"])),
        "use_dictionary": data.draw(st.booleans()),
        "data_page_version": data.draw(st.sampled_from(["1.0", "2.0"])),
        "write_page_index": data.draw(st.booleans()),
        "store_schema": data.draw(st.booleans()),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.parquet"
        parquet.write_table(table, path, **options)
        given_table = parquet.read_table(path)
        for limit in (None, 1, 3):
            through(path, Path(folder) / "o.parquet", limit=limit)
            rows = given_table.num_rows if limit is None else min(limit, given_table.num_rows)
            found = parquet.read_table(Path(folder) / "o.parquet")
            found.validate(full=True)
            kept = found.select(given_table.column_names)
            assert kept.schema.equals(given_table.schema, check_metadata=True)
            assert kept.equals(given_table.slice(0, rows))
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
