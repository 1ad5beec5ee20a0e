"""The checkpoint of a job, opened for a run: found, compared with what is asked now, and brought in line.

Here stands what may not be sent: other settings than the job began with, most rows changed, an output that somebody
edited. All of it is found before the first request.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.api.input.table import make_builder
from batchchat.api.kept.compare import builder_of
from batchchat.api.kept.published import check_unedited
from batchchat.api.kept.reconcile import Reconciler
from batchchat.checkpoint import canonical, exists, move_aside, open_journal
from batchchat.errors import JobStopped, SettingsChanged

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchchat.api.input.table import Table
    from batchchat.checkpoint import Journal
    from batchchat.events import Observer
    from batchchat.job import Job
    from batchchat.prompt import RequestBuilder


@dataclass(slots=True, kw_only=True)
class Session:
    """A job's checkpoint while a run holds it.

    Attributes:
        journal: the checkpoint; lock: guards it, since the feeder and the committer share it.
        chain: the settings of this run first, then those whose answers stand beside its own.
        builder: makes this run's requests.
        start: the first row that may be pending.
        failures_stand: whether a failure under the earlier settings of the chain settles its row.
    """

    journal: Journal
    chain: tuple[int, ...]
    builder: RequestBuilder
    start: int = 1
    failures_stand: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


def open_session(
    job: Job, table: Table, *, model: str, observer: Observer, check: Callable[[], None], found: bool = False
) -> Session:
    """Open the checkpoint, compare, reconcile.

    Args:
        job: what is meant.
        table: its rows.
        model: that is asked.
        observer: is told what a person should know.
        check: raises Interrupted where somebody wants to stop.
        found: whether the checkpoint was found by the data, and named by nobody. Then it is no promise to go on with
            what stands in it: other settings and other rows stand beside those that it has.

    Raises:
        UsageError: the settings changed, most rows changed, or the output was edited.
        CheckpointBusy, CheckpointDamaged: as `open_journal`.
    """
    path = Path(job.checkpoint_path)
    try:
        if job.policy.restart and exists(path):
            observer.note(f"the old checkpoint is kept as {move_aside(path)}")
        journal = open_journal(path)
    except JobStopped as stopped:
        stopped.checkpoint = str(path)
        raise
    try:
        return _session(job, table, journal, model=model, observer=observer, check=check, found=found)
    except BaseException:
        journal.close()
        raise


def remember(journal: Journal, job: Job, model: str) -> None:
    """Keep what a later `resume` needs; never a secret."""
    said = dict(job.said)
    said["request"] = {**said.get("request", {}), "model": model}
    journal.set_header(job=said, output=job.output_path, input=job.input)


def _session(
    job: Job, table: Table, journal: Journal, *, model: str, observer: Observer, check: Callable[[], None], found: bool
) -> Session:
    builder = make_builder(job, table.dataset, model)
    body = {**job.settings(), "model": model}
    if job.rows.trial:
        number = journal.find_settings(body) or journal.settings_id(body)
        return Session(journal=journal, chain=(number,), builder=builder)
    check_unedited(job, journal)
    begun = journal.header("begun")
    free = found and not (job.policy.keep_answered or job.policy.retry)
    base = None if free else _check_settings(job, journal, begun, body, observer)
    number = journal.settings_id(body, base=base)
    chain = journal.chain(number)
    start = _reconcile(job, table, journal, chain, builder, check, approved=found or job.policy.yes)
    stand = journal.header("failures_stand") if base is None else not job.policy.keep_answered
    journal.set_header(begun=number, failures_stand=bool(stand))
    return Session(
        journal=journal,
        chain=chain,
        builder=builder,
        start=1 if job.policy.retry else start,
        failures_stand=bool(stand),
    )


def _reconcile(
    job: Job,
    table: Table,
    journal: Journal,
    chain: tuple[int, ...],
    builder: RequestBuilder,
    check: Callable[[], None],
    *,
    approved: bool,
) -> int:
    """Bring every settings of the chain in line; the first row that may be pending.

    Answers that lost their rows are given to others when it is known which rows have none.
    """
    limit, reconcilers = job.rows.limit, []
    for number in chain:
        own = number == chain[0]
        # Answers beyond the limit may belong to rows within it by now.
        whole = limit is None or journal.last_row(number) > limit
        dataset = table.dataset.unlimited() if whole else table.dataset
        reconcilers.append(
            Reconciler(
                dataset=dataset,
                builder=builder if own else builder_of(journal.settings(number), dataset),
                journal=journal,
                settings=number,
                whole=whole,
                approved=approved,
                sends=own,
                others=[other for other in chain if other != number],
                digests=table.digests if own and (limit is None or not whole) else (),
                check=check,
            )
        )
    for other in reconcilers[1:]:
        other.run()
    found = reconcilers[0].run()
    for other in reconcilers[1:]:
        other.claim()
    return found.first_pending if len(chain) == 1 else 1


def _check_settings(
    job: Job, journal: Journal, begun: int | None, body: dict[str, Any], observer: Observer
) -> int | None:
    """The settings whose answers are kept beside this run's, None for a job that goes on as it began.

    Raises:
        UsageError: the settings are not those that the job began with.
    """
    if begun is None:
        return None
    old = journal.settings(begun)
    if canonical(old) == canonical(body):
        return None
    changes = [
        (name, old.get(name), body.get(name))
        for name in sorted({*old, *body})
        if canonical({name: old.get(name)}) != canonical({name: body.get(name)})
    ]
    if journal.counts(journal.chain(begun), None).answered == 0:
        names = ", ".join(name for name, _, _ in changes)
        observer.note(f"the settings changed ({names}), and no row was answered yet: the job begins with the new ones")
        return None
    if job.policy.keep_answered or job.policy.retry:
        return begun
    another = "-o OTHER" if job.input else "--checkpoint OTHER"
    raise SettingsChanged(
        "the settings are not those that this job began with, and nothing was sent:",
        changes,
        "--sample 5 tries the change on a few rows, --keep-answered sends only the rows without an answer, "
        f"{another} makes another job, --restart starts anew (the old checkpoint is kept aside)",
    )
