"""Checkpoints that are torn, flipped or foreign: found when they are read, never passed on, left for the person."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from crash.account import Account
from crash.job import Job, prompts_of, write_table
from crash.strike import AtCall, needs_strace

from batchchat.api import execute, export_job
from batchchat.errors import BatchchatError
from batchchat.events import Observer
from batchchat.job import resolve

pytestmark = pytest.mark.crash

FLIPS = max(60, int(os.environ.get("CRASH_KILLS", "20")) * 6)
ROWS = 150
PAGE = 4096


class Place:
    """A job in one folder, whose files can be put back as they were at several moments of its life.

    It runs in this process: hundreds of damaged checkpoints would take hundreds of starts.
    """

    def __init__(self, folder, sim):
        self.sim = sim
        self.folder = folder / "job"
        self.folder.mkdir()
        self.input, self.output = self.folder / "reviews.csv", self.folder / "labels.csv"
        self.checkpoint = Path(f"{self.output}.batchchat")
        write_table(self.input, prompts_of(ROWS))
        self.kept = {}
        self.run(limit=90)
        self.keep("some rows are pending")
        self.run()
        self.calm = self.output.read_bytes()
        self.keep("finished")
        self.output.unlink()
        self.keep("not published")

    def run(self, **options):
        """Run; the stop reason and the message, and how many answers were sent."""
        self.sim.reset()
        options = {
            "base_url": self.sim.base_url,
            "model": "sim",
            "concurrency": 16,
            "output": str(self.output),
            **options,
        }
        try:
            summary = execute(resolve(options, input=str(self.input), environ={}), observer=Observer())
            said = (summary.stop_reason, summary.message or "")
        except BatchchatError as error:
            said = (getattr(error, "stop_reason", "usage"), str(error))
        return (*said, self.sim.stats()["answered"])

    def export(self):
        """Write the table from the checkpoint; its bytes, or why it was refused."""
        other = self.output.with_name("export.csv")
        other.unlink(missing_ok=True)
        try:
            export_job(str(self.checkpoint), str(other))
        except BatchchatError as error:
            return str(error).encode()
        return other.read_bytes()

    def keep(self, name):
        self.kept[name] = self.folder.with_name(name)
        shutil.copytree(self.folder, self.kept[name])

    def put_back(self, name):
        shutil.rmtree(self.folder)
        shutil.copytree(self.kept[name], self.folder)
        return bytearray(self.checkpoint.read_bytes())


@pytest.fixture
def place(tmp_path, simulator, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return Place(tmp_path, simulator())


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_flipped_byte_is_never_passed_on(place, monkeypatch, large):
    """With a byte changed anywhere, a run is stopped as damaged, or gives the right output and pays nothing again.

    An export is refused, or gives the right table. A large checkpoint is not read through when it is opened.
    """
    if large:
        monkeypatch.setattr("batchchat.checkpoint.database._QUICK_BYTES", 0)
    place.put_back("some rows are pending")
    exports = {"some rows are pending": place.export(), "finished": place.calm, "not published": place.calm}
    draw = random.Random(FLIPS)
    pending = {"some rows are pending": 60, "finished": 0, "not published": 0}
    found = 0
    for _ in range(FLIPS):
        name = draw.choice(list(pending))
        content = place.put_back(name)
        at = draw.randrange(100) if draw.random() < 0.15 else draw.randrange(len(content))
        change = draw.choice((1 << draw.randrange(8), draw.randrange(1, 256)))
        content[at] ^= change
        place.checkpoint.write_bytes(content)
        exported = place.export()
        assert exported == exports[name] or b"--restart" in exported, f"{name}: byte {at} ^ {change}"
        place.checkpoint.write_bytes(content)
        reason, message, answered = place.run()
        where = f"{name}: byte {at} ^ {change}: {reason}, {answered} answers: {message}"
        if reason is None:
            assert place.output.read_bytes() == place.calm, where
            assert answered == pending[name], where
        else:
            found += 1
            assert reason == "damaged", where
            assert "--restart" in message, where
            assert not place.output.exists() or name != "not published", where
    assert found > FLIPS // 10


@pytest.mark.timeout(600)
def test_a_cut_file_is_found_at_once(place):
    """Cut at any page, or in the middle of one, the checkpoint is damaged: nothing is sent, and it is left as it is."""
    content = place.put_back("finished")
    for length in [*range(0, len(content), PAGE), 1, 50, 99, 100, PAGE // 2, len(content) - 1]:
        place.put_back("finished")
        place.checkpoint.write_bytes(content[:length])
        reason, message, answered = place.run()
        assert (reason, answered) == ("damaged", 0), f"{length}: {message}"
        assert place.checkpoint.read_bytes() == content[:length]


def test_a_restart_after_damage_keeps_the_damaged_file(place):
    """`--restart` moves what is damaged aside, byte for byte, and the job is done anew."""
    content = place.put_back("finished")
    place.checkpoint.write_bytes(content[: 3 * PAGE])
    reason, _, answered = place.run(restart=True)
    assert (reason, answered) == (None, ROWS)
    assert place.output.read_bytes() == place.calm
    (aside,) = [path for path in place.folder.glob("*.batchchat") if path != place.checkpoint]
    assert aside.read_bytes() == content[: 3 * PAGE]


def test_a_checkpoint_of_a_later_version_is_left_alone(place):
    """A format that this version does not know is refused with what to do, and not a byte of it is changed."""
    place.put_back("finished")
    with closing(sqlite3.connect(place.checkpoint)) as database:
        database.execute("PRAGMA user_version = 99")
    content = place.checkpoint.read_bytes()
    reason, message, answered = place.run()
    assert (reason, answered) == ("damaged", 0)
    assert "format 99" in message
    assert "upgrade batchchat" in message
    assert place.checkpoint.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"id,prompt\n1,hello\n", b"\0" * 9000])
def test_a_file_that_is_no_checkpoint_is_left_alone(place, content):
    """What stands at the checkpoint's name and is none stops the run, and is left as it is."""
    place.put_back("finished")
    place.checkpoint.write_bytes(content)
    assert place.run()[0] == "damaged"
    assert place.checkpoint.read_bytes() == content


