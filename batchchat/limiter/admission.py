"""Whether the next request may start now, and if not, when to ask again: the arithmetic of pacing, without a loop.

It puts together what the other modules of this room know: slots, quotas, the freeze after refusals, the breaker. All
of them must agree; then everything is taken at once, or nothing is. It does not know who waits, nor in which order:
that is the door's matter (`limiter.py`), and the simulation's.

Trade-offs. Requests that fail are never refunded, since most endpoints count them; their tokens are given back only
where the endpoint's own remainder shows that it did not count them.
"""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack

from batchchat import errors, events
from batchchat.limiter import waits
from batchchat.limiter.bound import Bound, Tally
from batchchat.limiter.breaker import Breaker
from batchchat.limiter.chance import Chance
from batchchat.limiter.completions import Completions
from batchchat.limiter.freeze import Freeze
from batchchat.limiter.known import Known
from batchchat.limiter.learned import Learned
from batchchat.limiter.lease import Lease
from batchchat.limiter.pool import Pool
from batchchat.limiter.quota import DAY, MINUTE, Quota
from batchchat.limiter.shown import Shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchchat.limiter.bound import Binding
    from batchchat.records import RateLimits

FOREVER = float("inf")
DEVIATIONS = 2.0
"""How many standard deviations of what is in flight are kept free of a told token limit."""
REFUSALS_TO_STOP = 5
LONG_WAIT_SAID_EVERY = 3600.0
MET_LATELY = 1.0
"""Refusals within so many seconds met the same requests in flight."""
PACED_LATELY = 1.0
"""A request that was refused this many seconds after a rate had held somebody back was paced, not held by slots."""


class Told(TypedDict, total=False):
    """Limits that the person knows: requests (rpm, rpd) and tokens (tpm, tpd), a minute and a day."""

    rpm: float | None
    tpm: float | None
    rpd: float | None
    tpd: float | None


