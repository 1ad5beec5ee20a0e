"""The bill of a job after a run: what its answers cost, by the model that gave them, and what brought no answer.

It is made of what the checkpoint holds and kept with the run that ended, so that nobody who asks for it later has to
count. Tokens that were cached, or spent on reasoning, are parts of the others and never added.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchchat.api.money.counted import counted
from batchchat.api.money.price import longest_answer
from batchchat.checkpoint import paid_for_nothing, usage_by_model, usages
from batchchat.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.cost.prices import Price
    from batchchat.job import Job

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")


@dataclass(slots=True, kw_only=True)
class Line:
    """What one model answered, as it calls itself. `cost_usd` is None where the price, or some usage, is unknown."""

    rows: int
    tokens: Counter[str]
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a job has cost so far.

    Attributes:
        models: a line each, by the model's own name.
        cost_usd: of all answers, None where it is not known.
        attempts_for_nothing: attempts that brought no answer and may have been billed.
        for_nothing_usd: the most that these can have cost, None where nothing bounds it.
        saved_rows: rows that the last run found answered; saved_usd: about what they would have cost.
    """

    models: Mapping[str, Line]
    cost_usd: Decimal | None
    attempts_for_nothing: int
    for_nothing_usd: Decimal | None
    saved_rows: int = 0
    saved_usd: Decimal | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able: money as a number."""
        return {
            "models": {
                name: {
                    "rows": line.rows,
                    **{key: line.tokens[key] for key in _TOKENS},
                    "cost_usd": _number(line.cost_usd),
                }
                for name, line in self.models.items()
            },
            "paid_for_nothing": {"attempts": self.attempts_for_nothing, "at_most_usd": _number(self.for_nothing_usd)},
            "saved": {"rows": self.saved_rows, "about_usd": _number(self.saved_usd)},
        }


def make_bill(journal: Journal, job: Job, chain: Sequence[int], rows: int, price: Price | None, *, saved: int) -> Bill:
    """The bill of the first rows of a job.

    Args:
        journal: the checkpoint.
        job: what was asked, for the bound of an attempt.
        chain: the settings whose answers count.
        rows: how many rows the table has.
        price: of the model, None where nobody knows.
        saved: rows that the run found answered.
    """
    models: dict[str, Line] = {}
    for name, count, usage in _usages(journal, chain, rows, price):
        cost = None if price is None else price.cost(usage)
        line = models.setdefault(name, Line(rows=0, tokens=Counter(), cost_usd=Decimal(0)))
        line.rows += count
        line.tokens.update({key: getattr(usage, key) or 0 for key in _TOKENS})
        line.cost_usd = None if cost is None or line.cost_usd is None else line.cost_usd + cost
    costs = [line.cost_usd for line in models.values()]
    known = [cost for cost in costs if cost is not None]
    total = None if price is None or len(known) < len(costs) else sum(known, Decimal(0))
    answered = sum(line.rows for line in models.values())
    attempts = counted(journal, "paid_for_nothing", [*chain], lambda: paid_for_nothing(journal, chain))
    return Bill(
        models=models,
        cost_usd=total,
        attempts_for_nothing=attempts,
        for_nothing_usd=_at_most(models, job, price, attempts),
        saved_rows=saved,
        saved_usd=None if total is None or not answered else total / answered * min(saved, answered),
    )


def _usages(journal: Journal, chain: Sequence[int], rows: int, price: Price | None) -> Iterator[tuple[str, int, Usage]]:
    """Models, how many rows, and their usage: row by row where a sum would have another price than its parts."""
    if len(chain) == 1 and (price is None or price.linear or price.free):
        found = counted(
            journal,
            "usage",
            [chain[0], rows],
            lambda: [list(line) for line in usage_by_model(journal, chain[0], rows, _TOKENS)],
        )
        for name, count, *numbers in found:
            yield name or "", count, _usage(numbers)
        return
    for name, *numbers in usages(journal, chain, rows, ("model", *_TOKENS)):
        yield str(name or ""), 1, _usage(numbers)


def _at_most(models: Mapping[str, Line], job: Job, price: Price | None, attempts: int) -> Decimal | None:
    """What attempts without an answer can have cost: of each the mean prompt, and the longest answer."""
    if price is None:
        return None
    limit = longest_answer(job) or price.context_window
    if not attempts or price.free:
        return Decimal(0)
    if limit is None:
        return None
    rows = sum(line.rows for line in models.values())
    prompt = sum(line.tokens["prompt_tokens"] for line in models.values()) // rows if rows else 0
    return attempts * price.most(prompt, int(limit) * int(job.request.get("n") or 1))


def _usage(numbers: Sequence[Any]) -> Usage:
    return Usage(**dict(zip(_TOKENS, numbers, strict=True)))


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)
