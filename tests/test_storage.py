"""Places: local paths, `file://`, and remote storage, for which fsspec's `memory://` stands."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from tablework import TEXT, constant, rows_of, write

from batchchat import storage
from batchchat.dataset import open_dataset
from batchchat.errors import StorageFull, UsageError
from batchchat.output import check_output, digest, publish
from batchchat.records import ResultColumn

OTHER = (ResultColumn(name="c", kind="string"),)

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def memory():
    """Remote storage with two CSV files; `memory(path)` is what a file holds."""
    system = fsspec.filesystem("memory")
    system.pipe("/bucket/in/1.csv", b"a,b\n1,2\n")
    system.pipe("/bucket/in/2.csv", b"a,b\n3,4\n")
    system.pipe("/bucket/in/deep/3.csv", b"a,b\n5,6\n")
    system.pipe("/bucket/in/_SUCCESS", b"")
    yield system.cat_file
    system.rm("/bucket", recursive=True)


def test_remote_tables_are_read(memory):
    """A file, a folder, a pattern."""
    assert rows_of(open_dataset("memory://bucket/in/1.csv")) == [("1", "2")]
    assert rows_of(open_dataset("memory://bucket/in")) == [("1", "2"), ("3", "4")]
    assert rows_of(open_dataset("memory://bucket/in/[23].csv")) == [("3", "4")]
    assert rows_of(open_dataset("memory://bucket/in/**/*.csv"), "a") == [("1",), ("3",), ("5",)]
    with pytest.raises(UsageError, match="there is no such file"):
        open_dataset("memory://bucket/missing.csv")
    with pytest.raises(UsageError, match="no table matches"):
        open_dataset("memory://bucket/in/*.tsv")


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet", "jsonl"])
def test_remote_outputs_appear_whole(memory, suffix):
    """Uploaded when they are complete; what is published can be read and digested there."""
    dataset = open_dataset("memory://bucket/in/1.csv")
    path = f"memory://bucket/o.{suffix}"
    check_output(dataset, path, TEXT)
    found = publish(dataset, path, TEXT, constant("x"))
    assert found.digest == digest(path)
    assert found.size == len(memory(f"/bucket/o.{suffix}"))
    assert rows_of(open_dataset(path)) == [("1", "2", "x")]
    again = publish(
        open_dataset(path),
        f"memory://bucket/o2.{suffix}",
        OTHER,
        lambda s, n: {"c": ["y"] * n},
    )
    assert again.rows == 1


def test_a_remote_output_that_fails_is_not_there(memory):
    """Nothing is uploaded before all is written."""

    def broken(start, size):
        raise RuntimeError("halfway")

    with pytest.raises(RuntimeError):
        publish(open_dataset("memory://bucket/in/1.csv"), "memory://bucket/o.csv", TEXT, broken)
    assert not storage.is_file("memory://bucket/o.csv")


def test_remote_folders(memory):
    """Folder to folder, `_SUCCESS` last."""
    found = publish(open_dataset("memory://bucket/in"), "memory://bucket/out", TEXT, constant("x"))
    assert memory("/bucket/out/2.csv") == b"a,b,completion\n3,4,x\n"
    assert found.digest == digest("memory://bucket/out")
    publish(open_dataset("memory://bucket/in"), "memory://bucket/out", TEXT, constant("y"))
    assert memory("/bucket/out/2.csv") == b"a,b,completion\n3,4,y\n"


def test_remote_to_local_and_back(memory, tmp_path):
    """Either side may be remote."""
    publish(open_dataset("memory://bucket/in/1.csv"), str(tmp_path / "o.parquet"), TEXT, constant("x"))
    path = write(tmp_path / "t.csv", "a\n1\n")
    publish(open_dataset(path), "memory://bucket/o.csv", TEXT, constant("x"))
    assert memory("/bucket/o.csv") == b"a,completion\n1,x\n"
    with pytest.raises(UsageError, match="is the input"):
        check_output(open_dataset("memory://bucket/in/1.csv"), "memory://bucket/in/1.csv", TEXT)


def test_a_scheme_that_nobody_knows():
    """Is a usage error with the path."""
    with pytest.raises(UsageError, match=r"nosuch://bucket/t.csv: cannot be opened"):
        open_dataset("nosuch://bucket/t.csv")


def test_storage_that_cannot_be_reached(memory, monkeypatch):
    """Is a usage error with the path and the system's word, not a traceback."""

    def fail(*_, **__):
        raise OSError("could not connect")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", fail)
    with pytest.raises(UsageError, match=r"memory://bucket/in: cannot be read: could not connect"):
        open_dataset("memory://bucket/in")


def test_file_urls_are_local_paths(tmp_path):
    """Reading and writing."""
    path = write(tmp_path / "t.csv", "a\n1\n")
    assert not storage.is_remote(f"file://{path}")
    publish(open_dataset(f"file://{path}"), f"file://{tmp_path}/o.csv", TEXT, constant("x"))
    assert (tmp_path / "o.csv").read_text() == "a,completion\n1,x\n"
    with pytest.raises(UsageError, match="is the input"):
        check_output(open_dataset(path), f"file://{path}", TEXT)


def test_what_happens_between_is_durable_in_order(tmp_path, monkeypatch):
    """The file is synced before it is renamed, the folder after."""
    calls = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr("os.fsync", lambda handle: (calls.append("fsync"), sync(handle)))
    monkeypatch.setattr("pathlib.Path.replace", lambda path, other: (calls.append("rename"), replace(path, other)))
    with storage.Publication(str(tmp_path / "o")) as publication:
        publication.file.write(b"x")
        publication.commit()
    assert calls == ["fsync", "rename", "fsync"]


def test_disks_that_cannot_lock_or_sync_folders(tmp_path, monkeypatch):
    """Network disks often cannot; the file is published all the same."""
    sync = os.fsync

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    def only_files(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr("os.fsync", only_files)
    with storage.Publication(str(tmp_path / "o")) as publication:
        publication.file.write(b"x")
        publication.commit()
    assert (tmp_path / "o").read_bytes() == b"x"


def test_no_room_is_told_from_other_trouble(tmp_path):
    """With the remedy for each."""
    for error, said in [
        (OSError(28, "No space left on device"), "no space left to write o.csv: free some there"),
        (OSError(122, "Disk quota exceeded"), "no space left to write o.csv"),
        (OSError(5, "Input/output error"), "cannot write o.csv: Input/output error. Mend that"),
        (OSError("error in the cloud"), "cannot write o.csv: error in the cloud. Mend that"),
    ]:
        with pytest.raises(StorageFull, match=said), storage.writing("o.csv"):
            raise error
