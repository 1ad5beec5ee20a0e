"""Signals: what was answered is kept, what is in flight is waited for, and the next run sends only the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from crash.account import Account
from crash.job import Job, child_of, ended, prompts_of, surroundings, wait_until
from crash.strike import AtCall, needs_strace

pytestmark = pytest.mark.crash

ORDERLY = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture
def calm(make_job, endpoint):
    """The same job as `make_job()` makes, undisturbed; the endpoint counts from nothing again."""
    job = make_job(name="calm")
    assert job.run().status == 0
    endpoint.reset()
    return job


def slow(rows, *, last=8, seconds=60):
    """Prompts of which the last take their time."""
    prompts = prompts_of(rows)
    return [*prompts[:-last], *(f"{prompt} @@latency={seconds}" for prompt in prompts[-last:])]


def finish(job, endpoint, calm):
    """Run to the end, and check the books: nothing was lost, nothing asked for again."""
    account = Account(job, endpoint, calm.stored())
    run = job.run()
    assert run.status == 0, run.err
    account.at_the_end()
    assert job.digest() == calm.digest()
    assert job.leftovers() == []
    return run.summary


@pytest.mark.parametrize(("number", "status"), ORDERLY, ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_lets_the_requests_in_flight_end(make_job, endpoint, calm, number, status):
    """After one signal every answer that was under way is kept, nothing is published, and a resume sends the rest."""
    job = make_job()
    process = job.start()
    wait_until(lambda: endpoint.answered >= 60)
    process.send_signal(number)
    run = ended(process)
    assert run.status == status
    assert run.summary["stop_reason"] == "interrupt"
    assert f"interrupted by {number.name}" in run.err
    assert "batchchat resume" in run.err
    assert "batchchat export" in run.err
    counts = endpoint.stats()
    assert counts["gone"] == counts["partial"] == 0, "an answer under way was not waited for"
    assert len(job.stored()) == counts["answered"] == run.summary["succeeded"]
    assert job.digest() is None
    assert job.leftovers() == []
    assert finish(job, endpoint, calm)["reused"] == run.summary["succeeded"]


def test_what_is_in_flight_is_waited_for_twenty_seconds(tmp_path, endpoint):
    """After one SIGINT a request that takes longer than the drain is given up; the run ends within half a minute."""
    job = Job(tmp_path / "job", endpoint.url, slow(40))
    process = job.start()
    wait_until(lambda: endpoint.answered >= 32)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    run = ended(process)
    assert 19 < time.monotonic() - begun < 30
    assert run.status == 130
    assert len(job.stored()) == endpoint.answered == 32
    assert run.summary["pending"] == 8


def test_a_second_interrupt_stops_at_once(tmp_path, endpoint):
    """After a second SIGINT nothing is waited for, and what was answered is kept."""
    job = Job(tmp_path / "job", endpoint.url, slow(40))
    process = job.start()
    wait_until(lambda: endpoint.answered >= 32)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    run = ended(process)
    assert time.monotonic() - begun < 10
    assert run.status == 130
    assert len(job.stored()) == endpoint.answered == 32
    assert job.leftovers() == []


@needs_strace
def test_a_signal_while_the_output_is_written_publishes_nothing(make_job, endpoint):
    """A SIGTERM during the publication ends with 143 and no output; the next run publishes without sending."""
    calm, job = make_job(3000, name="calm"), make_job(3000)
    assert calm.run().status == 0
    endpoint.reset()
    assert AtCall(call="rename", nth=1).strike(job, endpoint).killed
    job.clear_temporary()
    # Every page that is read is held up a little, so that the signal comes in the middle.
    under = ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(job.checkpoint), "-e", "trace=pread64"]
    process = job.start(under=[*under, "-e", "inject=pread64:delay_enter=3000"])
    wait_until(lambda: job.temporary() != [])
    os.kill(child_of(process), signal.SIGTERM)
    run = ended(process)
    assert run.status == 143, run.err
    assert "interrupted by SIGTERM" in run.err
    assert job.digest() is None
    assert job.leftovers() == []
    assert finish(job, endpoint, calm)["requests"] == 0


def test_a_hangup_that_is_ignored_stays_ignored(make_job, endpoint, calm):
    """Under nohup a SIGHUP does not stop the run."""
    job = make_job()
    process = job.start(under=["nohup"])
    wait_until(lambda: endpoint.answered >= 40)
    process.send_signal(signal.SIGHUP)
    assert ended(process).status == 0
    assert job.digest() == calm.digest()


def test_a_terminal_that_is_closed_ends_the_run_in_order(make_job, endpoint, calm):
    """When the terminal goes away the run drains as after SIGHUP, though it cannot draw or say anything any more."""
    job = make_job()
    master, slave = os.openpty()
    process = job.start(
        under=["setsid", "--ctty"], env=surroundings(TERM="xterm"), stdin=slave, stdout=slave, stderr=slave
    )
    os.close(slave)
    wait_until(lambda: endpoint.answered >= 60)
    os.close(master)
    assert process.wait(60) == 129
    assert len(job.stored()) == endpoint.answered
    assert finish(job, endpoint, calm)["reused"] >= 60


def test_a_run_whose_parent_dies_goes_on(make_job, endpoint, calm):
    """When the program that started the run is killed, and with it who read its output, the run ends its work."""
    job = make_job()
    starter = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=-1, stderr=-1); p.communicate()"
    parent = subprocess.Popen(
        [sys.executable, "-c", starter, *job.command()], cwd=job.folder, env=surroundings(), start_new_session=True
    )
    wait_until(lambda: endpoint.answered >= 40)
    parent.kill()
    parent.wait()
    wait_until(lambda: job.output.exists() and job.leftovers() == [])
    assert job.digest() == calm.digest()
    assert finish(job, endpoint, calm)["requests"] == 0
