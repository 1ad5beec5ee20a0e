"""What a job costs: its model's price, what was spent before, the budget of a run, the bill at the end."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchchat import wire
from batchchat.checkpoint import usage_since, usage_sums, usages
from batchchat.cost.budget import bound
from batchchat.cost.prices import price_for
from batchchat.errors import UsageError
from batchchat.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.cost.budget import Ledger
    from batchchat.cost.prices import Price
    from batchchat.job import Job

_USAGE = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")


def find_price(job: Job, model: str) -> Price | None:
    """What the job's model costs, None where nobody said and no list knows.

    A server on this machine has no published price, and looking for one takes half a second.
    """
    told, url = job.money.price, job.endpoint.base_url
    if told is None and not job.embedded and wire.is_loopback(url):
        return None
    tier = job.request.get("service_tier")
    return price_for(model, base_url=None if job.embedded else url, told=told, service_tier=tier)


def check_budget(job: Job, model: str, price: Price | None) -> None:
    """Refuse a budget that cannot be kept.

    Raises:
        UsageError: the price is not known, or nothing bounds what a request costs.
    """
    if job.money.max_cost is None:
        return
    if price is None:
        raise UsageError(
            f"--max-cost: the price of {model} at {job.endpoint.base_url} is not known, and nothing was sent; say it "
            "with --price input=USD,output=USD (per million tokens)"
        )
    message = [{"role": "user", "content": "x"}]
    bound(wire.RequestShape(model=model, parameters=job.request).request(message), price)


def spent_before(journal: Journal, job: Job, price: Price) -> Decimal:
    """What may have been spent since the job last finished: by the last ledger, and by what it does not know of.

    An open block of a killed run counts as spent. Runs without a budget kept no ledger: their answers are priced now,
    and each of their attempts that may have been billed as the most that it could have cost.
    """
    ledger = journal.header("money") or {"spent": "0", "reserved": "0", "at": 0.0}
    limit = job.request.get("max_completion_tokens") or job.request.get("max_tokens") or price.context_window or 0
    total = Decimal(ledger["spent"]) + Decimal(ledger["reserved"])
    for *numbers, paid_for_nothing in usage_since(journal, ledger["at"], (*_USAGE, "paid_for_nothing")):
        usage = _usage(numbers)
        total += price.cost(usage) or Decimal(0)
        if paid_for_nothing:
            total += paid_for_nothing * price.most(usage.prompt_tokens or 0, limit or usage.completion_tokens or 0)
    return total


def ledger_facts(ledger: Ledger) -> dict[str, Any]:
    """A ledger as the checkpoint's header keeps it."""
    return {"spent": str(ledger.spent), "reserved": str(ledger.reserved), "at": time.time()}


def settled_facts() -> dict[str, Any]:
    """The ledger of a job that has finished: a budget counts from here."""
    return {"spent": "0", "reserved": "0", "at": time.time()}


def total_cost(journal: Journal, chain: Sequence[int], rows: int, price: Price | None) -> Decimal | None:
    """What the answers of a job cost, None where the price is unknown or the API counted no tokens."""
    if price is None:
        return None
    if price.linear:
        return price.cost(_usage(usage_sums(journal, chain, rows, _USAGE)))
    total = Decimal(0)
    for numbers in usages(journal, chain, rows, _USAGE):
        total += price.cost(_usage(numbers)) or Decimal(0)
    return total


def _usage(numbers: Iterable[int | None]) -> Usage:
    return Usage(**dict(zip(_USAGE, numbers, strict=True)))
