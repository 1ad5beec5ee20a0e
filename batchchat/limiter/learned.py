"""A rate that nobody told: learned from refusals, and tried upwards again.

Between two refusals lies a cycle. How much was let in during a cycle, over its whole length with the pause at its end,
is the first estimate. From then on the rate falls a little at each refusal, climbs back to where it was refused,
lingers there, and then feels its way beyond, slowly at first: near a limit it makes few refusals, and a limit that has
been lifted is found within minutes. Time in which the rate held nobody back does not count: a limit that is not used
cannot be learned.

A cycle is as long as about sixty requests, at least half a minute: so at any rate refusals stay about two percent.

Where hardly anything was let in before the refusal there is nothing to measure (the quota may have been spent before
this job began). Then the rate starts low and doubles every second in which it holds somebody back.
"""

from __future__ import annotations

from batchchat.limiter.pace import Pace

CUT = 0.9
"""After a refusal: this part of the rate at which it came, rising to BACK of it in one cycle."""
BACK = 0.97
SHORT_CUT = 0.7
"""After a refusal that came too soon after the last one: the estimate was wrong, or less is left than before."""
CYCLE_SECONDS = 30.0
CYCLE_REQUESTS = 60.0
ENOUGH = 10
"""Requests of a cycle from which a rate can be measured."""
SLOW_START = 2.0
DOUBLED_EVERY = 1.0
LEAST_RATE = 1.0 / 600.0
CHANGED = 0.002
"""The pace is changed when the rate has grown by this part."""


class Learned:
    """Requests per second that the endpoint takes, as far as refusals have shown.

    Attributes:
        rate: requests per second now; None while nothing was refused.
    """

    __slots__ = (
        "_bound",
        "_bound_since",
        "_cycle_first",
        "_cycle_started",
        "_pace",
        "_peak",
        "_slow",
        "_stopped",
        "rate",
    )

    def __init__(self) -> None:
        self.rate: float | None = None
        self._peak = 0.0
        self._slow: float | None = None  # the rate from which it doubles, while there is nothing to measure
        self._pace: Pace | None = None
        self._bound = 0.0  # seconds since the last refusal for which the rate held somebody back
        self._bound_since: float | None = None
        self._cycle_started: float | None = None
        self._cycle_first = 0  # number of the first request of this cycle
        self._stopped: tuple[int, float, float | None] | None = None  # while refused: number, moment, rate before

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
        if self._pace is not None:
            self._pace.take(now, 1)
        elif self._cycle_started is None:
            self._cycle_started, self._cycle_first = now, number

    def held(self, now: float, *, by_rate: bool) -> None:
        """From now on the rate holds requests back, or does not."""
        if by_rate:
            if self._bound_since is None:
                self._bound_since = now
        elif self._bound_since is not None:
            self._bound += now - self._bound_since
            self._bound_since = None

    def refused(self, now: float, *, number: int, until: float) -> None:
        """The request of this number was refused, and nothing starts until a moment.

        Until something is let in again, further refusals belong to the same cycle and only make it longer.
        """
        if self._stopped is None:
            binding = self._bound_since is not None
            self.held(now, by_rate=False)
            self._stopped = (number, now, self.rate if binding else None)
        stopped_at, moment, before = self._stopped
        started = self._cycle_started if self._cycle_started is not None else now
        admitted = stopped_at - self._cycle_first
        measured = max(admitted, 1) / max(until - started, 1e-3)
        if admitted < ENOUGH and (self.rate is None or self._slow is not None):
            self._slow = SLOW_START if self._slow is None else max(self._slow / 2, LEAST_RATE)
            self.rate = self._slow
        else:
            short = self.rate is not None and self._slow is None and moment - started < self._cycle_seconds() / 4
            self._slow = None
            self._peak = self._next_peak(measured, before, short=short)
            self.rate = max(self._peak * CUT / BACK, LEAST_RATE)
        self._bound = 0.0
        if self._pace is None:
            self._pace = Pace(self.rate)
        self._pace.change(now, self.rate)
        self._pace.hold(until)

    def resumed(self, started: float, *, number: int) -> None:
        """A request was let in again: a new cycle began with it."""
        if self._stopped is not None:
            self._cycle_started, self._cycle_first, self._stopped = started, number, None

    def _grown(self, now: float) -> float:
        bound = self._bound + (now - self._bound_since if self._bound_since is not None else 0.0)
        if self._slow is not None:
            self.rate = self._slow * 2.0 ** min(bound / DOUBLED_EVERY, 20.0)
            return self.rate
        # A cubic: steep up to the peak, flat around it, then steeper and steeper.
        away = bound / self._cycle_seconds() - 1.0
        self.rate = max(self._peak * (1.0 + (1.0 - CUT / BACK) * away**3), LEAST_RATE)
        return self.rate

    def _next_peak(self, measured: float, before: float | None, *, short: bool) -> float:
        if short:
            return max(min(self._peak, measured) * SHORT_CUT, LEAST_RATE)
        if before is None:
            return max(measured, LEAST_RATE)
        return max(before * BACK, min(measured, before))

    def _cycle_seconds(self) -> float:
        return max(CYCLE_SECONDS, CYCLE_REQUESTS / max(self._peak, LEAST_RATE))
