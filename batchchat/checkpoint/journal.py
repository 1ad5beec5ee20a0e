"""The journal of a job: what was settled, durable, and found again.

In come outcomes, by groups; out go, for a range of rows, what is stored of them, and the result columns. It knows the
rows of the table by their numbers and their requests by their keys, and neither tables nor endpoints.

All methods are synchronous. A run calls them from one thread of its own, so a slow disk never holds up the event loop.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.checkpoint import codec, schema
from batchchat.checkpoint.database import Database
from batchchat.checkpoint.facts import Facts
from batchchat.checkpoint.lock import Lock
from batchchat.checkpoint.marks import Marks
from batchchat.errors import CheckpointBusy, CheckpointDamaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchchat.checkpoint.codec import Stored
    from batchchat.records import Outcome


@dataclass(slots=True, kw_only=True)
class Counts:
    """How many rows are answered and failed, and the tokens of what is stored of them."""

    answered: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Journal(Facts, Marks):
    """A checkpoint, opened for writing by `open_journal` or for reading by `read_journal`."""

    def __init__(self, database: Database, lock: Lock | None) -> None:
        self.path = database.path
        self._db = database
        self._lock = lock
        self._marks: list[tuple[Any, ...]] = []
        self._counters: dict[int, Counts] = {}
        self._in_transaction = False
        self._changed = False
        self._unverified = lock is None  # a writer compares what it finds with the table, in `api.kept`
        self._commits = self.counts_of(_COMMITS).answered

    @property
    def database(self) -> Database:
        """The connection, for reading what no method here gives."""
        return self._db

    @property
    def commits(self) -> int:
        """How many commits there were."""
        return self._commits

    # Outcomes.

    def commit(self, settings: int, outcomes: Sequence[Outcome], **facts: Any) -> None:
        """Make outcomes durable, with facts for the header and the marks noted before, in one transaction.

        A failure never takes the place of an answer: the answer that was paid for stays.
        """
        rows = [codec.encode(outcome, settings) for outcome in outcomes]
        with self.transaction():
            self.set_header(**facts)
            if rows:
                self._note_change()
            counts = self.counts_of(settings)
            before = self._before([row[0] for row in rows]) if counts.answered or counts.failed else {}
            rows = [row for row in rows if row[2] or not before.get(row[0], (0,))[0]]
            for old in (before[row[0]] for row in rows if row[0] in before):
                _count(counts, *old, sign=-1)
            for row in rows:
                _count(counts, row[2], row[6], row[7], sign=1)
            self._db.insert("outcomes", rows)
            self._save(settings, counts)
            self._save(_COMMITS, Counts(answered=self._commits + 1))
        self._commits += 1
        if self._lock is not None:
            self._lock.note(self._commits)

    def stored(self, settings: int, start: int, size: int) -> dict[int, Stored]:
        """By row number, what is stored of the rows from `start` on, `size` of them."""
        return {row[0] & schema.ROW_MASK: codec.stored(row) for row in self._outcomes(settings, start, size)}

    def settled(self, settings: int, start: int, size: int) -> int:
        """How many of some rows are stored."""
        first = schema.outcome_id(settings, start)
        row = self._db.one("SELECT count(*) FROM outcomes WHERE id >= ? AND id < ?", (first, first + size))
        return int(row[0]) if row else 0

    def holds(self, settings: int, rows: int) -> bool:
        """Whether so many rows, which somebody found stored, are as many as were counted when they were written."""
        counts = self.counts_of(settings)
        return rows == counts.answered + counts.failed

    def verify(self, chain: Sequence[int]) -> None:
        """See that every row is found that was written: SQLite's own check, and a count. About 2 ms a megabyte.

        Raises:
            CheckpointDamaged: some are not. They must not be taken for rows that were never sent.
        """
        with self._db.snapshot():
            self._db.check_pages()
            for settings in chain:
                found = self.settled(settings, 1, schema.UNCLAIMED - 1)
                if not self.holds(settings, found):
                    counts = self.counts_of(settings)
                    written = counts.answered + counts.failed
                    what = f"{written:,} rows were written under settings {settings}, and {found:,} are found"
                    raise self._db.damaged(what)

    def results(
        self,
        chain: Sequence[int],
        start: int,
        size: int,
        names: Sequence[str],
        *,
        without: Mapping[int, frozenset[int]] | None = None,
    ) -> dict[str, list[Any]]:
        """Result columns for a range of rows: of each row the first answer in the chain, else its first failure.

        Before a reader is told that a row has none, the checkpoint is verified once.

        Args:
            chain: numbers of settings.
            start: the first row.
            size: how many rows.
            names: of the columns.
            without: by settings, rows whose outcomes are left out.
        """
        chosen: list[tuple[Any, ...] | None] = [None] * size
        if len(chain) == 1 and not any((without or {}).values()):
            rows = self._outcomes(chain[0], start, size)
            if len(rows) == size:  # by number and without a gap: each stands at its place
                return codec.columns(rows, names)
        for settings in chain:
            left_out = (without or {}).get(settings, frozenset())
            for row in self._outcomes(settings, start, size):
                number = row[0] & schema.ROW_MASK
                before = chosen[number - start]
                if number not in left_out and (before is None or (row[2] and not before[2])):
                    chosen[number - start] = row
        if self._unverified and None in chosen:
            self.verify(chain)
            self._unverified = False
        return codec.columns(chosen, names)

    def counts_of(self, settings: int) -> Counts:
        """What is stored for some settings, from its counters."""
        if settings not in self._counters or self._lock is None:
            rows = self._db.sealed_rows("counters", where="WHERE settings = ?", values=(settings,))
            self._counters[settings] = next(
                (Counts(**dict(zip(_COUNTED, row[1:], strict=True))) for row in rows), Counts()
            )
        return self._counters[settings]

    def counts(self, chain: Sequence[int], rows: int | None) -> Counts:
        """Counts over the first `rows` rows (None: all), each row by the first answer in the chain."""
        limit = schema.UNCLAIMED if rows is None else rows + 1
        if len(chain) == 1 and not self._beyond(chain[0], limit):
            return self.counts_of(chain[0])
        # MATERIALIZED: one pass over each settings' range, grouped by row.
        parts = " UNION ALL ".join(
            f"SELECT id & {schema.ROW_MASK} AS row, {nth} AS nth, answered, prompt_tokens AS p, completion_tokens AS c "
            f"FROM outcomes WHERE id > {schema.outcome_id(number, 0)} AND id < {schema.outcome_id(number, limit)}"
            for nth, number in enumerate(chain)
        )
        # SQLite takes the other columns from the row that gives the min().
        row = self._db.one(
            f"WITH all_of AS MATERIALIZED ({parts}), best AS "
            "(SELECT row, min((1 - answered) * 1000 + nth), answered, p, c FROM all_of GROUP BY row) "
            "SELECT coalesce(sum(answered), 0), coalesce(sum(1 - answered), 0), "
            "coalesce(sum(p), 0), coalesce(sum(c), 0) FROM best"
        )
        assert row is not None
        return Counts(**dict(zip(_COUNTED, row, strict=True)))

    # Answers that changed their row.

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction around several calls; calls within one join it."""
        if self._in_transaction:
            yield
            return
        self._in_transaction = True
        before = self._marks.copy()
        try:
            with self._db.transaction():
                yield
                self._write_marks()
            self._marks.clear()
        except BaseException:
            self._counters.clear()  # they may have been counted on; the stored ones are right
            self._changed = False
            self._marks[:] = before  # those after speak of what was rolled back; the earlier are still to be written
            raise
        finally:
            self._in_transaction = False

    def set_aside(self, settings: int, rows: Sequence[int]) -> None:
        """Move outcomes out of the way of their rows; they stay claimable by their keys."""
        if not rows:
            return
        with self.transaction():
            self._note_change()
            number = self._next_unclaimed(settings)
            counts = self.counts_of(settings)
            self.forget_marks(settings, min(rows), max(rows) - min(rows) + 1)
            for row in rows:
                old = schema.outcome_id(settings, row)
                moved = self._move(old, schema.outcome_id(settings, number))
                if moved is not None:
                    _count(counts, moved[2], moved[6], moved[7], sign=-1)
                    number += 1
            self._save(settings, counts)

    def claim(self, settings: int, key: bytes, row: int) -> Stored | None:
        """Give a row an unclaimed outcome of its key, if there is one."""
        low, high = schema.outcome_id(settings, schema.UNCLAIMED), schema.outcome_id(settings, schema.ROW_MASK)
        found = self._db.one(
            f"SELECT id FROM outcomes WHERE key = ? AND (id & {schema.UNCLAIMED}) != 0 AND id BETWEEN ? AND ? "
            "ORDER BY answered DESC, id LIMIT 1",
            (key, low, high),
        )
        if found is None:
            return None
        with self.transaction():
            self._note_change()
            counts = self.counts_of(settings)
            moved = self._move(found[0], schema.outcome_id(settings, row))
            if moved is None or moved[1] != key:
                raise self._db.damaged("its index of answers does not fit them")
            _count(counts, moved[2], moved[6], moved[7], sign=1)
            self._save(settings, counts)
        return codec.stored(moved)

    def has_unclaimed(self, settings: int) -> bool:
        """Whether some answers under these settings belong to no row now."""
        return self._next_unclaimed(settings) > schema.UNCLAIMED

    def unclaimed(self, settings: int) -> list[Stored]:
        """What is stored under these settings that belongs to no row now."""
        return [codec.stored(row) for row in self._outcomes(settings, schema.UNCLAIMED, schema.UNCLAIMED - 1)]

    def rows_with_outcomes(self, settings: int) -> Iterator[int]:
        """Numbers of the rows that have an outcome, in order."""
        first, last = schema.outcome_id(settings, 0), schema.outcome_id(settings, schema.UNCLAIMED)
        for (number,) in self._db.query("SELECT id FROM outcomes WHERE id > ? AND id < ?", (first, last)):
            yield number & schema.ROW_MASK

    def last_row(self, settings: int) -> int:
        """The highest row with an outcome, 0 where there is none."""
        first, last = schema.outcome_id(settings, 0), schema.outcome_id(settings, schema.UNCLAIMED)
        row = self._db.one("SELECT max(id) FROM outcomes WHERE id > ? AND id < ?", (first, last))
        return 0 if row is None or row[0] is None else int(row[0]) & schema.ROW_MASK

    def check_commits(self, noted: int) -> None:
        """Compare with what a run noted that did not end in order.

        Raises:
            CheckpointDamaged: commits that were durable are missing.
        """
        if self._commits < noted:
            raise self._db.damaged(
                f"it lacks {noted - self._commits} of {noted} commits: its log {self.path}-wal is missing, cut or "
                f"damaged (where it is a backup that you put there, delete {self.path}-lock)"
            )

    def close(self) -> None:
        """Close the file; after writing, one file is left, and the lock is given back."""
        try:
            self._db.close(fold=self._lock is not None)
        finally:
            if self._lock is not None:
                self._lock.release()

    def _outcomes(self, settings: int, start: int, size: int) -> list[tuple[Any, ...]]:
        first = schema.outcome_id(settings, start)
        return self._db.sealed_list("outcomes", "WHERE id >= ? AND id < ?", (first, first + size))

    def _before(self, ids: Sequence[int]) -> dict[int, tuple[int, int | None, int | None]]:
        """Of those ids that are stored: answered, prompt and completion tokens."""
        found: dict[int, tuple[int, int | None, int | None]] = {}
        for at in range(0, len(ids), defaults.COMMIT_ROWS):
            some = ids[at : at + defaults.COMMIT_ROWS]
            columns, marks = "id, answered, prompt_tokens, completion_tokens", ",".join("?" * len(some))
            rows = self._db.query(f"SELECT {columns} FROM outcomes WHERE id IN ({marks})", some)
            found.update({row[0]: row[1:] for row in rows})
        return found

    def _move(self, old: int, new: int) -> tuple[Any, ...] | None:
        """Give an outcome another id; its values, or None where there is none."""
        for row in list(self._db.sealed_rows("outcomes", where="WHERE id = ?", values=(old,))):
            moved = (new, *row[1:])
            self._db.insert("outcomes", [moved])
            self._db.execute("DELETE FROM outcomes WHERE id = ?", (old,))
            return moved
        return None

    def _next_unclaimed(self, settings: int) -> int:
        low, high = schema.outcome_id(settings, schema.UNCLAIMED), schema.outcome_id(settings, schema.ROW_MASK)
        row = self._db.one("SELECT max(id) FROM outcomes WHERE id BETWEEN ? AND ?", (low, high))
        return schema.UNCLAIMED if row is None or row[0] is None else (int(row[0]) & schema.ROW_MASK) + 1

    def _note_change(self) -> None:
        """What was published is no longer what is stored; `set_header(changed=False)` says that it is again."""
        if not self._changed:
            self.set_header(changed=True)
            self._changed = True

    def _beyond(self, settings: int, row: int) -> bool:
        return self.last_row(settings) >= row

    def _save(self, settings: int, counts: Counts) -> None:
        self._db.insert("counters", [(settings, *(asdict(counts)[name] for name in _COUNTED))])


