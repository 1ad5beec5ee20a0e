"""What a run would do: for `--dry-run` and for the header before the first request. Sends nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchchat.api.input.rows import trial_rows
from batchchat.api.input.selection import chosen_states
from batchchat.api.input.table import open_table
from batchchat.api.kept.compare import stale_rows
from batchchat.api.kept.published import check_unclaimed
from batchchat.api.look.answers import View
from batchchat.checkpoint import read_journal
from batchchat.job import secret_variables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

    from batchchat.api.input.selection import Selection
    from batchchat.api.input.table import Table
    from batchchat.checkpoint import Journal
    from batchchat.cost.interval import Range
    from batchchat.dataset import Dataset
    from batchchat.job import Job

_BLOCK = 8192
_OF_ANSWERS = frozenset({"length", "empty"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        rows: of the table (or of the trial), None where only reading all of it would tell.
        reused: rows that the checkpoint settles.
        skipped: rows that `--where` does not choose.
        to_send: rows that would be sent, None where rows is.
        trial: whether answers are only looked at; output is None then.
        host: where to; key: the variables that secrets come from, None where none is sent.
        model: None where the endpoint would be asked which it has.
        limits: of the pool, as far as they were told; max_cost is the budget in US dollars.
        cost: of what would be sent, in US dollars, None where nobody knows or asked.
    """

    input: str
    output: str | None
    checkpoint: str
    rows: int | None
    reused: int
    to_send: int | None
    trial: bool
    host: str
    key: str | None
    model: str | None
    limits: dict[str, float]
    cost: Range[Decimal] | None = None
    skipped: int = 0

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able: the cost as `cost_usd`, with low, expected and high."""
        facts = asdict(self)
        cost = facts.pop("cost")
        if cost is not None:
            cost = {name: None if value is None else float(value) for name, value in cost.items()}
        return {**facts, "cost_usd": cost}


def plan_job(job: Job) -> Plan:
    """What `run_job` would do.

    Raises:
        UsageError: it would refuse.
    """
    table = open_table(job)
    check_unclaimed(job)
    selection = table.selection
    some = trial_rows(job, table.dataset, selection) if job.rows.trial else None
    rows = table.dataset.count() if some is None else len(some)
    reused = 0 if job.policy.restart else _reused(job, table, rows, some)
    skipped = 0 if selection is None or some is not None else selection.skipped
    return plan_of(job, model=job.model, rows=rows, reused=reused, skipped=skipped)


def plan_of(job: Job, *, model: str | None, rows: int | None, reused: int, skipped: int = 0) -> Plan:
    """The plan, where it is known how much there is to do."""
    pool = job.pool
    told = {name: getattr(pool, name) for name in ("concurrency", "rpm", "tpm", "rpd", "tpd")}
    told["max_cost"] = job.money.max_cost
    return Plan(
        input=job.input,
        output=None if job.rows.trial else job.output_path,
        checkpoint=job.checkpoint_path,
        rows=rows,
        reused=reused,
        skipped=skipped,
        to_send=None if rows is None else max(0, rows - reused - skipped),
        trial=job.rows.trial,
        host=plan_host(job),
        key=", ".join(secret_variables(job.endpoint)) or None,
        model=model,
        limits={name: float(value) for name, value in told.items() if value is not None},
    )


def plan_host(job: Job) -> str:
    """Where requests go, for people."""
    return "this machine" if job.embedded else urlsplit(job.endpoint.base_url).netloc


def settled_in_all(
    journal: Journal,
    chain: Sequence[int],
    rows: int | None,
    retry: frozenset[str],
    selection: Selection | None = None,
) -> int:
    """How many of the first rows (None: all) some settings settle, less those of the kinds that are sent again.

    With a selection only its rows count.
    """
    if selection is not None:
        return sum(state not in retry for state in chosen_states(journal, chain, selection))
    counts = journal.counts(chain, rows)
    settled = counts.answered + (0 if "failed" in retry else counts.failed)
    if not retry & _OF_ANSWERS:
        return settled
    last = max(journal.last_row(number) for number in chain)
    for start in range(1, min(last, rows or last) + 1, _BLOCK):
        for number in chain:
            block = journal.stored(number, start, _BLOCK).values()
            settled -= sum(stored.state in retry & _OF_ANSWERS for stored in block)
    return max(0, settled)


def settled_of(
    journal: Journal, chain: Sequence[int], dataset: Dataset, rows: Sequence[int], retry: frozenset[str]
) -> int:
    """How many of these rows some settings settle."""
    found = 0
    for answer in View(journal, chain, dataset).answers(iter(rows)):
        failed = answer.results["error"] is not None
        found += answer.settled and not (failed and "failed" in retry)
    return found


def _reused(job: Job, table: Table, rows: int | None, some: Sequence[int] | None) -> int:
    """How many rows the checkpoint settles under these settings."""
    path = Path(job.checkpoint_path)
    if not path.exists() or job.model is None:
        return 0
    journal = read_journal(path)
    try:
        number = journal.find_settings(job.settings())
        if number is None:
            return 0
        if some is not None:
            return settled_of(journal, (number,), table.dataset, some, job.policy.retry)
        chain = journal.chain(number)
        stale = stale_rows(journal, number, table.dataset)
        lost = len(stale) if table.selection is None else len(table.selection.of(stale))
        return max(0, settled_in_all(journal, chain, rows, job.policy.retry, table.selection) - lost)
    finally:
        journal.close()
