"""What went wrong in, what is to be done out; and the one policy by which a request is made again.

`decide` turns an error into a value: again, pace, row, stop. `RetryPolicy.run` makes attempts until one answers or the
decision is another. It knows no limiter: a paced attempt is made again after what the endpoint asked for, without
being counted, and whoever holds the slots sees to it that all starts wait. It sleeps outside of the attempt, so that a
sleeping retry holds no slot.

Tenacity is entered only after a first failure: entering it costs 27 to 45 microseconds, which every row would pay.
The schedule is the official client's (half a second, doubled each time, less up to a quarter by chance), with a longer
end: an overnight job has more time than a chat.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar

from tenacity import AsyncRetrying, retry_if_exception

from batchchat import defaults
from batchchat.errors import RateLimited, RequestError, Retryable, UnreadableReply, WaitTooLong
from batchchat.wire import NO_CHOICES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tenacity import RetryCallState

T = TypeVar("T")
Kind = Literal["again", "pace", "row", "stop"]

NO_CHOICES_RETRIES = 1
_JITTER = 0.25
_LONGEST_EXPONENT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryDecision:
    """What is to be done about an error.

    Attributes:
        kind: `again` (counted against the retries), `pace` (not counted), `row` (it is the row's error), `stop` (it
            stops the job).
        not_before: seconds that have to pass before another attempt, as the endpoint asked.
    """

    kind: Kind
    not_before: float = 0.0


def decide(error: BaseException, *, max_retry_after: float = defaults.MAX_RETRY_AFTER) -> RetryDecision:
    """What is to be done about an error of one attempt; whether retries are left is not its matter."""
    if not isinstance(error, RequestError):
        return RetryDecision(kind="stop")
    wait = max(0.0, error.retry_after or 0.0)
    if not isinstance(error, Retryable):
        return RetryDecision(kind="row")
    if wait > max_retry_after:
        return RetryDecision(kind="stop", not_before=wait)
    return RetryDecision(kind="pace" if isinstance(error, RateLimited) else "again", not_before=wait)


def wait_too_long(error: RequestError, *, max_retry_after: float, now: datetime | None = None) -> WaitTooLong:
    """What stops the job where the endpoint asks for a wait that nobody wants to sit through."""
    wait = error.retry_after or 0.0
    until = (now or datetime.now().astimezone()) + timedelta(seconds=min(wait, 10**9))
    return WaitTooLong(
        f"the endpoint asks to wait {wait:.0f} s, until {until:%Y-%m-%d %H:%M} (longer than --max-retry-after "
        f"{max_retry_after:g}); run it again then, or allow a longer wait. It said: {error}"
    )


class OnRetry(Protocol):
    """Who is told before each further attempt; `isinstance(error, RateLimited)` where it is paced, not counted."""

    def __call__(self, error: RequestError, *, attempt: int, delay: float) -> None:
        """Attempt number `attempt` failed; the next is made after `delay` seconds."""


class RetryPolicy:
    """Attempts until there is an answer, or no further attempt is worth it.

    Args:
        max_retries: further attempts after the first; paced ones are not counted.
        max_retry_after: seconds; a longer wait stops the job.
        patience: asked before a paced attempt, with the time (by `clock`) of the row's first refusal: False makes the
            refusal the row's error.
        clock, sleep, chance: time, waiting, and a number from 0 to 1.
    """

    def __init__(
        self,
        *,
        max_retries: int = defaults.MAX_RETRIES,
        max_retry_after: float = defaults.MAX_RETRY_AFTER,
        patience: Callable[[float], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.max_retries = max_retries
        self.max_retry_after = max_retry_after
        self.patience = patience
        self.clock = clock
        self.sleep = sleep
        self.chance = chance

    async def run(self, attempt: Callable[[], Awaitable[T]], *, on_retry: OnRetry | None = None) -> T:
        """The answer of the first attempt that has one.

        Raises:
            RequestError: it is the row's error, or the retries are used up.
            JobStopped: the job is to stop.
        """
        try:
            return await attempt()
        except RequestError as error:
            return await _Course(self, error, on_retry).run(attempt)

    def backoff(self, failures: int) -> float:
        """Seconds before the next attempt, after so many failures of this kind."""
        longest = defaults.BACKOFF_FIRST * 2.0 ** min(failures - 1, _LONGEST_EXPONENT)
        return min(longest, defaults.BACKOFF_LONGEST) * (1 - _JITTER * self.chance())


class _Course:
    """One request that failed at first: what it has been through, and what tenacity asks about it."""

    def __init__(self, policy: RetryPolicy, first: RequestError, on_retry: OnRetry | None) -> None:
        self.policy = policy
        self.on_retry = on_retry
        self.first: RequestError | None = first
        self.retries = 0
        self.paced = 0
        self.without_choices = 0
        self.refused_since = 0.0

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        async def make() -> T:
            if self.first is not None:  # the failure that was before tenacity
                error, self.first = self.first, None
                raise error
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(self._is_worth_it),
            wait=self._wait,
            before_sleep=self._tell,
            sleep=self.policy.sleep,
            reraise=True,
        )
        return await retrying(make)

    def _is_worth_it(self, error: BaseException) -> bool:
        if not isinstance(error, RequestError):
            return False
        decision = decide(error, max_retry_after=self.policy.max_retry_after)
        if decision.kind == "stop":
            raise wait_too_long(error, max_retry_after=self.policy.max_retry_after) from error
        if decision.kind == "pace":
            return self._is_patient()
        return decision.kind == "again" and self._has_retries_left(error)

    def _is_patient(self) -> bool:
        if not self.paced:
            self.refused_since = self.policy.clock()
        self.paced += 1
        return self.policy.patience is None or self.policy.patience(self.refused_since)

    def _has_retries_left(self, error: RequestError) -> bool:
        self.paced = 0  # it was let in: a later refusal is a new one
        if isinstance(error, UnreadableReply) and error.code == NO_CHOICES:
            self.without_choices += 1
            if self.without_choices > NO_CHOICES_RETRIES:
                return False
        self.retries += 1
        return self.retries <= self.policy.max_retries

    def _wait(self, state: RetryCallState) -> float:
        """Never before what was asked for; then a little later by chance, so that not all come at once."""
        error = _failure(state)
        backoff = self.policy.backoff(self.paced or self.retries)
        asked = decide(error).not_before
        return max(backoff, asked + _JITTER * min(backoff, asked) * self.policy.chance())

    def _tell(self, state: RetryCallState) -> None:
        if self.on_retry is not None:
            assert state.next_action is not None
            self.on_retry(_failure(state), attempt=state.attempt_number, delay=state.next_action.sleep)


def _failure(state: RetryCallState) -> RequestError:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, RequestError)
    return error
