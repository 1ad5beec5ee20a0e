"""Ways to kill a run: at a number of answers, after a time, or at a system call.

A strike is given a job and kills its run, or finds that the run was over before. At a system call strace does it: the
process dies as it enters the n-th call of that name in any of its threads, so the call itself is not made.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from crash.job import child_of, ended

KILLED = 128 + signal.SIGKILL
RANDOM = frozenset({"answers", "time"})
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="faults at system calls need strace")
_CALL = re.compile(r"^\d+ +\w+\((.*)$")
# The file of a call: the descriptor that comes first, as strace -y shows it, or the first path that is named.
_FILE = re.compile(r'\d+<([^>]*)>|(?:AT_FDCWD<[^>]*>, )?"([^"]*)"')


@dataclass(frozen=True, kw_only=True)
class Struck:
    """What came of a strike.

    Attributes:
        killed: whether the run died of it; else it ended by itself.
        run: how it ended.
        where: the moment, in words.
        kind: `answers`, `time` or the system call's name.
        place: which file the call was for, by its role.
    """

    killed: bool
    run: object
    where: str
    kind: str
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class AtAnswers:
    """Kill when so many more answers went out."""

    more: int

    def strike(self, job, endpoint):
        process = job.start()
        _watch(process, endpoint, self.more, lambda: process.pid)
        run = ended(process)
        return Struck(killed=run.status == KILLED, run=run, where=f"after {self.more} answers", kind="answers")


@dataclass(frozen=True, kw_only=True)
class AtTime:
    """Kill after so many seconds, wherever it is then: imports, the check of the table, the header."""

    seconds: float

    def strike(self, job, endpoint):
        del endpoint
        process = job.start()
        try:
            process.wait(self.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        run = ended(process)
        return Struck(killed=run.status == KILLED, run=run, where=f"after {self.seconds:.2f} s", kind="time")


@dataclass(frozen=True, kw_only=True)
class AtCall:
    """Kill at the n-th system call of a name; with `file` (a suffix of the checkpoint's) at the n-th that concerns it.

    With `most`, kill after so many more answers where the moment has not come by then.
    """

    call: str
    nth: int
    file: str | None = None
    most: int | None = None

    def strike(self, job, endpoint):
        trace = job.folder.parent / f"{job.folder.name}.strace"
        process = job.start(under=self.words(job, trace))
        fell_back = False
        if self.most is not None:
            fell_back = _watch(process, endpoint, self.most, lambda: child_of(process))
        run = ended(process)
        killed = run.status == KILLED
        place = _place(trace, job) if killed and not fell_back else ""
        trace.unlink(missing_ok=True)
        where = f"after {self.most} answers" if fell_back else f"{self.call} {self.nth} {place}".strip()
        kind = "answers" if fell_back else self.call
        return Struck(killed=killed, run=run, where=where, kind=kind, place=place)

    def words(self, job, trace):
        words = ["strace", "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={self.call}"]
        words += ["-e", f"inject={self.call}:signal=KILL:when={self.nth}"]
        return words + (["-P", f"{job.checkpoint}{self.file}"] if self.file is not None else [])


def _watch(process, endpoint, more, whom):
    """Kill when so many more answers went out; whether it came to that."""
    until = endpoint.answered + more
    while process.poll() is None:
        if endpoint.answered >= until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(whom(), signal.SIGKILL)
            return True
        time.sleep(0.002)
    return False


def _place(trace, job):
    """The role of the file of the last traced call."""
    calls = [found[1] for line in trace.read_text(errors="replace").splitlines() if (found := _CALL.match(line))]
    file = _FILE.match(calls[-1]) if calls else None
    return role(file[1] or file[2], job) if file else ""


def role(path, job):
    """What a file is to the job."""
    name = Path(path).name
    if name.endswith(".publishing"):
        return "new output"
    for suffix in ("-wal", "-shm", "-journal", "-lock", "-new"):
        if name == f"{job.checkpoint.name}{suffix}":
            return f"checkpoint{suffix}"
    roles = {job.checkpoint.name: "checkpoint", job.output.name: "output", job.folder.name: "folder"}
    return roles.get(name, "other checkpoint" if ".batchchat" in name else "")


def of_the_start(draw):
    """A strike while the checkpoint is made or opened: its header, its log, its lock."""
    return draw.choice(
        [
            AtCall(call="pwrite64", nth=draw.randint(1, 40)),
            AtCall(call="fdatasync", nth=draw.randint(1, 9)),
            AtCall(call="unlink", nth=1),
            AtCall(call="ftruncate", nth=draw.randint(1, 2)),
            AtCall(call="openat", nth=draw.randint(1, 2), file="-wal"),
            AtCall(call="openat", nth=1, file="-journal"),
            AtCall(call="openat", nth=1, file="-lock"),
            AtCall(call="openat", nth=1, file="-new"),
            AtCall(call="rename", nth=1),
        ]
    )


def of_a_commit(draw):
    """A strike while a group of answers is written."""
    return draw.choice(
        [AtCall(call="fdatasync", nth=draw.randint(5, 25)), AtCall(call="pwrite64", nth=draw.randint(30, 200))]
    )


def of_the_fold(draw):
    """A strike while the log is folded into the database, within the run or at its end."""
    return draw.choice(
        [
            AtCall(call="pwrite64", nth=draw.randint(1, 80), file=""),
            AtCall(call="fdatasync", nth=1, file=""),
            AtCall(call="ftruncate", nth=1, file=""),
            AtCall(call="ftruncate", nth=1, file="-wal"),
        ]
    )


def of_the_end(draw):
    """A strike while the output is published, and the checkpoint closed."""
    return draw.choice(
        [
            AtCall(call="rename", nth=1),
            AtCall(call="fsync", nth=draw.randint(1, 2)),
            AtCall(call="ftruncate", nth=draw.randint(2, 4)),
            AtCall(call="unlink", nth=draw.randint(1, 5)),
            AtCall(call="unlink", nth=1, file="-lock"),
            AtCall(call="unlink", nth=1, file="-wal"),
            AtCall(call="pwrite64", nth=draw.randint(1, 4), file="-journal"),
        ]
    )


def anywhere(draw, most):
    """A strike at a random moment: mostly at a number of answers, now and then at a time."""
    if draw.random() < 0.85:
        return AtAnswers(more=draw.randint(1, most))
    return AtTime(seconds=draw.uniform(0.05, 1.5))


def choose(draw, *, done, calls, kills, left):
    """The next strike of a job, by where it is in its life; half of all at system calls.

    Args:
        draw: random numbers.
        done: kills so far.
        calls: how many of them were at system calls.
        kills: how many there are to be.
        left: rows that have no answer yet.
    """
    each = max(1, kills * 3 // 20)
    most = max(2, 2 * left // max(1, kills - done - each))
    if done < each:
        strike = of_the_start(draw)
    elif done >= kills - each:
        return of_the_end(draw)
    elif calls * 2 <= done:
        strike = draw.choice([of_a_commit, of_a_commit, of_a_commit, of_the_fold, of_the_start])(draw)
    elif left:
        return anywhere(draw, most)
    else:
        return AtTime(seconds=draw.uniform(0.05, 1.5))
    return replace(strike, most=most)
