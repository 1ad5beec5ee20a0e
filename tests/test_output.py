"""Publishing: whole or not at all, here and in folders; what is refused before the first request."""

from __future__ import annotations

import gzip
import hashlib
import os
import resource
import subprocess
import sys

import pyarrow as pa
import pytest
from pyarrow import parquet
from tablework import COLUMNS, TEXT, constant, lookup, through, write

from batchchat.dataset import open_dataset
from batchchat.errors import BatchchatError, InputFault, StorageFull, UsageError
from batchchat.output import check_output, digest, publish


@pytest.fixture
def source(tmp_path):
    """A small CSV file in a folder of its own."""
    (tmp_path / "in").mkdir()
    return open_dataset(write(tmp_path / "in" / "t.csv", "a,b\n1,2\n3,4\n"))


@pytest.fixture
def folder(tmp_path):
    """A folder of two files with three rows, and its table."""
    path = tmp_path / "many"
    path.mkdir()
    write(path / "1.csv", "a,b\n1,2\n3,4")
    write(path / "2.csv.gz", gzip.compress(b"a,b\r\n5,6\r\n"))
    return open_dataset(path)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "csv.gz", "jsonl.gz"])
def test_what_was_published(tmp_path, source, suffix):
    """Path, rows, size, time and digest are those of the file; progress counts its rows."""
    path = tmp_path / f"o.{suffix}"
    seen = []
    found = publish(source, str(path), COLUMNS, lookup, progress=seen.append)
    assert (found.path, found.rows, found.size) == (str(path), 2, path.stat().st_size)
    assert found.mtime_ns == path.stat().st_mtime_ns
    assert found.digest == digest(str(path)) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert seen[-1] == 2
    assert names(tmp_path) == ["in", f"o.{suffix}"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "csv.gz"])
def test_an_error_leaves_nothing_and_changes_nothing(tmp_path, source, suffix):
    """An earlier output stays as it was, whatever happened halfway."""
    path = tmp_path / f"o.{suffix}"
    path.write_bytes(b"earlier")

    def broken(start, size):
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        publish(source, str(path), COLUMNS, broken)
    assert path.read_bytes() == b"earlier"
    assert names(tmp_path) == ["in", path.name]


def test_an_interrupt_leaves_nothing(tmp_path, source):
    """Ctrl-C in the middle of a publish."""

    def interrupted(start, size):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(source, str(tmp_path / "o.parquet"), COLUMNS, interrupted)
    assert names(tmp_path) == ["in"]


def test_too_few_results_are_a_fault_of_ours(tmp_path, source):
    """Rows are never filled up in silence."""
    with pytest.raises(BatchchatError, match="1 results for 2 rows from 1 on"):
        publish(source, str(tmp_path / "o.csv"), TEXT, lambda *_: {"completion": ["x"]})


def test_a_killed_publish_is_cleaned_up_by_the_next(tmp_path, source):
    """Its temporary file is removed; one that is being written by another process is not, nor is another's."""
    kill = (
        "import os, signal, sys\n"
        "from batchchat.dataset import open_dataset\n"
        "from batchchat.output import publish\n"
        "from batchchat.records import ResultColumn\n"
        "def die(start, size): os.kill(os.getpid(), signal.SIGKILL)\n"
        "publish(open_dataset(sys.argv[1]), sys.argv[2], [ResultColumn(name='c', kind='string')], die)\n"
    )
    path = tmp_path / "o.csv"
    subprocess.run([sys.executable, "-c", kill, source.name, path], check=False)
    left = [name for name in names(tmp_path) if name.startswith(".o.csv.")]
    assert len(left) == 1
    (tmp_path / ".o.csv.notes.publishing").write_text("mine")

    def during(start, size):
        publish(source, str(path), TEXT, constant("inner"))
        return {"completion": ["outer"] * size}

    publish(source, str(path), TEXT, during)
    assert "outer" in path.read_text()
    assert names(tmp_path) == [".o.csv.notes.publishing", "in", "o.csv"]


