"""What a run would do: for `--dry-run` and for the header before the first request. Sends nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchchat.api.compare import stale_rows
from batchchat.api.published import check_unclaimed
from batchchat.api.rows import trial_rows
from batchchat.api.table import open_table
from batchchat.checkpoint import read_journal

if TYPE_CHECKING:
    from batchchat.dataset import Dataset
    from batchchat.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run would do.

    Attributes:
        rows: of the table (or of the trial), None where only reading all of it would tell.
        reused: rows that the checkpoint answers.
        to_send: rows that would be sent, None where rows is.
        host: where to; key: the variable that the key comes from, None where none is sent.
        model: None where the endpoint would be asked which it has.
        limits: of the pool, as far as they were told.
    """

    input: str
    output: str | None
    checkpoint: str
    rows: int | None
    reused: int
    to_send: int | None
    host: str
    key: str | None
    model: str | None
    limits: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able."""
        return asdict(self)


def plan_job(job: Job) -> Plan:
    """What `run_job` would do.

    Raises:
        UsageError: it would refuse.
    """
    table = open_table(job)
    check_unclaimed(job)
    rows = len(trial_rows(job, table.dataset)) if job.rows.trial else table.dataset.count()
    reused = 0 if job.rows.trial or job.policy.restart else _reused(job, table.dataset, rows)
    pool = job.pool
    told = {"concurrency": pool.concurrency, "rpm": pool.rpm, "tpm": pool.tpm}
    return Plan(
        input=job.input,
        output=None if job.rows.trial else job.output_path,
        checkpoint=job.checkpoint_path,
        rows=rows,
        reused=reused,
        to_send=None if rows is None else max(0, rows - reused),
        host="this machine" if job.embedded else urlsplit(job.endpoint.base_url).netloc,
        key=job.endpoint.api_key_env if job.endpoint.key is not None else None,
        model=job.model,
        limits={name: float(value) for name, value in told.items() if value is not None},
    )


def _reused(job: Job, dataset: Dataset, rows: int | None) -> int:
    """How many rows the checkpoint settles under these settings."""
    path = Path(job.checkpoint_path)
    if not path.exists() or job.model is None:
        return 0
    journal = read_journal(path)
    try:
        number = journal.find_settings(job.settings())
        if number is None:
            return 0
        counts = journal.counts((number,), rows)
        again = counts.failed if "failed" in job.policy.retry else 0
        stale = stale_rows(journal, number, dataset)
        return max(0, counts.answered + counts.failed - again - len(stale))
    finally:
        journal.close()
