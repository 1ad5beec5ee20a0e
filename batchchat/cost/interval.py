"""How far a mean that was learned from a few values can be off: values in, a low, an expected and a high out.

Lengths of answers and latencies are skewed: the rare long ones carry much of the sum, and a sample of 50 has few of
them. The interval was chosen by measurement (benchmarks/estimate.py, docs/cost.md): a bootstrap of the t statistic on
the log scale kept its coverage on lognormal, exponential, capped and two-humped lengths alike; the exact pivot of the
lognormal was a little better on lognormal lengths and far off on the others; the normal interval is too low on the
side where it hurts. All of them cover too little with samples of 50, so the tails are taken smaller than asked for.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Number = TypeVar("Number")

LEVEL = 0.90
# Below so few values nothing can be said of the tails; above so many the normal distribution is as good, and quicker.
FEW, MANY = 8, 400
_RESAMPLES = 2000
# Measured: intervals from 50 skewed lengths miss up to 1.5 times as often as they should. Larger samples need less.
_TAIL, _TAIL_SIZE = 0.45, 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Range(Generic[Number]):
    """Low, expected and high; with a sample, 90 of 100 such ranges hold the truth. None: nobody knows."""

    low: Number | None
    expected: Number | None
    high: Number | None


def mean_range(
    sample: Sequence[float], *, level: float = LEVEL, rest: int | None = None, seed: int = 0
) -> Range[float]:
    """The mean of `rest` further values (None: of infinitely many) of which `sample` was drawn at random.

    Args:
        sample: values of at least 0, at least one of them.
        rest: how many values are meant.
        level: how often the range is to hold the truth.
        seed: of the resampling; the same sample gives the same range.
    """
    count, mean = len(sample), fmean(sample)
    if count < FEW or mean <= 0:
        return Range(low=min(sample), expected=mean, high=max(sample))
    spread = stdev(sample) / mean
    tail = (1 - level) / 2 * (1 - _TAIL * min(1.0, _TAIL_SIZE / count))
    low_t, high_t = _t_quantiles(sample, tail, seed) if count <= MANY else (-z(1 - 2 * tail), z(1 - 2 * tail))
    error = spread * math.sqrt(1 / count + (1 / rest if rest else 0.0))
    # What the sample did not see at all: with probability `level` it is less than this part of the rows.
    unseen = 1 - (1 - level) ** (1 / count)
    return Range(
        low=mean * min(math.exp(-high_t * error), 1 - unseen),
        expected=mean,
        high=mean * max(math.exp(-low_t * error), 1 + unseen),
    )


def _t_quantiles(sample: Sequence[float], tail: float, seed: int) -> tuple[float, float]:
    """Both tails of log(mean of resample / mean) / its standard error, over resamples."""
    count, mean = len(sample), fmean(sample)
    generator = random.Random(seed)  # noqa: S311 - resampling needs no secrecy
    statistics = []
    for _ in range(_RESAMPLES):
        again = generator.choices(sample, k=count)
        total = math.fsum(again)
        squares = math.sumprod(again, again) if hasattr(math, "sumprod") else math.fsum(x * x for x in again)
        variance = (squares - total * total / count) / (count - 1)
        if total > 0 and variance > 1e-12 * squares:
            statistics.append(math.log(total / count / mean) / (math.sqrt(variance / count) / (total / count)))
    if len(statistics) < _RESAMPLES // 2:  # nearly constant: resamples mostly see one value
        return -z(1 - 2 * tail), z(1 - 2 * tail)
    statistics.sort()
    cut = int(tail * len(statistics))
    return statistics[cut], statistics[-1 - cut]


def z(level: float) -> float:
    """How many standard deviations hold that part of a normal distribution."""
    return NormalDist().inv_cdf((1 + level) / 2)


def line(pairs: Sequence[tuple[int, int]]) -> tuple[float, float, float]:
    """Slope and constant from counted to billed, and the relative error of a total made with them."""
    counted, billed = fmean(pair[0] for pair in pairs), fmean(pair[1] for pair in pairs)
    squares = sum((x - counted) ** 2 for x, _ in pairs)
    slope = sum((x - counted) * (y - billed) for x, y in pairs) / squares if squares else 1.0
    # A line through rows of one length says nothing of longer ones: then the difference is taken to be constant.
    if len(pairs) < FEW or squares / len(pairs) < (0.05 * counted) ** 2 or not 0.2 < slope < 5:
        slope = 1.0
    constant = billed - slope * counted
    residuals = [y - slope * x - constant for x, y in pairs]
    deviation = stdev(residuals) if len(pairs) > 1 else billed
    return slope, constant, z(LEVEL) * deviation / math.sqrt(len(pairs)) / max(billed, 1.0)