class Admission:
    """The state of pacing for one endpoint.

    Attributes:
        answered: whether the endpoint has answered anything yet, be it a refusal.
        on_free: called after every end of a request: something may start now.
    """

    def __init__(
        self,
        *,
        concurrency: int | None,
        clock: Callable[[], float],
        observer: events.Observer | None = None,
        max_retry_after: float,
        max_outage: float,
        rng: random.Random | None = None,
        **told: Unpack[Told],
    ) -> None:
        now = clock()
        self.clock = clock
        self.pool = Pool(concurrency)
        self.shown = Shown()
        self.learned = Learned()
        self.chance = Chance()
        self.completions = Completions()
        self.freeze = Freeze(rng or random.Random())  # noqa: S311 - jitter, no secret
        self.breaker = Breaker(max_outage)
        self.answered = False
        self.on_free: Callable[[], None] | None = None
        self._observer = observer or events.Observer()
        self._max_retry_after = max_retry_after
        self._max_outage = max_outage
        requests = ((told.get("rpm"), MINUTE), (told.get("rpd"), DAY))
        tokens = ((told.get("tpm"), MINUTE), (told.get("tpd"), DAY))
        self._requests = [Quota("requests", each, span, now=now) for each, span in requests if each]
        self._tokens = [Quota("tokens", each, span, now=now) for each, span in tokens if each]
        self.known = Known(
            requests=self._requests, tokens=self._tokens, shown=self.shown, learned=self.learned, pool=self.pool
        )
        self._tally = Tally(now)
        self._stopped: errors.JobStopped | None = None
        self._started = 0
        self._paced_at = -FOREVER
        self._met = (-FOREVER, 0)  # when refusals last met the most in flight, and how many
        self._refused_since: float | None = None
        self._refused_episodes = 0
        self._said_too_large = False
        self._said_long_wait = -FOREVER

    # The way in

    def ask(self, now: float, tokens: int) -> float:
        """The moment at which a request with this reservation may start: `now` or earlier means that it may.

        Infinity: when a request that is in flight has ended. A later moment is the earliest at which asking again makes
        sense; what happens until then may bring it forward.

        Raises:
            JobStopped: nothing will start any more.
        """
        if self._stopped is not None:
            raise _again(self._stopped)
        if self.breaker.open:
            return self._ask_breaker(now, tokens)
        return self._ask_limits(now, tokens)

    def start(self, now: float, tokens: int, *, front: bool = False, prompt: float | None = None) -> Lease:
        """Takes everything that a request needs; the caller has asked. `prompt`: the prompt's part of the tokens."""
        lease = Lease(self, tokens, now, front=front, number=self._started)
        self._started += 1
        self.pool.take()
        freeze = self.freeze
        if not freeze.idle:
            for quota in (*self._requests, *self._tokens):
                quota.hold(now)
            self.shown.hold(now)
        for quota in self._requests:
            quota.take(now, 1)
        if self._tokens or self.shown.seen:
            lease.completion = min(self.completions.mean, tokens) if prompt is None else tokens - prompt
            for quota in self._tokens:
                quota.take(now, tokens)
        if self.shown.seen:
            self.shown.take(now, lease)
        self.learned.take(now, number=lease.number)
        if self.chance.pace is not None:
            self.chance.started(now, lease.number)
        if self.breaker.open:
            lease.probe = self.breaker.started()
        if not freeze.idle and freeze.started(now):
            self.learned.resumed(now, number=lease.number)
        lease.epoch = freeze.epoch
        return lease

    def _ask_limits(self, now: float, tokens: int) -> float:
        until = self.freeze.until
        if until > now:
            self._tally.waits_for(now, "refusals")
            return until
        at, kind = self._rates_ready_at(now, tokens)
        if at > now:
            if at - now > self._max_retry_after:
                self._say_long_wait(now, at, kind)
            self._paced_at = now
            self._tally.waits_for(now, kind)
            return at
        if self._tally.kind != "nothing":
            self._tally.waits_for(now, "nothing")
        return self.pool.ready_at(now)

    def _rates_ready_at(self, now: float, tokens: int) -> tuple[float, Binding]:
        """The latest of what was told, what headers show and what was learned, and the unit that it is about."""
        until = now
        kind: Binding = "requests"
        for quota in self._requests:
            until = max(until, quota.ready_at(now, 1))
        if self._tokens:
            at = self._tokens_ready_at(now, tokens)
            if at > until:
                until, kind = at, "tokens"
        if self.shown.seen:
            at, unit = self.shown.ready_at(now, tokens)
            if at > until:
                until, kind = at, unit
        if self.chance.pace is not None:
            at = self.chance.ready_at(now, self._started)
            if at > until:
                until, kind = at, "refusals"
        learned = self.learned
        if learned.rate is not None:
            at = learned.ready_at(now)
            learned.held(now, by_rate=at > until)
            if at > until:
                until, kind = at, "requests"
        return until, kind

    def _ask_breaker(self, now: float, tokens: int) -> float:
        gives_up_at = self.breaker.gives_up_at
        if now >= gives_up_at:
            self._stop(waits.no_answer(self._max_outage, self.breaker.last_error))
        until = max(self.breaker.ready_at(), self._ask_limits(now, tokens))
        self._tally.waits_for(now, "outage")
        return min(until, gives_up_at)

    def _tokens_ready_at(self, now: float, tokens: int) -> float:
        spread = DEVIATIONS * math.sqrt((self.pool.in_flight + 1) * self.completions.variance)
        until = now
        for quota in self._tokens:
            quota.hold_back(spread)
            at = quota.ready_at(now, tokens)
            if at > until:
                until = at
                if tokens > quota.limit:
                    self._say_too_large(tokens, quota)
        return until

    @property
    def counts_tokens(self) -> bool:
        """Whether a reservation is worth an estimate: tokens are limited, or may be."""
        return bool(self._tokens) or self.shown.seen

    # The ways out: each gives the slot back first

    def settled(self, lease: Lease, tokens_used: int | None, limits: RateLimits | None, latency: float) -> None:
        """A whole answer."""
        del latency  # the clock says it too, and counts the way there and back
        now = self.clock()
        self.pool.answered(now, started=lease.started)
        self._alive(lease.started)
        if not self.freeze.idle and self.freeze.answered(now, epoch=lease.epoch):
            self.learned.resumed(lease.started, number=lease.number)
        self._refused_since = None
        if tokens_used is not None and (self._tokens or self.shown.seen):
            self._settle_tokens(now, lease, tokens_used)
        self.shown.answered(now, lease, limits)
        if self.on_free is not None:
            self.on_free()

    def refused(self, lease: Lease, error: errors.RateLimited) -> bool:
        """A refusal for want of quota or room: True where only its row has to wait, and all others may go on."""
        now = self.clock()
        self.pool.give_back()
        self._alive(lease.started)
        self.learned.refused_one()
        limits = self.shown.believed(error.limits)
        if limits is not None:
            self._refund(now, lease, limits)
            self.shown.learn(now, lease, limits)
        asked = error.retry_after or None  # to ask for no wait is to say nothing
        if asked is not None and asked > self._max_retry_after:
            self._stop(waits.too_long(asked, self._max_retry_after))
        in_flight = self.pool.in_flight
        if in_flight >= self._met[1] or now > self._met[0] + MET_LATELY:
            self._met = now, in_flight + 1
        alone = self.chance.refused(
            now,
            number=lease.number,
            asked=asked,
            spent=self.shown.spent(limits),
            answers=self.pool.answers,
            in_flight=in_flight,
        )
        if alone and not self.pool.answers:
            self.freeze.look(now)  # nothing is known of this endpoint yet: many more may be refused alike
        if not alone:
            self._pause(now, lease, error, asked, waits.quota_reset(limits))
        if self.on_free is not None:
            self.on_free()
        return alone

    def _pause(
        self, now: float, lease: Lease, error: errors.RateLimited, asked: float | None, reset: float | None
    ) -> None:
        """All wait; where a limit is known to be the reason, its rate is learned."""
        pause = self.freeze.refused(now, epoch=lease.epoch, started=lease.started, asked=asked, reset=reset)
        if pause:
            if self._paced_at >= lease.started - PACED_LATELY:
                for quota in (*self._requests, *self._tokens):
                    quota.calm()
            self._count_refusals(now, error)
            self._observer.throttled(error, delay=pause)
        if self.chance.state == "limit" and (pause or self.learned.rate is None):
            if self._paced_at < lease.started - PACED_LATELY:
                self.pool.refused(now, in_flight=self._met[1])
            self._learn_rate(now, lease.number)

    def _learn_rate(self, now: float, number: int) -> None:
        ends_cycle = self.learned.refused(now, number=number, until=max(self.freeze.until, now))
        if ends_cycle and self.chance.cut(number=number, refused=self.learned.count):
            self.learned.forget()

    def failed(self, lease: Lease, error: errors.Retryable) -> None:
        """Another failure that may pass."""
        now = self.clock()
        self.pool.give_back()
        if isinstance(error, errors.UnreadableReply):
            self.answered = True
        self.pool.failed(now)
        opened = self.breaker.failed(
            now, error, first=not lease.front, probe=lease.probe, in_flight=self.pool.in_flight
        )
        if opened:
            self._observer.paused(
                f"the endpoint does not answer: {error}; after {self._max_outage:g} s of this the job stops "
                "(--max-outage)"
            )
        if self.on_free is not None:
            self.on_free()

    def released(self, lease: Lease) -> None:
        """A permanent error, or the caller gave up."""
        self.pool.give_back()
        self._alive(lease.started)
        if self.on_free is not None:
            self.on_free()

    # What others ask

    def explain(self) -> Bound:
        """What the requests have waited for."""
        slots: Literal["concurrency", "server"] = "server" if self.pool.climb.saturated else "concurrency"
        return self._tally.bound(self.clock(), slots=slots, full=self.pool.full_share, detail=self.known.details())

    # Inside

    def _alive(self, started: float) -> None:
        self.answered = True
        if not self.breaker.calm and self.breaker.answered(started):
            self._observer.paused("")

    def _settle_tokens(self, now: float, lease: Lease, used: int) -> None:
        self.completions.learn(used - (lease.tokens - lease.completion))
        difference = used - lease.tokens
        if difference:
            for quota in self._tokens:
                quota.settle(now, lease.started, difference)
            if self.shown.seen:
                self.shown.settle(now, lease.started, difference)

    def _refund(self, now: float, lease: Lease, limits: RateLimits) -> None:
        if limits.tokens_remaining is None or limits.tokens_limit is None:
            return
        counted = limits.tokens_limit - limits.tokens_remaining
        for quota in self._tokens:
            if counted <= quota.used - lease.tokens:
                quota.settle(now, lease.started, -lease.tokens)

    def _count_refusals(self, now: float, error: errors.RateLimited) -> None:
        if self._refused_since is None:
            self._refused_since, self._refused_episodes = now, 0
        self._refused_episodes += 1
        elapsed = now - self._refused_since
        if elapsed > self._max_outage and self._refused_episodes > REFUSALS_TO_STOP:
            self._stop(waits.refused_throughout(elapsed, error))

    def _say_too_large(self, tokens: int, quota: Quota) -> None:
        if not self._said_too_large:
            self._said_too_large = True
            span = "minute" if quota.span == MINUTE else "day"
            self._observer.note(
                f"a request of about {tokens} tokens is larger than the limit of {quota.limit:g} tokens a {span}: "
                "it is sent alone, and the endpoint may refuse it"
            )

    def _say_long_wait(self, now: float, at: float, kind: Binding) -> None:
        if now - self._said_long_wait >= LONG_WAIT_SAID_EVERY and at < FOREVER:
            self._said_long_wait = now
            wait = at - now
            self._observer.note(
                f"the limit of {kind} is used up for now: the next request can be sent in {waits.duration(wait)}, "
                f"at {waits.moment(wait)}"
            )

    def _stop(self, reason: errors.JobStopped) -> None:
        self._stopped = reason
        if self.on_free is not None:
            self.on_free()
        raise _again(reason)


def _again(reason: errors.JobStopped) -> errors.JobStopped:
    """A fresh copy for each who is told: one exception raised in many tasks would mix their tracebacks."""
    return type(reason)(*reason.args)
