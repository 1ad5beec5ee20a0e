"""A wall clock that jumps while a job runs: nothing waits for it, nothing is lost, nothing is sent twice."""

from __future__ import annotations

import itertools
import time

import pytest
from crash.job import prompts_of, write_table

from batchchat.api import execute
from batchchat.events import Observer
from batchchat.job import resolve

pytestmark = pytest.mark.crash

DAY = 86_400.0


@pytest.mark.parametrize("step", [DAY, -DAY], ids=["forwards", "backwards"])
def test_a_clock_that_jumps_changes_nothing(tmp_path, simulator, monkeypatch, step):
    """With a clock that jumps by a day at every look, a job ends as ever, and its resume sends what is left."""
    sim = simulator(latency=0.005, faults={"429": 0.05}, retry_after="ms")
    source, output = tmp_path / "reviews.csv", tmp_path / "labels.csv"
    write_table(source, prompts_of(120))
    looks, begun = itertools.count(), time.time()
    monkeypatch.setattr(time, "time", lambda: begun + step * next(looks))

    def run(**more):
        options = {"base_url": sim.base_url, "model": "sim", "concurrency": 8, "output": str(output), **more}
        return execute(resolve(options, input=str(source), environ={}), observer=Observer())

    first, second, third = run(limit=50), run(), run()
    assert (first.succeeded, second.succeeded, third.requests) == (50, 120, 0)
    assert second.reused == 50
    assert sim.stats()["answered"] == 120
    assert all(0 <= one.elapsed_s < DAY / 24 for one in (first, second, third))
