"""What we ourselves started within the last minute (or day): an exact sliding window.

Smooth pacing alone lets a sliding window of the server see one burst too much; this window does not. It is kept in
bins, so that its memory is that of 600 numbers at any rate; an amount leaves it up to one bin late, never early.
"""

from __future__ import annotations

import math


class Window:
    """Amounts of the last `span` seconds, of which at most `limit` may be started."""

    __slots__ = ("_bins", "_count", "_newest", "_origin", "_width", "limit", "span", "total")

    def __init__(self, limit: float, span: float, *, now: float, bins: int = 600) -> None:
        self.limit = limit
        self.span = span
        self.total = 0.0
        self._origin = now
        self._width = span / bins
        self._count = bins + 1
        self._bins = [0.0] * self._count
        self._newest = 0

    def ready_at(self, now: float, amount: float) -> float:
        """The earliest moment at which the amount fits; one that never fits is ready when the window is empty."""
        self._advance(now)
        excess = self.total + amount - self.limit
        if excess <= 0 or self.total <= 0:
            return now
        last = self._newest
        for index in range(max(0, self._newest - self._count + 1), self._newest + 1):
            leaving = self._bins[index % self._count]
            if leaving:
                last = index
                excess -= leaving
                if excess <= 0:
                    break
        return self._leaves_at(last)

    def take(self, now: float, amount: float) -> None:
        """The amount starts now."""
        self._advance(now)
        self._bins[self._newest % self._count] += amount
        self.total += amount

    def settle(self, now: float, started: float, difference: float) -> None:
        """An amount that started at `started` turned out larger or smaller; one that has left changes nothing."""
        self._advance(now)
        index = self._index(started)
        if index >= 0 and self._newest - index < self._count:
            self._bins[index % self._count] += difference
            self.total += difference

    def _index(self, moment: float) -> int:
        return math.floor((moment - self._origin) / self._width)

    def _leaves_at(self, index: int) -> float:
        # A hair later, so that rounding never asks twice at the same moment.
        return self._origin + (index + self._count) * self._width + 1e-6

    def _advance(self, now: float) -> None:
        index = self._index(now)
        if index <= self._newest:
            return
        for passed in range(self._newest + 1, min(index, self._newest + self._count) + 1):
            self.total -= self._bins[passed % self._count]
            self._bins[passed % self._count] = 0.0
        self._newest = index
        if self.total < 1 and not any(self._bins):
            self.total = 0.0  # nothing left: shed what rounding has added up
