"""Rows of the table beside their answers, for people: read as they are asked for, never the whole table.

An outcome is shown only where it is that of the request that the row would send now: a row that was edited since has
none, as in an export.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from dataclasses import dataclass
from itertools import chain as chain_of
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchchat.api.input.columns import RESULTS
from batchchat.api.input.rows import batches_of
from batchchat.api.kept.compare import builder_of, stale_of
from batchchat.api.kept.find import find_checkpoint, resume_job, shown_chain
from batchchat.checkpoint import read_journal, settled_rows
from batchchat.dataset import open_dataset
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.dataset import Dataset
    from batchchat.records import Batch

FACTS = ("model", "request_id", "attempts", "latency")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowAnswer:
    """A row and what became of it.

    Attributes:
        row: its number.
        settled: whether it has an outcome.
        inputs: the columns that the prompt reads.
        results: the result columns, by their names without a prefix.
        facts: of the request: model, request_id, attempts, latency in seconds.
    """

    row: int
    settled: bool
    inputs: Mapping[str, Any]
    results: Mapping[str, Any]
    facts: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """All of it, flat; a column of the input whose name is taken is called `NAME (input)`."""
        own = {"row": self.row, **self.results, **self.facts}
        inputs = {f"{name} (input)" if name in own else name: value for name, value in self.inputs.items()}
        return {"row": self.row, **inputs, **self.results, **self.facts}


def job_rows(
    target: str,
    *,
    failed: bool = False,
    rows: Sequence[range] | None = None,
    sample: int | None = None,
    count: int | None = None,
    seed: int | None = None,
) -> Generator[RowAnswer]:
    """Rows with their answers, in order, as they are read.

    Args:
        target: the job.
        failed: only rows that failed.
        rows: these rows, settled or not, as ranges in order; else those that are settled.
        sample: so many of them, drawn at random.
        count: at most so many.
        seed: draws the same sample again.

    Raises:
        UsageError: there is no such job, or no such row.
    """
    path = find_checkpoint(target)
    job = resume_job(str(path), {}, need_key=False)
    journal = read_journal(path)
    try:
        chain = shown_chain(journal)
        dataset = open_dataset(job.input, delimiter=job.text.delimiter, encoding=job.text.encoding)
        view = View(journal, chain, dataset)
        if rows is not None:
            yield from view.all_of(rows)
            return
        # Its cursors are closed before the checkpoint is.
        with contextlib.closing(settled_rows(journal, chain, failed=failed, last=job.rows.limit)) as settled:
            wanted = settled if sample is None else iter(sorted(_drawn(settled, sample, seed)))
            yield from islice((answer for answer in view.answers(wanted) if answer.settled), count)
    finally:
        journal.close()


class View:
    """The rows of a table beside what a checkpoint holds of them under some settings; `also` names more columns."""

    def __init__(self, journal: Journal, chain: Sequence[int], dataset: Dataset, *, also: Sequence[str] = ()) -> None:
        self._journal = journal
        self._dataset = dataset
        self._builders = {number: builder_of(journal.settings(number), dataset) for number in chain}
        read = {name for builder in self._builders.values() for name in builder.columns}
        self._columns = [name for name in dataset.columns if name in read or name in also]

    def answers(self, rows: Iterator[int]) -> Iterator[RowAnswer]:
        """These rows, sorted, as the table is read."""
        for batch, held in batches_of(self._dataset, self._columns, rows):
            yield from self._of(batch, held)

    def all_of(self, rows: Sequence[range]) -> Iterator[RowAnswer]:
        """Every one of these rows.

        Raises:
            UsageError: the table ends before the last of them.
        """
        seen, last = 0, rows[-1].stop - 1
        for answer in self.answers(chain_of.from_iterable(rows)):
            seen = answer.row
            yield answer
        if seen < last:
            raise UsageError(f"there is no row {last} in {self._dataset.name}")

    def _of(self, batch: Batch, rows: Sequence[int]) -> Iterator[RowAnswer]:
        names = ("row", *RESULTS, *FACTS)
        without = {number: self._stale(number, batch, rows) for number in self._builders}
        columns = self._journal.results(tuple(self._builders), batch.start, batch.size, names, without=without)
        for row in rows:
            at = row - batch.start
            yield RowAnswer(
                row=row,
                settled=columns["row"][at] is not None,
                inputs={name: batch.columns[name][at] for name in self._columns},
                results={name: columns[name][at] for name in RESULTS},
                facts={name: columns[name][at] for name in FACTS},
            )

    def _stale(self, number: int, batch: Batch, rows: Sequence[int]) -> frozenset[int]:
        """Those of the rows whose outcome is not of the request that they would send now."""
        return frozenset(stale_of(self._journal, number, batch, self._builders[number], rows))


def _drawn(rows: Iterator[int], count: int, seed: int | None) -> list[int]:
    """So many of the rows, each as likely as any other, in one pass."""
    draw = random.Random(seed).random  # noqa: S311 - no secret
    return [row for _, row in heapq.nlargest(count, ((draw(), row) for row in rows))]
