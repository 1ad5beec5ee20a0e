"""What rate-limit headers show over time, and which kind of server would show that.

One answer's headers leave open what they mean: `remaining` and `reset` belong to a bucket that refills steadily, to a
window that starts anew when `reset` is over, or to one that slides. Several answers tell. In a bucket what remains
falls in a straight line with the time until it is full, and the line's slope is the rate: whatever the bucket holds,
and whatever `limit` counts. In a fixed window the moment of the reset stands still; in a sliding one the time until it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Kind = Literal["bucket", "fixed", "sliding"]

FEWEST = 4
STRAIGHT = -0.97
"""The correlation of remaining and reset from which on they are called a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The headers of one answer.

    Attributes:
        at: the moment at which its request started: servers count when a request comes in.
        limit: what the headers call the limit.
        remaining: what they say remains.
        reset: seconds until all of it is there again.
        spent: what we ourselves had started until then, this request included.
        used: the part of it that was within the server's sliding window, where that is known.
    """

    at: float
    limit: float
    remaining: float
    reset: float
    spent: float
    used: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What kind of server it is.

    Attributes:
        kind: bucket, fixed or sliding.
        rate: of a bucket, a second.
        size: of a bucket, what it holds when full.
        spread: of a bucket, how far apart the remainders lay that say so: from far apart ones the rate is exact.
        period: of a window, in seconds, as far as it was seen.
        turn: of a fixed window, the moment at which it starts anew.
    """

    kind: Kind
    rate: float = 0.0
    size: float = 0.0
    spread: float = 0.0
    period: float = 0.0
    turn: float = 0.0


def judge(sights: Sequence[Sight]) -> Verdict | None:
    """The kind of server that shows these headers, in order of `at`; None where it cannot be told yet."""
    if len(sights) < FEWEST:
        return None
    return _bucket(sights) or _window(sights)


def grain(sights: Sequence[Sight]) -> float:
    """How finely the resets are told: whole seconds or milliseconds."""
    return 1.0 if all(each.reset == int(each.reset) for each in sights) else 0.001


def _bucket(sights: Sequence[Sight]) -> Verdict | None:
    count = len(sights)
    mean_left = math.fsum(each.remaining for each in sights) / count
    mean_reset = math.fsum(each.reset for each in sights) / count
    var_left = math.fsum((each.remaining - mean_left) ** 2 for each in sights)
    var_reset = math.fsum((each.reset - mean_reset) ** 2 for each in sights)
    if var_left < count * 0.5 or var_reset < count * (3 * grain(sights)) ** 2:
        return None
    both = math.fsum((each.remaining - mean_left) * (each.reset - mean_reset) for each in sights)
    if both / math.sqrt(var_left * var_reset) > STRAIGHT:
        return None
    rate = -both / var_reset
    spread = math.sqrt(var_left / count)
    return Verdict(kind="bucket", rate=rate, size=mean_left + rate * mean_reset, spread=spread)


def _window(sights: Sequence[Sight]) -> Verdict | None:
    rough = 2 * grain(sights) + 0.05
    current = _since_turn(sights, rough)
    seen = current[-1].at - current[0].at
    if len(current) < FEWEST or seen < 4 * rough:
        return None
    turns = [each.at + each.reset for each in current]
    resets = [each.reset for each in current]
    if max(turns) - min(turns) < min(rough + seen / 4, max(resets) - min(resets)):
        return Verdict(kind="fixed", period=max(each.reset for each in sights), turn=max(turns))
    if max(resets) - min(resets) < rough + seen / 4:
        return Verdict(kind="sliding", period=max(resets))
    return None


def _since_turn(sights: Sequence[Sight], rough: float) -> Sequence[Sight]:
    """The sights since what remains was last filled up."""
    for index in range(len(sights) - 1, 0, -1):
        before, after = sights[index - 1], sights[index]
        if after.remaining > before.remaining and after.at + after.reset > before.at + before.reset + 2 * rough:
            return sights[index:]
    return sights
