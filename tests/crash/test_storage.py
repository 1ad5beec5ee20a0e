"""Disks that are full, read-only, broken or without locks: what is said, what is kept, what the next run sends."""

from __future__ import annotations

import contextlib
import os
import subprocess

import pytest
from crash.account import Account
from crash.job import Job, prompts_of
from crash.strike import needs_strace

pytestmark = pytest.mark.crash

ROWS = 300


class SmallDisk:
    """A file system of its own in memory, of a size that can be changed."""

    def __init__(self, path, size):
        self.path = path
        path.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=False)
        if done.returncode:
            pytest.skip("no file system can be mounted here; the test that has strace refuse the writes stands for it")

    def remount(self, *options):
        subprocess.run(["mount", "-o", ",".join(["remount", *options]), self.path], check=True)

    def fill(self, *, leave):
        """Fill it with a file, but for so many bytes."""
        found = os.statvfs(self.path)
        with (self.path / "ballast").open("wb") as file:
            file.write(bytes(found.f_bavail * found.f_frsize - leave))

    def clear(self):
        (self.path / "ballast").unlink()


@pytest.fixture
def small_disk(tmp_path):
    """A factory: `small_disk("1m")` is a mounted SmallDisk; skipped where nothing can be mounted."""
    with contextlib.ExitStack() as stack:

        def make(size):
            disk = SmallDisk(tmp_path / "disk", size)
            stack.callback(subprocess.run, ["umount", "-l", disk.path], check=True)
            return disk

        yield make


@pytest.fixture
def calm(tmp_path, endpoint):
    job = Job(tmp_path / "calm", endpoint.url, prompts_of(ROWS))
    assert job.run().status == 0
    endpoint.reset()
    return job


def check_stopped(run, job):
    """A run that the disk stopped says so, and how to go on."""
    assert run.status == 1, run.err
    assert run.summary["stop_reason"] == "disk"
    assert "Traceback" not in run.err
    assert "batchchat resume" in run.err
    assert str(job.checkpoint) in run.err


def finish(job, account, calm):
    """Run to the end, and check the books."""
    run = job.run()
    assert run.status == 0, run.err
    account.at_the_end()
    assert job.digest() == calm.digest()
    assert job.leftovers() == []
    return run.summary


def refusing(call, fault, *, when, path=None):
    """The words of a strace that has calls fail, of one file or of all."""
    words = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={call}"]
    return [*words, "-e", f"inject={call}:error={fault}:when={when}", *(["-P", str(path)] if path else [])]


@pytest.mark.parametrize("room", [300_000, 200_000, 130_000])
def test_a_disk_that_fills_up_while_answers_come(small_disk, endpoint, calm, room):
    """The run stops with exit 1, keeps every committed answer, and a resume sends only the others."""
    disk = small_disk("4m")
    job = Job(disk.path / "job", endpoint.url, prompts_of(ROWS))
    account = Account(job, endpoint, calm.stored())
    disk.fill(leave=room)
    run = job.run()
    check_stopped(run, job)
    assert "free some space" in run.err
    _, stored, _ = account.after_a_kill()
    assert 0 < stored < ROWS
    assert run.summary["succeeded"] == stored
    assert run.summary["pending"] == ROWS - stored
    disk.clear()
    assert finish(job, account, calm)["reused"] == stored


@pytest.mark.parametrize("room", [0, 4096, 20_480, 80_000])
def test_a_disk_that_is_full_at_the_start(small_disk, endpoint, calm, room):
    """Where not even the checkpoint can be made nothing is sent, and with some room the next run works."""
    disk = small_disk("4m")
    job = Job(disk.path / "job", endpoint.url, prompts_of(ROWS))
    disk.fill(leave=room)
    run = job.run()
    assert run.status == 1
    assert "space" in run.err or "disk is full" in run.err
    assert endpoint.answered == 0
    disk.clear()
    finish(job, Account(job, endpoint, calm.stored()), calm)


def test_a_disk_that_fills_up_while_the_output_is_written(small_disk, tmp_path, endpoint, calm):
    """Nothing is published and nothing half-made is left; the next run publishes without sending."""
    disk = small_disk("1m")
    checkpoint = tmp_path / "elsewhere.batchchat"
    job = Job(tmp_path / "job", endpoint.url, prompts_of(ROWS), output=disk.path / "labels.csv", checkpoint=checkpoint)
    account = Account(job, endpoint, calm.stored())
    disk.fill(leave=8192)
    run = job.run()
    check_stopped(run, job)
    assert "no space left" in run.err
    assert run.summary["succeeded"] == ROWS
    assert [path.name for path in disk.path.iterdir()] == ["ballast"]
    disk.clear()
    assert finish(job, account, calm)["requests"] == 0


