"""A rate that nobody told: learned from refusals, and tried upwards again.

What was let in during the last minute, or since the job began, with the pause that a refusal brings, is the first
estimate: whatever windows the server has, it will not let in much more in the next one. From then on the rate falls a
little at each refusal, climbs back to where it was refused, lingers there, and then feels its way beyond, slowly at
first: near a limit it makes few refusals, and a limit that has been lifted is found within minutes. Time in which the
rate held nobody back does not count: a limit that is not used cannot be learned.

From one refusal to the next it lets pass some fifty requests, and several times the length of a pause: refusals stay a
few percent, and so does the time that is lost in pauses.

Where hardly anything was let in before the refusal there is nothing to measure (the quota may have been spent before
this job began). Then the rate starts low and doubles with every few requests.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from batchchat.limiter.pace import Pace

CUT = 0.9
"""After a refusal: this part of the rate at which it came, rising to BACK of it in one cycle."""
BACK = 0.97
MINUTE_MORE = 1.05
"""The rate after a refusal leads back to at most this much of what the last minute let in."""
SOON = 0.6
SOON_PEAK = 0.8
"""After refusals that came too soon one after the other: the estimate was wrong, or less is left than before."""
CYCLE_REQUESTS = 40.0
CYCLE_PAUSES = 12.0
SHORTEST_CYCLE = 5.0
LONGEST_CYCLE = 20.0
ENOUGH = 10
"""Requests from which a rate can be measured, and that must be let in for each one that is refused."""
SLOW_START = 2.0
DOUBLED_AFTER = 8.0
REST = 4.0
LONGEST_REST = 1.0
"""A pause takes as many requests' time at least (and at most a second): else the next ones find the bottom again."""
SLOWEST = 5.0
"""A rate is never learned to be slower than one request in so many seconds, or in twice the usual pause: where others
draw on the same few requests, refusals come at any rate, and going ever slower would not avoid them."""
CHANGED = 0.002
"""The pace is changed when the rate has grown by this part."""
HORIZONS = (60.0, 20.0, 5.0)
"""How long the server's window may be, in seconds: what was let in is measured over the longest that is possible."""
REFUTED = 1.2
"""A window is none of the server's where so many times as much fitted into it as at the refusal before."""
DOUBLED_IN_DOUBT = 40.0
MOST_DOUBT = 2.0
"""Where the quota came back at an unknown moment of a pause the rate is a range: from its lower end it is doubled with
so many requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    """A refusal that ends a cycle.

    Attributes:
        moment: when.
        admitted: how many had been let in by then.
        peak: what the rate had climbed back to before.
        rate: what it was, where it was the rate that held requests back.
        soon: whether less was let in since the last refusals than would be worth them.
    """

    moment: float
    admitted: int
    peak: float
    rate: float | None
    soon: bool


class Learned:
    """Requests per second that the endpoint takes, as far as refusals have shown.

    Attributes:
        rate: requests per second now; None while nothing was refused.
        count: how many requests were refused.
    """

    __slots__ = (
        "_bound",
        "_bound_since",
        "_cycle",
        "_doubled_after",
        "_fitted",
        "_horizon",
        "_mark_at",
        "_marks",
        "_pace",
        "_pause",
        "_peak",
        "_refused_before",
        "_soons",
        "_start",
        "_stopped",
        "count",
        "rate",
    )

    def __init__(self) -> None:
        self.rate: float | None = None
        self._pace: Pace | None = None
        self._start = 0.0  # the rate after the last refusal
        self._peak = math.inf  # the rate that it climbs back to; infinity while there is nothing to measure
        self._pause = 0.0  # how long a pause takes, of late
        self._soons = 1  # how many refusals in a row came too soon; the first estimate is a guess
        self._bound = 0.0  # seconds since the last refusal for which the rate held somebody back
        self._bound_since: float | None = None
        self._cycle = (0.0, 0)  # when this cycle began, and how many were let in before it
        self._stopped: _Stop | None = None  # the refusal that ended it, until something is let in again
        self.count = 0
        self._refused_before = 0  # when the last cycle ended
        self._mark_at = float("-inf")
        self._marks: deque[tuple[float, int]] = deque(maxlen=int(HORIZONS[0]) + 1)  # moments, and how many were let in
        self._horizon = 0  # the longest window that is still possible
        self._fitted: list[int] = []  # how many were let in within each, until the refusal before
        self._doubled_after = DOUBLED_AFTER

    def ready_at(self, now: float) -> float:
        """The earliest moment of the next request."""
        if self._pace is None:
            return now
        rate = self._grown(now)
        if abs(rate - self._pace.per_second) > CHANGED * rate:
            self._pace.change(now, rate)
        return self._pace.ready_at(1)

    def take(self, now: float, *, number: int) -> None:
        """Request number `number` starts."""
        if now >= self._mark_at:
            if not self._marks:
                self._cycle = (now, number - self.count)
            self._mark_at = now + 1.0
            self._marks.append((now, number - self.count))
        if self._pace is not None:
            self._pace.take(now, 1)

    def held(self, now: float, *, by_rate: bool) -> None:
        """From now on the rate holds requests back, or does not."""
        if by_rate:
            if self._bound_since is None:
                self._bound_since = now
        elif self._bound_since is not None:
            self._bound += now - self._bound_since
            self._bound_since = None

    def refused_one(self) -> None:
        """A request was refused, be it the first of an episode or a late one."""
        self.count += 1

    def refused(self, now: float, *, number: int, until: float) -> bool:
        """The request of this number was refused, and nothing starts until a moment; True where that ends a cycle.

        Until something is let in again, further refusals belong to the same cycle and only make it longer.
        """
        stop = self._stopped
        ends = stop is None
        if stop is None:
            self._pause += (until - now - self._pause) / 4
        if stop is None or not stop.soon:
            stop = self._stopped = stop or self._stop(now, number)
            self._fall(stop, now, until)
        self._bound = 0.0
        self.rate = self._start
        if self._pace is None:
            self._pace = Pace(self.rate)
        self._pace.change(now, self.rate)
        self._pace.hold(max(until, now + min(REST / self.rate, LONGEST_REST)))
        return ends

    def forget(self) -> None:
        """The refusals did not come from a limit: there is no rate."""
        self.rate = self._pace = self._stopped = None
        self._start, self._peak, self._soons = 0.0, math.inf, 1
        self._marks.clear()
        self._mark_at = float("-inf")
        self._refused_before = self.count
        self._horizon, self._fitted = 0, []

    def resumed(self, moment: float, *, number: int) -> None:
        """A request was let in again: a new cycle began with it."""
        if self._stopped is not None:
            self._cycle, self._stopped = (moment, number - self.count), None

    def _stop(self, now: float, number: int) -> _Stop:
        binding = self._bound_since is not None
        self.held(now, by_rate=False)
        admitted = number - self.count + 1  # this one is among the refused
        cost = max(1, self.count - 1 - self._refused_before)
        soon = self._peak < math.inf and admitted - self._cycle[1] < ENOUGH * cost
        self._refused_before = self.count - 1
        self._soons = self._soons + 1 if soon else 0 if self._peak < math.inf else 1
        self._look_at_windows(now, admitted, soon=soon)
        return _Stop(moment=now, admitted=admitted, peak=self._peak, rate=self.rate if binding else None, soon=soon)

    def _look_at_windows(self, now: float, admitted: int, *, soon: bool) -> None:
        """A limit is the same at every refusal: a window into which more went since then is not the server's."""
        before, fitted = self._fitted, [admitted - self._count_at(now - each)[1] for each in HORIZONS]
        self._fitted = fitted
        if soon or not before:
            self._horizon = 0
            return
        while self._horizon < len(HORIZONS) - 1 and fitted[self._horizon + 1] >= ENOUGH:
            if fitted[self._horizon] <= REFUTED * before[self._horizon] + 1:
                break
            self._horizon += 1

    def _fall(self, stop: _Stop, now: float, until: float) -> None:
        """Sets the rate from which it starts again, and the peak that it climbs back to."""
        self._doubled_after = DOUBLED_AFTER
        admitted, seconds, possible = self._measured(stop, now, until)
        measured = max(admitted, 1) / seconds
        least = 1.0 / max(SLOWEST, 2.0 * (until - stop.moment))
        if stop.soon and self._soons > 1:
            self._start = max((self.rate or stop.peak) * SOON, least)
            self._peak = max(stop.peak * SOON_PEAK, self._start * BACK / CUT)
            return
        if stop.peak == math.inf and admitted < ENOUGH:
            self._start = max((self._start or 2 * SLOW_START) / 2, least)
            return
        if stop.soon:
            self._peak = stop.peak * BACK
        elif stop.rate is None or stop.peak == math.inf:
            self._peak = max(measured, least)
            self._start = self._peak * CUT / BACK
            met = (stop.rate or 0.0) * BACK
            self._peak *= min(
                max(seconds / possible, met / measured if met <= MOST_DOUBT * measured else 1.0), MOST_DOUBT
            )
            self._doubled_after = DOUBLED_IN_DOUBT
            return
        else:
            self._peak = min(max(stop.rate * BACK, min(measured, stop.rate)), measured * MINUTE_MORE)
        self._peak = max(self._peak, least)
        self._start = self._peak * CUT / BACK

    def _grown(self, now: float) -> float:
        bound = self._bound + (now - self._bound_since if self._bound_since is not None else 0.0)
        shoulder = self._peak * CUT / BACK
        if self._start < shoulder:
            # Doubling with every few requests is a hyperbola in time.
            steep = math.log(2.0) / self._doubled_after * self._start
            reached = (1.0 - self._start / shoulder) / steep
            if bound < reached:
                self.rate = self._start / max(1.0 - steep * bound, 1e-4)
                return self.rate
            bound -= reached
        # A cubic: steep up to the peak, flat around it, then steeper and steeper.
        away = bound / self._cycle_seconds() - 1.0
        self.rate = self._peak * (1.0 + (1.0 - CUT / BACK) * away**3)
        return self.rate

    def _measured(self, stop: _Stop, now: float, until: float) -> tuple[int, float, float]:
        """What was let in, and in how long with the pause, at most and at least.

        In the longest window that is possible, or in the cycle if that is gone.
        """
        since, before = self._cycle
        horizon = HORIZONS[self._horizon]
        if until - stop.moment < horizon / 2:
            since, before = self._count_at(until - horizon)
        # A wait is told in whole seconds, rounded up; after one of our own the quota was back at some time within it.
        least = max(now, until - 1.0) - since if until > now else until - since
        return stop.admitted - before, max(until - since, 1e-3), max(least, 1e-3)

    def _count_at(self, moment: float) -> tuple[float, int]:
        """How many had been let in by this moment, or by the first that is known."""
        since, before = self._marks[0]
        for mark, count in self._marks:
            if mark > moment:
                break
            since, before = moment, count
        return since, before

    def _cycle_seconds(self) -> float:
        by_pauses = min(CYCLE_PAUSES * self._pause, LONGEST_CYCLE)
        return max(SHORTEST_CYCLE, by_pauses, CYCLE_REQUESTS / self._peak)
