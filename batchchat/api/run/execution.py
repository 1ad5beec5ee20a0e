"""A job from its first check to its published table: where the stations are put together.

Nothing is sent before everything that can be checked was checked. Reading, rendering and publishing happen in one
thread, commits in another, HTTP on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from batchchat import defaults
from batchchat.api.endpoint.approval import check_approval
from batchchat.api.endpoint.connection import Connection
from batchchat.api.endpoint.descriptors import fitted
from batchchat.api.endpoint.images import with_images
from batchchat.api.endpoint.models import model_meant, only_model
from batchchat.api.input.columns import Reader
from batchchat.api.input.memory import placed
from batchchat.api.input.rows import trial_rows
from batchchat.api.input.table import open_table
from batchchat.api.kept.published import check_unclaimed
from batchchat.api.kept.session import Session, open_session, remember
from batchchat.api.money.bill import make_bill
from batchchat.api.money.price import check_budget, find_price, ledger_facts, longest_by_row, open_purse
from batchchat.api.run.feed import Feed
from batchchat.api.run.finish import publish_job, summarize, summarize_trial
from batchchat.api.run.loop import run_on_loop
from batchchat.api.run.plan import plan_host, plan_of, settled_in_all, settled_of
from batchchat.api.run.preview import Preview
from batchchat.api.run.signals import Signals
from batchchat.client import Client
from batchchat.engine import Engine
from batchchat.errors import EndpointDown, Interrupted, JobStopped, ModelMissing
from batchchat.limiter import Limiter
from batchchat.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchchat.api.input.table import Table
    from batchchat.api.money.purse import Ledgers, Purse
    from batchchat.api.run.plan import Plan
    from batchchat.api.run.signals import Switch
    from batchchat.api.run.summary import Summary
    from batchchat.cost.prices import Price
    from batchchat.events import Observer
    from batchchat.job import Job
    from batchchat.records import Outcome, Task


T = TypeVar("T")


def execute(job: Job, *, observer: Observer, **more: Any) -> Summary:
    """`run_job` on an event loop of its own."""
    return run_on_loop(run_job(job, observer=observer, **more))


async def run_job(
    job: Job,
    *,
    observer: Observer,
    confirm: Callable[[Plan], None] | None = None,
    data: Any = None,
    switch: Switch | None = None,
) -> Summary:
    """Run a job, or go on with it.

    Args:
        job: what is meant.
        observer: is told what happens.
        confirm: is shown the plan before the first request, and may raise to give up. It may ask a person and wait:
            nothing else is going on.
        data: a DataFrame or a Table that is the job's table; None where the job names an input.
        switch: what stops it in order; None: signals do.

    Returns:
        What it came to, also where it was stopped.

    Raises:
        UsageError: something is wrong with what was asked; nothing was sent.
        JobStopped: the checkpoint could not be opened, or a signal came before the first request.
        CancelledError: the task was cancelled; requests in flight were drained and kept.
    """
    begun = time.monotonic()
    check_approval(job)
    job = fitted(job, observer)
    with switch or Signals() as signals:
        async with contextlib.AsyncExitStack() as stack:
            reader = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="batchchat-reader"))
            loop = asyncio.get_running_loop()
            table = await loop.run_in_executor(reader, lambda: open_table(job, data=data))
            found = data is not None and not job.checkpoint
            if not found:
                check_unclaimed(job)
            signals.check()
            connection = await stack.enter_async_context(Connection(job))
            model = job.model or await only_model(await connection.open(), job)
            price = await loop.run_in_executor(reader, find_price, job, model)
            check_budget(job, model, price)
            signals.check()
            if found:
                job = await loop.run_in_executor(reader, placed, job, table, model)
                observer.note(f"answers are kept in {job.checkpoint}")
            session = await loop.run_in_executor(
                reader,
                lambda: open_session(job, table, model=model, observer=observer, check=signals.check, found=found),
            )
            run = _Run(
                job=job, table=table, session=session, price=price, observer=observer, signals=signals, reader=reader
            )
            try:
                return await run.go(connection, model, begun, confirm)
            finally:
                await loop.run_in_executor(reader, session.journal.close)


@dataclass(slots=True, kw_only=True)
class _Run:
    """One run, between the opened checkpoint and the summary."""

    job: Job
    table: Table
    session: Session
    price: Price | None
    observer: Observer
    signals: Switch
    reader: ThreadPoolExecutor
    committer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "batchchat-committer"))
    purse: Purse | None = None
    answered: int = 0
    feed: Feed = field(init=False)
    preview: Preview = field(init=False)

    async def go(
        self, connection: Connection, model: str, begun: float, confirm: Callable[[Plan], None] | None
    ) -> Summary:
        """Send what is pending, publish what is whole."""
        job, journal = self.job, self.session.journal
        self.feed = await self._in_reader(self._make_feed)
        plan = await self._in_reader(lambda: self._plan(model))
        self.observer.planned(rows=plan.rows, reused=plan.reused, pending=plan.to_send)
        if confirm is not None:
            with self.signals.interrupting():
                confirm(plan)
        if plan.to_send != 0:
            await connection.open()
            self.signals.check()
        remember(journal, job, model)
        number = journal.start_run(self.session.chain[0], self._rows_of_run())
        self.purse = await self._open_purse()
        client = self._client(connection)
        engine = self._engine(client)
        self.signals.listen(engine.stop, engine.abort)
        self.observer.sending(in_flight=lambda: client.in_flight, bound=client.explain)
        started, busy = time.monotonic(), time.process_time()
        with self.committer:
            cancelled = await self._drained(engine)
            bound, limits = client.explain(), client.limits()
            if bound is not None:
                seconds = max(time.monotonic() - started, 1e-9)
                bound = bound.with_us(disk=engine.behind / seconds, processor=(time.process_time() - busy) / seconds)
            unwritten = await self._close_purse()
        reason = engine.reason or self.signals.reason or unwritten
        if isinstance(reason, ModelMissing):
            reason = await model_meant(await connection.open(), job, model, reason)
        output = None
        if reason is None and not job.rows.trial:
            try:
                output = await self._in_reader(self._publish)
            except JobStopped as stopped:
                reason = stopped
        summary = await self._in_reader(lambda: self._summary(reason))
        summary = replace(
            summary,
            output=output,
            requests=client.requests,
            retries=client.retries,
            elapsed_s=time.monotonic() - begun,
            bound=bound,
        )
        facts = summary.as_dict()
        with contextlib.suppress(JobStopped):  # a full disk was told of already
            kept = {"stop_reason": summary.stop_reason, **{name: facts[name] for name in _OF_THE_RUN}}
            kept |= {} if summary.bill is None else {"bill": summary.bill.as_dict()}
            kept |= {} if bound is None else {"bound": {"kind": bound.kind, "share": bound.share, "text": str(bound)}}
            kept |= {"limits": {"host": plan_host(job), **limits}} if limits else {}
            journal.end_run(number, kept)
        if cancelled is not None:
            raise cancelled
        return summary

    async def _in_reader(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.reader, work)

    async def _close_purse(self) -> JobStopped | None:
        """Write what was really spent; the reason to stop where that is not possible."""
        if self.purse is None:
            return None
        await self.purse.close()
        try:
            await asyncio.get_running_loop().run_in_executor(self.committer, self._commit, (), self.purse.final())
        except JobStopped as stopped:
            return stopped
        return None

    def _make_feed(self) -> Feed:
        session, job = self.session, self.job
        selection = self.table.selection
        rows = trial_rows(job, self.table.dataset, selection) if job.rows.trial else None
        reader = Reader(job, session.journal, session.chain)
        self.preview = Preview(session, self.table.dataset, reader, self.price, rows)
        return Feed(dataset=self.table.dataset, session=session, retry=job.policy.retry, rows=rows, selection=selection)

    def _rows_of_run(self) -> dict[str, Any]:
        """What `status` needs to know of the table."""
        selection = self.table.selection
        return {
            "rows": self.table.dataset.count(),
            **({} if selection is None else {"skipped": selection.skipped}),
        }

    def _plan(self, model: str) -> Plan:
        """What is to be done now."""
        dataset, session, retry, some = self.table.dataset, self.session, self.job.policy.retry, self.feed.rows
        if some is not None:
            reused = settled_of(session.journal, session.chain, dataset, some, retry)
            return plan_of(self.job, model=model, rows=len(some), reused=reused)
        rows = dataset.count()
        selection = self.table.selection
        reused = settled_in_all(session.journal, session.chain, rows, retry, selection)
        skipped = 0 if selection is None else selection.skipped
        return plan_of(self.job, model=model, rows=rows, reused=reused, skipped=skipped)

    def _client(self, connection: Connection) -> Client:
        pool = self.job.pool
        limiter = Limiter(
            concurrency=pool.concurrency,
            rpm=pool.rpm,
            tpm=pool.tpm,
            rpd=pool.rpd,
            tpd=pool.tpd,
            observer=self.observer,
            max_retry_after=pool.max_retry_after,
            max_outage=pool.max_outage,
        )
        return Client(
            send=connection.send if self.job.prompt.image_column is None else with_images(connection.send),
            limiter=limiter,
            policy=lambda sleep: RetryPolicy(
                max_retries=pool.max_retries, max_retry_after=pool.max_retry_after, sleep=sleep
            ),
            observer=self.observer,
            max_outage=pool.max_outage,
            purse=self.purse,
        )

    def _engine(self, client: Client) -> Engine:
        session, loop = self.session, asyncio.get_running_loop()

        async def commit(outcomes: Sequence[Outcome]) -> None:
            ledgers = {} if self.purse is None else self.purse.ledgers()
            shown = await loop.run_in_executor(self.committer, self._commit, list(outcomes), ledgers)
            if self.purse is not None:
                self.purse.committed(ledgers)
            for answer in shown:
                self.observer.answered(answer)

        async def source() -> Sequence[Task] | None:
            tasks = await loop.run_in_executor(self.reader, self.feed.next)
            self.preview.fed(tasks or ())
            return tasks

        answered = session.journal.counts_of(session.chain[0]).answered > 0
        engine = Engine(source=source, client=client, commit=commit, observer=self.observer, answered=answered)
        client.on_change = engine.top_up
        return engine

    def _commit(self, outcomes: Sequence[Outcome], ledgers: Ledgers) -> list[dict[str, Any]]:
        """Make outcomes and ledgers durable; what is to be shown of them."""
        session = self.session
        facts = {name: ledger_facts(ledger) for name, ledger in ledgers.items()}
        with session.lock:
            session.journal.commit(session.chain[0], outcomes, **facts)
            self.answered += sum(outcome.error is None for outcome in outcomes)
            return self.preview.committed(outcomes)

    async def _open_purse(self) -> Purse | None:
        loop, journal = asyncio.get_running_loop(), self.session.journal

        async def write(ledgers: Ledgers) -> None:
            await loop.run_in_executor(self.committer, self._commit, (), ledgers)

        def rows_left() -> int | None:
            rows = self.table.dataset.count()
            counts = journal.counts_of(self.session.chain[0])
            return None if rows is None else max(0, rows - counts.answered - counts.failed)

        by_row = partial(longest_by_row, self.job, self.table.dataset)
        return await self._in_reader(
            lambda: open_purse(self.job, journal, self.price, write=write, outlook=rows_left, by_row=by_row)
        )

    async def _drained(self, engine: Engine) -> asyncio.CancelledError | None:
        """Run the engine to its end. When it is stopped, the requests in flight may end: they are being paid for.

        After a signal, or when the endpoint is gone, they have so many seconds. A cancellation of this task is a signal
        too, and a second one ends it at once; it is given back, so that the run ends in order before it is raised.
        """
        work = asyncio.ensure_future(engine.run())
        hurried_since: float | None = None
        cancelled: asyncio.CancelledError | None = None
        try:
            while not work.done():
                try:
                    await asyncio.wait({work}, timeout=_LOOK_SECONDS)
                except asyncio.CancelledError as error:
                    cancelled = error
                    self.signals.press(Interrupted("cancelled"))
                if hurried_since is None and (self.signals.reason or isinstance(engine.reason, EndpointDown)):
                    hurried_since = time.monotonic()
                    if self.signals.reason and not work.done():
                        self.observer.note(
                            f"interrupted: requests in flight are waited for, at most {defaults.DRAIN_SECONDS:g} s; "
                            "interrupt again to end at once"
                        )
                if hurried_since is not None and time.monotonic() - hurried_since >= defaults.DRAIN_SECONDS:
                    engine.abort()
        finally:
            if not work.done():  # somebody cancelled this run from outside: what was answered is kept
                engine.abort()
                work.cancel()
                await asyncio.wait({work})
        await work
        return cancelled

    def _publish(self) -> str | None:
        return publish_job(self.job, self.table, self.session, observer=self.observer, check=self.signals.check)

    def _summary(self, reason: JobStopped | None) -> Summary:
        if self.job.rows.trial:
            return summarize_trial(self.job, self.session, self.preview, feed=self.feed, reason=reason)
        summary = summarize(self.job, self.table, self.session, feed=self.feed, reason=reason)
        reused = max(0, summary.succeeded - self.answered)
        session = self.session
        bill = make_bill(session.journal, self.job, session.chain, summary.rows, self.price, saved=reused)
        return replace(summary, cost_usd=bill.cost_usd, reused=reused, bill=bill)


_LOOK_SECONDS = 0.5
_OF_THE_RUN = ("reused", "requests", "retries", "elapsed_s", "succeeded", "failed", "pending", "cost_usd")
