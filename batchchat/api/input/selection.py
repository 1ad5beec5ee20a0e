"""Which rows `--where` chooses: found out before the first request, so that a fault of the expression costs nothing.

One bit a row is kept: what is not chosen passes through without an answer. The expression may change freely from run to
run; answers of rows that it does not choose now are kept, and are not shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.errors import BadRow, UsageError
from batchchat.prompt import Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.dataset import Dataset
    from batchchat.job import Job

_BLOCK = 8192


@dataclass(slots=True, kw_only=True)
class Selection:
    """Chosen rows of a table.

    Attributes:
        rows: of the table; chosen: how many of them.
    """

    rows: int = 0
    chosen: int = 0
    bits: bytearray

    @property
    def skipped(self) -> int:
        """How many rows are not chosen."""
        return self.rows - self.chosen

    def __contains__(self, row: int) -> bool:
        at = row - 1
        return at // 8 < len(self.bits) and bool(self.bits[at // 8] >> (at % 8) & 1)

    def add(self, *, chosen: bool) -> None:
        """The next row."""
        if self.rows % 8 == 0:
            self.bits.append(0)
        if chosen:
            self.bits[-1] |= 1 << self.rows % 8
            self.chosen += 1
        self.rows += 1

    def numbers(self) -> Iterator[int]:
        """The chosen rows, in order."""
        return (row for row in range(1, self.rows + 1) if row in self)

    def of(self, rows: Iterable[int]) -> list[int]:
        """Those of the rows that are chosen."""
        return [row for row in rows if row in self]


def select(job: Job, dataset: Dataset) -> Selection | None:
    """The rows that the job's expression chooses, None where it has none.

    Raises:
        UsageError: it does not parse, names what is no column, or fails on a row.
    """
    if job.rows.where is None:
        return None
    where = Where(job.rows.where, columns=dataset.columns)
    found = Selection(bits=bytearray())
    for batch in dataset.batches(where.columns):
        lists = [batch.columns[name] for name in where.columns]
        for nth, values in enumerate(zip(*lists, strict=True)):
            try:
                chosen = where.holds(dict(zip(where.columns, values, strict=True)))
            except BadRow as error:
                place = dataset.where(batch.start + nth)
                hint = "; cells of a text table are text: (age | int) > 3" if dataset.is_text else ""
                raise UsageError(f"{place}: {error.message}{hint}") from None
            found.add(chosen=chosen)
    return found


def left_out(
    selection: Selection | None, chain: Sequence[int], stale: Mapping[int, frozenset[int]], start: int, size: int
) -> Mapping[int, frozenset[int]]:
    """By settings, the rows of a block whose outcomes are not shown: the stale ones, and those that are not chosen."""
    if selection is None:
        return stale
    skipped = frozenset(row for row in range(start, start + size) if row not in selection)
    return {number: stale.get(number, frozenset()) | skipped for number in chain}


def chosen_states(journal: Journal, chain: Sequence[int], selection: Selection) -> Iterator[str]:
    """The state of each chosen row that has an outcome: of its first answer in the chain, else of its failure."""
    for start in range(1, selection.rows + 1, _BLOCK):
        found: dict[int, str] = {}
        for number in chain:
            for row, stored in journal.stored(number, start, min(_BLOCK, selection.rows + 1 - start)).items():
                if row in selection and found.get(row, "failed") == "failed":
                    found[row] = stored.state
        yield from found.values()
