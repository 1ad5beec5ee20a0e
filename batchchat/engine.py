"""The engine: rows in, outcomes durable, whatever happens between.

One task group: a feeder fills a bounded queue of tasks, workers settle them one by one, and one committer makes what
they settled durable, many at a time. The engine is given a source of tasks, a way to complete one, and a way to commit
outcomes; it knows neither tables nor HTTP nor SQLite. The local run, a worker on a cluster and the tests use the same.

What it promises:

- A worker that has an answer hands it over without waiting: no cancellation can come between, and the last commit
  stands outside the task group, when no worker lives any more. So a hard cancel loses no answered row.
- Back-pressure is on taking the next row: when commits fall behind, or the queue is full by count or bytes, the stage
  before waits. Memory does not grow with the table.
- Failures that could turn out to be the job's and not the rows' (all alike, or 403) are held back until something
  else is seen; when the evidence is complete the job stops and none of those rows is marked.
- To stop is to take no new row, let the requests in flight end, and commit. Whatever waits without a request in flight
  (for a slot, for a retry) ends at once; its row stays pending.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from batchchat import defaults
from batchchat.errors import Forbidden, Hopeless, JobStopped, KeyRefused, Permanent, UnreadableReply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from batchchat.events import Observer
    from batchchat.records import Outcome, Task


_RECORD_BYTES = 200  # of an outcome without its texts, about


class Completer(Protocol):
    """What the engine needs of a client."""

    @property
    def workers(self) -> int:
        """How many rows may be worked on now: slots, and retries that sleep."""

    async def complete(self, task: Task) -> Outcome:
        """Settle one row.

        Raises:
            JobStopped: the job cannot go on; the row stays pending.
        """

    def stop(self) -> None:
        """Cancel everything that waits without a request in flight, now and from now on."""


class Verdict:
    """Tells the rows' own failures from the job's, by evidence.

    Args:
        answered: whether the job has an answer from before.

    Attributes:
        answered: whether the job has an answer now.
        stop: why the job is to stop, None while the evidence is not complete.
    """

    def __init__(self, *, answered: bool) -> None:
        self.answered = answered
        self._mixed = False
        self._held: list[Outcome] = []
        self.stop: JobStopped | None = None

    @property
    def holding(self) -> bool:
        """Whether failures are held back: then even an answer has to be judged."""
        return bool(self._held)

    def judge(self, outcome: Outcome) -> list[Outcome]:
        """Outcomes that may be committed now; sets `stop` when the evidence is complete."""
        error = outcome.error
        if error is None or outcome.completion is not None:  # a refusal in words is an answer too
            self.answered = True
            return [*self._release(), outcome]
        if not isinstance(error, Permanent | UnreadableReply) or error.status is None:
            return [outcome]
        released: list[Outcome] = []
        if self._held and not self._alike(outcome):
            self._mixed = True
            released = self._release()
        self._held.append(outcome)
        self._conclude(error)
        return released

    def end(self) -> list[Outcome]:
        """What is still held back when every row was worked on: the rows' own failures after all."""
        return [] if self.stop is not None else self._release()

    def _alike(self, outcome: Outcome) -> bool:
        first = self._held[0].error
        assert first is not None
        assert outcome.error is not None
        return first.signature == outcome.error.signature

    def _release(self) -> list[Outcome]:
        held, self._held = self._held, []
        return held

    def _conclude(self, error: Any) -> None:
        count = len(self._held)
        if isinstance(error, Forbidden):
            if not self.answered or count >= defaults.FORBIDDEN_IN_A_ROW:
                self.stop = KeyRefused(f"the endpoint refuses access: {error}")
        elif count >= (defaults.HOPELESS_LATER if self.answered or self._mixed else defaults.HOPELESS_AT_START):
            self.stop = Hopeless(f"every row is refused alike ({count} in a row): {error}")


