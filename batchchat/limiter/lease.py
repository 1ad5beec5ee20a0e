"""Permission for one request, and the four ways in which it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchchat import errors
    from batchchat.limiter.admission import Admission
    from batchchat.limiter.shown import Marks
    from batchchat.records import RateLimits


class Lease:
    """A slot, a request and its tokens. Exactly one of the four ends counts; what comes after it changes nothing.

    Attributes:
        tokens: how many were reserved.
        started: the moment of the start, by the limiter's clock.
        front: whether it was asked for as a retry.
        number: how many requests had started before it.
        epoch: the stretch between two pauses in which it started.
        probe: whether it tries an endpoint that is held for dead.
        completion: the part of `tokens` that was reserved for the completion.
        marks: where our own counts stood at the start, for reading its headers; None where none were seen yet.
    """

    __slots__ = ("_admission", "completion", "epoch", "front", "marks", "number", "probe", "started", "tokens")

    def __init__(self, admission: Admission, tokens: int, started: float, *, front: bool, number: int) -> None:
        self._admission: Admission | None = admission
        self.tokens = tokens
        self.started = started
        self.front = front
        self.number = number
        self.epoch = 0
        self.probe = False
        self.completion = 0.0
        self.marks: Marks | None = None

    def settle(self, *, tokens_used: int | None, limits: RateLimits | None, latency: float) -> None:
        """A whole answer came: `tokens_used` is its usage's total, None where it had none."""
        admission = self._admission
        if admission is not None:
            self._admission = None
            admission.settled(self, tokens_used, limits, latency)

    def refused(self, error: errors.RateLimited) -> bool:
        """The endpoint refused for want of quota or room: all starts wait, or it was chance and only this row has to.

        Returns:
            True where the others go on: then it is the row itself that must not come back too soon.

        Raises:
            JobStopped: the wait that it asks for is longer than --max-retry-after, or it has refused everything for
                longer than --max-outage.
        """
        admission = self._admission
        if admission is not None:
            self._admission = None
            return admission.refused(self, error)
        return False

    def failed(self, error: errors.Retryable) -> None:
        """The attempt failed in another way that may pass: 5xx, a timeout, a lost connection, an unreadable reply."""
        admission = self._admission
        if admission is not None:
            self._admission = None
            admission.failed(self, error)

    def released(self) -> None:
        """The request ended otherwise: a permanent error (which is an answer too), or it was cancelled."""
        admission = self._admission
        if admission is not None:
            self._admission = None
            admission.released(self)
