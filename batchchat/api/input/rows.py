"""Which rows are meant, and the batches of the table that hold them."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchchat.api.input.selection import Selection
    from batchchat.dataset import Dataset
    from batchchat.job import Job
    from batchchat.records import Batch


def trial_rows(job: Job, dataset: Dataset, selection: Selection | None = None) -> list[int]:
    """Numbers of the rows of a trial, sorted; where a selection is given, among its rows.

    Raises:
        UsageError: a row that the table does not have.
    """
    count = count_rows(dataset)
    asked = job.rows
    last = count if asked.limit is None else min(count, asked.limit)
    if asked.rows is not None:
        rows = sorted({row for some in asked.rows for row in range(some.start, min(some.stop, last + 1))})
        beyond = max(some.stop - 1 for some in asked.rows)
        if beyond > last:
            raise UsageError(f"--rows: there is no row {beyond}; {dataset.name} has {last} rows")
    else:
        rows = list(range(1, last + 1))
    rows = rows if selection is None else selection.of(rows)
    if asked.sample is not None and asked.sample < len(rows):
        rows = sorted(random.Random(asked.seed_rows or 0).sample(rows, asked.sample))  # noqa: S311 - no secret
    return rows


def batches_of(dataset: Dataset, columns: Sequence[str], rows: Iterable[int]) -> Iterator[tuple[Batch, list[int]]]:
    """The batches that hold some rows, each with those of them that it holds.

    The rows are sorted, and only asked for as they are needed; what lies before the first and behind the last is not
    read. A row beyond the table's end is in no batch.
    """
    following = iter(rows)
    wanted = next(following, None)
    if wanted is None:
        return
    for batch in dataset.batches(columns, start=wanted):
        held = []
        while wanted is not None and wanted < batch.start + batch.size:
            held.append(wanted)
            wanted = next(following, None)
        if held:
            yield batch, held
        if wanted is None:
            return


def count_rows(dataset: Dataset) -> int:
    """How many rows a table has; one that is not known yet is read through."""
    known = dataset.count()
    if known is not None:
        return known
    last = 0
    for batch in dataset.batches(dataset.columns[:1]):
        last = batch.start + batch.size - 1
    return last
