"""Models of servers that limit: plain synchronous code, driven by arrival times.

None of it is shared with the limiter, nor with `batchchat.serve`: a third pair of eyes on what servers do.

    Bucket, Sliding, Fixed    how a limit is counted
    Others                    another client on the same quota
    Server                    limits, latency, and how a refusal is worded
    Chancy                    refusals by chance
    Queue, Batch              servers that never refuse: answers take longer
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A request: its real tokens, what the client takes its prompt for, its max_tokens, and its latency alone.

    `sent` is how often it was refused already.
    """

    prompt: int = 100
    guess: int = 100
    completion: int = 100
    most: int | None = None
    latency: float = 0.5
    sent: int = 0

    @property
    def tokens(self):
        return self.prompt + self.completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What comes back, and after how long: headers as (limit, remaining, reset) of requests and of tokens."""

    after: float
    admitted: bool = True
    retry_after: float | None = None
    requests: tuple | None = None
    tokens: tuple | None = None


class Bucket:
    """Refills steadily, holds `holds` seconds of its limit, and begins full.

    With `minute` its headers show what remains of a whole minute, although it holds less, as OpenAI's do.
    """

    def __init__(self, limit, *, holds=60.0, minute=False):
        self.limit, self.rate = limit, limit / 60
        self.size = max(1.0, self.rate * holds)
        self.level, self.at = self.size, -math.inf
        self.more = limit - self.size if minute else 0.0

    def _refill(self, now):
        if self.at > -math.inf:
            self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now

    def wait(self, now, amount):
        self._refill(now)
        return max(0.0, (min(amount, self.size) - self.level - 1e-9) / self.rate)

    def take(self, now, amount):
        self._refill(now)
        self.level -= amount

    def shown(self, now):
        self._refill(now)
        return self.limit, max(0.0, math.floor(self.level + self.more + 1e-9)), (self.size - self.level) / self.rate


class Sliding:
    """At most the limit within any period; the reset is the time until all of it has left."""

    def __init__(self, limit, *, period=60.0):
        self.limit, self.period = limit * period / 60, period
        self.taken, self.total = deque(), 0.0

    def _forget(self, now):
        while self.taken and self.taken[0][0] <= now - self.period:
            self.total -= self.taken.popleft()[1]

    def wait(self, now, amount):
        self._forget(now)
        excess = self.total + amount - self.limit
        if excess <= 1e-9 or not self.taken:
            return 0.0
        for moment, taken in self.taken:
            excess -= taken
            if excess <= 1e-9:
                return moment + self.period - now
        return self.taken[-1][0] + self.period - now

    def take(self, now, amount):
        self._forget(now)
        self.taken.append((now, amount))
        self.total += amount

    def shown(self, now):
        self._forget(now)
        reset = self.taken[-1][0] + self.period - now if self.taken else 0.0
        return self.limit, max(0.0, math.floor(self.limit - self.total + 1e-9)), reset


class Fixed:
    """At most the limit within each period, which begin at `offset`."""

    def __init__(self, limit, *, period=60.0, offset=17.0):
        self.limit, self.period, self.offset = limit * period / 60, period, offset
        self.window, self.used = None, 0.0

    def _turn(self, now):
        window = math.floor((now - self.offset) / self.period)
        if window != self.window:
            self.window, self.used = window, 0.0
        return self.offset + (window + 1) * self.period - now

    def wait(self, now, amount):
        left = self._turn(now)
        return left if self.used and self.used + amount > self.limit + 1e-9 else 0.0

    def take(self, now, amount):
        self._turn(now)
        self.used += amount

    def shown(self, now):
        left = self._turn(now)
        return self.limit, max(0.0, math.floor(self.limit - self.used)), left


class Others:
    """Another client that asks at a steady rate, on for a while and off for a while; refused, it drops the request.

    It was there before the job began.
    """

    def __init__(self, per_second, *, rng, tokens=200, on=math.inf, off=0.0):
        self.per_second, self.rng, self.tokens, self.on, self.off = per_second, rng, tokens, on, off
        self.next = self.rng.expovariate(per_second) - 120.0
        self.admitted = self.admitted_tokens = 0

    def took(self, moment):
        if moment >= 0:
            self.admitted += 1
            self.admitted_tokens += self.tokens

    def arrivals(self, now):
        while self.next <= now:
            if self.off == 0.0 or self.next % (self.on + self.off) < self.on:
                yield self.next
            self.next += self.rng.expovariate(self.per_second)


class Server:
    """Limits requests and tokens, and answers after the row's own latency.

    Args:
        requests, tokens: how each is limited, None where it is not.
        retry_after: "exact", "seconds" (rounded up), or None for nothing.
        headers: whether it shows its limits.
        counts: "used" for a request's real tokens, "asked" for prompt plus max_tokens.
        count_refused: refused requests count against the limit of requests.
        others: another client.
        lie: by how much headers overstate.
    """

    def __init__(
        self,
        *,
        requests=None,
        tokens=None,
        retry_after="exact",
        headers=False,
        counts="used",
        count_refused=False,
        others=None,
        lie=1.0,
        refusal_latency=0.02,
    ):
        self.limits = [(kind, limit) for kind, limit in (("requests", requests), ("tokens", tokens)) if limit]
        self.retry_after, self.headers, self.counts = retry_after, headers, counts
        self.count_refused, self.others, self.lie, self.refusal_latency = count_refused, others, lie, refusal_latency

    def arrive(self, now, row):
        """What happens to a request that comes in now."""
        if self.others is not None:
            for moment in self.others.arrivals(now):
                if not self._admit(moment, self.others.tokens):
                    self.others.took(moment)
        amount = row.tokens if self.counts == "used" else row.prompt + (row.most or row.completion)
        wait = self._admit(now, amount)
        shown = {}
        if self.headers:
            for kind, limit in self.limits:
                of, left, reset = limit.shown(now)
                shown[kind] = (of * self.lie, left * self.lie, math.ceil(reset * 1000) / 1000)
        if not wait:
            return Reply(after=row.latency, **shown)
        told = {"exact": wait, "seconds": float(math.ceil(wait)), None: None}[self.retry_after]
        return Reply(after=self.refusal_latency, admitted=False, retry_after=told, **shown)

    def _admit(self, now, tokens):
        amounts = [(kind, limit, tokens if kind == "tokens" else 1) for kind, limit in self.limits]
        wait = max((limit.wait(now, amount) for _, limit, amount in amounts), default=0.0)
        for kind, limit, amount in amounts:
            if not wait or (self.count_refused and kind == "requests"):
                limit.take(now, amount)
        return wait


class Chancy(Server):
    """Refuses a share of all requests by chance, whatever the rate, beside what a `Server` limits."""

    def __init__(self, share, *, rng, asks=None, **how):
        super().__init__(**how)
        self.share, self.rng, self.asks = share, rng, asks

    def arrive(self, now, row):
        if self.rng.random() < self.share:
            return Reply(after=self.refusal_latency, admitted=False, retry_after=self.asks)
        return super().arrive(now, row)


class Queue:
    """Serves so many at once, first come first served; the others wait. Never refuses."""

    def __init__(self, slots):
        self.free = [0.0] * slots

    def arrive(self, now, row):
        begin = max(now, heapq.heappop(self.free))
        heapq.heappush(self.free, begin + row.latency)
        return Reply(after=begin + row.latency - now)


class Batch:
    """A batch that grows with what is in flight, up to a size: each step takes longer the larger it is; others wait.

    As inference servers do: alone a request takes its latency, in a full batch `slowdown` times as long.
    """

    def __init__(self, size, *, slowdown=2.0):
        self.size, self.slowdown = size, slowdown
        self.running, self.waiting = [], deque()

    def arrive(self, now, row):
        while self.running and self.running[0] <= now:
            heapq.heappop(self.running)
        begin = now
        running = len(self.running)
        if running >= self.size:
            begin = sorted(self.running)[running - self.size]
            running = self.size - 1
        end = begin + row.latency * (1 + (self.slowdown - 1) * running / self.size)
        heapq.heappush(self.running, end)
        return Reply(after=end - now)


class Crowd:
    """Refuses what is more than so many at once, with or without saying when to come back."""

    def __init__(self, most, *, retry_after=1.0):
        self.most, self.retry_after, self.running = most, retry_after, []

    def arrive(self, now, row):
        while self.running and self.running[0] <= now:
            heapq.heappop(self.running)
        if len(self.running) >= self.most:
            return Reply(after=0.02, admitted=False, retry_after=self.retry_after)
        heapq.heappush(self.running, now + row.latency)
        return Reply(after=row.latency)
