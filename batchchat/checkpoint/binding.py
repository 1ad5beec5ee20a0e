"""Rows on their way into SQLite: which statement takes them, and what is bound to it.

Python's sqlite3 binds whole numbers, floats, text and bytearrays as they are. For None and bytes it first looks for an
adapter and fails, which costs 3,000 instructions each and is half of an insert where a third of the columns is null. So
a null stands in the statement, and bytes are handed over as a bytearray. Rows of the same types share a statement.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Types = tuple[type, ...]


def bound(table: str, rows: Iterable[Sequence[Any]]) -> Iterator[tuple[str, Iterator[Sequence[Any]]]]:
    """Statements that insert or replace all of the rows, each with the values to bind."""
    kinds: dict[Types, list[Sequence[Any]]] = {}
    for row in rows:
        kinds.setdefault(tuple(map(type, row)), []).append(row)
    for types, alike in kinds.items():
        statement, values = _plan(table, types)
        yield statement, map(values, alike)


@lru_cache(maxsize=256)
def _plan(table: str, types: Types) -> tuple[str, Callable[[Sequence[Any]], Sequence[Any]]]:
    """The statement for rows of these types, and what makes of a row the values that are bound to it."""
    marks = ",".join("NULL" if kind is type(None) else "?" for kind in types)
    places = [at for at, kind in enumerate(types) if kind is not type(None)]
    of_bytes = [n for n, at in enumerate(places) if types[at] is bytes]
    pick = itemgetter(*places)  # of more than one: an id and a checksum are never null

    def values(row: Sequence[Any]) -> Sequence[Any]:
        picked = list(pick(row))
        for n in of_bytes:
            picked[n] = bytearray(picked[n])
        return picked

    return f"INSERT OR REPLACE INTO {table} VALUES ({marks})", values
