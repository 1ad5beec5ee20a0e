"""Tables of one file and of many: which files, which rows, which faults."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyarrow import parquet
from tablework import rows_of, write

from batchchat.dataset import open_dataset
from batchchat.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    """Three CSV files with 2, 0 and 1500 rows, and what is to be left out."""
    path = tmp_path / "in"
    path.mkdir()
    write(path / "b.csv", "id,x\n3,b\n4,b\n")
    write(path / "c.csv", "id,x\n")
    write(path / "d.csv.x", "no table")
    write(path / "e.csv", "id,x\n" + "".join(f"{n},e\n" for n in range(1500)))
    write(path / ".hidden.csv", "no,table\n1\n")
    write(path / "_SUCCESS", "")
    write(path / "_part.csv", "no,table\n1\n")
    (path / "sub").mkdir()
    return path


def test_a_folder_is_a_table_of_its_files_by_name(folder):
    """Rows count through all of them; hidden files and those that begin with _ are left out."""
    dataset = open_dataset(folder)
    assert [path.rpartition("/")[2] for path in dataset.paths] == ["b.csv", "c.csv", "e.csv"]
    dataset.check()
    assert dataset.count() == 1502
    assert rows_of(dataset)[:3] == [("3", "b"), ("4", "b"), ("0", "e")]
    assert [(batch.start, batch.size) for batch in dataset.batches(["id"])] == [(1, 2), (3, 1024), (1027, 476)]
    assert dataset.where(2) == f"{folder}/b.csv, row 2 (line 3)"
    assert dataset.where(4) == f"{folder}/e.csv, row 4 (line 3)"


@pytest.mark.parametrize("checked", [True, False])
def test_a_start_in_any_file(folder, checked):
    """Whether or not the files before it were counted."""
    rows = [("3",), ("4",), *((str(n),) for n in range(1500))]
    for start in (1, 2, 3, 1400, 1502, 1503):
        dataset = open_dataset(folder)
        if checked:
            dataset.check()
        assert rows_of(dataset, "id", start=start) == rows[start - 1 :]


@pytest.mark.parametrize(("limit", "last"), [(1, "3"), (2, "4"), (3, "0"), (1400, "1397"), (5000, "1499")])
def test_a_limit_counts_through_all_files(folder, limit, last):
    """Files beyond it are not read."""
    write(folder / "f.csv", "id,x\nragged\n") if limit < 1503 else None
    dataset = open_dataset(folder, limit=limit)
    dataset.check()
    assert dataset.count() == min(limit, 1502)
    rows = rows_of(dataset, "id")
    assert (len(rows), rows[-1]) == (min(limit, 1502), (last,))


def test_a_pattern(folder, tmp_path):
    """Of one folder, or of many with **."""
    write(folder / "sub" / "z.csv", "id,x\n9,z\n")
    assert len(open_dataset(f"{folder}/[be].csv").paths) == 2
    paths = open_dataset(f"{tmp_path}/**/*.csv").paths
    assert [path[len(str(folder)) + 1 :] for path in paths] == ["b.csv", "c.csv", "e.csv", "sub/z.csv"]


def test_a_name_that_looks_like_a_pattern(tmp_path):
    """A file that is there is meant."""
    assert rows_of(open_dataset(write(tmp_path / "a[1].csv", "a\nx\n"))) == [("x",)]


def test_a_file_url(tmp_path):
    """`file://` is a local path."""
    write(tmp_path / "t.csv", "a\nx\n")
    dataset = open_dataset(f"file://{tmp_path}/t.csv")
    assert rows_of(dataset) == [("x",)]
    assert dataset.name == f"file://{tmp_path}/t.csv"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.csv", "there is no such file"),
        ("empty", "the folder has no tables in it"),
        ("*.tsv", "no table matches"),
        ("notes.txt", "unknown suffix. The table formats are .csv, .tsv, .parquet, .jsonl (text also .gz)"),
        ("mixed", "are tables of different formats"),
        ("ragged", "are not one table: columns differ"),
        ("delimiters", "are not one table: their delimiters differ"),
        ("types", "are not one table: column 'a' is int64 in one and string in the other"),
    ],
)
def test_what_is_no_table(tmp_path, name, said):
    """The message names the path and what is wrong with it."""
    for folder in ("empty", "mixed", "ragged", "delimiters", "types"):
        (tmp_path / folder).mkdir()
    write(tmp_path / "notes.txt", "x")
    write(tmp_path / "mixed" / "a.csv", "a\n")
    write(tmp_path / "mixed" / "b.jsonl", '{"a": 1}\n')
    write(tmp_path / "ragged" / "a.csv", "a,b\n")
    write(tmp_path / "ragged" / "b.csv", "b,a\n")
    write(tmp_path / "delimiters" / "a.csv", '"a;b",c\n')
    write(tmp_path / "delimiters" / "b.csv", '"a;b";c\n')
    parquet.write_table(pa.table({"a": [1]}), tmp_path / "types" / "a.parquet")
    parquet.write_table(pa.table({"a": ["x"]}), tmp_path / "types" / "b.parquet")
    with pytest.raises(UsageError) as caught:
        open_dataset(f"{tmp_path}/{name}")
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    """The system's own word, with the path."""
    path = write(tmp_path / "t.csv", "a\nx\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("batchchat.dataset.textpart.storage.stamp", refuse)
    with pytest.raises(UsageError, match=r"t\.csv: cannot be read: Permission denied\."):
        open_dataset(path)


def test_jsonl_files_may_have_different_keys(tmp_path):
    """The columns are those of all of them."""
    write(tmp_path / "a.jsonl", '{"x": 1}\n')
    write(tmp_path / "b.jsonl", '{"y": 2, "x": 3}\n')
    dataset = open_dataset(tmp_path)
    dataset.check()
    assert dataset.columns == ("x", "y")
    assert rows_of(dataset) == [(1, None), (3, 2)]


def test_suffixes_in_capitals(tmp_path):
    """As spreadsheets on some systems write them."""
    assert rows_of(open_dataset(write(tmp_path / "T.CSV", "a\nx\n"))) == [("x",)]