class Engine:
    """One run over a source of tasks.

    Args:
        source: gives the next tasks, None when there are no more. A JobStopped that it raises stops the job.
        client: completes one task.
        commit: makes outcomes durable; it is awaited and should not block the loop.
        observer: is told what happens.
        answered: whether the job has answers from earlier runs (evidence that its requests can succeed).
        clock: seconds; for the pace of commits.
    """

    def __init__(
        self,
        *,
        source: Callable[[], Awaitable[Sequence[Task] | None]],
        client: Completer,
        commit: Callable[[Sequence[Outcome]], Awaitable[None]],
        observer: Observer,
        answered: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._client = client
        self._commit = commit
        self._observer = observer
        self._clock = clock
        self._verdict = Verdict(answered=answered)
        self._ready: deque[Task] = deque()
        self._ready_bytes = 0
        self._settled: list[Outcome] = []
        self._sizes: list[int] = []
        self._settled_bytes = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._group: asyncio.TaskGroup | None = None
        self._fed = False
        self._more = asyncio.Event()  # tasks are ready, or there will be none
        self._room = asyncio.Event()  # the queue has room
        self._arrived = asyncio.Event()  # outcomes to commit, or the end
        self._caught_up = asyncio.Event()  # commits are not behind
        self._caught_up.set()
        self.behind = 0.0  # seconds for which workers waited for commits
        self._behind_since = 0.0
        self._over = False
        self.reason: JobStopped | None = None

    async def run(self) -> None:
        """Work until every row is settled or the job is stopped; `reason` then says why.

        Raises:
            BaseException: what no one expected; what was answered is committed first.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                committer = self._group.create_task(self._commit_groups())
                await self._work_through()
                self._over = True
                self._arrived.set()
                await committer
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            self._group = None
            await self._last_commit()

    def stop(self, reason: JobStopped) -> None:
        """Take no new row and let the requests in flight end. The first reason stays."""
        if self.reason is None:
            self.reason = reason
            self._client.stop()
            self._more.set()
            self._room.set()
            self._caught_up.set()

    def abort(self) -> None:
        """Give up the requests in flight too; what was answered is kept."""
        for worker in self._workers:
            worker.cancel()

    def top_up(self) -> None:
        """Start workers up to the number that the client has room for."""
        if self._group is None or self.reason is not None:
            return
        want = self._client.workers
        if self._fed:
            want = min(want, len(self._workers) + len(self._ready))
        while len(self._workers) < want:
            worker = self._group.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    async def _work_through(self) -> None:
        feeder = asyncio.ensure_future(self._feed())
        try:
            await feeder
            while self._workers:
                await asyncio.wait(self._workers)
        finally:
            feeder.cancel()
        for outcome in self._verdict.end():
            self._hand_over(outcome)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if self._ready and not worker.cancelled() and worker.exception() is None:
            self.top_up()

    async def _feed(self) -> None:
        while self.reason is None:
            try:
                tasks = await self._source()
            except JobStopped as reason:
                self.stop(reason)
                break
            if tasks is None:
                break
            self._ready.extend(tasks)
            self._ready_bytes += sum(len(task.request.body) for task in tasks if task.request is not None)
            self._more.set()
            self.top_up()
            while self._is_full() and self.reason is None:
                self._room.clear()
                await self._room.wait()
        self._fed = True
        self._more.set()

    def _is_full(self) -> bool:
        return (
            len(self._ready) > max(defaults.BATCH_ROWS // 2, 2 * self._client.workers)
            or self._ready_bytes > defaults.BATCH_BYTES
        )

    async def _work(self) -> None:
        while True:
            task = await self._next()
            if task is None:
                return
            try:
                outcome = await self._client.complete(task)
            except JobStopped as reason:
                self.stop(reason)
                return
            self._settle(outcome)

    async def _next(self) -> Task | None:
        """The next task, None where this worker is needed no more."""
        while self.reason is None:
            if len(self._workers) > self._client.workers:
                self._workers.discard(asyncio.current_task())
                return None
            if not self._caught_up.is_set():
                await self._caught_up.wait()
            elif self._ready:
                task = self._ready.popleft()
                if task.request is not None:
                    self._ready_bytes -= len(task.request.body)
                if not self._room.is_set() and not self._is_full():
                    self._room.set()
                return task
            elif self._fed:
                return None
            else:
                self._more.clear()
                self._room.set()
                await self._more.wait()
        return None

    def _settle(self, outcome: Outcome) -> None:
        """Take an outcome from a worker. Plain code: nothing can come between an answer and its keeping."""
        if outcome.error is None and not self._verdict.holding:
            self._verdict.answered = True
            self._hand_over(outcome)
            return
        for known in self._verdict.judge(outcome):
            self._hand_over(known)
        if self._verdict.stop is not None:
            self.stop(self._verdict.stop)

    def _hand_over(self, outcome: Outcome) -> None:
        size = _size(outcome)
        self._settled.append(outcome)
        self._sizes.append(size)
        self._settled_bytes += size
        self._observer.settled(outcome)
        self._arrived.set()
        if self._is_behind() and self._caught_up.is_set():
            self._caught_up.clear()
            self._behind_since = time.monotonic()

    async def _commit_groups(self) -> None:
        while True:
            if not self._settled:
                if self._over:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            begun = self._clock()
            try:
                await self._commit_group()
            except JobStopped as reason:
                self.stop(reason)
                return  # what is left is tried once more at the end
            if not self._over:
                await asyncio.sleep(max(0.0, defaults.COMMIT_SECONDS - (self._clock() - begun)))

    async def _commit_group(self) -> None:
        """Commit a group; it leaves the list only when it is durable."""
        count, size = 0, 0
        for one in self._sizes[: defaults.COMMIT_ROWS]:
            count += 1
            size += one
            if size >= defaults.COMMIT_BYTES:
                break
        cancelled = await _to_its_end(self._commit(self._settled[:count]))
        del self._settled[:count]
        del self._sizes[:count]
        self._settled_bytes -= size
        self._observer.committed(count)
        if cancelled is not None:
            raise cancelled
        if not self._is_behind() and not self._caught_up.is_set():
            self._caught_up.set()
            self.behind += time.monotonic() - self._behind_since

    def _is_behind(self) -> bool:
        """Whether a whole group waits, the one that is being written included: a kill may cost one, and no more."""
        return len(self._settled) >= defaults.COMMIT_ROWS or self._settled_bytes >= defaults.COMMIT_BYTES

    async def _last_commit(self) -> None:
        """Commit what is left when no worker lives any more, whatever ended the run."""
        while self._settled:
            try:
                await self._commit_group()
            except JobStopped as reason:
                if self.reason is None:
                    self.reason = reason
                return


async def _to_its_end(commit: Awaitable[None]) -> asyncio.CancelledError | None:
    """Await a commit that a cancellation must not leave half known: the cancellation is given back, not raised."""
    work = asyncio.ensure_future(commit)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError as error:
            if work.cancelled():
                raise
            cancelled = error
        except Exception:  # it is raised below
            break
    work.result()
    return cancelled


def _size(outcome: Outcome) -> int:
    done = outcome.completion
    if done is None:
        return _RECORD_BYTES
    size = _RECORD_BYTES + len(done.message or "")
    for content in done.contents:
        if content is not None:
            size += len(content)
    return size


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    """The error that matters in a group: not a cancellation that another error caused."""
    errors = [_first(error) if isinstance(error, BaseExceptionGroup) else error for error in group.exceptions]
    return next((error for error in errors if not isinstance(error, asyncio.CancelledError)), errors[0])
