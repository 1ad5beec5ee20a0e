"""The engine, with fakes on every side: tasks from a list, completions from a function, commits into a list."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from batchchat import defaults
from batchchat.engine import Engine
from batchchat.errors import BadRequest, EndpointDown, Forbidden, Hopeless, Interrupted, KeyRefused, StorageFull
from batchchat.events import Observer
from batchchat.records import ChatRequest, Completion, Outcome, Task, Usage


def task(row: int) -> Task:
    body = f'{{"row":{row}}}'.encode()
    return Task(row=row, request=ChatRequest(body=body, key=body.ljust(16, b"\0")), key=body.ljust(16, b"\0"))


def answer(row: int, content: str = "yes") -> Outcome:
    done = Completion(contents=(content,), finish_reasons=("stop",), usage=Usage())
    return Outcome(row=row, key=b"k", completion=done)


class FakeClient:
    """Completes with what a function gives; knows who is waiting without a request in flight."""

    def __init__(self, workers: int, do: Callable[[Task], Awaitable[Outcome]]) -> None:
        self.workers = workers
        self.do = do
        self.now = self.most = 0
        self.stopped = False
        self.idle: set[asyncio.Task] = set()

    async def complete(self, job: Task) -> Outcome:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            return await self.do(job)
        finally:
            self.now -= 1

    def stop(self) -> None:
        self.stopped = True
        for waiting in self.idle:
            waiting.cancel()


class Bench:
    """An engine over `rows` tasks, and what it committed."""

    def __init__(
        self, rows: int, do: Callable[[Task], Awaitable[Outcome]], *, workers: int = 4, block: int = 64
    ) -> None:
        self.committed: list[Outcome] = []
        self.groups: list[int] = []
        self.given = 0
        self.rows, self.block = rows, block
        self.client = FakeClient(workers, do)
        self.engine = Engine(source=self.source, client=self.client, commit=self.commit, observer=Observer())

    async def source(self) -> Sequence[Task] | None:
        if self.given >= self.rows:
            return None
        some = [task(row) for row in range(self.given + 1, min(self.given + self.block, self.rows) + 1)]
        self.given += len(some)
        return some

    async def commit(self, outcomes: Sequence[Outcome]) -> None:
        await asyncio.sleep(0)
        self.committed += outcomes
        self.groups.append(len(outcomes))

    @property
    def numbers(self) -> list[int]:
        return sorted(outcome.row for outcome in self.committed)


async def soon(job: Task) -> Outcome:
    await asyncio.sleep(0)
    return answer(job.row)


async def test_every_row_is_committed_once():
    """Each task of the source ends in exactly one committed outcome."""
    bench = Bench(1000, soon)
    await bench.engine.run()
    assert bench.numbers == list(range(1, 1001))
    assert bench.engine.reason is None


async def test_no_more_rows_at_once_than_workers():
    """The client never has more rows in hand than it said it has workers."""
    bench = Bench(200, soon, workers=7)
    await bench.engine.run()
    assert bench.client.most == 7


async def test_the_queue_is_bounded():
    """The feeder waits while workers are behind: memory does not grow with the table."""
    gate = asyncio.Event()

    async def held(job: Task) -> Outcome:
        await gate.wait()
        return answer(job.row)

    bench = Bench(100_000, held, block=256)
    run = asyncio.ensure_future(bench.engine.run())
    for _ in range(200):
        await asyncio.sleep(0)
    assert bench.given <= defaults.BATCH_ROWS + 256
    bench.engine.stop(Interrupted())
    gate.set()
    await run


async def test_workers_wait_when_commits_fall_behind():
    """A slow disk slows the taking of rows: a kill can cost one group, and what is in flight, and no more."""
    gate = asyncio.Event()
    bench = Bench(20_000, soon, workers=16, block=1024)
    plain = bench.commit

    async def slow(outcomes: Sequence[Outcome]) -> None:
        await gate.wait()
        await plain(outcomes)

    bench.engine._commit = slow
    run = asyncio.ensure_future(bench.engine.run())
    for _ in range(5000):
        await asyncio.sleep(0)
    waiting = len(bench.engine._settled)
    gate.set()
    await run
    assert waiting <= defaults.COMMIT_ROWS + 16
    assert len(bench.numbers) == 20_000


async def test_groups_are_bounded():
    """A commit takes at most so many outcomes."""
    bench = Bench(5000, soon, workers=64, block=1024)
    await bench.engine.run()
    assert max(bench.groups) <= defaults.COMMIT_ROWS


async def test_stop_drains_what_is_in_flight():
    """After a stop no new row is taken, and those in flight are committed."""
    gate, begun = asyncio.Event(), []

    async def held(job: Task) -> Outcome:
        begun.append(job.row)
        await gate.wait()
        return answer(job.row)

    bench = Bench(100, held, workers=5)
    run = asyncio.ensure_future(bench.engine.run())
    while len(begun) < 5:
        await asyncio.sleep(0)
    bench.engine.stop(Interrupted())
    gate.set()
    await run
    assert bench.numbers == begun
    assert bench.client.stopped


async def test_abort_keeps_every_answer_that_was_there():
    """A hard cancel of all workers loses no row that was answered, also while commits are far behind."""
    commits, answered = asyncio.Event(), []

    async def some(job: Task) -> Outcome:
        if job.row > 300:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        answered.append(job.row)
        return answer(job.row)

    bench = Bench(2000, some, workers=50)
    plain = bench.commit

    async def slow(outcomes: Sequence[Outcome]) -> None:
        await commits.wait()
        await plain(outcomes)

    bench.engine._commit = slow
    run = asyncio.ensure_future(bench.engine.run())
    while len(answered) < 300:
        await asyncio.sleep(0)
    bench.engine.stop(Interrupted())
    bench.engine.abort()
    await asyncio.sleep(0)
    commits.set()
    await run
    assert bench.numbers == sorted(answered)


async def test_cancelling_the_run_itself_keeps_every_answer():
    """When the task that runs the engine is cancelled, what was answered is committed before it ends."""
    answered = []

    async def some(job: Task) -> Outcome:
        if job.row > 20:
            await asyncio.Event().wait()
        answered.append(job.row)
        return answer(job.row)

    bench = Bench(100, some, workers=10)
    run = asyncio.ensure_future(bench.engine.run())
    while len(answered) < 20:
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert bench.numbers == sorted(answered)


async def test_an_unexpected_error_leaves_after_the_last_commit():
    """A fault in a worker ends the run with that fault, and what was answered before is durable."""

    async def faulty(job: Task) -> Outcome:
        await asyncio.sleep(0)
        if job.row == 30:
            raise ZeroDivisionError
        return answer(job.row)

    bench = Bench(100, faulty, workers=1)
    with pytest.raises(ZeroDivisionError):
        await bench.engine.run()
    assert bench.numbers == list(range(1, 30))


async def test_a_stopping_error_keeps_its_row_pending():
    """An error that stops the job marks no row, and others in flight are still committed."""

    async def refused(job: Task) -> Outcome:
        await asyncio.sleep(0)
        if job.row == 10:
            raise KeyRefused("bad key")
        return answer(job.row)

    bench = Bench(100, refused, workers=1)
    await bench.engine.run()
    assert isinstance(bench.engine.reason, KeyRefused)
    assert bench.numbers == list(range(1, 10))


async def test_a_fault_of_the_source_stops_the_job():
    """A JobStopped from the source ends the job in order, with that reason."""
    bench = Bench(64, soon)
    plain = bench.source

    async def source() -> Sequence[Task] | None:
        some = await plain()
        if some is None:
            raise EndpointDown("gone")
        return some

    bench.engine._source = source
    await bench.engine.run()
    assert isinstance(bench.engine.reason, EndpointDown)
    assert len(bench.numbers) == len(set(bench.numbers)) <= 64


async def test_a_full_disk_stops_the_job_and_is_tried_once_more():
    """When a commit fails the job stops; the outcomes are kept and committed at the end if that is possible then."""
    bench = Bench(5000, soon, workers=8)
    plain, calls = bench.commit, []

    async def full_once(outcomes: Sequence[Outcome]) -> None:
        calls.append(len(outcomes))
        if len(calls) == 2:
            raise StorageFull("no space")
        await plain(outcomes)

    bench.engine._commit = full_once
    await bench.engine.run()
    assert isinstance(bench.engine.reason, StorageFull)
    assert len(set(bench.numbers)) == len(bench.numbers) > calls[0]


def failing(error: Callable[[int], Exception | None]) -> Callable[[Task], Awaitable[Outcome]]:
    async def do(job: Task) -> Outcome:
        await asyncio.sleep(0)
        problem = error(job.row)
        return answer(job.row) if problem is None else Outcome(row=job.row, key=b"k", error=problem)

    return do


def bad(code: str = "unsupported_parameter") -> BadRequest:
    return BadRequest("no such parameter", status=400, type="invalid_request_error", code=code)


async def test_twenty_alike_at_the_start_are_hopeless():
    """When the first 20 rows fail alike the job stops and marks none of them."""
    bench = Bench(500, failing(lambda row: bad()), workers=4)
    await bench.engine.run()
    assert isinstance(bench.engine.reason, Hopeless)
    assert bench.committed == []
    assert "no such parameter" in str(bench.engine.reason)


async def test_nineteen_alike_are_the_rows_own():
    """A table of 19 rows that all fail alike is finished: each has its error."""
    bench = Bench(19, failing(lambda row: bad()), workers=4)
    await bench.engine.run()
    assert bench.engine.reason is None
    assert len(bench.committed) == 19


async def test_an_answer_among_failures_is_hope():
    """Once a row was answered, fewer than 200 equal failures in a row are the rows' own."""
    bench = Bench(150, failing(lambda row: None if row == 1 else bad()), workers=4)
    await bench.engine.run()
    assert bench.engine.reason is None
    assert len(bench.committed) == 150


