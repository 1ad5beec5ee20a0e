"""One row's request, from the queue to an outcome: retry(limiter(transport)), composed here and nowhere else.

The limiter stands inside the retry: a sleeping retry holds no slot. What the endpoint asks to be paced (429 of the rate
kind, 503 with Retry-After, 529) is paced inside too, so it never counts against the retries; it is bounded by time, and
only while others succeed.

While nothing was ever answered in this run, a request that has used up its retries speaks for the endpoint, and the job
stops. Later it speaks for its row, unless the limiter holds the endpoint for dead: then the row waits for the probe.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from batchchat import defaults
from batchchat.errors import (
    BadRow,
    ContentRefused,
    EndpointDown,
    Permanent,
    RateLimited,
    RequestError,
    Retryable,
    UnreadableReply,
)
from batchchat.records import Attempts, Outcome

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchchat.events import Observer
    from batchchat.limiter import Bound, Limiter
    from batchchat.records import ChatRequest, Completion, Task
    from batchchat.retry import RetryPolicy

_ONE = Attempts()
_BYTES_PER_TOKEN = 4.0
_STRETCH = 1.7
_SLEEPERS_PER_SLOT = 4
_NO_CHANCE = math.log(1e-6)
_SLEEPERS_AT_LEAST = 64


class Purse(Protocol):
    """What the client needs of a budget: room before a request is sent, and the bill after."""

    async def reserve(self, request: ChatRequest) -> Any:
        """Wait until the most that the request can cost is reserved, durably; a ticket for it.

        Raises:
            BudgetReached: it does not fit any more.
        """

    def settle(self, ticket: Any, completion: Completion | None, *, billed: bool) -> None:
        """An attempt ended: with an answer, or without one but perhaps billed, or not billed."""


@dataclass(slots=True)
class _Tally:
    """What one row's attempts came to so far."""

    sent: int = 0
    paid_for_nothing: int = 0
    refused_since: float | None = None
    answers_then: int = 0
    refusals_then: int = 0
    refusals: int = 0
    sent_at: float = 0.0
    interval: float = 0.0
    unasked: bool = False
    alone: bool = False

    def attempts(self) -> Attempts:
        return Attempts(sent=self.sent, paid_for_nothing=self.paid_for_nothing)


