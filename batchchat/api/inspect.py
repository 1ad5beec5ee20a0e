"""Looking at a job without sending anything: one request, the state, the table as it stands."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults, output, wire
from batchchat.api.columns import Reader, result_columns
from batchchat.api.compare import stale_rows
from batchchat.api.find import begun_chain, find_checkpoint, resume_job
from batchchat.api.finish import write_table
from batchchat.api.published import check_unedited, facts_of
from batchchat.api.rows import batches_of, trial_rows
from batchchat.api.selection import select
from batchchat.api.table import Table, make_builder
from batchchat.checkpoint import is_running, note, read_journal
from batchchat.dataset import open_dataset
from batchchat.errors import BatchchatError, UsageError
from batchchat.prompt import filled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchchat.job import Job
    from batchchat.output import Published


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRequest:
    """What a row would send. A key stands as the name of its variable.

    Attributes:
        row: its number; where: the same with the file and its line.
        body: None where the row makes no request; error: why.
    """

    row: int
    where: str
    url: str
    headers: Mapping[str, str]
    body: dict[str, Any] | None
    error: str | None = None


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


def show_requests(job: Job, row: int | None = None) -> Iterator[ShownRequest]:
    """The requests that a row, or the rows of a trial (`--sample`, `--rows`), would send.

    Raises:
        UsageError: there is no such row, or no model was named.
    """
    if job.model is None:
        raise UsageError(
            "no model was named; name one with -m (run would ask the endpoint which it has, show sends nothing)"
        )
    dataset = open_dataset(job.input, delimiter=job.text.delimiter, encoding=job.text.encoding)
    builder = make_builder(job, dataset, job.model)
    rows = trial_rows(job, dataset, select(job, dataset)) if row is None else [row]
    if rows and rows[0] < 1:
        raise UsageError("--row: rows are counted from 1")
    endpoint = job.endpoint.record(deployment=job.model)
    url, headers = wire.address(endpoint), _shown_headers(job)
    seen = 0
    for batch, held in batches_of(dataset, builder.columns, rows):
        for task in builder.tasks(batch, held):
            seen = task.row
            body = None
            if task.request is not None:
                whole = filled(task.request) if task.request.images else task.request
                body = json.loads(wire.for_endpoint(whole, stream=job.stream, dialect=endpoint.dialect))
            yield ShownRequest(
                row=task.row,
                where=dataset.where(task.row),
                url=url,
                headers=headers,
                body=body,
                error=None if task.error is None else str(task.error),
            )
    if row is not None and seen < row:
        raise UsageError(f"--row: there is no row {row} in {dataset.name}")


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


def export_job(
    target: str,
    other: str | None = None,
    *,
    add_columns: Any = None,
    safe_csv: bool | None = None,
    overwrite: bool = False,
) -> Published:
    """Write the table from the checkpoint as it stands now, finished or not.

    Args:
        target: the job.
        other: path of the table; None: the job's own output.
        add_columns: names of more columns, by commas or as a list; None: those that the job has.
        safe_csv: as the option; None: as the job has it.
        overwrite: write over the job's own output though somebody changed it.

    Raises:
        UsageError: there is no such job, or its own output was changed by somebody.
    """
    path = find_checkpoint(target)
    said = {"add_columns": add_columns, "safe_csv": safe_csv, "overwrite": overwrite}
    job = resume_job(str(path), said, need_key=False)
    journal = read_journal(path)
    try:
        if other is None:
            check_unedited(job, journal, done="nothing was written")
        chain = begun_chain(journal)
        dataset = open_dataset(
            job.input, delimiter=job.text.delimiter, encoding=job.text.encoding, limit=job.rows.limit
        )
        dataset.check()
        columns = result_columns(job)
        destination = other or job.output_path
        output.check_output(dataset, destination, columns)
        stale = {number: stale_rows(journal, number, dataset) for number in chain}
        table = Table(dataset=dataset, columns=columns, stamps=(), selection=select(job, dataset))
        written = write_table(table, Reader(job, journal, chain), destination, stale=stale)
    finally:
        journal.close()
    if Path(destination).absolute() == Path(job.output_path).absolute():
        with contextlib.suppress(BatchchatError):  # where the checkpoint cannot be written, no run can go on either
            note(path, exported=facts_of(written))
    return written


def _shown_headers(job: Job) -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    if job.endpoint.key is not None or job.endpoint.base_url_source == "default":
        name = f"${job.endpoint.api_key_env}"
        headers |= {"api-key": name} if job.endpoint.azure else {"Authorization": f"Bearer {name}"}
    return {**headers, **job.endpoint.headers_said}
