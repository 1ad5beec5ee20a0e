"""Power loss: what a run reported as durable is there, at whatever sync the power fails, whatever else is left."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from crash.disk import WORDS, Disk
from crash.job import Job, prompts_of, surroundings
from crash.strike import AtAnswers, needs_strace

from batchchat.checkpoint import open_journal

pytestmark = [pytest.mark.crash, needs_strace, pytest.mark.timeout(900)]

ROWS = 600
PARTS = 3 if int(os.environ.get("CRASH_KILLS", "20")) >= 500 else 1


def trace_run(job, url, folder):
    """Run the job under strace with its commits marked; the trace and the marks."""
    trace, marks = folder / "trace", folder / "marks"
    script = Path(__file__).with_name("marked_run.py")
    command = [*WORDS, "-o", trace, sys.executable, script, marks, job.input, job.output, url]
    subprocess.run(command, cwd=job.folder, env=surroundings(), check=True, timeout=300, stdout=subprocess.DEVNULL)
    return trace, marks


def look(files, folder):
    """Write files down and open the checkpoint among them; its answers by row, {} where there is no checkpoint yet."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    checkpoint = folder / "labels.csv.batchchat"
    if not checkpoint.exists():
        return {}
    journal = open_journal(checkpoint)
    try:
        if journal.header("begun") is None:
            return {}
        texts = journal.results((1,), 1, ROWS, ("completion",))["completion"]
        return {row: text for row, text in enumerate(texts, start=1) if text is not None}
    finally:
        journal.close()


def check(disk, trace, before, tmp_path, final):
    """Cut the power before every sync: reported rows are there, and the output is whole or not there at all."""
    draw, cuts, folder = random.Random(ROWS), 0, tmp_path / "job"
    for _ in disk.play(trace):
        reported = before | {int(row) for row in "".join(disk.marks).split()}
        states = [disk.files(), disk.files(everything=True), *(disk.files(draw) for _ in range(PARTS))]
        for files in states:
            stored = look(files, tmp_path / f"cut{cuts}")
            cuts += 1
            assert reported <= stored.keys(), f"{len(reported - stored.keys())} reported rows are gone after cut {cuts}"
            assert all(final[row] == text for row, text in stored.items())
            output = files.get("labels.csv")
            assert output is None or output == final["output"], f"a torn output after cut {cuts}"
    # The replay is right: it ends with the files that are really there.
    assert disk.files(everything=True) == {path.name: path.read_bytes() for path in folder.iterdir()}
    return cuts, {int(row) for row in "".join(disk.marks).split()}


def finished(job):
    return {**job.stored(), "output": job.digest()}


def test_what_was_reported_is_there_after_a_power_loss(tmp_path, endpoint):
    """Of a whole run, with its log folded in the middle, every reported row survives a cut at any sync."""
    # Answers so long that the log is folded while the run is on.
    endpoint.reset(tokens=600)
    job = Job(tmp_path / "job", endpoint.url, prompts_of(ROWS))
    disk = Disk(job.folder, tmp_path / "marks")
    trace, _ = trace_run(job, endpoint.url, tmp_path)
    final = finished(job)
    assert len(final) == ROWS + 1
    cuts, reported = check(disk, trace, set(), tmp_path, final)
    assert reported == set(range(1, ROWS + 1))
    assert cuts > 100


def test_what_was_reported_before_a_kill_survives_a_later_power_loss(tmp_path, endpoint):
    """Of a run that resumes after a kill every row that was there, or is reported, survives a cut at any sync."""
    endpoint.reset(tokens=300)
    job = Job(tmp_path / "job", endpoint.url, prompts_of(ROWS))
    assert AtAnswers(more=250).strike(job, endpoint).killed
    before = set(job.stored())
    assert before
    disk = Disk(job.folder, tmp_path / "marks")
    trace, _ = trace_run(job, endpoint.url, tmp_path)
    final = finished(job)
    cuts, reported = check(disk, trace, before, tmp_path, final)
    assert reported | before == set(range(1, ROWS + 1))
    assert cuts > 50


def test_the_replay_notices_a_sync_that_is_missing(tmp_path, endpoint):
    """The proof can fail: with the log's syncs taken out of the trace, reported rows are missed."""
    job = Job(tmp_path / "job", endpoint.url, prompts_of(ROWS))
    disk = Disk(job.folder, tmp_path / "marks")
    trace, _ = trace_run(job, endpoint.url, tmp_path)
    final = finished(job)
    wal = "".join(f"\\x{byte:02x}" for byte in b"-wal")
    lines = trace.read_text(errors="replace").splitlines(keepends=True)
    kept = [line for line in lines if not ("fdatasync(" in line and ("-wal>" in line or f"{wal}>" in line))]
    assert len(kept) < len(lines)
    trace.write_text("".join(kept))
    with pytest.raises(AssertionError, match="reported rows are gone"):
        check(disk, trace, set(), tmp_path, final)
