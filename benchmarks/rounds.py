"""Measuring a process, and comparing several in interleaved rounds.

The neighbours' load comes and goes, so a ratio compares two clients within one round, and what is told is the median of
the rounds' ratios. Every round runs every client once; every other one in the opposite order.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a process took: seconds of the wall clock and of the processor, and its peak memory in MiB."""

    wall: float
    cpu: float
    peak: float = 0.0

    def __sub__(self, other: Cost) -> Cost:
        return Cost(wall=max(self.wall - other.wall, 1e-6), cpu=max(self.cpu - other.cpu, 1e-6), peak=self.peak)


def environment() -> dict[str, str]:
    """That of a user: no proxy, and compiled modules are kept, or every run would compile all that it imports."""
    environ = os.environ | {"OPENAI_API_KEY": "none", "NO_PROXY": "127.0.0.1"}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    return environ


def measured(arguments: Sequence[str]) -> Cost:
    """Run a command to its end and measure it; its failure is ours."""
    with tempfile.TemporaryFile() as said:
        began = time.perf_counter()
        process = subprocess.Popen(arguments, env=environment(), stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            text = said.read()[-2000:].decode("utf-8", "replace")
            sys.exit(f"exit {process.returncode}: {' '.join(map(str, arguments))}\n{text}")
    return Cost(wall=wall, cpu=usage.ru_utime + usage.ru_stime, peak=usage.ru_maxrss / 1024)


def interleaved(names: Iterable[str], count: int, play: Callable[[str], T]) -> dict[str, list[T]]:
    """What `play` gives for each name, `count` times."""
    found: dict[str, list[T]] = {name: [] for name in names}
    for number in range(count):
        for name in found if number % 2 == 0 else reversed(list(found)):
            print(f"  round {number + 1} of {count}: {name}", file=sys.stderr, flush=True)
            found[name].append(play(name))
    return found


def median(values: Iterable[float]) -> float:
    """Of what is known."""
    known = [value for value in values if not math.isnan(value)]
    return statistics.median(known) if known else math.nan


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' ratios."""
    return median(a / b for a, b in zip(above, below, strict=True))


def interval(values: Sequence[float], sure: float = 0.9) -> tuple[float, float]:
    """Between which of the values the true median lies, at least so surely; all of them where they are too few."""
    ordered, count = sorted(values), len(values)
    for left_out in range((count - 1) // 2, -1, -1):
        outside = 2 * sum(math.comb(count, below) for below in range(left_out + 1)) / 2**count
        if 1 - outside >= sure:
            return ordered[left_out], ordered[count - 1 - left_out]
    return ordered[0], ordered[-1]
