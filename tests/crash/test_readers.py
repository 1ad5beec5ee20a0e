"""Others look while a run writes: `status`, `export`, and programs that read the checkpoint with SQLite."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from crash.job import ended, wait_until

pytestmark = pytest.mark.crash

ROWS = 1500
READ = """
import sqlite3, sys, time
with sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True, isolation_level=None) as database:
    database.execute("BEGIN")
    print(database.execute("SELECT count(*) FROM results").fetchone()[0], flush=True)
    sys.stdin.read()
    print(database.execute("SELECT count(*) FROM results").fetchone()[0])
"""


def ended_of(job, words):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return ended(subprocess.Popen([str(word) for word in words], cwd=job.folder, **pipes))


@pytest.mark.timeout(180)
def test_status_and_readers_do_not_disturb_a_run(make_job, endpoint):
    """Read again and again while a run writes: every answer is kept, readers see whole states, none is locked."""
    job = make_job(ROWS, concurrency=8)
    process = job.start()
    wait_until(lambda: endpoint.answered >= 100)
    seen, shell = [], shutil.which("sqlite3")
    while process.poll() is None:
        status = job.call("status", job.output, "--json")
        if endpoint.answered < ROWS:  # else it may be about to end: the log is folded then, under a lock
            facts = json.loads(status.out)
            assert (status.status, facts["running"], facts["rows"]) == (0, True, ROWS)
            seen.append(facts["succeeded"])
        if shell:
            query = "SELECT count(*), sum(answered) FROM results"
            looked = ended_of(job, [shell, job.checkpoint, query])
            if endpoint.answered < ROWS:
                rows, answered = looked.out.strip().split("|")
                assert (looked.status, looked.err, rows) == (0, "", answered)
        exported = job.call("export", job.output, "-o", job.folder / "so-far.csv")
        assert exported.status == 0
    assert ended(process).status == 0
    assert seen == sorted(seen)
    assert len(job.stored()) == endpoint.answered == ROWS
    assert (job.folder / "so-far.csv").exists()


@pytest.mark.timeout(180)
def test_a_reader_that_stays_holds_nothing_up(make_job, endpoint):
    """A transaction that is open from the run's beginning to its end sees one state; the run ends with every row.

    The log stays beside the checkpoint then, since somebody reads it; the next run leaves one file.
    """
    job = make_job(ROWS // 3, concurrency=8)
    process = job.start()
    wait_until(lambda: endpoint.answered >= 50)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", READ, str(job.checkpoint)], **pipes) as reader:
        before = int(reader.stdout.readline())
        assert ended(process).status == 0
        after, said = reader.communicate("")
    assert (int(after), said) == (before, "")
    assert len(job.stored()) == ROWS // 3
    calm = job.digest()
    again = job.run()
    assert (again.status, again.summary["requests"], job.digest()) == (0, 0, calm)
    assert job.leftovers() == []
    with closing(sqlite3.connect(job.checkpoint)) as database:
        assert database.execute("SELECT count(*) FROM results WHERE answered").fetchone() == (ROWS // 3,)
