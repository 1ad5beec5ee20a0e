"""`--ok-failed`: how many rows may fail before the exit status says that some did."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from batchchat.errors import UsageError

_WHOLE = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """So many rows, or such a share of them in per cent; `said` is how it was typed."""

    said: str
    rows: int | None = None
    share: Decimal | None = None

    def allows(self, failed: int, rows: int) -> bool:
        """Whether so many of these rows may fail."""
        if self.rows is not None:
            return failed <= self.rows
        assert self.share is not None
        return failed * _WHOLE <= self.share * rows


def parse(said: str | None) -> Tolerance | None:
    """`5`, or `0.5%`; None where nothing was said.

    Raises:
        UsageError: it is neither.
    """
    if said is None:
        return None
    text = said.strip()
    wrong = UsageError(f"--ok-failed {said}: must be a number of rows, as 5, or a share of them, as 0.5%")
    if text.isdecimal():
        return Tolerance(said=text, rows=int(text))
    number, sign, rest = text.partition("%")
    try:
        share = Decimal(number)
    except InvalidOperation:
        raise wrong from None
    if not sign or rest or not share.is_finite() or not 0 <= share <= _WHOLE:
        raise wrong
    return Tolerance(said=text, share=share)
