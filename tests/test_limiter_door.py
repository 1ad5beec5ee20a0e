"""The line in front of the pacing, on an event loop whose time jumps to the next timer: no test waits."""

from __future__ import annotations

import asyncio
import selectors

import pytest

from batchchat import errors
from batchchat.limiter import Limiter


class JumpingSelector(selectors.SelectSelector):
    """Never sleeps: where it would wait for a timer, it moves the loop's clock there."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise AssertionError("everybody waits and no timer is set: a hang")
        if not ready and timeout:
            self.now += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self):
        return self.selector.now


def play(scene):
    """Runs a coroutine function, given a way to make limiters, in jumping time."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(scene())


def limiter(concurrency=4, **settings):
    settings = {"max_retry_after": 600.0, "max_outage": 600.0, **settings}
    return Limiter(concurrency=concurrency, clock=asyncio.get_running_loop().time, **settings)


def now():
    return asyncio.get_running_loop().time()


def test_a_free_way_is_passed_without_waiting():
    """Where everything is free, `acquire` does not give the loop away."""

    async def scene():
        door = limiter()
        with pytest.raises(StopIteration) as end:
            door.acquire(1).send(None)
        end.value.value.released()
        assert door.in_flight == 0

    play(scene)


def test_in_order_of_arrival():
    """Who came first goes first, and a large request is not overtaken."""

    async def scene():
        door, order = limiter(tpm=600), []

        async def one(name, tokens):
            lease = await door.acquire(tokens)
            order.append((name, round(now())))
            lease.settle(tokens_used=tokens, limits=None, latency=0.0)

        async with asyncio.TaskGroup() as group:
            for name, tokens in (("a", 10), ("b", 400), ("c", 10), ("d", 10)):
                group.create_task(one(name, tokens))
        assert [name for name, _ in order] == ["a", "b", "c", "d"]
        assert order[1][1] < 3
        assert order[2][1] >= 40

    play(scene)


def test_rows_that_were_sent_before_go_before_new_ones():
    """A retry is asked before new rows that wait, in the order of the retries."""

    async def scene():
        door, order = limiter(1), []
        held = await door.acquire(1)

        async def one(name, *, front):
            lease = await door.acquire(1, front=front)
            order.append(name)
            lease.released()

        async with asyncio.TaskGroup() as group:
            for name, front in (("new 1", False), ("new 2", False), ("retry 1", True), ("retry 2", True)):
                group.create_task(one(name, front=front))
            await asyncio.sleep(1)
            assert door.waiting == 4
            held.released()
        assert order == ["retry 1", "retry 2", "new 1", "new 2"]

    play(scene)


def test_a_paced_job_takes_its_time_and_no_more():
    """601 requests at 600 a minute through the door take a minute, and not a second more."""

    async def scene():
        door = limiter(50, rpm=600)

        async def worker(rows):
            for _ in rows:
                lease = await door.acquire(1)
                await asyncio.sleep(0.3)
                lease.settle(tokens_used=1, limits=None, latency=0.3)

        rows = iter(range(601))
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(worker(rows))
        assert 60.0 <= now() <= 61.5

    play(scene)


def test_reservations_follow_what_is_learned_while_they_wait():
    """Rows that reserved their whole max_tokens before the first answer do not hold up the line once more is known."""

    async def scene():
        door = limiter(50, tpm=6000)

        async def row():
            lease = await door.acquire(door.estimate(10, 3000))
            await asyncio.sleep(0.1)
            lease.settle(tokens_used=20, limits=None, latency=0.1)

        await asyncio.gather(*(row() for _ in range(50)))
        assert now() < 45.0

    play(scene)


def test_a_cancelled_waiter_leaves_the_line():
    """Who is cancelled while waiting takes nothing, and does not hold up those behind."""

    async def scene():
        door = limiter(1)
        held = await door.acquire(1)
        first, second = asyncio.create_task(door.acquire(1)), asyncio.create_task(door.acquire(1))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        held.released()
        (await second).released()
        assert (door.in_flight, door.waiting) == (0, 0)
        assert first.cancelled()

    play(scene)


def test_cancelled_in_the_moment_of_admission():
    """A lease that was granted to a task that is cancelled before it runs is given back."""

    async def scene():
        door = limiter(1)
        held = await door.acquire(1)
        waiting = asyncio.create_task(door.acquire(1))
        await asyncio.sleep(0)
        held.released()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert door.in_flight == 0

    play(scene)


def test_everybody_in_line_is_told_that_the_job_stops():
    """An outage that lasts reaches all who wait, at the moment at which patience ends."""

    async def scene():
        door = limiter(8, max_outage=60.0)
        for lease in [await door.acquire(1) for _ in range(3)]:
            lease.failed(errors.ConnectionLost("no route"))
        assert door.down
        assert not door.answered

        async def probing():
            while True:
                (await door.acquire(1)).failed(errors.ConnectionLost("no route"))

        results = await asyncio.gather(*(probing() for _ in range(5)), return_exceptions=True)
        assert {type(each) for each in results} == {errors.EndpointDown}
        assert now() == pytest.approx(60.0)

    play(scene)


def test_an_outage_that_ends_lets_everybody_go_on():
    """One probe at a time goes out; when it is answered, the others follow."""

    async def scene():
        door, sent = limiter(8), []

        async def row():
            while True:
                lease = await door.acquire(1)
                sent.append(now())
                await asyncio.sleep(0.01)
                if now() > 20.0:
                    lease.settle(tokens_used=1, limits=None, latency=0.01)
                    return
                lease.failed(errors.ConnectionLost("no route"))

        await asyncio.gather(*(row() for _ in range(8)))
        assert not door.down
        assert len([at for at in sent if at <= 20.0]) < 8 + 16
        assert now() < 60.0

    play(scene)


def test_a_wait_beyond_patience_reaches_everybody():
    """A refusal with too long a Retry-After ends all who wait."""

    async def scene():
        door = limiter(1)
        held = await door.acquire(1)
        waiting = asyncio.create_task(door.acquire(1))
        await asyncio.sleep(0)
        with pytest.raises(errors.WaitTooLong):
            held.refused(errors.RateLimited("later", status=429, retry_after=7200.0))
        with pytest.raises(errors.WaitTooLong):
            await waiting

    play(scene)


def test_closing_leaves_nothing_behind():
    """After `close` no timer is left, and who waits is ended by cancellation."""

    async def scene():
        door = limiter(rpm=1)
        (await door.acquire(1)).released()
        waiting = asyncio.create_task(door.acquire(1))
        await asyncio.sleep(0)
        door.close()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (door.waiting, door._timer) == (0, None)

    play(scene)
