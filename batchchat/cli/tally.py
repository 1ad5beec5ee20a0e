"""What is counted while a job runs, and the sentence that tells it.

The tally only counts: it is told of every row, and must cost next to nothing. Who draws it (`progress`) does so from
another thread; the numbers that it reads may be a row apart from each other, which nobody sees.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.cli import amount
from batchchat.events import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchchat.errors import RequestError
    from batchchat.events import Waits
    from batchchat.records import Outcome

_WINDOW = 20.0
_MOSTLY = 0.5


class Tally(Observer):
    """Counts what happens."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.total: int | None = None
        self.reused = self.settled_rows = self.failed = self.retries = self.in_flight = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.notes: deque[str] = deque()
        self.answers: deque[Mapping[str, Any]] = deque()
        self.shown: set[int] = set()
        self._why_waiting = ""
        self._waiting_until = 0.0
        self._why_paused = ""
        self._in_flight: Callable[[], int] | None = None
        self._bound: Callable[[], Waits | None] | None = None
        self._began = 0.0
        self._publishing: tuple[int, int | None] | None = None

    def planned(self, *, rows: int | None, reused: int, pending: int | None) -> None:
        """What there is to do."""
        self.reused = reused
        self.total = rows if pending is None else reused + pending

    def sending(self, *, in_flight: Callable[[], int], bound: Callable[[], Waits | None]) -> None:
        """Who knows what is in flight, and what rows wait for."""
        self._in_flight, self._bound = in_flight, bound
        self._began = self._clock()

    @property
    def flying(self) -> int:
        """Requests that are under way; rows that only wait for their turn, or sleep before a retry, are not."""
        return self.in_flight if self._in_flight is None else self._in_flight()

    def bound(self) -> str:
        """What most of the time was waited for, a phrase; empty while that cannot be told, or is told otherwise."""
        if self._bound is None or self._clock() - self._began < defaults.BOUND_AFTER_SECONDS:
            return ""
        bound = self._bound()
        return f"bound by {bound.short}" if bound is not None and bound.short and bound.share >= _MOSTLY else ""

    def started(self) -> None:
        """One more in flight."""
        self.in_flight += 1

    def settled(self, outcome: Outcome) -> None:
        """One row is done; one that was never sent was never in flight."""
        self.settled_rows += 1
        if outcome.attempts.sent and self.in_flight:
            self.in_flight -= 1
        if outcome.completion is not None:
            usage = outcome.completion.usage
            self.prompt_tokens += usage.prompt_tokens or 0
            self.completion_tokens += usage.completion_tokens or 0
        if outcome.error is not None:
            self.failed += 1

    def retrying(self, error: RequestError, *, attempt: int, delay: float) -> None:
        """One more retry."""
        del error, attempt, delay
        self.retries += 1

    def throttled(self, error: RequestError, *, delay: float) -> None:
        """All wait."""
        self._why_waiting = str(error)
        self._waiting_until = self._clock() + delay

    def paused(self, reason: str) -> None:
        """The endpoint is away, or back."""
        self._why_paused = reason

    def publishing(self, done: int, total: int | None) -> None:
        """The output is being written."""
        self._publishing = (done, total)

    def note(self, message: str) -> None:
        """Kept until it is drawn."""
        self.notes.append(message)

    def answered(self, answer: Mapping[str, Any]) -> None:
        """Kept until it is drawn."""
        self.answers.append(answer)

    @property
    def done(self) -> int:
        """Rows that have their outcome, of this run and of earlier ones."""
        return self.reused + self.settled_rows

    def state(self) -> str:
        """What else than the rows is to be said now; mostly nothing."""
        if self._publishing is not None:
            done, total = self._publishing
            return f"writing the output: {amount.of(done, total)} rows"
        if self._why_paused:
            return f"paused: {self._why_paused}"
        left = self._waiting_until - self._clock()
        return f"waiting {amount.duration(left)}: {self._why_waiting}" if left > 0 else ""


class Pace:
    """Rows per second over the last twenty seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, settled: int) -> float:
        """The rate, with this moment as the newest."""
        seen = self._seen
        if not seen or now - seen[-1][0] >= _WINDOW / 40:
            seen.append((now, settled))
        while len(seen) > 2 and now - seen[1][0] >= _WINDOW:
            seen.popleft()
        then, before = seen[0]
        return (settled - before) / (now - then) if now > then else 0.0


def sentence(tally: Tally, rate: float) -> tuple[str, str]:
    """How far the job is, and what is going on."""
    parts = [f"{amount.of(tally.done, tally.total)} rows"]
    if rate:
        parts.append(f"{rate:,.1f} rows/s" if rate < 10 else f"{rate:,.0f} rows/s")
    if rate and tally.total is not None and tally.total > tally.done:
        parts.append(f"{amount.duration((tally.total - tally.done) / rate)} left")
    # What is to be said now stands first: a narrow terminal cuts the end.
    about = [tally.state()] if tally.state() else []
    about += [f"{tally.flying:,} in flight"] if tally.flying else []
    about += [amount.counted(tally.retries, "retry", "retries")] if tally.retries else []
    about += [f"{tally.failed:,} failed"] if tally.failed else []
    tokens = tally.prompt_tokens + tally.completion_tokens
    about += [f"{tokens:,} tokens"] if tokens else []
    about += [tally.bound()] if tally.bound() else []
    return ", ".join(parts), ", ".join(about)
