"""How many requests in flight are enough: found by looking at what more of them bring.

The size of the pool is held for a round, and the answers of the round are counted over time. Then the size doubles. As
long as that brings answers faster, it goes on; where it only makes them wait longer (a server that queues instead of
refusing), it goes back to what the throughput needed at the latency before: Little's law. If the very first step
brings nothing, the knee may lie below: then smaller sizes are tried until one costs throughput. Now and then a step up
or down is tried again, since servers get and lose company, and the first look was a short one.

A refusal that met a full pool cuts it once; from the second of them on it creeps back by a twentieth a round. A pool
that is not used to four fifths is left alone: it holds nobody back. Failures on the server's side stop a round, so
nothing grows on them.

Throughput is counted from answers, not from their latencies: those that come first are the fast ones, and long prompts
are no queue.
"""

from __future__ import annotations

from typing import Literal

USED = 0.8
CUT = 0.8
CREEP = 0.05
CREPT = 1.5
"""When it has crept up by this factor, it looks whether that has brought anything."""
FACTOR = 2.0
WORTH = 0.4
"""Part of a step's size that must come back as throughput for the next step to be taken without a second look."""
NOT_WORTH = 0.2
CLEARLY_LESS = 0.85
ENOUGH = 0.95
"""A smaller size that keeps this part of the throughput is as good."""
ROOM = 1.1
FEW, FEW_ROUNDS = 32, 1
MANY, MANY_ROUNDS = 192, 12
"""Answers from which a throughput is taken: for a first look, and where it must be sure; and the same in rounds."""
RESTS, MOST_RESTS = 2, 16
"""So many long rounds at rest, then a step up or down is tried; twice as many after each that was not worth it."""
LOOK = 1.25
EASE = 0.8

Mode = Literal["climb", "sink", "rest", "look", "ease", "creep"]


