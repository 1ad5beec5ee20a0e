"""Slots: how many requests may be in flight, and who says how many that is.

At the start the slots open one after the other, some thousands a second: thousands of connections in one instant are a
flood that servers refuse, and a slower start would be felt in a job of seconds. When the pool has grown, the new slots
open over the time that half an answer takes: all at once they would be a burst in the face of every limit.
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

    __slots__ = ("_from", "_full", "_since", "_slope", "answers", "climb", "in_flight", "on_change", "size")

    def __init__(self, concurrency: int | None) -> None:
        ceiling = concurrency if concurrency is not None else defaults.MAX_CONCURRENCY
        self.size = concurrency if concurrency is not None else defaults.CONCURRENCY
        self.climb = Climb(self.size, ceiling, learn=concurrency is None)
        self.in_flight = 0
        self.on_change: Callable[[], None] | None = None
        # While slots open: how many were open at first, since when more do, and how many more a second.
        self._from = AT_ONCE
        self._since: float | None = None
        self._slope = max(OPENED_PER_SECOND, float(self.size)) if self.size > AT_ONCE else 0.0
        self.answers = 0
        self._full = 0

    def ready_at(self, now: float) -> float:
        """Now where a slot is free, a later moment where the next one opens then, infinity where one must come back."""
        if self.in_flight >= self.size:
            return float("inf")
        if not self._slope:
            return now
        if self._since is None:
            self._since = now
        opened = self._from + (now - self._since) * self._slope
        if opened >= self.size:
            self._slope = 0.0
            return now
        if self.in_flight < int(opened):
            return now
        # A hair later, so that rounding never asks twice at the same moment.
        return self._since + (self.in_flight + 1 - self._from) / self._slope + 1e-6

    def take(self) -> None:
        """A request starts."""
        self.in_flight += 1

    def give_back(self) -> None:
        """A request has ended, however."""
        self.in_flight -= 1

    def answered(self, now: float, *, started: float) -> None:
        """A request has ended with a whole answer."""
        self.in_flight -= 1
        self.answers += 1
        if self.in_flight + 1 >= self.size:
            self._full += 1
        climb = self.climb
        if not climb.idle and climb.answered(now, started=started, in_flight=self.in_flight):
            self._resize(now)

    def refused(self, now: float, *, in_flight: int) -> None:
        """A refusal met so many in flight, begins an episode, and nothing but the slots held requests back."""
        if self.climb.refused(now, in_flight=in_flight):
            self._resize(now)

    def failed(self, now: float) -> None:
        """The server failed: nothing grows on that."""
        if not self.climb.idle:
            self.climb.failed(now)

    @property
    def learns(self) -> bool:
        """Whether nobody said how many slots there are."""
        return self.climb.learns

    @property
    def full_share(self) -> float:
        """The part of the answers that came while every slot was taken."""
        return self._full / self.answers if self.answers else 0.0

    def _resize(self, now: float) -> None:
        grown = self.climb.size - self.size
        if grown > 1:
            self._from, self._since = self.size, now
            self._slope = grown / max(self.climb.settling, 1e-3)
        self.size = self.climb.size
        if self.on_change is not None:
            self.on_change()