def test_an_earlier_output_stays_when_the_disk_is_full(small_disk, tmp_path, endpoint, calm):
    """Where a new output does not fit the old one stays as it was, byte for byte."""
    disk = small_disk("1m")
    where = {"output": disk.path / "labels.csv", "checkpoint": tmp_path / "elsewhere.batchchat"}
    job = Job(tmp_path / "job", endpoint.url, prompts_of(ROWS), **where)
    account = Account(job, endpoint, calm.stored())
    assert job.run("--limit", "100").status == 0
    before = job.digest()
    disk.fill(leave=8192)
    check_stopped(job.run(), job)
    assert job.digest() == before
    assert job.temporary() == []
    disk.clear()
    assert finish(job, account, calm)["requests"] == 0


def test_a_read_only_folder_is_found_before_anything_is_sent(small_disk, endpoint):
    """Where nothing can be written the run is a usage error with the folder's name, and nothing was sent."""
    disk = small_disk("4m")
    job = Job(disk.path / "job", endpoint.url, prompts_of(20))
    disk.remount("ro")
    run = job.run()
    assert run.status == 2
    assert "cannot be written" in run.err
    assert str(job.output) in run.err
    assert endpoint.answered == 0


def test_a_finished_job_in_a_read_only_folder_can_be_looked_at(small_disk, endpoint):
    """`status` reads a checkpoint that lies where nothing can be written, and so does `export` to elsewhere."""
    disk = small_disk("4m")
    job = Job(disk.path / "job", endpoint.url, prompts_of(20))
    assert job.run().status == 0
    disk.remount("ro")
    assert "20" in job.call("status", job.checkpoint).out
    assert job.call("export", job.checkpoint, "-o", disk.path.parent / "copy.csv").status == 0
    assert (disk.path.parent / "copy.csv").read_bytes() == job.digest()


FAULTS = [
    pytest.param("fdatasync", "EIO", "12+", None, id="sync fails from the 12th on"),
    pytest.param("fdatasync", "EIO", "12", None, id="sync fails once"),
    pytest.param("pwrite64", "ENOSPC", "100+", "-wal", id="the log cannot grow"),
    pytest.param("pwrite64", "EIO", "100", "-wal", id="one write to the log fails"),
    pytest.param("rename", "EACCES", "1", None, id="the checkpoint cannot be made"),
    pytest.param("rename", "EACCES", "2", None, id="the output cannot be renamed"),
    pytest.param("fsync", "EIO", "2+", None, id="the output cannot be synced"),
]


@needs_strace
@pytest.mark.parametrize(("call", "fault", "when", "file"), FAULTS)
def test_a_disk_that_fails_stops_the_job_and_loses_nothing(make_job, endpoint, calm, call, fault, when, file):
    """Whatever call of the disk fails, the run says so, what it called durable is there, and the next run goes on."""
    del make_job
    job = Job(calm.folder.parent / "job", endpoint.url, prompts_of(ROWS))
    account = Account(job, endpoint, calm.stored())
    path = None if file is None else f"{job.checkpoint}{file}"
    run = job.run(under=refusing(call, fault, when=when, path=path))
    # The first of the renames and syncs may be those of the checkpoint: then nothing was sent.
    assert run.status == 1, run.err
    assert "Traceback" not in run.err
    assert run.summary["stop_reason"] == "disk"
    assert job.digest() is None
    _, stored, _ = account.after_a_kill()
    assert run.summary["succeeded"] in {stored, None}
    finish(job, account, calm)


@needs_strace
def test_a_log_that_cannot_be_folded_is_folded_later(endpoint, calm):
    """Where the database cannot take what the log has, the job ends all the same; the next run leaves one file."""
    job = Job(calm.folder.parent / "job", endpoint.url, prompts_of(ROWS))
    account = Account(job, endpoint, calm.stored())
    run = job.run(under=refusing("pwrite64", "ENOSPC", when="3+", path=job.checkpoint))
    assert run.status == 0, run.err
    assert job.digest() == calm.digest()
    assert finish(job, account, calm)["requests"] == 0


@needs_strace
@pytest.mark.parametrize("fault", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_a_usage_error(endpoint, calm, fault):
    """Where files cannot be locked nothing is sent and nothing is left; the message names --checkpoint."""
    job = Job(calm.folder.parent / "job", endpoint.url, prompts_of(ROWS))
    run = job.run(under=refusing("flock", fault, when="1+"))
    assert run.status == 2
    assert "has no locks" in run.err
    assert "--checkpoint" in run.err
    assert endpoint.answered == 0
    assert job.leftovers() == []


@needs_strace
@pytest.mark.parametrize(("call", "file"), [("fcntl", "-shm"), ("mmap", "-shm")])
def test_a_file_system_on_which_sqlite_cannot_lock_is_told(endpoint, calm, call, file):
    """Where SQLite gets no locks or no shared memory nothing is sent; the message names --checkpoint."""
    job = Job(calm.folder.parent / "job", endpoint.url, prompts_of(ROWS))
    fault = "ENOLCK" if call == "fcntl" else "ENODEV"
    run = job.run(under=refusing(call, fault, when="1+", path=f"{job.checkpoint}{file}"))
    assert run.status in {1, 2}
    assert "locks" in run.err
    assert "--checkpoint" in run.err
    assert endpoint.answered == 0
    finish(job, Account(job, endpoint, calm.stored()), calm)
