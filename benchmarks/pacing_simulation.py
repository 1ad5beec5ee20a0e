"""A job against a model of a server, in simulated time: the limiter's own classes, no sockets, no waiting.

    play(server, rows, seconds, ...)           batchchat's admission
    play_workers(server, rows, seconds, ...)   so many workers: without pacing, or retrying as the official client does

Both give a `Record`: what was let in and refused, when, and how many were in flight.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from dataclasses import dataclass, field, replace

from batchchat import errors
from batchchat.limiter.admission import Admission
from batchchat.records import RateLimits


@dataclass(slots=True, kw_only=True)
class Record:
    """What happened: arrivals that were let in as (moment, tokens), refused ones, latencies, rows given up.

    `pauses` counts the refusals for which all waited.
    """

    admitted: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    latencies: list = field(default_factory=list)
    lost: int = 0
    sizes: list = field(default_factory=list)
    others: object = None
    pauses: int = 0
    bound: object = None

    @property
    def share_refused(self):
        return len(self.refused) / max(1, len(self.refused) + len(self.admitted))

    def used(self, unit, per_minute, *, since=0.0):
        """What was let in over what the limit allows (less what others took), from the first to the last start."""
        admitted = [(moment, amount if unit == "tokens" else 1) for moment, amount in self.admitted if moment >= since]
        seconds = admitted[-1][0] - admitted[0][0]
        total = sum(amount for _, amount in admitted[:-1])
        allowed = per_minute / 60 * seconds
        if self.others is not None:
            taken = self.others.admitted if unit == "requests" else self.others.admitted_tokens
            allowed -= taken * seconds / admitted[-1][0]
        return total / allowed

    def throughput(self, *, since=0.0):
        """Answers that were started a second."""
        moments = [moment for moment, _ in self.admitted if moment >= since]
        return (len(moments) - 1) / (moments[-1] - moments[0])


class _World:
    """Time, the way to the server and back, and what is under way."""

    def __init__(self, server, rng, *, way=0.01, jitter=0.01):
        self.now, self.server, self.rng, self.way, self.jitter = 0.0, server, rng, way, jitter
        self.events, self.count, self.record = [], itertools.count(), Record(others=getattr(server, "others", None))

    def later(self, moment, what, *details):
        heapq.heappush(self.events, (moment, next(self.count), what, details))

    def send(self, row, then):
        """A request sets out; `then(reply, latency)` is called when its answer is back."""
        started = self.now
        self.later(self.now + self.way + self.rng.expovariate(1 / self.jitter), self._arrive, row, started, then)

    def _arrive(self, row, started, then):
        reply = self.server.arrive(self.now, row)
        (self.record.admitted if reply.admitted else self.record.refused).append((self.now, row.tokens))
        back = self.now + reply.after + self.way + self.rng.expovariate(1 / self.jitter)
        self.later(back, self._back, reply, started, then)

    def _back(self, reply, started, then):
        if reply.admitted:
            self.record.latencies.append((self.now, self.now - started))
        then(reply, self.now - started)

    def step(self, until=float("inf")):
        """Moves on to the next event, or to a moment before it."""
        if self.events and self.events[0][0] <= until:
            self.now, _, what, details = heapq.heappop(self.events)
            what(*details)
        else:
            self.now = until


def play(server, rows, seconds, *, seed=1, concurrency=None, way=0.01, jitter=0.01, **told):
    """A job of batchchat's own: gives what happened within so many seconds."""
    rng = random.Random(seed)
    world = _World(server, rng, way=way, jitter=jitter)
    admission = Admission(
        concurrency=concurrency,
        clock=lambda: world.now,
        max_retry_after=600.0,
        max_outage=600.0,
        rng=random.Random(seed),
        **told,
    )
    again, fresh = deque(), iter(rows)
    row = None
    while world.now < seconds:
        if row is None:
            front = bool(again)
            row = again.popleft() if front else next(fresh)
        tokens = admission.completions.estimate(row.guess, row.most)
        at = admission.ask(world.now, tokens)
        if at > world.now:
            world.step(min(at, seconds))
            continue
        _start(world, admission.start(world.now, tokens, front=front, prompt=row.guess), row, again)
        world.record.sizes.append((world.now, admission.pool.size))
        row = None
    world.record.bound = admission.explain()
    return world.record


def _start(world, lease, row, again):
    def then(reply, latency):
        limits = _limits(reply)
        if reply.admitted:
            lease.settle(tokens_used=row.tokens, limits=limits, latency=latency)
            return
        world.record.pauses += not _refused(world, lease, reply, limits, row, again)

    world.send(row, then)


def _refused(world, lease, reply, limits, row, again):
    """What the client does: where all others go on, the row waits for itself, longer each time."""
    alone = lease.refused(errors.RateLimited("slow down", status=429, retry_after=reply.retry_after, limits=limits))
    if alone:
        delay = reply.retry_after or min(0.5 * 1.7**row.sent, 30.0) * world.rng.uniform(0.75, 1.0)
        world.later(world.now + delay, again.append, replace(row, sent=row.sent + 1))
    else:
        again.append(row)
    return alone


def _limits(reply):
    if reply.requests is None and reply.tokens is None:
        return None
    requests, tokens = reply.requests or (None,) * 3, reply.tokens or (None,) * 3
    return RateLimits(
        requests_limit=requests[0],
        requests_remaining=requests[1],
        requests_reset=requests[2],
        tokens_limit=tokens[0],
        tokens_remaining=tokens[1],
        tokens_reset=tokens[2],
    )


def play_workers(server, rows, seconds, *, seed=1, concurrency=64, retries=2, polite=True, way=0.01, jitter=0.01):
    """Workers that send one row after the other. Polite: retries as the official client does; else after one second."""
    rng = random.Random(seed)
    world = _World(server, rng, way=way, jitter=jitter)
    fresh = iter(rows)

    def begin(row, attempt):
        def then(reply, _):
            if reply.admitted:
                begin(next(fresh), 0)
            elif polite and attempt >= retries:
                world.record.lost += 1
                begin(next(fresh), 0)
            else:
                told = reply.retry_after
                own = min(0.5 * 2**attempt, 8.0) * (1 - 0.25 * rng.random())
                delay = (told if told is not None and 0 < told <= 120 else own) if polite else 1.0
                world.later(world.now + delay, begin, row, attempt + 1)

        world.send(row, then)

    for _ in range(concurrency):
        begin(next(fresh), 0)
    while world.now < seconds:
        world.step(seconds)
    return world.record
