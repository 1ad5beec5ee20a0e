"""A job that is killed again and again ends as one that never was, and pays for next to nothing twice."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest
from crash import strike
from crash.account import GROUP, Account, Kill, record
from crash.job import Job, child_of, ended, prompts_of, wait_until

pytestmark = pytest.mark.crash

KILLS = int(os.environ.get("CRASH_KILLS", "20"))
KILLS_PER_JOB = 20
ROWS = int(os.environ.get("CRASH_ROWS", "2000"))
VARIANTS = [(".csv", False), (".parquet", True), (".csv", True), (".parquet", False)]
RECORD = Path(os.environ.get("CRASH_RECORD", "build/crash/kills.jsonl")).absolute()


def jobs():
    """Number and kills of each job."""
    whole, rest = divmod(KILLS, KILLS_PER_JOB)
    sizes = [KILLS_PER_JOB] * whole + ([rest] if rest else [])
    return [pytest.param(number, kills, id=f"job{number}") for number, kills in enumerate(sizes)]


@pytest.fixture(scope="session", autouse=True)
def _new_record():
    RECORD.unlink(missing_ok=True)


@strike.needs_strace
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("number", "kills"), jobs())
def test_a_job_killed_at_any_moment_ends_as_if_it_never_was(endpoint, tmp_path, number, kills):
    """Killed with SIGKILL again and again, at random and at system calls, a job ends with the undisturbed output."""
    suffix, stream = VARIANTS[number % len(VARIANTS)]
    draw = random.Random(number)
    how = {
        "suffix": suffix,
        "concurrency": draw.choice((8, 16, 64)),
        "options": ["--stream"] if stream else [],
    }
    prompts = prompts_of(ROWS, seed=number)
    calm = Job(tmp_path / "calm", endpoint.url, prompts, **how)
    assert calm.run().status == 0
    endpoint.reset()
    job = Job(tmp_path / "killed", endpoint.url, prompts, **how)
    account = Account(job, endpoint, calm.stored())
    lines, tries, stored = [], 0, 0
    while len(lines) < kills:
        tries += 1
        assert tries <= 3 * kills, "too few of the moments came"
        calls = sum(line.kind not in strike.RANDOM for line in lines)
        chosen = strike.choose(draw, done=len(lines), calls=calls, kills=kills, left=ROWS - stored)
        struck = chosen.strike(job, endpoint)
        if not struck.killed:
            assert struck.run.status == 0, struck.run.err
            continue
        assert job.digest() in (None, calm.digest()), "a torn output"
        answered, stored, again = account.after_a_kill()
        facts = {"kind": struck.kind, "where": struck.where, "place": struck.place}
        lines.append(
            Kill(
                job=number,
                kill=len(lines) + 1,
                table=suffix,
                stream=stream,
                concurrency=job.concurrency,
                answered=answered,
                stored=stored,
                again=again,
                **facts,
            )
        )
    last = job.run()
    assert last.status == 0, last.err
    account.at_the_end()
    assert job.digest() == calm.digest()
    assert job.leftovers() == []
    record(RECORD, lines)


@strike.needs_strace
def test_a_slow_disk_costs_no_more_than_one_group(endpoint, tmp_path):
    """Where every sync takes a second, a kill still costs at most one group and the requests in flight."""
    endpoint.reset(latency=0.005)
    job = Job(tmp_path / "job", endpoint.url, prompts_of(3000, doubled=0), concurrency=64)
    under = ["strace", "-f", "-qq", "-o", os.devnull, "-P", f"{job.checkpoint}-wal", "-e", "trace=fdatasync"]
    process = job.start(under=[*under, "-e", "inject=fdatasync:delay_enter=900000"])
    wait_until(lambda: endpoint.answered >= 1500, seconds=60)
    os.kill(child_of(process), signal.SIGKILL)
    assert ended(process).status == strike.KILLED
    wait_until(lambda: endpoint.stats()["in_flight"] == 0)
    lost = endpoint.answered - len(job.stored())
    assert lost <= job.concurrency + GROUP