def test_links_and_permissions_of_an_earlier_output_are_kept(tmp_path, source):
    """The link's target is replaced, not the link; a file that others may not read stays so."""
    path = tmp_path / "real.csv"
    path.write_text("earlier")
    path.chmod(0o640)
    (tmp_path / "o.csv").symlink_to(path)
    publish(source, str(tmp_path / "o.csv"), TEXT, constant("x"))
    assert (tmp_path / "o.csv").is_symlink()
    assert path.read_text() == "a,b,completion\n1,2,x\n3,4,x\n"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_new_output_has_the_usual_permissions(tmp_path, source):
    """What the umask says, not the private ones of a temporary file."""
    before = os.umask(0o027)
    try:
        publish(source, str(tmp_path / "o.csv"), TEXT, constant("x"))
    finally:
        os.umask(before)
    assert (tmp_path / "o.csv").stat().st_mode & 0o777 == 0o640


def test_a_name_as_long_as_the_file_system_allows(tmp_path, source):
    """The hidden name beside it is shortened."""
    path = tmp_path / ("é" * 120 + ".csv")
    publish(source, str(path), TEXT, constant("x"))
    assert names(tmp_path) == ["in", path.name]


LIMITED = """
import resource, signal, sys
from batchchat.dataset import open_dataset
from batchchat.errors import StorageFull
from batchchat.output import publish
sys.path.insert(0, "tests")
from tablework import TEXT
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3 << 20, resource.RLIM_INFINITY))
import random
draw = random.Random(1)
try:
    long = lambda start, size: {"completion": [draw.randbytes(20_000).hex() for _ in range(size)]}
    publish(open_dataset(sys.argv[1]), sys.argv[2], TEXT, long)
except StorageFull as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_a_full_disk(tmp_path, suffix):
    """Is named with the file and the remedy; nothing is left. A limit of the file size stands for it."""
    write(tmp_path / "t.csv", "a\n" + "x\n" * 300)
    path = tmp_path / f"o.{suffix}"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", LIMITED, tmp_path / "t.csv", path],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stderr == ""
    assert (
        run.stdout == f"no space left to write {path}: free some there, and run it again; what was answered is kept.\n"
    )
    assert names(tmp_path) == ["t.csv"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_folder_that_vanished(tmp_path, source):
    """The system's own word, and the remedy."""
    with pytest.raises(
        StorageFull, match=r"cannot write .*o.csv: No such file or directory. Mend that, and run it again"
    ):
        publish(source, str(tmp_path / "no" / "o.csv"), TEXT, constant("x"))


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl", "t.parquet"])
def test_an_input_that_changes_meanwhile_is_not_published(tmp_path, name):
    """Rows and answers would not belong together."""
    rows = {"t.csv": "a,b\n1,2\n", "t.jsonl": '{"a": 1}\n'}
    path = tmp_path / name
    if name == "t.parquet":
        parquet.write_table(pa.table({"a": [1]}), path)
    else:
        write(path, rows[name])

    def results(start, size):
        path.write_bytes(path.read_bytes() + b"\n")
        return {"completion": ["x"] * size}

    with pytest.raises(InputFault, match="the file was changed while it was read"):
        publish(open_dataset(path), str(tmp_path / f"o{path.suffix}"), TEXT, results)
    assert names(tmp_path) == [name]


def test_a_limit_cuts_the_output(tmp_path, source):
    """N rows, and no blank lines of what comes after."""
    write(tmp_path / "t.csv", "a,b\n1,2\n\n3,4\n\n")
    assert through(tmp_path / "t.csv", tmp_path / "o.csv", TEXT, constant("x"), limit=1) == b"a,b,completion\n1,2,x\n"


# Folders.


