"""The table of a job and the columns that it gets: everything that can be checked before a request is sent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.dataset import open_dataset
from batchchat.errors import UsageError
from batchchat.output import check_output
from batchchat.prompt import RequestBuilder
from batchchat.records import ResultColumn

if TYPE_CHECKING:
    from batchchat.dataset import Dataset, FileDataset
    from batchchat.job import Job

RESULTS = ("completion", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A job's table, opened, and the columns that its output gets."""

    dataset: FileDataset
    columns: tuple[ResultColumn, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The result columns' names in the checkpoint, without the prefix."""
        return RESULTS


def open_table(job: Job, *, check: bool = True) -> Table:
    """Open the table and check it, the templates and the output.

    Raises:
        UsageError: with the file, row or column, and the remedy.
    """
    if not job.input:
        raise UsageError("there is no INPUT: name a table (.csv, .tsv, .parquet, .jsonl) or a job file (.toml)")
    limit = None if job.rows.trial else job.rows.limit
    dataset = open_dataset(job.input, delimiter=job.text.delimiter, encoding=job.text.encoding, limit=limit)
    make_builder(job, dataset, job.model or "")
    columns = result_columns(job)
    if not job.rows.trial:
        check_output(dataset, job.output_path, columns)
    if check:
        dataset.check()
    return Table(dataset=dataset, columns=columns)


def make_builder(job: Job, dataset: Dataset, model: str) -> RequestBuilder:
    """What makes this job's requests."""
    return RequestBuilder(job.prompt, model=model, parameters=job.request, columns=dataset.columns)


def result_columns(job: Job) -> tuple[ResultColumn, ...]:
    """The columns that the output gets."""
    several = int(job.request.get("n") or 1) > 1
    text = "strings" if several else "string"
    kinds = {"completion": text, "finish_reason": text, "error": "string"}
    return tuple(
        ResultColumn(name=job.policy.prefix + name, kind=kinds.get(name, "int64"))  # type: ignore[arg-type]
        for name in RESULTS
    )