async def test_two_hundred_alike_later_are_hopeless():
    """After answers, 200 equal failures in a row stop the job; the rows before them are kept."""
    bench = Bench(900, failing(lambda row: None if row <= 50 else bad()), workers=1)
    await bench.engine.run()
    assert isinstance(bench.engine.reason, Hopeless)
    assert bench.numbers == list(range(1, 51))


async def test_different_failures_are_not_hopeless():
    """Failures that differ are the rows' own."""
    bench = Bench(100, failing(lambda row: bad(f"code{row % 2}")), workers=1)
    await bench.engine.run()
    assert bench.engine.reason is None
    assert len(bench.committed) == 100


async def test_forbidden_before_any_answer_is_the_keys_fault():
    """A 403 where nothing was answered yet stops the job."""
    bench = Bench(100, failing(lambda row: Forbidden("no", status=403)), workers=1)
    await bench.engine.run()
    assert isinstance(bench.engine.reason, KeyRefused)
    assert bench.committed == []


async def test_one_forbidden_among_answers_is_the_rows_fault():
    """A single 403 between answers is that row's error."""
    bench = Bench(100, failing(lambda row: Forbidden("no", status=403) if row == 50 else None), workers=1)
    await bench.engine.run()
    assert bench.engine.reason is None
    assert [outcome.row for outcome in bench.committed if outcome.error] == [50]


async def test_five_forbidden_in_a_row_stop_the_job():
    """Five 403 in a row stop the job, and those rows stay pending."""
    bench = Bench(100, failing(lambda row: Forbidden("no", status=403) if row > 50 else None), workers=1)
    await bench.engine.run()
    assert isinstance(bench.engine.reason, KeyRefused)
    assert bench.numbers == list(range(1, 51))


async def test_workers_follow_the_clients_room():
    """When the client has more room, top_up starts more workers; with less, they end after their row."""
    gate = asyncio.Event()

    async def held(job: Task) -> Outcome:
        await gate.wait()
        return answer(job.row)

    bench = Bench(300, held, workers=2)
    run = asyncio.ensure_future(bench.engine.run())
    while bench.client.now < 2:
        await asyncio.sleep(0)
    bench.client.workers = 6
    bench.engine.top_up()
    while bench.client.now < 6:
        await asyncio.sleep(0)
    bench.client.workers = 3
    gate.set()
    await run
    assert bench.numbers == list(range(1, 301))
    assert bench.client.most == 6
