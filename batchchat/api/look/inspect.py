"""Looking at a job without sending anything: one request, the table as it stands."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import output, wire
from batchchat.api.input.columns import Reader, result_columns
from batchchat.api.input.rows import batches_of, trial_rows
from batchchat.api.input.selection import select
from batchchat.api.input.table import Table, make_builder
from batchchat.api.kept.compare import stale_rows
from batchchat.api.kept.find import begun_chain, find_checkpoint, resume_job
from batchchat.api.kept.published import check_unedited, facts_of
from batchchat.api.run.finish import write_table
from batchchat.checkpoint import note, read_journal
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
