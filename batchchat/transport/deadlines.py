"""Deadlines of requests: one timer for all of them.

All requests of a transport have the same timeout, so the order in which they began is the order in which they end,
and one timer on the oldest is enough. aiohttp's own total timeout sets and cancels a timer for each request, and
enters three contexts: 5 of a request's 70 microseconds (docs/wire.md).

A deadline that passes cancels its task, as `asyncio.timeout` does, and says afterwards that it was its doing.
"""

from __future__ import annotations

import asyncio


class Deadline:
    """One request in flight.

    Attributes:
        fresh: whether a connection was opened for it: what breaks on one that was kept was closed before it came.
        answered: whether the head of an answer has come.
        hops: redirects that were followed for it.
    """

    __slots__ = ("_asked_before", "_is_cause", "_task", "answered", "at", "expired", "fresh", "hops")

    def __init__(self, task: asyncio.Task[object], at: float) -> None:
        self._task = task
        self._asked_before = task.cancelling()
        self._is_cause: bool | None = None
        self.at = at
        self.expired = False
        self.fresh = False
        self.answered = False
        self.hops = 0

    def expire(self) -> None:
        """Stop the request."""
        self.expired = True
        self._task.cancel("the request's time is over")

    def is_cause(self) -> bool:
        """Whether the cancellation that arrived is this deadline's, and nobody else asked for one."""
        if self._is_cause is None:  # asked more than once, it is taken back once
            self._is_cause = self.expired and self._task.uncancel() <= self._asked_before
        return self._is_cause


class Deadlines:
    """The deadlines of all requests of one transport, `seconds` after each began or went on."""

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._seconds = seconds
        self._loop = loop
        self._running: dict[Deadline, None] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> Deadline:
        """Begin one for the current task."""
        task = asyncio.current_task()
        assert task is not None
        deadline = Deadline(task, self._loop.time() + self._seconds)
        self._running[deadline] = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline.at, self._look)
        return deadline

    def renew(self, deadline: Deadline) -> None:
        """The request goes on: it has the whole time again."""
        if self._running.pop(deadline, self) is None:
            deadline.at = self._loop.time() + self._seconds
            self._running[deadline] = None

    def end(self, deadline: Deadline) -> None:
        """The request is over."""
        self._running.pop(deadline, None)

    def close(self) -> None:
        """No timer is left behind."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End what is due, and look again when the next is."""
        self._timer = None
        now = self._loop.time()
        while self._running:
            oldest = next(iter(self._running))
            if oldest.at > now:
                self._timer = self._loop.call_at(oldest.at, self._look)
                return
            del self._running[oldest]
            oldest.expire()
