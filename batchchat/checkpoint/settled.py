"""Which rows have an outcome, by their numbers alone: answers are not read."""

from __future__ import annotations

import heapq
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from batchchat.checkpoint import schema

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from batchchat.checkpoint.journal import Journal


def settled_rows(
    journal: Journal, chain: Sequence[int], *, failed: bool = False, last: int | None = None
) -> Generator[int]:
    """Numbers of the rows that have an outcome under some settings, in order, as they are found.

    Args:
        journal: the checkpoint.
        chain: numbers of settings.
        failed: only rows that none of these settings answered.
        last: the last row that counts, None: all.
    """
    cursors = [_of(journal, number, last, failed=failed and len(chain) == 1) for number in chain]
    for row, states in groupby(heapq.merge(*cursors), key=itemgetter(0)):
        if not failed or not any(answered for _, answered in states):
            yield row


def _of(journal: Journal, settings: int, last: int | None, *, failed: bool) -> Iterator[tuple[int, int]]:
    low = schema.outcome_id(settings, 0)
    high = schema.outcome_id(settings, schema.UNCLAIMED if last is None else last + 1)
    only = " AND answered = 0" if failed else ""
    rows = journal.database.query(
        f"SELECT id, answered FROM outcomes WHERE id > ? AND id < ?{only} ORDER BY id", (low, high)
    )
    for number, answered in rows:
        yield number & schema.ROW_MASK, answered
