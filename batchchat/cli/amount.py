"""Numbers as people read them."""

from __future__ import annotations

from decimal import Decimal


def counted(number: int, one: str, many: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{number:,} {one if number == 1 else many}"


def of(done: int, total: int | None) -> str:
    """`12 of 2,000`, or `12` where the total is not known."""
    return f"{done:,}" if total is None else f"{done:,} of {total:,}"


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3.5 days`, `100 days`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{seconds / 86400:.1f} days" if seconds < 10 * 86400 else f"{seconds / 86400:,.0f} days"


def money(dollars: Decimal) -> str:
    """`1.25 USD`; a small amount with as many digits as it takes."""
    if dollars >= 1 or not dollars:
        return f"{dollars:,.2f} USD"
    # The zeros at the end of a Decimal tell of where it was made, and of nothing else.
    return f"{Decimal(f'{dollars:.3g}').normalize():f} USD"
