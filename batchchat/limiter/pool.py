"""Slots: how many requests may be in flight.

At the start the slots open one after the other, some thousands a second: thousands of connections in one instant are a
flood that servers refuse, and a slower start would be felt in a job of seconds.
"""

from __future__ import annotations

from batchchat import defaults

AT_ONCE = 16
OPENED_PER_SECOND = 2000.0


class Pool:
    """Counts what is in flight against `size`."""

    __slots__ = ("_opened_at", "_opening", "ceiling", "in_flight", "size")

    def __init__(self, concurrency: int | None, *, now: float) -> None:
        self.ceiling = concurrency if concurrency is not None else defaults.MAX_CONCURRENCY
        self.size = concurrency if concurrency is not None else defaults.CONCURRENCY
        self.in_flight = 0
        self._opening = self.size > AT_ONCE
        self._opened_at: float | None = None
        del now

    def ready_at(self, now: float) -> float:
        """Now where a slot is free, a later moment where the next one opens then, infinity where one must come back."""
        if self.in_flight >= self.size:
            return float("inf")
        if not self._opening:
            return now
        if self._opened_at is None:
            self._opened_at = now
        rate = max(OPENED_PER_SECOND, float(self.size))
        opened = AT_ONCE + (now - self._opened_at) * rate
        if opened >= self.size:
            self._opening = False
            return now
        if self.in_flight < int(opened):
            return now
        return self._opened_at + (self.in_flight + 1 - AT_ONCE) / rate + 1e-6

    def take(self) -> None:
        """A request starts."""
        self.in_flight += 1

    def give_back(self) -> None:
        """A request has ended."""
        self.in_flight -= 1
