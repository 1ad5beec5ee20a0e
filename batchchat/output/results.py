"""The result columns of consecutive rows, in pieces that fit into memory.

How many rows a piece has follows the size of the answers before it, so it depends on the content alone: the same input
and results give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchchat.errors import BatchchatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.records import ResultColumn

Lookup = Callable[[int, int], Mapping[str, Sequence[Any]]]
Piece = Mapping[str, Sequence[Any]]

_FIRST = 256
_MOST = 4_096  # four times as many cost 30 MB more of memory, and take as long
_BYTES = 8 << 20


class Results:
    """The results, as the writers ask for them.

    Attributes:
        columns: what is written beside the input, in this order.
    """

    def __init__(self, columns: Sequence[ResultColumn], lookup: Lookup) -> None:
        self.columns = tuple(columns)
        self._lookup = lookup
        self._step = _FIRST

    def pieces(self, start: int, size: int) -> Iterator[tuple[int, Piece]]:
        """The results of `size` rows from row `start` on: how many rows a piece has, and its columns."""
        end = start + size
        while start < end:
            count = min(self._step, end - start)
            piece = self._lookup(start, count)
            for column in self.columns:
                if len(piece[column.name]) != count:
                    raise BatchchatError(f"{len(piece[column.name])} results for {count} rows from {start} on")
            yield count, piece
            start += count
            self._step = max(1, min(4 * self._step, _MOST, _BYTES * count // max(1, self._size(piece))))

    def _size(self, piece: Piece) -> int:
        """About how many bytes the piece has."""
        size = 0
        for column in self.columns:
            values = piece[column.name]
            if column.kind == "string":
                size += sum(map(len, filter(None, values)))
            elif column.kind == "strings":
                size += sum(len(text) for value in values if value is not None for text in value if text is not None)
            else:
                size += 8 * len(values)
        return size
