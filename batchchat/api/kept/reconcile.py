"""What the checkpoint holds against what the table asks now, before anything is sent.

A batch whose digest is unchanged needs no look at its rows. Of a changed one the stored rows are rendered, and those
whose key differs are set aside, so that nothing is overwritten before it is claimed by the row that it moved to.
Where most answers have lost their row, all claims are settled at once and what is still without one is counted: then
the person is asked before the change is paid for. All of it is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.checkpoint import Mark
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.dataset import Dataset
    from batchchat.prompt import RequestBuilder
    from batchchat.records import Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Where a batch begins, how many rows it has, and the digest of what its requests are made from."""

    start: int
    size: int
    digest: bytes

    @classmethod
    def of(cls, batch: Batch, builder: RequestBuilder) -> Digest:
        """That of a batch."""
        return cls(start=batch.start, size=batch.size, digest=builder.digest(batch))


@dataclass(slots=True, kw_only=True)
class Reconciled:
    """What was found.

    Attributes:
        first_pending: the first row that may have no outcome.
        loose: answers that lost their row.
        held: outcomes that stand at their rows, of those that were looked at.
    """

    first_pending: int = 1
    loose: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Brings the outcomes of some settings in line with the table.

    Args:
        dataset: the table.
        builder: makes the requests of these settings.
        journal: the checkpoint.
        settings: their number in it.
        whole: False where the dataset ends at a limit: rows beyond it are not gone.
        approved: pay for the changed rows without asking.
        sends: whether these are the settings that rows are sent with; others only have answers that stand beside.
        others: the other settings of the chain: a row that one of them answers needs no claim.
        digests: of batches from the first on, of this dataset and builder, where somebody has read them already.
        check: called now and then; may raise to give up.
    """

    dataset: Dataset
    builder: RequestBuilder
    journal: Journal
    settings: int
    whole: bool
    approved: bool
    sends: bool = True
    others: Sequence[int] = ()
    digests: Sequence[Digest] = ()
    check: Callable[[], None]

    def run(self) -> Reconciled:
        """Reconcile.

        Raises:
            UsageError: most rows that were answered have changed, and nobody approved.
            CheckpointDamaged: rows that were written are not found.
        """
        last = self.journal.last_row(self.settings)
        if last == 0:
            if not self.journal.holds(self.settings, 0):
                self.journal.verify([self.settings])
            return Reconciled()
        answered = self.journal.counts_of(self.settings).answered
        with self.journal.transaction():
            found, seen = self._find(last)
            if self.whole and last > seen:
                self._drop_beyond(found, seen)
            if self.sends and found.loose * 2 > answered:
                self._refuse(found.loose - self._claim_all(), answered)
        if found.loose:
            found.first_pending = 1
        return found

    def claim(self) -> None:
        """Give rows without an answer those that lost their rows; where rows are sent, the feed does so."""
        if self.journal.has_unclaimed(self.settings):
            with self.journal.transaction():
                self._claim_all()

    def _find(self, last: int) -> tuple[Reconciled, int]:
        """Scan, and see that every row is found that was written.

        Where some are not, and the file is sound, marks were wrong: then every row is compared.
        """
        found = Reconciled()
        seen = self._scan(found, last)
        if not self._has_found(found, seen, last):
            self.journal.verify([self.settings])
            self.journal.forget_marks(self.settings, 1, last)
            found.held = 0
            seen = self._scan(found, last)
            if not self._has_found(found, seen, last):
                raise self.journal.database.damaged(f"rows of settings {self.settings} are not found at their place")
        return found, seen

    def _has_found(self, found: Reconciled, seen: int, last: int) -> bool:
        return self.journal.holds(
            self.settings, found.held + self.journal.settled(self.settings, seen + 1, last - seen)
        )

    def _scan(self, found: Reconciled, last: int) -> int:
        """Set aside what has lost its row, up to the last row with an outcome; how far the table was read."""
        settled_so_far, seen = True, 0
        for now, batch in self._batches(last):
            self.check()
            if settled_so_far:
                found.first_pending = now.start
            if now.start > last:
                return last
            seen = now.start + now.size - 1
            mark = self._mark(now)
            if mark is not None:
                held = now.size if mark.complete else self.journal.settled(self.settings, now.start, now.size)
                found.held += held
                done = held == now.size
            else:
                assert batch is not None
                done = self._compare(found, batch, now.digest)
            settled_so_far = settled_so_far and done
        if settled_so_far:
            found.first_pending = seen + 1
        return seen

    def _batches(self, last: int) -> Iterator[tuple[Digest, Batch | None]]:
        """The table's batches: those that were read already up to the first that has changed, then by reading."""
        start = 1
        for now in self.digests:
            if now.start <= last and self._mark(now) is None:
                break
            yield now, None
            start = now.start + now.size
        if start - 1 == self.dataset.count():
            return
        for batch in self.dataset.batches(self.builder.columns, start=start):
            yield Digest.of(batch, self.builder), batch

    def _mark(self, now: Digest) -> Mark | None:
        """What is known of a batch, if it is as it was."""
        mark = self.journal.mark(self.settings, now.start)
        return mark if mark is not None and (mark.size, mark.digest) == (now.size, now.digest) else None

    def _compare(self, found: Reconciled, batch: Batch, digest: bytes) -> bool:
        stored = self.journal.stored(self.settings, batch.start, batch.size)
        if not stored:
            return False
        mark = self.journal.mark(self.settings, batch.start)
        before = mark.digest if mark is not None and mark.size == batch.size else None
        keys = {row: one.key for row, one in stored.items()}
        wrong = self.builder.others(self.builder.tasks(batch, sorted(stored)), keys, before=before, now=digest)
        self.journal.set_aside(self.settings, wrong)
        found.held += len(stored) - len(wrong)
        found.loose += sum(1 for row in wrong if stored[row].state != "failed")
        self.journal.note_mark(self.settings, batch.start, Mark(size=batch.size, digest=digest, complete=False))
        return not wrong and len(stored) == batch.size

    def _drop_beyond(self, found: Reconciled, seen: int) -> None:
        """Set aside the outcomes of rows that the table no longer has."""
        beyond = [row for row in self.journal.rows_with_outcomes(self.settings) if row > seen]
        before = self.journal.counts_of(self.settings).answered
        self.journal.set_aside(self.settings, beyond)
        found.loose += before - self.journal.counts_of(self.settings).answered

    def _claim_all(self) -> int:
        """Give every row without an outcome one that is unclaimed and of its key; how many were answers."""
        claimed = 0
        for batch in self.dataset.batches(self.builder.columns):
            self.check()
            if not self.journal.has_unclaimed(self.settings):
                break
            held = self._held(batch)
            free = [row for row in range(batch.start, batch.start + batch.size) if row not in held]
            for task in self.builder.tasks(batch, free):
                got = self.journal.claim(self.settings, task.key, task.row)
                claimed += got is not None and got.state != "failed"
        return claimed

    def _held(self, batch: Batch) -> set[int]:
        """Rows that have an outcome, or an answer of other settings."""
        held = set(self.journal.stored(self.settings, batch.start, batch.size))
        for number in self.others:
            stored = self.journal.stored(number, batch.start, batch.size)
            held.update(row for row, one in stored.items() if one.state != "failed")
        return held

    def _is_settled(self) -> bool:
        """Whether every row of the table has an outcome: then rows were only taken out of it, and nothing is to pay."""
        counts = self.journal.counts_of(self.settings)
        return self.dataset.count() == counts.answered + counts.failed

    def _refuse(self, unmatched: int, answered: int) -> None:
        if unmatched * 2 > answered and not self.approved and not self._is_settled():
            raise UsageError(
                f"{unmatched} of the {answered} rows that were answered have changed in {self.dataset.name} and would "
                "be paid for again; nothing was sent. --yes pays for the changed ones, --restart starts anew (the old "
                "checkpoint is kept aside)"
            )
