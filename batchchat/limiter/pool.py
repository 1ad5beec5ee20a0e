"""Slots: how many requests may be in flight, and who says how many that is.

At the start the slots open one after the other, some thousands a second: thousands of connections in one instant are a
flood that servers refuse, and a slower start would be felt in a job of seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.limiter.climb import Climb

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 16
OPENED_PER_SECOND = 2000.0


class Pool:
    """Counts what is in flight against `size`, which was given as `concurrency` or is learned."""

    __slots__ = ("_answers", "_full", "_opened_at", "_opening", "climb", "in_flight", "on_change", "size")

    def __init__(self, concurrency: int | None) -> None:
        ceiling = concurrency if concurrency is not None else defaults.MAX_CONCURRENCY
        self.size = concurrency if concurrency is not None else defaults.CONCURRENCY
        self.climb = Climb(self.size, ceiling, learn=concurrency is None)
        self.in_flight = 0
        self.on_change: Callable[[], None] | None = None
        self._opening = self.size > AT_ONCE
        self._opened_at: float | None = None
        self._answers = 0
        self._full = 0

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
        """A request has ended, however."""
        self.in_flight -= 1

    def answered(self, now: float, *, started: float) -> None:
        """A request has ended with a whole answer."""
        self.in_flight -= 1
        self._answers += 1
        if self.in_flight + 1 >= self.size:
            self._full += 1
        climb = self.climb
        if not climb.idle and climb.answered(now, started=started, in_flight=self.in_flight):
            self._resize()

    def refused(self, now: float) -> None:
        """A refusal begins an episode, and nothing but the slots held requests back."""
        if self.climb.refused(now, in_flight=self.in_flight + 1):
            self._resize()

    def failed(self, now: float) -> None:
        """The server failed: nothing grows on that."""
        if not self.climb.idle:
            self.climb.failed(now)

    @property
    def full_share(self) -> float:
        """The part of the answers that came while every slot was taken."""
        return self._full / self._answers if self._answers else 0.0

    def _resize(self) -> None:
        self.size = self.climb.size
        if self.on_change is not None:
            self.on_change()
