"""An estimate, and a comparison of models, as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.cli import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from decimal import Decimal

    from batchchat.api import Compared, Estimated

_UNKNOWN = "not known"
_NONE = "-"
_IN_MEMORY = "data in memory"


def estimated(found: Estimated) -> str:
    """What a job will take, as text."""
    lines = [", ".join(_rows(found))]
    price = found.estimate.price
    where = "on" if found.host == "this machine" else "at"
    lines.append(f"{found.model} {where} {found.host}, {_UNKNOWN_PRICE if price is None else price}")
    if found.to_send:
        lines += ["", *_table(_HEAD, list(_amounts(found)))]
    said = f"counted with {found.tokenizer}"  # the table says it too
    notes = [f"- {note}" for note in found.notes if note != said] if found.to_send else []
    return "\n".join([*lines, *([""] if notes else []), *notes])


def compared(found: Compared) -> str:
    """Models beside each other, as text."""
    head = ("model", "tokens in", "tokens out", "low", "expected", "high", "batch")
    rows = []
    for one in found.models:
        bill = one.estimate
        costs = [_money(cost) for cost in (bill.cost_usd.low, bill.cost_usd.expected, bill.cost_usd.high)]
        batch = _NONE if one.batch_cost is None else _money(one.batch_cost.expected)
        tokens = (_count(bill.prompt_tokens.expected), _count(bill.completion_tokens.expected))
        rows.append((one.model, *tokens, *costs, batch))
    lines = [f"{found.input}: {amount.counted(found.rows, 'row', 'rows')}{_left_out(found.unsendable)}, each model", ""]
    lines += [*_table(head, rows), ""]
    for one in found.models:
        price = one.estimate.price
        lines.append(f"- {one.model}: {_UNKNOWN_PRICE if price is None else price}")
        lines += [f"  {note}" for note in one.estimate.notes if note not in found.notes and price is not None]
    return "\n".join([*lines, *(f"- {note}" for note in found.notes)])


_UNKNOWN_PRICE = "price not known"
_HEAD = ("", "low", "expected", "high", "")


def _rows(found: Estimated) -> Iterator[str]:
    yield f"{found.input or _IN_MEMORY}: {amount.counted(found.rows, 'row', 'rows')}"
    if found.answered:
        paid = f" ({amount.money(found.paid_usd)})" if found.paid_usd else ""
        yield f"{found.answered:,} answered already{paid}"
    if found.unsendable:
        yield f"{found.unsendable:,} that cannot be sent"
    yield f"{found.to_send:,} to send" if found.to_send else "nothing to send"


def _amounts(found: Estimated) -> Iterator[Sequence[str]]:
    bill, learned = found.estimate, found.learned
    basis = {"exact": f"exact ({found.tokenizer})", "calibrated": "calibrated by what was billed"}
    answers = f"from {amount.counted(learned.rows, 'answer', 'answers')}" if learned.rows else "from max_tokens alone"
    yield ("tokens in", *_three(bill.prompt_tokens, _count), basis.get(bill.prompt_basis, "estimated"))
    yield ("tokens out", *_three(bill.completion_tokens, _count), answers if bill.completion_tokens.high else "")
    paid = found.paid_usd
    yield ("cost", *_three(bill.cost_usd, _money), "of the rows to send" if paid else "")
    if paid:
        yield ("cost in all", *_three(bill.cost_usd, lambda cost: _money(None if cost is None else cost + paid)), "")
    by = f"by {bill.bound_by}" if bill.bound_by else "--sample 50 measures it"
    yield ("time", *_three(bill.seconds, _time), by)


def _three(found: Any, word: Callable[[Any], str]) -> tuple[str, str, str]:
    return word(found.low), word(found.expected), word(found.high)


def _count(number: int | None) -> str:
    return _UNKNOWN if number is None else f"{number:,}"


def _money(dollars: Decimal | None) -> str:
    return _UNKNOWN if dollars is None else amount.money(dollars)


def _time(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else amount.duration(seconds)


def _left_out(unsendable: int) -> str:
    return f" ({unsendable:,} more cannot be sent)" if unsendable else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right, but for a last one without a heading."""
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    lines = []
    for row in [head, *rows]:
        others = [row[at].rjust(widths[at]) if head[at] else row[at] for at in range(1, len(head))]
        lines.append("  ".join([row[0].ljust(widths[0]), *others]).rstrip())
    return lines