# Counters of no settings: how many commits there were, so that one that is missing is missed.
_COMMITS = 0
_COUNTED = ("answered", "failed", "prompt_tokens", "completion_tokens")


def _count(counts: Counts, answered: int, prompt: int | None, completion: int | None, *, sign: int) -> None:
    if answered:
        counts.answered += sign
    else:
        counts.failed += sign
    counts.prompt_tokens += sign * (prompt or 0)
    counts.completion_tokens += sign * (completion or 0)


def open_journal(path: str | Path) -> Journal:
    """Open a checkpoint for writing, or make one.

    Raises:
        CheckpointBusy: another run holds it.
        CheckpointDamaged: it cannot be read, is of another format, or is no checkpoint; it is left as it is.
        UsageError: its file system cannot hold one.
    """
    lock = Lock(path)
    lock.acquire()
    # Of a checkpoint that was deleted nothing is missing.
    noted, journal = lock.commits if Path(path).exists() else 0, None
    try:
        journal = Journal(Database(path, write=True), lock)
        journal.check_commits(noted)
    except BaseException as error:
        if journal is not None:
            journal.database.close(fold=True)
        lock.release(keep=noted > 0 and isinstance(error, CheckpointDamaged))
        raise
    return journal


def note(path: str | Path, **facts: Any) -> None:
    """Write facts into the header of a checkpoint, also while a run holds it: SQLite keeps the two writers apart.

    Raises:
        CheckpointDamaged, StorageFull: as `open_journal`.
    """
    try:
        journal = open_journal(path)
    except CheckpointBusy:
        journal = Journal(Database(path, write=True), None)
    try:
        journal.set_header(**facts)
    finally:
        journal.close()


def read_journal(path: str | Path) -> Journal:
    """Open a checkpoint for reading, also while a run writes to it.

    Raises:
        CheckpointDamaged: as `open_journal`.
    """
    return Journal(Database(path, write=False), None)
