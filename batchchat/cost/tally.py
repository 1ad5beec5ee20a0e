"""The lengths of all prompts of a job, in little room: counts of tokens in, totals and their price out.

A million rows are a few thousand different lengths, to which any price can be applied row by row, so that a context
tier applies to the rows that reach it and never to their sum.
"""

from __future__ import annotations

import math
from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING

from batchchat.cost.interval import LEVEL, z

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchchat.cost.prices import Price


class PromptTally:
    """How many rows have a prompt of how many tokens.

    Attributes:
        rows: the rows counted. total_rows: the rows that they stand for, more where only some were counted.
    """

    def __init__(self, counts: Iterable[int] = ()) -> None:
        self._rows_by_length = Counter(counts)
        self.rows = self._rows_by_length.total()
        self._total_rows: int | None = None

    def add(self, counts: Iterable[int]) -> None:
        """More rows, by their prompts' tokens."""
        before = self._rows_by_length
        before.update(counts)
        self.rows = before.total()

    def stand_for(self, rows: int) -> None:
        """What was counted is a random part of so many rows."""
        self._total_rows = rows

    @property
    def total_rows(self) -> int:
        """The rows that are to be sent."""
        return self.rows if self._total_rows is None else self._total_rows

    @property
    def tokens(self) -> int:
        """Prompt tokens of all rows."""
        return round(self._scale * sum(length * rows for length, rows in self._rows_by_length.items()))

    @property
    def error(self) -> float:
        """Half the 90 % interval of `tokens`, relative; 0 where every row was counted."""
        if self.total_rows <= self.rows or self.rows < 2 or not self.tokens:
            return 0.0
        mean = sum(length * rows for length, rows in self._rows_by_length.items()) / self.rows
        squares = sum((length - mean) ** 2 * rows for length, rows in self._rows_by_length.items()) / (self.rows - 1)
        return z(LEVEL) * math.sqrt(squares / self.rows * (1 - self.rows / self.total_rows)) / mean

    def corrected(self, slope: float, constant: float) -> PromptTally:
        """The same rows, each with `slope * length + constant` tokens."""
        tally = PromptTally()
        for length, rows in self._rows_by_length.items():
            tally._rows_by_length[max(round(slope * length + constant), 1)] += rows
        tally.rows, tally._total_rows = self.rows, self._total_rows
        return tally

    def priced(self, price: Price) -> tuple[Decimal, Decimal]:
        """Dollars for all prompts, and for one completion token in every row; tiers by each row's own prompt."""
        prompts = completions = Decimal(0)
        for length, rows in self._rows_by_length.items():
            rates = price.rates(length)
            prompts += (rates.input * length / 1_000_000 + rates.request) * rows
            completions += rates.output * rows / 1_000_000
        scale = Decimal(repr(self._scale))
        return prompts * scale, completions * scale

    @property
    def _scale(self) -> float:
        return self.total_rows / self.rows if self.rows else 0.0
