"""The breaker: an endpoint that is dead, told from rows that are sick.

Evidence against the endpoint is a row's first attempt that fails, or any connection that cannot be had, with no answer
of any kind between. A retry that fails again says more about its row: so a last row that gets 500 on every attempt does
not stop a job. There must be as many failures as requests in flight: what is still being worked on may yet answer.

When it opens, nothing starts but one probe at a time, at growing intervals. Any answer closes it, be it a refusal.
After `patience` seconds without one the job is to stop.
"""

from __future__ import annotations

from batchchat import errors

LOST_CONNECTIONS = 3
FAILED_ROWS = 5
FIRST_PROBE = 0.25
LONGEST_PROBE = 5.0
"""Seconds between two probes at most: an endpoint that is back is not kept waiting, and one request tells it."""


class Breaker:
    """Open: the endpoint is held for dead. The clock is the caller's."""

    __slots__ = ("_failures", "_interval", "_next_probe", "_patience", "_probing", "_since", "last_error", "open")

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.open = False
        self.last_error: errors.Retryable | None = None
        self._failures = 0
        self._since = 0.0
        self._interval = FIRST_PROBE
        self._next_probe = 0.0
        self._probing = False

    @property
    def calm(self) -> bool:
        """True where an answer changes nothing."""
        return not self._failures

    @property
    def gives_up_at(self) -> float:
        """The moment at which patience ends; infinity while it is closed."""
        return self._since + self._patience if self.open else float("inf")

    def ready_at(self) -> float:
        """While it is open: the moment of the next probe; infinity while one is under way."""
        return float("inf") if self._probing else self._next_probe

    def started(self) -> bool:
        """A request starts; True where it is the probe."""
        self._probing = self.open
        return self.open

    def answered(self, started: float) -> bool:
        """The endpoint answered a request that started then; True where that closes the breaker.

        What set out before the first failure may have been answered before it, and be late: it tells nothing new.
        """
        if not self.open and started < self._since:
            return False
        was_open, self.open = self.open, False
        self._failures = 0
        self._probing = False
        self._interval = FIRST_PROBE
        return was_open

    def failed(self, now: float, error: errors.Retryable, *, first: bool, probe: bool, in_flight: int) -> bool:
        """An attempt failed; True where that opens the breaker.

        Args:
            now: the moment.
            error: what went wrong.
            first: whether it was its row's first attempt.
            probe: whether it was the probe.
            in_flight: requests that are still under way.
        """
        lost = isinstance(error, errors.ConnectionLost)
        if self.open:
            self.last_error = error
            if probe:
                self.dropped(now)
            return False
        if isinstance(error, errors.UnreadableReply) or not (first or lost):
            return False
        self.last_error = error
        if not self._failures:
            self._since = now
        self._failures += 1
        if self._failures < max(in_flight, LOST_CONNECTIONS if lost else FAILED_ROWS):
            return False
        self.open = True
        self._next_probe = now + self._interval
        return True

    def dropped(self, now: float) -> None:
        """The probe ended without an answer: another one, later."""
        self._probing = False
        self._interval = min(self._interval * 2, LONGEST_PROBE)
        self._next_probe = now + self._interval
