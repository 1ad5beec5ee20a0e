"""A limit that headers show: the rate that they leave us, with others spending the same quota.

In come the headers of answers; out comes the earliest moment of the next start, like that of a limit that was told.
What kind of server shows them is judged again and again (`sight.py`); until that is known, which takes a few answers,
the limit is spread over the time until its reset.

What others spend shows in what remains. A bucket is steered by its level: at seven tenths it gives exactly its refill,
below that less, so that whoever else draws on it finds it filled. In a fixed window what remains is spread over what is
left of it. In a sliding one our own starts and what remains are together what there is for us.

Between two answers our own starts are reckoned with; headers are as old as their answer took.

A limit a day (or an hour) is no pace: what remains of it is spent within minutes, since a job may be over before it is
used up, and only then its refill is kept to.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from batchchat.limiter.pace import Pace
from batchchat.limiter.sight import Sight, grain, judge
from batchchat.limiter.window import Window

if TYPE_CHECKING:
    from batchchat.limiter.quota import Unit
    from batchchat.limiter.sight import Verdict

KEPT = 48
JUDGED_EVERY = 8
LEVEL = 0.7
EAGER = 0.05
LEAST = 0.02
"""Of a rate: what is left of it where nothing remains, so that new headers are seen at all."""
JITTER = 0.4
"""Seconds by which two ways to the server may differ; of a short period a fiftieth, or it would cost too much."""
SAFE = 0.99
LONG = 600.0
"""A period of more seconds than that is none to pace by."""
SPENT_WITHIN = 60.0
STEERED_EVERY = 1.0
FADING = 0.99
"""By how much a verdict that rests on better evidence loses of its weight with each later one."""


class Headers:
    """One unit's limit (requests or tokens), as the headers of one endpoint show it."""

    __slots__ = (
        "_count",
        "_last",
        "_pace",
        "_period",
        "_sights",
        "_steered_at",
        "_trust",
        "_turned",
        "_verdict",
        "_window",
        "limit",
        "spent",
        "unit",
    )

    def __init__(self, unit: Unit) -> None:
        self.unit: Unit = unit
        self.limit = 0.0
        self.spent = 0.0  # what was started since the beginning
        self._sights: deque[Sight] = deque(maxlen=KEPT)
        self._last: Sight | None = None
        self._count = 0
        self._verdict: Verdict | None = None
        self._trust = 0.0  # a new verdict on a bucket must rest on remainders at least that far apart
        self._steered_at = 0.0
        self._turned = False  # its window has started anew since the last headers
        self._period = 0.0
        self._pace: Pace | None = None
        self._window: Window | None = None

    @property
    def per_second(self) -> float | None:
        """The rate that is kept now; None while the headers do not limit anything."""
        return self._pace.per_second if self._pace is not None else None

    def ready_at(self, now: float, amount: float) -> float:
        """The earliest moment at which this amount may start."""
        pace, verdict, last = self._pace, self._verdict, self._last
        if pace is None or last is None:
            return now
        if self._window is not None:
            return max(pace.ready_at(amount), self._window.ready_at(now, amount))
        if verdict is not None and verdict.kind == "fixed":
            if now >= verdict.turn:
                if not self._turned:
                    self._turned = True
                    self._steer(now)
            elif last.remaining - (self.spent - last.spent) < amount <= self.limit:
                return verdict.turn + _jitter(self._period) / 4
        at = pace.ready_at(amount)
        if at <= now + STEERED_EVERY:
            return at
        # What comes back meanwhile raises the rate: look again when half a request's worth has.
        if now >= self._steered_at + STEERED_EVERY:
            self._steer(now)
            at = pace.ready_at(amount)
        return min(at, now + max(STEERED_EVERY, 0.5 / verdict.rate if verdict is not None and verdict.rate else 0.0))

    @property
    def used(self) -> float | None:
        """What we ourselves started within the server's sliding window; None where it is not known to have one."""
        return self._window.total if self._window is not None else None

    def take(self, now: float, amount: float) -> None:
        """The amount starts now."""
        self.spent += amount
        if self._pace is not None:
            self._pace.take(now, amount)
        if self._window is not None:
            self._window.take(now, amount)

    def hold(self, now: float) -> None:
        """What was saved up is lost: after a pause it goes on evenly, not with a burst."""
        if self._pace is not None:
            self._pace.hold(now)

    def settle(self, now: float, started: float, difference: float) -> None:
        """What started at `started` turned out larger or smaller."""
        if self._pace is not None:
            self._pace.settle(difference)
        if self._window is not None:
            self._window.settle(now, started, difference)

    def learn(self, now: float, sight: Sight) -> None:
        """The headers of an answer that has just come."""
        if sight.limit != self.limit:
            self.limit = sight.limit
            self._sights.clear()
            self._verdict = self._window = None
        if self._sights and sight.at < self._sights[-1].at:
            return
        self._last = sight
        self._turned = False
        apart = 0.25 if self._count > KEPT and grain(list(self._sights)) == 1.0 else 0.02
        if len(self._sights) < KEPT // 3 or sight.at - self._sights[-1].at >= apart:
            self._sights.append(sight)
            self._count += 1
            if self._count % JUDGED_EVERY == 0 or (self._verdict is None and len(self._sights) >= 4):
                self._judge(now)
        self._steer(now)

    def _judge(self, now: float) -> None:
        verdict = judge(list(self._sights))
        if verdict is None:
            return
        known = self._verdict
        if known is not None and self._still_true(known):
            self._trust *= FADING
            if known.kind != verdict.kind or verdict.spread < self._trust:
                return
        self._trust = verdict.spread / 2
        self._verdict = verdict
        self._period = max(verdict.period, self._period if known is not None and known.kind == verdict.kind else 0.0)
        if verdict.kind != "sliding":
            self._window = None
        elif self._window is None:
            self._window = self._window_so_far(now)

    def _window_so_far(self, now: float) -> Window:
        """A window of our own starts, as far as the sights tell when they were."""
        first = self._sights[0]
        window = Window(self.limit, self._period + _jitter(self._period), now=first.at, bins=600)
        before = 0.0 if self._count == len(self._sights) else first.spent
        for sight in self._sights:
            window.take(sight.at, max(sight.spent - before, 0.0))
            before = max(sight.spent, before)
        window.take(now, max(self.spent - before, 0.0))
        return window

    def _still_true(self, known: Verdict) -> bool:
        """Whether a bucket's line still holds: at an even level it looks like any window."""
        if known.kind != "bucket":
            return False
        misses = [abs(each.remaining - (known.size - known.rate * each.reset)) for each in self._sights]
        return sum(misses) / len(misses) <= max(2.0, 0.05 * known.size)

    def _steer(self, now: float) -> None:
        self._steered_at = now
        per_second = self._rate(now)
        if per_second is None:
            self._pace = None
        elif self._pace is None:
            self._pace = Pace(per_second)
            self._pace.hold(now)
        else:
            self._pace.change(now, per_second)

    def _rate(self, now: float) -> float | None:
        last = self._last
        if last is None or self.limit <= 0:
            return None
        verdict = self._verdict
        if verdict is None:
            if last.reset <= 0:
                return None
            return max(last.limit, 1.0) / last.reset
        left = max(last.remaining - (self.spent - last.spent), 0.0)
        if verdict.kind == "bucket":
            left = min(left + verdict.rate * (now - last.at), verdict.size)
            long = verdict.size > verdict.rate * LONG
            return verdict.rate * _eagerness(left / verdict.size) + (int(left) / SPENT_WITHIN if long else 0.0)
        if verdict.kind == "fixed":
            return self._rate_of_fixed(now, left, verdict)
        assert self._window is not None
        ours = left + self._window.total if last.used is None else last.remaining + last.used
        ours = min(ours, self.limit)  # what it has let go of already is still in our window for a moment
        self._window.limit = max(ours, 1.0)
        even = max(ours * SAFE, LEAST * self.limit) / self._period
        return max(even, left / SPENT_WITHIN) if self._period > LONG else even

    def _rate_of_fixed(self, now: float, left: float, verdict: Verdict) -> float:
        even = self.limit / self._period
        until = verdict.turn - now
        if until <= 0:
            return even  # it has turned since: a new answer will tell what others take
        if self._period > LONG:
            return max(left / min(until, SPENT_WITHIN), LEAST * even)
        return min(max(left, LEAST * even * until) / (until + _jitter(self._period)), 2 * even)


def _jitter(period: float) -> float:
    return min(JITTER, period / 50)


def _eagerness(level: float) -> float:
    """The part of its refill that a bucket at this level is asked for."""
    if level >= LEVEL:
        return 1.0 + EAGER * (level - LEVEL) / (1.0 - LEVEL)
    return max(level / LEVEL, LEAST)