@needs_strace
@pytest.mark.timeout(900)
def test_a_log_that_is_damaged_after_a_kill_is_found(tmp_path, endpoint):
    """Of a killed run the log holds the last answers: cut, gone or flipped, they are missed and not paid for again."""
    draw = random.Random(7)
    calm = Job(tmp_path / "calm", endpoint.url, prompts_of(300))
    assert calm.run().status == 0
    endpoint.reset()
    job = Job(tmp_path / "job", endpoint.url, prompts_of(300))
    account = Account(job, endpoint, calm.stored())
    # In the middle of a write to the log: every commit before it was noted in the lock file.
    assert AtCall(call="pwrite64", nth=200, file="-wal").strike(job, endpoint).killed
    account.after_a_kill()
    pending = 300 - len(job.stored())
    kept = tmp_path / "kept"
    shutil.copytree(job.folder, kept)
    log = Path(f"{job.checkpoint}-wal")
    content = log.read_bytes()
    fates = [None, b"", content[: len(content) // 2], content[: len(content) - PAGE]]
    flips = [draw.randrange(32, len(content) - 2 * PAGE) for _ in range(6)]
    fates += [content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1 :] for at in flips]
    found = 0
    for fate in fates:
        shutil.rmtree(job.folder)
        shutil.copytree(kept, job.folder)
        if fate is None:
            log.unlink()
        else:
            log.write_bytes(fate)
        before = endpoint.answered
        run = job.run()
        if run.status == 0:  # the end of the log had not been committed
            assert job.digest() == calm.digest()
            assert endpoint.answered - before == pending
        else:
            assert (run.status, run.summary["stop_reason"]) == (1, "damaged"), run.err
            assert endpoint.answered == before
            found += 1
    assert found >= len(fates) - 1
    shutil.rmtree(job.folder)
    shutil.copytree(kept, job.folder)
    Path(f"{job.checkpoint}-shm").unlink(missing_ok=True)
    endpoint.reset()
    assert job.run().status == 0
    assert job.digest() == calm.digest()
