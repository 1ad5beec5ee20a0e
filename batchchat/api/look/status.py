"""How far a job is, by its checkpoint alone: nothing is counted and little imported, so that it may be asked often."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.api.kept.find import begun_chain, find_checkpoint
from batchchat.checkpoint import is_running, read_journal
from batchchat.errors import BatchchatError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How far a job is. Counts are of rows and tokens; times are Unix times; None: not known.

    `cost_usd` and `bill` (totals by model, attempts paid for nothing, rows saved) are those of the end of the last full
    run, since nothing is counted for a status.
    """

    rows: int | None
    succeeded: int
    failed: int
    pending: int | None
    prompt_tokens: int
    completion_tokens: int
    running: bool
    model: str | None
    input: str | None
    output: str | None
    published: bool
    checkpoint: str
    started: float | None
    ended: float | None
    stop_reason: str | None
    runs: int
    cost_usd: float | None = None
    bill: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able."""
        return asdict(self)


def job_status(target: str) -> Status:
    """How far a job is, by its checkpoint, also while it runs.

    Raises:
        UsageError: there is no such job.
    """
    path = find_checkpoint(target)
    journal = read_journal(path)
    try:
        chain = begun_chain(journal)
        runs = journal.runs()
        last = runs[-1] if runs else {}
        billed: dict[str, Any] = next((run for run in reversed(runs) if "bill" in run), {})
        rows = last.get("rows")
        said = journal.header("job") or {}
        limit = said.get("job", {}).get("limit")
        if rows is not None and limit is not None:
            rows = min(rows, limit)
        counts = journal.counts(chain, rows) if chain else None
        done = (0 if counts is None else counts.answered + counts.failed) + last.get("skipped", 0)
        published = journal.header("published")
        return Status(
            rows=rows,
            succeeded=0 if counts is None else counts.answered,
            failed=0 if counts is None else counts.failed,
            pending=None if rows is None else max(0, rows - done),
            prompt_tokens=0 if counts is None else counts.prompt_tokens,
            completion_tokens=0 if counts is None else counts.completion_tokens,
            running=is_running(path),
            model=said.get("request", {}).get("model"),
            input=said.get("input"),
            output=journal.header("output"),
            published=published is not None,
            checkpoint=str(path),
            started=last.get("started"),
            ended=last.get("ended"),
            stop_reason=last.get("stop_reason"),
            runs=len(runs),
            cost_usd=billed.get("cost_usd"),
            bill=billed.get("bill"),
        )
    finally:
        journal.close()


def folder_jobs(folder: str = ".") -> tuple[list[Status], list[str]]:
    """The jobs whose checkpoints lie in a folder, the last one first, and what is wrong with those that are damaged."""
    found, wrong = [], []
    for path in sorted(Path(folder).glob(f"*{defaults.CHECKPOINT_SUFFIX}")):
        if not path.is_file():
            continue
        try:
            found.append(job_status(str(path)))
        except BatchchatError as error:
            wrong.append(str(error))
    return sorted(found, key=lambda status: -(status.started or 0.0)), wrong