class Client:
    """Completes tasks.

    Args:
        send: one HTTP attempt.
        limiter: slots, rates, freezes, and the breaker.
        policy: makes the policy by which an attempt is made again, given the way to sleep.
        observer: is told of retries.
        max_outage: seconds for which a row may be refused by the rate limit while others succeed.
        purse: the budget, None where there is none.
        clock: seconds.
    """

    def __init__(
        self,
        *,
        send: Callable[[ChatRequest], Awaitable[Completion]],
        limiter: Limiter,
        policy: Callable[[Callable[[float], Awaitable[None]]], RetryPolicy],
        observer: Observer,
        max_outage: float,
        purse: Purse | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._send = send
        self._limiter = limiter
        self._policy = policy(self.sleep)
        self._observer = observer
        self._max_outage = max_outage
        self._purse = purse
        self._clock = clock
        self._waiting: set[asyncio.Task[Any]] = set()
        self._sleeping = 0
        self._stopping = False
        self._bytes_per_token = _BYTES_PER_TOKEN
        self._answers = 0
        self._refusals = 0
        self.on_change: Callable[[], None] = _nothing
        self.requests = 0
        self.retries = 0
        limiter.on_change(self._changed)

    @property
    def workers(self) -> int:
        """Slots, and the retries that sleep meanwhile: bounded, so that a storm of failures does not load the table."""
        slots = self._limiter.concurrency
        if not self._sleeping:
            return slots
        return slots + min(self._sleeping, max(_SLEEPERS_AT_LEAST, _SLEEPERS_PER_SLOT * slots))

    @property
    def in_flight(self) -> int:
        """How many requests are under way."""
        return self._limiter.in_flight

    def explain(self) -> Bound | None:
        """What the requests have waited for; None where none was sent."""
        return self._limiter.explain() if self.requests else None

    def limits(self) -> dict[str, float]:
        """What the endpoint was found to allow; see `Limiter.limits`."""
        return self._limiter.limits() if self.requests else {}

    async def complete(self, task: Task) -> Outcome:
        """Settle one row.

        Raises:
            JobStopped: the job cannot go on.
            CancelledError: the run was stopped before this row was settled; it stays pending.
        """
        request = task.request
        if request is None:
            error = task.error or BadRow("no request")
            return Outcome(row=task.row, key=task.key, error=error, attempts=Attempts(sent=0), at=time.time())
        tally = _Tally()
        completion: Completion | None = None
        failure: RequestError | None = None
        try:
            completion = await self._settle(request, tally)
        except ContentRefused as refused:
            completion, failure = refused.completion, refused
        except RequestError as error:
            failure = error
        return Outcome(
            row=task.row,
            key=task.key,
            completion=completion,
            error=failure,
            attempts=_ONE if tally.sent == 1 and not tally.paid_for_nothing else tally.attempts(),
            at=time.time(),
        )

    def stop(self) -> None:
        """Cancel what waits without a request in flight, now and from now on."""
        self._stopping = True
        for task in self._waiting:
            task.cancel()

    async def sleep(self, seconds: float) -> None:
        """A retry's sleep: it holds no slot, and another worker may start meanwhile."""
        self._sleeping += 1
        self._changed()
        try:
            await self._held(asyncio.sleep(seconds))
        finally:
            self._sleeping -= 1

    async def _settle(self, request: ChatRequest, tally: _Tally) -> Completion:
        """The answer, after as many attempts as it takes; an endpoint that is down is waited for."""
        while True:
            try:
                return await self._policy.run(lambda: self._paced(request, tally), on_retry=self._on_retry)
            except Retryable as error:
                if self._stopping:
                    raise asyncio.CancelledError from error
                if isinstance(error, UnreadableReply):
                    raise
                if not self._limiter.answered:
                    raise EndpointDown(
                        f"the endpoint gave no answer after {tally.sent} attempts: {error}. "
                        "Nothing was answered in this run; is the URL right, and is the server up?"
                    ) from error
                if not self._limiter.down:
                    raise

    def _on_retry(self, error: RequestError, *, attempt: int, delay: float) -> None:
        self.retries += 1
        self._observer.retrying(error, attempt=attempt, delay=delay)

    async def _paced(self, request: ChatRequest, tally: _Tally) -> Completion:
        """One attempt that the endpoint let in, however often it asked to wait."""
        while True:
            if tally.unasked and tally.interval:
                await self._wait_longer(tally)
            try:
                completion = await self._attempt(request, tally, front=tally.sent > 0)
            except RateLimited as error:
                self._refused(error, tally)
                tally.unasked = not error.retry_after
                if tally.alone:
                    await self._wait_alone(error, tally)
                continue
            except Retryable as error:
                tally.unasked = error.retry_after is None
                raise
            tally.refused_since = None
            return completion

    async def _wait_alone(self, error: RateLimited, tally: _Tally) -> None:
        """Where all others go on, the row keeps the time that it was asked for, or the usual first one."""
        if error.retry_after or not tally.interval:
            await self.sleep(error.retry_after or defaults.BACKOFF_FIRST * random.uniform(0.75, 1.0))  # noqa: S311 - jitter

    async def _wait_longer(self, tally: _Tally) -> None:
        """Where nobody said when to come back, a row waits longer each time, whatever pauses all rows share."""
        longer = min(_STRETCH * tally.interval, defaults.BACKOFF_LONGEST)
        delay = tally.sent_at + longer - self._clock()
        if delay > 0:
            await self.sleep(delay)

    async def _attempt(self, request: ChatRequest, tally: _Tally, *, front: bool) -> Completion:
        purse = self._purse
        ticket = None if purse is None else await self._reserve(purse, request)
        completion: Completion | None = None
        billed, before = False, tally.sent
        try:
            completion = await self._send_one(request, tally, front=front)
        except ContentRefused as error:
            completion = error.completion
            raise
        except RequestError as error:
            billed = error.billed
            if billed:
                tally.paid_for_nothing += 1
            raise
        except asyncio.CancelledError:
            billed = tally.sent > before
            raise
        finally:
            if purse is not None:
                purse.settle(ticket, completion, billed=billed)
        return completion

    async def _reserve(self, purse: Purse, request: ChatRequest) -> Any:
        """Room in the budget. Who waits for it holds no slot, as a sleeping retry does: smaller rows may fit."""
        self._sleeping += 1
        waits = asyncio.get_running_loop().call_soon(self._changed)  # not reached where there is room at once
        try:
            return await self._held(purse.reserve(request))
        finally:
            waits.cancel()
            self._sleeping -= 1

    async def _send_one(self, request: ChatRequest, tally: _Tally, *, front: bool) -> Completion:
        limiter = self._limiter
        prompt_tokens = int(len(request.body) / self._bytes_per_token) + 1
        limit = request.completion_limit
        tokens = limiter.estimate(prompt_tokens, None if limit is None else limit * request.choices)
        lease = None if self._stopping else limiter.admit(tokens, front=front)
        if lease is None:
            lease = await self._held(limiter.acquire(tokens, front=front))
        now = self._clock()
        if tally.unasked:  # a wait that was asked for says nothing of how long the next one should be
            tally.interval = now - tally.sent_at
        tally.sent_at = now
        tally.sent += 1
        self.requests += 1
        if tally.sent == 1:
            self._observer.started()
        try:
            completion = await self._send(request)
        except RateLimited as error:
            tally.alone = lease.refused(error)
            raise
        except Retryable as error:
            lease.failed(error)
            raise
        except ContentRefused as error:
            self._answered(lease, request, error.completion)
            raise
        except BaseException:
            lease.released()
            raise
        self._answered(lease, request, completion)
        return completion

    def _answered(self, lease: Any, request: ChatRequest, completion: Completion | None) -> None:
        self._answers += 1
        if completion is None:
            lease.released()
            return
        usage = completion.usage
        if usage.prompt_tokens:
            ratio = len(request.body) / usage.prompt_tokens
            self._bytes_per_token += 0.05 * (min(max(ratio, 0.5), 16.0) - self._bytes_per_token)
        used = usage.total_tokens
        if used is None and usage.prompt_tokens is not None and usage.completion_tokens is not None:
            used = usage.prompt_tokens + usage.completion_tokens
        lease.settle(tokens_used=used, limits=completion.limits, latency=completion.latency)

    def _refused(self, error: RateLimited, tally: _Tally) -> None:
        """A row that is refused on and on while others succeed is at fault itself."""
        if self._stopping:
            raise asyncio.CancelledError from error
        now = self._clock()
        if tally.refused_since is None:
            tally.refused_since, tally.refusals = now, 0
            tally.answers_then, tally.refusals_then = self._answers, self._refusals
        tally.refusals += 1
        self._refusals += 1
        if now - tally.refused_since >= self._max_outage and self._is_no_chance(tally):
            raise Permanent(
                f"refused by the rate limit for {self._max_outage:g} s while others were answered: {error.message}",
                status=error.status,
                type=error.type,
                code=error.code,
                param=error.param,
            ) from error

    def _is_no_chance(self, tally: _Tally) -> bool:
        """Whether others were answered meanwhile, and too many of them for the row's refusals to be bad luck.

        Where nine of ten requests are refused, somebody is refused on and on for long. The chance is that of so many
        refusals one after another, by what is known of the others' (with as little known as nothing beforehand).
        """
        answers = self._answers - tally.answers_then
        others = self._refusals - tally.refusals_then - tally.refusals
        every = answers + others + 2
        chance = math.lgamma(others + 1 + tally.refusals) + math.lgamma(every)
        chance -= math.lgamma(others + 1) + math.lgamma(every + tally.refusals)
        return answers > 0 and chance < _NO_CHANCE

    async def _held(self, waiting: Awaitable[Any]) -> Any:
        """Await something that has no request in flight, so that `stop` can end it."""
        task = asyncio.current_task()
        assert task is not None
        if self._stopping:
            if asyncio.iscoroutine(waiting):
                waiting.close()
            raise asyncio.CancelledError
        self._waiting.add(task)
        try:
            return await waiting
        finally:
            self._waiting.discard(task)

    def _changed(self) -> None:
        self.on_change()


def _nothing() -> None:
    """Nobody wants to know yet."""
