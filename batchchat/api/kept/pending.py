"""What a run would send, by looking alone: the table against the checkpoint, without changing either.

The same answer as reconciling and feeding give to a run (reconcile.py, feed.py), but nothing is set aside, claimed or
marked, so that it may be asked of a job that runs, of one that would be refused, and of one without a checkpoint.

Accepted: keys of answers that lost their row are held in memory, some hundred bytes for each; there are as many as the
input was edited.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batchchat.api.input.rows import batches_of
from batchchat.api.input.selection import select
from batchchat.api.input.table import make_builder
from batchchat.api.kept.compare import builder_of, stale_rows
from batchchat.checkpoint import canonical, read_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchchat.checkpoint import Journal, Stored
    from batchchat.dataset import Dataset
    from batchchat.job import Job
    from batchchat.prompt import RequestBuilder
    from batchchat.records import Batch, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some rows of the table that lie together.

    Attributes:
        batch: the rows. size: how many of them are meant.
        open: numbers of those that are to be sent, unless an answer that lost its row serves them.
        again: those of them that have an outcome already, which is to be replaced.
    """

    batch: Batch
    size: int
    open: Sequence[int]
    again: frozenset[int]


class Pending:
    """The rows that a run of this job would send.

    Args:
        job: the job; that `--sample` makes it a trial is not looked at.
        dataset: its table.
        model: the model that is asked.
        rows: numbers of the rows that are meant, sorted; None: all.
        ignore: count no row as answered.

    Attributes:
        builder: makes the requests.
        settings: the number of the settings in the checkpoint, None where nothing was asked with them.
        chain: the settings whose answers count.
        changed: whether the checkpoint holds answers of other settings, so that a run would be refused.
        journal: the checkpoint, None where there is none.
    """

    def __init__(
        self, job: Job, dataset: Dataset, *, model: str, rows: Sequence[int] | None = None, ignore: bool = False
    ) -> None:
        self.builder: RequestBuilder = make_builder(job, dataset, model)
        self.journal: Journal | None = None
        self.settings: int | None = None
        self.changed = False
        self._dataset = dataset
        self._limit = job.rows.limit
        selection = select(job, dataset)
        chosen = None if selection is None else [*selection.numbers()] if rows is None else selection.of(rows)
        self._rows = rows if selection is None else chosen
        self._left: frozenset[str | None] = job.policy.retry | {None}
        self.chain: tuple[int, ...] = ()
        self._failures_stand = False
        self._loose: dict[int, Counter[bytes]] = {}
        self._builders: dict[int, RequestBuilder] = {}
        self._stale: dict[int, frozenset[int]] = {}
        if Path(job.checkpoint_path).exists() and not job.policy.restart:
            self.journal = read_journal(job.checkpoint_path)
            self.settings = self.journal.find_settings({**job.settings(), "model": model})
            if not ignore:
                self._compare(job, self.journal, {**job.settings(), "model": model})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.journal is not None:
            self.journal.close()

    def parts(self) -> Iterator[Part]:
        """The table from its beginning."""
        read = {name for builder in (self.builder, *self._builders.values()) for name in builder.columns}
        columns = [name for name in self._dataset.columns if name in read]
        for batch, numbers in self._batches(columns):
            found = self._found(batch)
            left = [row for row in numbers if found.get(row) in self._left] if found else numbers
            yield Part(batch=batch, size=len(numbers), open=left, again=frozenset(found))

    def _batches(self, columns: Sequence[str]) -> Iterator[tuple[Batch, Sequence[int]]]:
        if self._rows is not None:
            yield from batches_of(self._dataset, columns, self._rows)
            return
        for batch in self._dataset.batches(columns):
            yield batch, range(batch.start, batch.start + batch.size)

    def tasks(self, part: Part, rows: Sequence[int], *, claim: bool = True) -> Iterator[Task]:
        """The requests of some open rows of a part, less those that an answer serves that lost its own row.

        They are to be counted, not sent: images are not read.

        Args:
            part: the part.
            rows: some of its open rows.
            claim: whether each such answer serves one row; False where only a sample of the rows is asked for.
        """
        served: set[int] = set()
        for number, keys in self._loose.items():
            for task in self._builders[number].tasks(part.batch, rows):
                if keys[task.key] > 0 and task.row not in part.again and task.row not in served:
                    keys[task.key] -= claim
                    served.add(task.row)
        yield from self.builder.tasks(part.batch, [row for row in rows if row not in served], glance=True)

    def _compare(self, job: Job, journal: Journal, body: dict[str, object]) -> None:
        """Which settings' answers count, and which of them belong to no row any more."""
        begun = journal.header("begun")
        own = () if self.settings is None else (self.settings,)
        earlier = () if begun is None else journal.chain(int(begun))
        self.chain = own
        self._failures_stand = bool(journal.header("failures_stand"))
        if earlier and earlier[0] in own:
            self.chain = earlier
        elif (
            earlier
            and journal.counts(earlier, None).answered
            and canonical(journal.settings(earlier[0])) != canonical(body)
        ):
            if job.policy.keep_answered or job.policy.retry:
                self.chain = (*own, *(number for number in earlier if number not in own))
                self._failures_stand = not job.policy.keep_answered
            else:
                self.changed = True
        for number in self.chain:
            # Answers beyond a limit may belong to rows within it by now.
            beyond = self._limit is not None and journal.last_row(number) > self._limit
            dataset = self._dataset.unlimited() if beyond else self._dataset
            self._stale[number] = stale_rows(journal, number, dataset)
            loose = Counter(self._loose_keys(journal, number, dataset))
            if loose:
                self._loose[number] = loose
                self._builders[number] = builder_of(journal.settings(number), self._dataset)

    def _loose_keys(self, journal: Journal, number: int, dataset: Dataset) -> Iterator[bytes]:
        """Keys of the outcomes that belong to no row, and would settle one."""
        left = self._left if number == self.settings or self._failures_stand else self._left | {"failed"}
        stored = journal.unclaimed(number) if journal.has_unclaimed(number) else []
        for row in self._stale[number]:
            stored.extend(journal.stored(number, row, 1).values())
        rows, last = dataset.count(), journal.last_row(number)
        if rows is not None and last > rows:
            stored.extend(journal.stored(number, rows + 1, last - rows).values())
        yield from (one.key for one in stored if one.state not in left)

    def _found(self, batch: Batch) -> dict[int, str]:
        """By row, the state of what is stored for it: of the first answer in the chain, else of a failure."""
        found: dict[int, str] = {}
        if self.journal is None:
            return found
        for number in self.chain:
            stale = self._stale[number]
            stored: dict[int, Stored] = self.journal.stored(number, batch.start, batch.size)
            for row, one in stored.items():
                known = found.get(row)
                if row in stale or (known is not None and known != "failed"):
                    continue
                if one.state != "failed" or number == self.settings or (known is None and self._failures_stand):
                    found[row] = one.state
        return found
