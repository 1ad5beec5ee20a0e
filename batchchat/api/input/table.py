"""The table of a job and the columns that it gets: everything that can be checked before a request is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import storage
from batchchat.api.input.columns import result_columns
from batchchat.api.input.selection import select
from batchchat.api.kept.compare import table_folder
from batchchat.api.kept.reconcile import Digest
from batchchat.dataset import MemoryDataset, open_dataset, open_memory
from batchchat.errors import InputFault, UsageError
from batchchat.output import check_names, check_output
from batchchat.prompt import RequestBuilder

if TYPE_CHECKING:
    from batchchat.api.input.selection import Selection
    from batchchat.dataset import Dataset, FileDataset
    from batchchat.job import Job
    from batchchat.records import ResultColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A job's table, opened, the columns that its output gets, and the state in which its files were opened.

    Attributes:
        selection: the rows that `--where` chooses, None: all.
        digests: of the batches of text that were read through when the table was checked, from the first row on.
        written: the rows as they go to the output; another table than `dataset` only for a DataFrame.
    """

    dataset: FileDataset
    columns: tuple[ResultColumn, ...]

    stamps: tuple[tuple[str, storage.Stamp], ...]
    written: FileDataset | None = field(default=None)
    selection: Selection | None = None
    digests: tuple[Digest, ...] = ()

    def check_unchanged(self) -> None:
        """See that the input is still what was sent.

        Raises:
            InputFault: a file of it was changed or removed meanwhile.
        """
        for path, before in self.stamps:
            try:
                now = storage.stamp(path)
            except OSError as error:
                raise InputFault(f"{path} was removed while the job ran ({error}); put it back and resume") from error
            if now != before:
                raise InputFault(
                    f"{path} was changed while the job ran, so answers may belong to other rows; run it again: rows "
                    "that did not change are not paid for twice"
                )


def open_table(job: Job, *, data: Any = None, check: bool = True) -> Table:
    """Open the table and check it, the templates and the output.

    Args:
        job: what is meant.
        data: a DataFrame or a Table that is the table, None where the job names an input.
        check: whether text is read through.

    Raises:
        UsageError: with the file, row or column, and the remedy.
    """
    if not job.input and data is None:
        raise UsageError("there is no INPUT: name a table (.csv, .tsv, .parquet, .jsonl) or a job file (.toml)")
    limit = None if job.rows.trial else job.rows.limit
    dataset: FileDataset
    if data is None:
        dataset = open_dataset(job.input, delimiter=job.text.delimiter, encoding=job.text.encoding, limit=limit)
    else:
        dataset = open_memory(data, limit=limit)
    stamps = tuple((path, storage.stamp(path)) for path in dataset.paths)
    builder = make_builder(job, dataset, job.model or "")
    columns = result_columns(job)
    written = dataset
    if not job.rows.trial and job.output_path:
        written = dataset.written(job.output_path) if isinstance(dataset, MemoryDataset) else dataset
        check_output(written, job.output_path, columns)
    if data is not None:
        check_names(dataset, columns)
    digests: list[Digest] = []
    if check:
        resumed = bool(job.checkpoint_path) and Path(job.checkpoint_path).exists()
        look = (lambda batch: digests.append(Digest.of(batch, builder))) if resumed else None
        dataset.check(columns=builder.columns, look=look)
        if data is None and not job.rows.trial:
            check_names(dataset, columns)  # a line of JSON may bring a name that no line before it had
    selection = select(job, dataset)
    return Table(
        dataset=dataset,
        columns=columns,
        stamps=stamps,
        written=written,
        selection=selection,
        digests=tuple(digests),
    )


def make_builder(job: Job, dataset: Dataset, model: str) -> RequestBuilder:
    """What makes this job's requests."""
    folder = table_folder(dataset) if job.prompt.image_column is not None else None
    return RequestBuilder(job.prompt, model=model, parameters=job.request, columns=dataset.columns, folder=folder)
