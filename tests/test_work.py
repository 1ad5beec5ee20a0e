"""How much work a row is: counted, so that no test depends on speed (benchmarks/work.py)."""

from __future__ import annotations

import sys

import pytest
import work

from batchchat.engine import Engine


@pytest.fixture(scope="module")
def now():
    """Calls a row, by room."""
    if sys.gettrace() is not None:
        pytest.skip("a debugger or a measure of coverage makes calls of its own")
    return work.count()


def test_a_row_takes_no_more_work_than_it_did(now):
    """A change that makes a row's calls a tenth more than the baseline's is either mended or meant."""
    kept = work.baseline()
    if kept is None:
        pytest.skip(f"benchmarks/work.json has no baseline of Python {work.VERSION}: make work-baseline")
    told = f"make work-baseline where that is meant:\n{work.shown(now, kept)}"
    assert now["total"] <= work.MOST * kept["total"], told


def test_more_work_for_each_row_is_seen(now, monkeypatch):
    """Fifty more calls for every row are counted as fifty more."""
    settle = Engine._settle

    def busier(self, outcome):
        for _ in range(50):
            len("")
        settle(self, outcome)

    monkeypatch.setattr(Engine, "_settle", busier)
    assert work.count()["total"] == pytest.approx(now["total"] + 51, abs=15)
