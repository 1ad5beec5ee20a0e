"""Results for tests of tables: an answer for each row, made of its number."""

from __future__ import annotations

from batchchat.dataset import open_dataset
from batchchat.output import publish
from batchchat.records import ResultColumn

COLUMNS = (
    ResultColumn(name="completion", kind="string"),
    ResultColumn(name="total_tokens", kind="int64"),
    ResultColumn(name="error", kind="string"),
)
TEXT = (ResultColumn(name="completion", kind="string"),)


def answer(row):
    """Three kinds of rows: answered, answered with nothing, failed."""
    if row % 3 == 0:
        return {"completion": None, "total_tokens": None, "error": f"timeout: row {row}"}
    return {"completion": "" if row % 3 == 2 else f"answer {row}, “ok”", "total_tokens": row, "error": None}


def lookup(start, size):
    """`answer` for each row, by column."""
    rows = [answer(row) for row in range(start, start + size)]
    return {name: [row[name] for row in rows] for name in ("completion", "total_tokens", "error")}


def constant(value):
    """The same completion for every row."""
    return lambda start, size: {"completion": [value] * size}


def write(path, content):
    """Writes a file as it is told: text in UTF-8, or bytes."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def through(path, output, columns=COLUMNS, results=lookup, **options):
    """Publishes a table with results, and gives the bytes of the output."""
    dataset = open_dataset(str(path), **options)
    dataset.check()
    publish(dataset, str(output), columns, results)
    return output.read_bytes()


def rows_of(dataset, *columns, start=1):
    """All rows of these columns, each as a tuple."""
    names = columns or dataset.columns
    found = []
    for batch in dataset.batches(names, start=start):
        assert batch.start == start + len(found)
        found += zip(*(batch.columns[name] for name in names), strict=True)
        assert len(found) == batch.start + batch.size - start
    return found
