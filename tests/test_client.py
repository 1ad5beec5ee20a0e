"""How long a row is asked again, where refusals come on and on: in virtual time, with the real limiter and policy."""

from __future__ import annotations

import asyncio
import random

import pytest

from batchchat import wire
from batchchat.client import Client
from batchchat.errors import RateLimited, ServerError
from batchchat.events import Observer
from batchchat.limiter import Limiter
from batchchat.records import Completion, Task, Usage
from batchchat.retry import RetryPolicy

HOUR = 3600.0
ANSWER = Completion(
    contents=("yes",), finish_reasons=("stop",), usage=Usage(prompt_tokens=5, completion_tokens=1, total_tokens=6)
)
SHAPE = wire.RequestShape(model="m", parameters={})


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its time stands still while there is work, and jumps to the next timer where there is none."""

    def __init__(self):
        super().__init__()
        self.now = 0.0

    def time(self):
        return self.now

    def _run_once(self):
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


def settled(refuses, *, rows, workers=16):
    """The outcomes of so many rows by number, and when each was settled; `refuses` says which are refused, and when."""

    async def work():
        loop = asyncio.get_running_loop()

        async def send(request):
            await asyncio.sleep(0.5)
            row = int(request.body.split(b"row ")[1].split(b'"')[0])
            if (wait := refuses(row, loop.time())) is not None:
                raise wait if isinstance(wait, Exception) else RateLimited("busy", status=503, retry_after=wait)
            return ANSWER

        observer = Observer()
        # The limiter's own patience, which is with the endpoint, is of no interest here.
        limiter = Limiter(
            concurrency=workers, rpm=None, tpm=None, observer=observer, clock=loop.time, max_retry_after=600.0,
            max_outage=1e9,
        )  # fmt: skip
        client = Client(
            send=send, limiter=limiter, policy=lambda sleep: RetryPolicy(sleep=sleep, clock=loop.time),
            observer=observer, max_outage=600.0, clock=loop.time,
        )  # fmt: skip
        waiting = iter(range(1, rows + 1))
        found, when = {}, {}

        async def worker():
            for row in waiting:
                request = SHAPE.request([{"role": "user", "content": f"row {row}"}])
                found[row] = await client.complete(Task(row=row, request=request, key=request.key))
                when[row] = loop.time()

        await asyncio.gather(*(worker() for _ in range(workers)))
        return found, when

    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work())
    finally:
        loop.close()


@pytest.mark.parametrize("wait", [1.0, 30.0, 120.0])
def test_an_hour_of_refusals_by_chance_fails_no_row(wait):
    """Nine of ten answers are 503 with Retry-After for an hour: whoever has bad luck is asked again, and none fails."""
    chance = random.Random(7)
    found, _ = settled(lambda _, now: wait if now < HOUR and chance.random() < 0.9 else None, rows=100)
    assert len(found) == 100
    assert [outcome.row for outcome in found.values() if outcome.error] == []


def test_a_row_that_is_always_refused_fails_in_a_bounded_time():
    """Where the others are answered a row that never is fails after --max-outage, with its refusal."""
    found, when = settled(lambda row, _: 30.0 if row == 3 else None, rows=200)
    bad = found.pop(3)
    assert "refused by the rate limit for 600 s while others were answered" in str(bad.error)
    assert all(outcome.error is None for outcome in found.values())
    assert 3 <= bad.attempts.sent <= 40
    assert 600 <= when[3] <= 1300


def test_a_wait_that_was_asked_for_does_not_shorten_those_that_were_not():
    """Between two failures that name no wait a refusal names a short one: the second pause is longer than the first."""
    first = [ServerError("x", status=500), RateLimited("x", status=429, retry_after=1.0), ServerError("x", status=500)]
    other = [RateLimited("x", status=429, retry_after=10.0)]
    ends = []

    def refuses(row, now):
        if row == 1:
            ends.append(now)
        left = {1: first, 2: other}.get(row)
        return left.pop(0) if left else None

    found, _ = settled(refuses, rows=2, workers=2)
    assert found[1].error is None
    assert len(ends) == 4
    assert ends[3] - ends[2] > ends[1] - ends[0] > 10
