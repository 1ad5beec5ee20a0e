"""The door to the pacing: the one asynchronous part, a queue in front of `Admission`.

Who asks while everything is free passes without waiting. Else they stand in one of two lines, each in order of arrival:
rows that were sent before and must be sent again, and behind these the new ones. Only the first of the line is asked
for: so a large request is not overtaken for ever by small ones. One timer wakes the line.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Unpack

from batchchat import errors
from batchchat.limiter.admission import FOREVER, Admission

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchchat import events
    from batchchat.limiter.admission import Told
    from batchchat.limiter.bound import Bound
    from batchchat.limiter.lease import Lease

EARLIER = 1e-4
"""A timer is moved only for the sake of more than this many seconds."""


class _Waiter:
    """Who stands in line. A reservation that is an estimate is made anew when their turn comes."""

    __slots__ = ("estimate", "front", "future", "tokens")

    def __init__(self, tokens: int, *, front: bool, future: asyncio.Future[Lease]) -> None:
        self.tokens = tokens
        self.estimate: tuple[float, int | None] | None = None  # prompt and max_tokens
        self.front = front
        self.future = future


class Limiter:
    """Paces the requests to one endpoint.

    Args:
        concurrency: requests in flight, at most; None: learned, from 16.
        clock: seconds that only ever grow.
        observer: is told of refusals and outages.
        max_retry_after: the longest wait, in seconds, that the endpoint may ask for.
        max_outage: seconds without an answer after which the job stops.
        told: limits that are known, `rpm`, `tpm`, `rpd` and `tpd`; None, or left out: not known.
    """

    def __init__(
        self,
        *,
        concurrency: int | None,
        clock: Callable[[], float] = time.monotonic,
        observer: events.Observer | None = None,
        max_retry_after: float,
        max_outage: float,
        **told: Unpack[Told],
    ) -> None:
        self._clock = clock
        self._admission = Admission(
            concurrency=concurrency,
            clock=clock,
            observer=observer,
            max_retry_after=max_retry_after,
            max_outage=max_outage,
            **told,
        )
        self._admission.on_free = self.wake
        self._again: deque[_Waiter] = deque()
        self._new: deque[_Waiter] = deque()
        self._waking = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = FOREVER
        self._callbacks: list[Callable[[], None]] = []
        self._admission.pool.on_change = self._changed

    @property
    def concurrency(self) -> int:
        """How many requests may be in flight now."""
        return self._admission.pool.size

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return self._admission.pool.in_flight

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._again) + len(self._new)

    @property
    def answered(self) -> bool:
        """Whether the endpoint has answered anything in this run, be it a refusal."""
        return self._admission.answered

    @property
    def down(self) -> bool:
        """Whether the endpoint is held for dead: only a probe is sent now and then."""
        return self._admission.breaker.open

    def estimate(self, prompt_tokens: int, completion_limit: int | None) -> int:
        """Tokens to reserve for a request: its prompt, and what completions take by what was learned so far."""
        return self._admission.completions.estimate(prompt_tokens, completion_limit)

    def duration(self, requests: int, tokens: int = 0) -> float:
        """Seconds that so many requests and tokens take at least, by the limits that are known now; 0: none is."""
        return self._admission.known.duration(requests, tokens)

    def explain(self) -> Bound:
        """What the requests have waited for so far."""
        return self._admission.explain()

    def limits(self) -> dict[str, float]:
        """What headers, refusals and latencies have shown, by the names of the options: `rpm`, `tpm`, `concurrency`."""
        return self._admission.known.found()

    def on_change(self, callback: Callable[[], None]) -> None:
        """Calls back whenever `concurrency` has changed."""
        self._callbacks.append(callback)

    def admit(self, tokens: int, *, front: bool = False) -> Lease | None:
        """The same as `acquire` where a request may start at once, which is what most rows meet; None elsewhere."""
        if self._new or self._again:
            return None
        now = self._clock()
        admission = self._admission
        if admission.ask(now, tokens) > now:
            return None
        estimate = admission.completions.recall(tokens) if admission.counts_tokens else None
        return admission.start(now, tokens, front=front, prompt=estimate and estimate[0])

    async def acquire(self, tokens: int, *, front: bool = False) -> Lease:
        """Waits until a request may start, and takes its slot, its request and its tokens at once.

        A request larger than a whole limit is admitted alone, when nothing of the limit is in use: reservations are
        estimates, and only the endpoint can say that a request is too large (429, which is then the row's error).

        Args:
            tokens: how many to reserve, by `estimate`.
            front: the row was sent before (refused, or a retry): it goes before those that were not.

        Raises:
            EndpointDown: the endpoint has not answered for `max_outage` seconds.
            WaitTooLong: the endpoint asked for a wait beyond `max_retry_after`.
        """
        lease = self.admit(tokens, front=front)
        if lease is not None:
            return lease
        return await self._wait(tokens, front=front)

    def wake(self) -> None:
        """Looks again whether the first in line may start."""
        if self._waking or not (self._new or self._again):
            return
        self._waking = True
        try:
            self._serve()
        finally:
            self._waking = False

    def close(self) -> None:
        """Stops the timer. Who still waits is ended by the cancellation of their task."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._timer_at = FOREVER

    def _changed(self) -> None:
        for callback in self._callbacks:
            callback()

    async def _wait(self, tokens: int, *, front: bool) -> Lease:
        future: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(tokens, front=front, future=future)
        waiter.estimate = self._admission.completions.recall(tokens)
        line = self._again if front else self._new
        line.append(waiter)
        if self._timer is None or line[0] is waiter:
            self.wake()
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                future.result().released()  # it was admitted in the very moment in which it was cancelled
            self.wake()
            raise

    def _serve(self) -> None:
        while line := self._again or self._new:
            waiter = line[0]
            if waiter.future.done():
                line.popleft()
                continue
            now = self._clock()
            estimate = waiter.estimate
            tokens = waiter.tokens if estimate is None else self._admission.completions.estimate(*estimate)
            try:
                at = self._admission.ask(now, tokens)
            except errors.JobStopped as stopped:
                line.popleft()
                waiter.future.set_exception(stopped)
                continue
            if at > now:
                self._wake_at(at, now)
                return
            line.popleft()
            waiter.future.set_result(
                self._admission.start(now, tokens, front=waiter.front, prompt=estimate and estimate[0])
            )

    def _wake_at(self, at: float, now: float) -> None:
        if at == FOREVER or (self._timer is not None and at > self._timer_at - EARLIER):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_at = FOREVER
        self.wake()
