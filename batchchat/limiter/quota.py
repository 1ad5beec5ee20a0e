"""A limit that was told: so many requests or tokens a minute or a day.

A minute's limit is kept twice: evenly, by a pace, and exactly, by a window over our own starts. Both reckon with a
minute that is a little longer than the clock's, since a request that sets out earlier may arrive later: so a server
that counts by token bucket, by fixed or by sliding minutes has no reason to refuse. A day's limit is kept by its window
alone: whoever may ask 200 times a day wants the 200 answers now.
"""

from __future__ import annotations

from typing import Literal

from batchchat.limiter.pace import Pace
from batchchat.limiter.window import Window

MINUTE = 60.0
DAY = 86400.0
JITTER = 0.4
"""Seconds by which the way to the server may differ between two requests (a new TLS connection takes this long)."""

Unit = Literal["requests", "tokens"]


class Quota:
    """At most `limit` of a unit in any `span` seconds. Every amount is a count of that unit."""

    __slots__ = ("_holdback", "_pace", "_window", "limit", "span", "unit")

    def __init__(self, unit: Unit, limit: float, span: float, *, now: float) -> None:
        self.unit: Unit = unit
        self.limit = limit
        self.span = span
        bins = 600 if span <= MINUTE else 1440
        self._window = Window(limit, span + JITTER, now=now, bins=bins)
        # A bin of the window leaves up to one bin late: the pace reckons with that, so that it is the one that binds.
        self._pace = Pace(limit / (span + JITTER + span / bins)) if span <= MINUTE else None
        self._holdback = 0.0

    def hold_back(self, amount: float) -> None:
        """Keep this much free for what is in flight and may turn out larger; what the longer minute spares counts."""
        spared = self.limit * JITTER / self.span
        self._holdback = min(max(0.0, amount - spared), self.limit / 2)

    def ready_at(self, now: float, amount: float) -> float:
        """The earliest moment at which this amount may start."""
        fits = self._window.ready_at(now, amount + self._holdback)
        if self._pace is None:
            return fits
        even = self._pace.ready_at(amount)
        return max(even, fits)

    def take(self, now: float, amount: float) -> None:
        """The amount starts now."""
        self._window.take(now, amount)
        if self._pace is not None:
            self._pace.take(now, amount)

    def settle(self, now: float, started: float, difference: float) -> None:
        """What started at `started` turned out larger or smaller by the difference."""
        self._window.settle(now, started, difference)
        if self._pace is not None:
            self._pace.settle(difference)

    def hold(self, now: float) -> None:
        """What was saved up is lost: after a pause it goes on evenly, not with a burst."""
        if self._pace is not None:
            self._pace.hold(now)

    def calm(self) -> None:
        """It is kept over shorter stretches than a minute: no burst makes up for a late start any more."""
        if self._pace is not None:
            self._pace.calm()

    @property
    def used(self) -> float:
        """What was started within the span and has not left it."""
        return self._window.total

    def duration(self, amount: float) -> float:
        """Seconds that this amount takes at least."""
        if self._pace is not None:
            return amount / self._pace.per_second
        return max(0.0, amount - self.limit) / self.limit * self.span
