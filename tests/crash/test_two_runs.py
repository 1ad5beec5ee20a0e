"""Two runs of one job at once, and `--restart` that is killed: one writes, and nothing that was paid for is lost."""

from __future__ import annotations

import random
import signal

import pytest
from crash.account import Account
from crash.job import Job, ended, prompts_of, stored_in, wait_until
from crash.strike import AtAnswers, AtCall, needs_strace

pytestmark = pytest.mark.crash


@pytest.fixture
def calm(make_job, endpoint):
    job = make_job(name="calm")
    assert job.run().status == 0
    endpoint.reset()
    return job


# The last rows take so long that the other run comes while the first is at work.
SLOW = [*prompts_of(100), *(f"Slowly, please: review {number}? @@latency=10" for number in range(4))]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("more", [(), ("--restart",), ("--sample", "3")], ids=["run", "restart", "sample"])
def test_a_second_run_ends_at_once(tmp_path, endpoint, more):
    """While one run holds the checkpoint another exits 1, says who holds it, sends nothing and moves nothing."""
    job = Job(tmp_path / "job", endpoint.url, SLOW)
    process = job.start()
    wait_until(lambda: endpoint.answered >= 100)
    process.send_signal(signal.SIGSTOP)  # it waits until the other has come and gone, however long that takes
    try:
        second = job.run(*more)
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.poll() is None
    assert second.status == 1
    assert f"process {process.pid}" in second.err
    assert endpoint.stats()["received"] == len(SLOW)
    assert ended(process).status == 0
    assert len(job.stored()) == endpoint.answered == len(SLOW)
    assert job.leftovers() == []


def test_a_lock_of_a_dead_run_holds_nobody_up(make_job, endpoint, calm):
    """The lock file that a kill left behind does not stop the next run."""
    job = make_job()
    account = Account(job, endpoint, calm.stored())
    assert AtAnswers(more=50).strike(job, endpoint).killed
    assert f"{job.checkpoint.name}-lock" in job.leftovers()
    account.after_a_kill()
    assert job.run().status == 0
    account.at_the_end()
    assert job.leftovers() == []


@needs_strace
@pytest.mark.timeout(300)
@pytest.mark.parametrize("nth", range(1, 4))
@pytest.mark.parametrize("call", ["rename", "unlink", "fsync", "ftruncate"])
def test_a_restart_that_is_killed_keeps_every_answer(make_job, endpoint, call, nth):
    """Killed at any call of `--restart`, what was answered is in one checkpoint or the other, and a run goes on."""
    job = make_job()
    assert AtAnswers(more=80).strike(job, endpoint).killed
    before = job.stored()
    job.words.append("--restart")
    AtCall(call=call, nth=nth, most=random.Random(nth).randrange(1, 40)).strike(job, endpoint)
    job.words.remove("--restart")
    checkpoints = [path for path in job.folder.glob("*.batchchat") if path.exists()]
    assert any(before.items() <= stored_in(path).items() for path in checkpoints)
    run = job.run()
    assert run.status == 0, run.err
    assert len(job.stored()) == len(job.prompts)
    others = [name for name in job.leftovers() if not name.endswith(".batchchat")]
    assert others == []
