"""Fixtures of the crash tests: real processes, real files, real kills."""

from __future__ import annotations

import sys

import pytest
from crash.endpoint import Endpoint
from crash.job import Job, prompts_of


@pytest.fixture
def endpoint():
    """A simulator in a process of its own, with latencies that shuffle the order of its answers."""
    with Endpoint(latency=0.02, latency_sigma=0.6) as running:
        yield running


@pytest.fixture
def make_job(tmp_path, endpoint):
    """A factory: `make_job(rows=200)` is a job on the endpoint, in a folder of its own."""

    def make(rows=200, *, name="job", seed=0, **how):
        return Job(tmp_path / name, endpoint.url, prompts_of(rows, seed=seed), **how)

    return make


@pytest.fixture(autouse=True)
def _on_posix():
    if sys.platform == "win32":
        pytest.skip("these tests send POSIX signals")
