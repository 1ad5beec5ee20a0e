"""The rows that are to be sent: the table, less what the checkpoint answers.

Runs in a thread of its own; the journal is shared with the committer under one lock.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from batchchat.checkpoint import Mark, places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchchat.api.input.selection import Selection
    from batchchat.api.kept.session import Session
    from batchchat.checkpoint import Stored
    from batchchat.dataset import Dataset
    from batchchat.records import Batch, Task


class Feed:
    """Gives the tasks of a run, a batch at a time.

    Args:
        dataset: the table.
        session: the checkpoint, reconciled with the table (a full run) or not (a trial).
        retry: kinds of stored outcomes that are sent again: failed, length, empty.
        rows: numbers of the rows of a trial, sorted; None: all.
        selection: the rows that may be sent at all, None: all.

    Attributes:
        seen: the last row that was looked at.
        reused: rows that the checkpoint answered, so far.
        ended: whether the table was read to its end.
        tried: the tasks of a trial, sent or answered before.
    """

    def __init__(
        self,
        *,
        dataset: Dataset,
        session: Session,
        retry: frozenset[str] = frozenset(),
        rows: Sequence[int] | None = None,
        selection: Selection | None = None,
    ) -> None:
        self._dataset = dataset
        self._selection = selection
        self._builder = session.builder
        self._journal = journal = session.journal
        self._lock = session.lock
        self._chain = chain = session.chain
        self._retry = retry
        self._failures_stand = session.failures_stand
        self.rows = rows
        self._batches = _batches(dataset, session.builder.columns, session.start, rows)
        with self._lock:
            self._blank = all(journal.last_row(settings) == 0 for settings in chain)
            self._unclaimed = journal.has_unclaimed(chain[0])
        self.seen = session.start - 1
        self.reused = session.start - 1
        self.ended = False
        self.tried: list[Task] = []

    def next(self) -> list[Task] | None:
        """The next tasks that are pending; None at the end of the table.

        Raises:
            InputFault: a fault in the table that its check had not reached.
        """
        for batch in self._batches:
            self.seen = batch.start + batch.size - 1
            tasks = self._pending(batch)
            if tasks:
                return tasks
        self.ended = True
        return None

    def _pending(self, batch: Batch) -> list[Task]:
        if self.rows is not None:
            return self._of_trial(batch, self.rows)
        rows = None if self._selection is None else self._selection.of(range(batch.start, batch.start + batch.size))
        if not self._blank:
            with self._lock:
                states = self._states(batch)
            meant = range(batch.start, batch.start + batch.size) if rows is None else rows
            rows = [row for row in meant if self._is_pending(states.get(row))]
            self.reused += len(meant) - len(rows)
            if not rows:
                return []
            again = {row for row in rows if row in states}
        else:
            again = set()
        tasks = list(self._builder.tasks(batch, rows))
        mark = Mark(size=batch.size, digest=self._builder.digest(batch), complete=False)
        with self._lock:
            self._journal.note_mark(self._chain[0], batch.start, mark)
            return self._unanswered(tasks, again) if self._unclaimed else tasks

    def _of_trial(self, batch: Batch, rows: Sequence[int]) -> list[Task]:
        """The asked rows of a batch; their stored outcomes are checked here, since nothing was reconciled."""
        wanted = [row for row in rows if batch.start <= row < batch.start + batch.size]
        tasks = list(self._builder.tasks(batch, wanted))
        self.tried += tasks
        with self._lock:
            stored = self._journal.stored(self._chain[0], batch.start, batch.size) if not self._blank else {}
            known = {task.row: stored[task.row] for task in tasks if task.row in stored}
            moved = [task.row for task in tasks if task.row in known and known[task.row].key != task.key]
            self._journal.set_aside(self._chain[0], moved)
            self._unclaimed = self._unclaimed or bool(moved)
            open_tasks = [task for task in tasks if task.row in moved or self._is_pending(known.get(task.row))]
            self.reused += len(tasks) - len(open_tasks)
            again = {row for row in known if row not in moved}
            if open_tasks:
                self._forget_unlike(batch)
            self._free([task for task in open_tasks if task.row not in again])
            return self._unanswered(open_tasks, again) if self._unclaimed else open_tasks

    def _forget_unlike(self, batch: Batch) -> None:
        """A mark is of rows as they were once: where they are others now, what a trial stores is not of those."""
        settings = self._chain[0]
        mark = self._journal.mark(settings, batch.start)
        if mark is None or (mark.size, mark.digest) != (batch.size, self._builder.digest(batch)):
            self._journal.forget_marks(settings, batch.start, batch.size)

    def _free(self, tasks: Sequence[Task]) -> None:
        """Set aside the answers to these tasks that stand at a row which asks for something else by now."""
        if self._blank:
            return
        settings = self._chain[0]
        for task in tasks:
            for row in places(self._journal, settings, task.key):
                batch = next(self._dataset.batches(self._builder.columns, start=row), None)
                now = None if batch is None else next(self._builder.tasks(batch, [row])).key
                if now != task.key:
                    self._journal.set_aside(settings, [row])
                    self._unclaimed = True

    def _unanswered(self, tasks: list[Task], again: set[int]) -> list[Task]:
        """Those that no unclaimed answer serves; a row that is sent again claims none."""
        left = []
        for task in tasks:
            got = None if task.row in again else self._journal.claim(self._chain[0], task.key, task.row)
            if self._is_pending(got):
                left.append(task)
            else:
                self.reused += 1
        return left

    def _states(self, batch: Batch) -> dict[int, Stored]:
        """Of each row the first answer in the chain, else a failure that stands, if there is one."""
        states = self._journal.stored(self._chain[0], batch.start, batch.size)
        for settings in self._chain[1:]:
            for row, stored in self._journal.stored(settings, batch.start, batch.size).items():
                if stored.state == "failed":
                    if self._failures_stand:
                        states.setdefault(row, stored)
                elif row not in states or states[row].state == "failed":
                    states[row] = stored
        return states

    def _is_pending(self, stored: Stored | None) -> bool:
        return stored is None or stored.state in self._retry


def _batches(dataset: Dataset, columns: Sequence[str], start: int, rows: Sequence[int] | None) -> Iterator[Batch]:
    """The batches that hold any of the rows, without reading what lies far between."""
    if rows is None:
        yield from dataset.batches(columns, start=start)
        return
    if not rows:
        return
    batches = dataset.batches(columns, start=rows[0])
    following = iter([*(b for _, b in pairwise(rows)), None])
    wanted: int | None = rows[0]
    for batch in batches:
        end = batch.start + batch.size
        if wanted is not None and wanted < end:
            yield batch
            while wanted is not None and wanted < end:
                wanted = next(following, None)
        if wanted is None:
            return
