"""What the figures of docs/performance.md are made with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import bench
import pytest
import rounds
from measures import Line

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def test_an_interval_of_nine_rounds_leaves_out_one_on_each_side():
    """The second and the eighth of nine values hold the median between them with 96 %, the third and seventh do not."""
    assert rounds.interval([9, 1, 8, 2, 7, 3, 6, 4, 5]) == (2, 8)
    assert rounds.interval([3, 1, 2]) == (1, 3)


def test_a_ratio_compares_within_a_round():
    """A round in which everything was slow counts as any other."""
    assert rounds.ratio([1, 20, 3], [2, 40, 3]) == pytest.approx(0.5)


def test_rounds_are_interleaved():
    """Every round runs every client once, and every other one the other way round."""
    order = []
    assert rounds.interleaved("ab", 2, lambda name: order.append(name) or len(order)) == {"a": [1, 4], "b": [2, 3]}
    assert order == ["a", "b", "b", "a"]


def test_new_lines_take_the_place_of_old_ones(tmp_path):
    """What was not measured again stays, and so does the reason of a goal that is missed still."""
    page = tmp_path / "page.md"
    missed = Line(what="second", goal="2", found="3", met=False)
    lines = [Line(what="first", goal="1", found="1", met=True), missed]
    page.write_text(f"before\n{bench.START}{bench.HEAD}\n{bench.END}\nafter\n", encoding="utf-8")
    bench.write(page, lines)
    page.write_text(
        page.read_text(encoding="utf-8").replace("| missed |  |", "| missed | the moon |"), encoding="utf-8"
    )

    bench.write(page, [Line(what="second", goal="2", found="2.5", met=False)])

    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| first | 1 | 1 | met |  |" in text
    assert "| second | 2 | 2.5 | missed | the moon |" in text


@pytest.mark.parametrize("script", ["bench.py", "instructions.py", "shares.py", "work.py"])
def test_every_measure_says_how_it_is_called(script):
    """`--help` of a script lists its options: nothing of it is stale enough not to load."""
    ended = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--help"], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "--write" in ended.stdout