def test_a_folder_becomes_a_folder_of_the_same_names(tmp_path, folder):
    """File after file, `_SUCCESS` last; it lists them as sha256sum does."""
    path = tmp_path / "out"
    states = []

    def results(start, size):
        states.append(names(path))
        return lookup(start, size)

    found = publish(folder, str(path), COLUMNS, results)
    assert [[name for name in state if name[0] != "."] for state in states] == [[], ["1.csv"]]
    assert names(path) == ["1.csv", "2.csv.gz", "_SUCCESS"]
    assert (path / "1.csv").read_text() == ('a,b,completion,total_tokens,error\n1,2,"answer 1, “ok”",1,\n3,4,"",2,')
    assert gzip.decompress((path / "2.csv.gz").read_bytes()).endswith(b"\r\n5,6,,,timeout: row 3\r\n")
    assert found.rows == 3
    assert found.digest == digest(str(path)) == hashlib.sha256((path / "_SUCCESS").read_bytes()).hexdigest()
    run = subprocess.run(["sha256sum", "--check", "_SUCCESS"], cwd=path, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == ["1.csv: OK", "2.csv.gz: OK"]
    assert found.size == sum((path / name).stat().st_size for name in ("1.csv", "2.csv.gz"))


def test_a_folder_that_is_published_again(tmp_path, folder):
    """Files whose input is gone go too; what others put there stays; `_SUCCESS` is not there meanwhile."""
    path = tmp_path / "out"
    publish(folder, str(path), TEXT, constant("x"))
    write(path / "mine.csv", "a\n")
    (tmp_path / "many" / "2.csv.gz").unlink()

    def results(start, size):
        assert "_SUCCESS" not in names(path)
        return {"completion": ["y"] * size}

    publish(open_dataset(tmp_path / "many"), str(path), TEXT, results)
    assert names(path) == ["1.csv", "_SUCCESS", "mine.csv"]
    assert (path / "1.csv").read_text().endswith("1,2,y\n3,4,y")


def test_a_folder_that_was_stopped_halfway_has_no_success(tmp_path, folder):
    """What is there is whole; that something is missing can be seen."""

    def results(start, size):
        if start > 2:
            raise RuntimeError("halfway")
        return {"completion": ["x"] * size}

    with pytest.raises(RuntimeError):
        publish(folder, str(tmp_path / "out"), TEXT, results)
    assert names(tmp_path / "out") == ["1.csv"]


def test_a_folder_into_one_file(tmp_path, folder):
    """One header; a line end where a file has none at its end."""
    found = through(tmp_path / "many", tmp_path / "o.csv", TEXT, constant("x"))
    assert found == b"a,b,completion\n1,2,x\n3,4,x\n5,6,x\r\n"
    (tmp_path / "lines").mkdir()
    for number in (1, 2):
        write(tmp_path / "lines" / f"{number}.jsonl", f'{{"a": {number}}}')
    found = through(tmp_path / "lines", tmp_path / "o.jsonl", TEXT, constant("x"))
    assert found == b'{"a": 1, "completion": "x"}\n{"a": 2, "completion": "x"}'
    assert through(tmp_path / "lines", tmp_path / "o.csv", TEXT, constant("x")) == b"a,completion\n1,x\n2,x\n"
    write(tmp_path / "lines" / "1.jsonl", '{"a": 1}\n  ')
    found = through(tmp_path / "lines", tmp_path / "o.jsonl", TEXT, constant("x"))
    assert found == b'{"a": 1, "completion": "x"}\n  \n{"a": 2, "completion": "x"}'
    write(tmp_path / "many" / "1.csv", "a,b\n1,2\n  ")
    found = through(tmp_path / "many", tmp_path / "o.csv", TEXT, constant("x"))
    assert found == b"a,b,completion\n1,2,x\n  \n5,6,x\r\n"


def test_a_folder_with_a_limit(tmp_path, folder):
    """Files beyond it are not written."""
    limited = open_dataset(tmp_path / "many", limit=1)
    publish(limited, str(tmp_path / "out"), TEXT, constant("x"))
    assert names(tmp_path / "out") == ["1.csv", "_SUCCESS"]


def test_a_folder_of_parquet(tmp_path):
    """Row numbers go on from file to file."""
    (tmp_path / "many").mkdir()
    for number in (1, 2):
        parquet.write_table(pa.table({"a": [number, number]}), tmp_path / "many" / f"{number}.parquet")
    publish(open_dataset(tmp_path / "many"), str(tmp_path / "out"), COLUMNS, lookup)
    second = parquet.read_table(tmp_path / "out" / "2.parquet")
    assert second.column("total_tokens").to_pylist() == lookup(3, 2)["total_tokens"]


# What is refused before the first request.


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("o.txt", "unknown suffix. The table formats are .csv, .tsv, .parquet, .jsonl (text also .gz)."),
        ("o", "unknown suffix"),
        ("in/t.csv", "is the input. Name another one."),
        ("link.csv", "is the input"),
        ("no/o.csv", "no is not there; make it first"),
        ("dir.csv", "is a folder. Name a file."),
    ],
)
def test_an_output_that_cannot_be(tmp_path, source, output, said):
    """With the path and what to do."""
    (tmp_path / "dir.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(source.name)
    with pytest.raises(UsageError) as caught:
        check_output(source, str(tmp_path / output), TEXT)
    assert said in str(caught.value)
    assert str(tmp_path / output) in str(caught.value)


def test_a_result_column_that_the_input_has(tmp_path, source):
    """Names --prefix."""
    write(tmp_path / "t.csv", "a,completion\n1,2\n")
    with pytest.raises(UsageError, match=r"has a column 'completion' already\. .*--prefix"):
        check_output(open_dataset(tmp_path / "t.csv"), str(tmp_path / "o.csv"), TEXT)
    check_output(source, str(tmp_path / "o.csv"), TEXT)


def test_outputs_of_a_folder(tmp_path, folder):
    """The folder itself, a file of it, or a file where a folder is to be, are refused; doubled names too."""
    check_output(folder, str(tmp_path / "out"), TEXT)
    check_output(folder, str(tmp_path / "o.csv"), TEXT)
    for output, said in [("many", "is the input"), ("many/1.csv", "is the input"), ("file", "is a file")]:
        write(tmp_path / "file", "x")
        with pytest.raises(UsageError, match=said):
            check_output(folder, str(tmp_path / output), TEXT)
    (tmp_path / "many" / "sub").mkdir()
    write(tmp_path / "many" / "sub" / "1.csv", "a,b\n")
    with pytest.raises(UsageError, match=r"two input files are named 1\.csv"):
        check_output(open_dataset(f"{tmp_path}/many/**/*.csv"), str(tmp_path / "out"), TEXT)


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("many", "many/o.csv"),
        ("many", "many/o.parquet"),
        ("many/*.csv*", "many/o.csv"),
        ("**/*.csv", "deep/er/o.csv"),
        ("**/*.csv", "deep"),
    ],
)
def test_an_output_that_would_be_input_next_time(tmp_path, folder, source, output):
    """A file in the input's folder, or one that its pattern finds."""
    with pytest.raises(UsageError, match=r"would be a part of its input .* next time"):
        check_output(open_dataset(f"{tmp_path}/{source}"), f"{tmp_path}/{output}", TEXT)


@pytest.mark.parametrize(
    ("source", "output"),
    [("many", "o.csv"), ("many", "many/out"), ("many/*.csv", "many/o.parquet"), ("many/?.csv", "many/all.csv")],
)
def test_an_output_that_would_not(tmp_path, folder, source, output):
    """Beside the folder, in one below it, with another suffix, or a name that the pattern (or what is none) lacks."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a[1].csv", "a\n")
    check_output(open_dataset(f"{tmp_path}/{source}"), f"{tmp_path}/{output}", TEXT)


def test_a_folder_inside_the_input_folder(tmp_path, folder):
    """Its parent is what has to be there."""
    with pytest.raises(UsageError, match="is not there; make it first"):
        check_output(folder, str(tmp_path / "no" / "out"), TEXT)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path, source):
    """Is found before the first request."""
    (tmp_path / "in").chmod(0o500)
    with pytest.raises(UsageError, match="is not writable"):
        check_output(source, str(tmp_path / "in" / "o.csv"), TEXT)