class Climb:
    """Chooses the size of the pool from the answers that come back.

    Attributes:
        size: how many may be in flight.
        saturated: whether more in flight were found to bring nothing.
        settling: half the time that an answer takes: over so long new slots are opened.
    """

    __slots__ = (
        "_answers",
        "_base",
        "_begun",
        "_ceiling",
        "_cut",
        "_first",
        "_full",
        "_latencies",
        "_learn",
        "_measured_from",
        "_mode",
        "_patience",
        "_rests",
        "_up",
        "saturated",
        "settling",
        "size",
    )

    def __init__(self, size: int, ceiling: int, *, learn: bool) -> None:
        self.size = size
        self.saturated = False
        self.settling = 0.0
        self._ceiling = ceiling
        self._learn = learn
        self._mode: Mode = "climb"
        self._base: tuple[int, float] | None = None  # a size and its throughput that the next is compared with
        self._first = True  # no step has been worth it yet
        self._rests = 0
        self._patience = RESTS
        self._cut = False  # a refusal has cut it
        self._up = True  # the last step that was tried from rest
        # The round: when it began, since when it counts, answers, those that found the pool full, their latencies.
        self._begun = float("-inf")
        self._measured_from: float | None = None
        self._answers = 0
        self._full = 0
        self._latencies = 0.0

    @property
    def learns(self) -> bool:
        """Whether the size is to be found."""
        return self._learn

    @property
    def idle(self) -> bool:
        """True where answers teach nothing: the size was given, and nothing has cut it."""
        return not self._learn and self.size == self._ceiling

    def answered(self, now: float, *, started: float, in_flight: int) -> bool:
        """A request was answered, with so many in flight beside it; True where that changes the size."""
        if started < self._begun:
            return False
        self._latencies += now - started
        self._answers += 1
        if in_flight + 1 >= USED * self.size:
            self._full += 1
        if self._measured_from is None:
            # What started at the change comes back in a heap: count from its middle to the same place of the next.
            if self._answers >= max(1, self.size // 4):
                self._measured_from, self._answers, self._full, self._latencies = now, 0, 0, 0.0
            return False
        if self._answers < max(FEW_ROUNDS * self.size, FEW):
            return False
        seconds = now - self._measured_from
        if seconds <= 0 or seconds < self._latencies / self._answers:
            return False
        if self._full < self._answers / 2:
            self._begin(now)
            return False
        before = self.size
        self.settling = self._latencies / self._answers / 2
        if self._step(self._answers / seconds):
            self._begin(now + self.settling if self.size > before else now)
        return self.size != before

    def refused(self, now: float, *, in_flight: int) -> bool:
        """A refusal met a pool with so many in flight: cut, where the pool was what held requests back."""
        if in_flight < USED * self.size:
            return False
        before = self.size
        self.size = max(1, min(int(CUT * in_flight), self.size))
        # The first one may have met the burst of the beginning, which a learned rate prevents from now on.
        if self._cut or self._mode != "climb":
            self._mode = "creep"
        self._cut = True
        self._base = None
        self._begin(now)
        return self.size != before

    def failed(self, now: float) -> None:
        """The server failed: what is being measured is worth nothing."""
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._begun = now
        self._measured_from = None
        self._answers = 0
        self._full = 0
        self._latencies = 0.0

    def _step(self, throughput: float) -> bool:
        """The round is over, with so many answers a second; False where it must go on to be sure."""
        match self._mode:
            case "climb" | "look":
                return self._climb(throughput)
            case "sink":
                return self._sink(throughput)
            case "rest":
                return self._rest(throughput)
            case "ease":
                return self._ease(throughput)
            case "creep":
                self._creep(throughput)
                return True

    def _climb(self, throughput: float) -> bool:
        if self._base is None:
            self._accept(throughput)
            self._move(int(self.size * FACTOR))
            return True
        size, before = self._base
        worth = (throughput / before - 1.0) / (self.size / size - 1.0)
        look = self._mode == "look"
        unsure = (-WORTH if look else NOT_WORTH / 2) < worth < WORTH
        if unsure and self._answers < self._many:
            return False
        good = worth >= NOT_WORTH
        if look:
            self._tried(good=good)
        if good:
            self._first = self.saturated = False
            self._mode = "climb"
            self._accept(throughput)
            self._move(int(self.size * FACTOR))
            return True
        self.saturated = True
        if look:
            self._settle(size)
        elif self._first:
            self._mode = "sink"
            self._base = (size, max(throughput, before))
            self._move(max(1, size // 2))
        else:
            self._settle(round(size * max(throughput / before, 1.0) * ROOM))
        return True

    def _sink(self, throughput: float) -> bool:
        assert self._base is not None
        size, best = self._base
        if throughput >= ENOUGH * best and self.size > 1:
            self._base = (self.size, best)
            self._move(self.size // 2)
        else:
            self._settle(size)
        return True

    def _creep(self, throughput: float) -> None:
        if self._base is None:
            self._accept(throughput)
        size, before = self._base or (self.size, throughput)
        if self._learn and self.size >= CREPT * size:
            if (throughput / before - 1.0) / (self.size / size - 1.0) < NOT_WORTH:
                self.saturated = True
                self._settle(round(size * ROOM))
                return
            self._accept(throughput)
        self._move(self.size + max(1, int(CREEP * self.size)))

    def _rest(self, throughput: float) -> bool:
        if self._answers < self._many:
            return False
        self._rests += 1
        if self._rests >= self._patience:
            self._rests, self._up = 0, not self._up
            self._accept(throughput)
            if not self._up and self.saturated and self.size > 1:
                self._mode = "ease"
                self._move(int(self.size * EASE))
            elif self.size < self._ceiling:
                self._mode = "look"
                self._move(max(self.size + 1, int(self.size * LOOK)))
        return True

    def _ease(self, throughput: float) -> bool:
        assert self._base is not None
        size, before = self._base
        if self._answers < self._many and throughput >= CLEARLY_LESS * before:
            return False
        good = throughput >= ENOUGH * before
        self._tried(good=good)
        self._settle(self.size if good else size)
        return True

    def _tried(self, *, good: bool) -> None:
        """A step from rest was worth it, or not: then the next one waits longer."""
        self._patience = RESTS if good else min(2 * self._patience, MOST_RESTS)

    @property
    def _many(self) -> int:
        return max(MANY_ROUNDS * self.size, MANY)

    def _accept(self, throughput: float) -> None:
        self._base = (self.size, throughput)

    def _settle(self, size: int) -> None:
        self._mode = "rest"
        self._move(size)

    def _move(self, size: int) -> None:
        self.size = max(1, min(size, self._ceiling))
        if self.size == self._ceiling and self._mode in {"climb", "look", "creep"}:
            self._mode = "rest" if self._learn else "creep"
