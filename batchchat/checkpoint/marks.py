"""Batches of rows that are as they were: a digest tells it, so that a resume need not render them.

A mark says that what is stored of its rows was asked for by the rows that have its digest. It must not outlive that: a
table that is put back as it was before an edit has the digest of then, and not the answers. So marks never overlap, and
whoever stores or takes away an outcome that the marked rows did not ask for forgets their mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchchat.checkpoint import schema

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from batchchat.checkpoint.database import Database

# No batch has more rows than this; how many it has depends on the version, and on the table.
_LONGEST = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What is known of a batch of rows: its size, the digest of what it was made from, whether every row is settled."""

    size: int
    digest: bytes
    complete: bool


class Marks:
    """The part of a journal that is about batches. `Journal` is the whole of it, and sets these attributes."""

    _db: Database
    _marks: list[tuple[Any, ...]]

    if TYPE_CHECKING:

        def transaction(self) -> AbstractContextManager[None]:
            """As the journal's."""

    def mark(self, settings: int, start: int) -> Mark | None:
        """What is known of the batch that begins at a row."""
        where = "WHERE id = ?"
        for row in self._db.sealed_rows("batches", where=where, values=(schema.outcome_id(settings, start),)):
            return Mark(size=row[1], digest=row[2], complete=bool(row[3]))
        return None

    def note_mark(self, settings: int, start: int, mark: Mark) -> None:
        """Note what is known of a batch; it is written with the next commit."""
        self._marks.append((schema.outcome_id(settings, start), mark.size, mark.digest, int(mark.complete)))

    def forget_marks(self, settings: int, start: int, size: int = 1) -> None:
        """Nothing is known any more of the batches that these rows belong to."""
        first = schema.outcome_id(settings, start)
        self._marks[:] = [mark for mark in self._marks if mark[0] >= first + size or mark[0] + mark[1] <= first]
        with self.transaction():
            self._delete_marks(first, size)

    def complete(self, settings: int) -> None:
        """Note that every batch is settled: the next resume need not count."""
        low, high = schema.outcome_id(settings, 0), schema.outcome_id(settings + 1, 0)
        with self.transaction():
            where = "WHERE id BETWEEN ? AND ? AND complete = 0"
            rows = list(self._db.sealed_rows("batches", where=where, values=(low, high)))
            self._db.insert("batches", [(*row[:3], 1) for row in rows])

    def _write_marks(self) -> None:
        """Within a transaction: those that were noted take the place of what they overlap."""
        for mark in self._marks:
            self._delete_marks(mark[0], mark[1])
            self._db.insert("batches", [mark])

    def _delete_marks(self, first: int, size: int) -> None:
        low = max(first - _LONGEST, first & ~schema.ROW_MASK)
        self._db.execute(
            "DELETE FROM batches WHERE id >= ? AND id < ? AND id + size > ?",
            (low, first + size, first),
        )
