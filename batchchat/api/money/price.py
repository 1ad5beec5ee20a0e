"""What a job costs: its model's price, what was spent before, the budget of a run, the bill at the end."""

from __future__ import annotations

import contextlib
import functools
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchchat import wire
from batchchat.api.money.purse import Account, Purse
from batchchat.checkpoint import usage_since, usage_sums, usages
from batchchat.cost.budget import Budget, bound, token_bound
from batchchat.cost.prices import price_for, priced_models
from batchchat.errors import Misspelt, UsageError
from batchchat.job import Parameters
from batchchat.records import Usage
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from batchchat.api.money.purse import Ledgers
    from batchchat.checkpoint import Journal
    from batchchat.cost.budget import Ledger
    from batchchat.cost.prices import Price
    from batchchat.dataset import Dataset
    from batchchat.job import Job
    from batchchat.records import ChatRequest, Completion

LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
_USAGE = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
)


def find_price(job: Job, model: str) -> Price | None:
    """What the job's model costs, None where nobody said and no list knows.

    A server on this machine has no published price, and looking for one takes half a second.

    Raises:
        UsageError: `--price-as` names a model that no list knows.
    """
    told, url = job.money.price, job.endpoint.base_url
    if told is None and "service_tier" in job.prompt.param_columns:  # each row may have another one
        return None
    if told is None and job.money.price_as is None and not job.embedded and wire.is_loopback(wire.origin(url)[1]):
        return None
    tier, named = job.request.get("service_tier"), job.money.price_as
    if named is not None and told is None:
        return _price_as(named, base_url=None if job.embedded else url, tier=tier)
    return price_for(model, base_url=None if job.embedded else url, told=told, service_tier=tier)


def _price_as(named: str, *, base_url: str | None, tier: str | None) -> Price:
    """The price of another model, at the job's endpoint where that has one, else at its maker's.

    Raises:
        UsageError: nobody knows it.
    """
    price = price_for(named, base_url=base_url, service_tier=tier, anywhere=True)
    if price is None:
        meant = nearest(named, priced_models())
        of_tier = f" at the service tier {tier}" if tier is not None else ""
        raise Misspelt(
            f"--price-as {named}: no price of such a model is known{of_tier}{did_you_mean(meant)}",
            wrong=named,
            meant=meant,
        )
    return price


def check_budget(job: Job, model: str, price: Price | None) -> None:
    """Refuse a budget that cannot be kept.

    Raises:
        UsageError: the price is not known, or nothing bounds what a request costs.
    """
    if job.money.max_cost is not None and price is None:
        raise UsageError(
            f"--max-cost: the price of {model} at {job.endpoint.base_url} is not known, and nothing was sent; say it "
            "with --price input=USD,output=USD (per million tokens), or with --price-as MODEL where it is a model of "
            "known price by another name"
        )
    for _, _, most in _bounds(job, price):
        most(_any_request(job, model))


def _any_request(job: Job, model: str) -> ChatRequest:
    """A request as every row makes one, as far as a bound on it goes; what one row lacks is that row's error."""
    content: Any = "x"
    if job.prompt.image_column is not None:
        content = [{"type": "image_url", "image_url": {"url": "x"}}]
    by_row = dict.fromkeys(LIMITS & job.prompt.param_columns.keys(), 1)
    fields = {**job.request, **by_row, "model": model, "messages": [{"role": "user", "content": content}]}
    return wire.make_request(fields)


def longest_answer(job: Job) -> int | None:
    """The limit on an answer that every row has, None where there is none, or each row says its own."""
    if LIMITS & job.prompt.param_columns.keys():
        return None
    limit = job.request.get("max_completion_tokens") or job.request.get("max_tokens")
    return None if limit is None else int(limit)


def longest_by_row(job: Job, dataset: Dataset) -> int | None:
    """The highest limit on an answer that a row of the table says, None where none does."""
    by_column = {name: column for name, column in job.prompt.param_columns.items() if name in LIMITS}
    if not by_column:
        return None
    parameters = Parameters(by_column, job.request)
    longest = None
    for batch in dataset.batches(parameters.columns):
        for values in zip(*(batch.columns[name] for name in parameters.columns), strict=True):
            with contextlib.suppress(ValueError):
                fields = parameters.of(dict(zip(parameters.columns, values, strict=True)))
                longest = max(longest or 0, *(fields.get(name) or 0 for name in LIMITS))
    return longest


def open_purse(
    job: Job,
    journal: Journal,
    price: Price | None,
    *,
    write: Callable[[Ledgers], Awaitable[None]],
    outlook: Callable[[], int | None],
    by_row: Callable[[], int | None],
) -> Purse | None:
    """The budgets of a run, with what was spent before; None where there is none.

    `outlook` tells how many rows are left, `by_row` the longest answer that a row allows (`longest_by_row`).
    """
    accounts = []
    for name, limit, most in _bounds(job, price):
        money = name == "money"
        assert price is not None or not money
        before = spent_before(journal, job, price, by_row) if money and price else None
        spent = _tokens_before(journal, job, price, by_row) if before is None else before
        accounts.append(
            Account(
                name=name,
                budget=Budget(limit, spent=spent, unit="USD" if money else "tokens"),
                bound=most,
                cost=_cost_at(price) if money and price else _tokens_of,
            )
        )
    return Purse(accounts, write=write, outlook=outlook) if accounts else None


def _bounds(job: Job, price: Price | None) -> list[tuple[str, Decimal, Callable[[ChatRequest], Decimal]]]:
    """Of each budget that was told its name in the checkpoint, its limit, and the most that a request can take."""
    found: list[tuple[str, Decimal, Callable[[ChatRequest], Decimal]]] = []
    if job.money.max_cost is not None and price is not None:
        found.append(("money", job.money.max_cost, functools.partial(bound, price=price)))
    if job.money.max_tokens_total is not None:
        window = None if price is None else price.context_window
        limit = Decimal(job.money.max_tokens_total)
        found.append(("tokens", limit, lambda request: Decimal(token_bound(request, window))))
    return found


def _cost_at(price: Price) -> Callable[[Completion], Decimal | None]:
    return lambda completion: price.cost(completion.usage)


def _tokens_of(completion: Completion) -> Decimal | None:
    return _tokens(completion.usage)


def _tokens(usage: Usage) -> Decimal | None:
    """All tokens of a request, None where the API did not say."""
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None if usage.total_tokens is None else Decimal(usage.total_tokens)
    return Decimal(max(usage.prompt_tokens + usage.completion_tokens, usage.total_tokens or 0))


def spent_before(journal: Journal, job: Job, price: Price, by_row: Callable[[], int | None]) -> Decimal:
    """What may have been spent since the job last finished: by the last ledger, and by what it does not know of.

    An open block of a killed run counts as spent. Runs without a budget kept no ledger: their answers are priced now,
    and each of their attempts that may have been billed as the most that it could have cost.
    """
    return _before(journal, job, price, "money", price.cost, price.most, by_row)


def _tokens_before(journal: Journal, job: Job, price: Price | None, by_row: Callable[[], int | None]) -> Decimal:
    """The same in tokens."""
    return _before(
        journal, job, price, "tokens", _tokens, lambda prompt, completion: Decimal(prompt + completion), by_row
    )


def _before(
    journal: Journal,
    job: Job,
    price: Price | None,
    name: str,
    cost: Callable[[Usage], Decimal | None],
    most: Callable[[int, int], Decimal],
    by_row: Callable[[], int | None],
) -> Decimal:
    ledger = journal.header(name) or settled_facts(at=0.0)
    total = Decimal(ledger["spent"]) + Decimal(ledger["reserved"])
    found = [
        (_usage(numbers), paid_for_nothing)
        for *numbers, paid_for_nothing in usage_since(journal, ledger["at"], (*_USAGE, "paid_for_nothing"))
    ]
    if not found:
        return total
    # Of an attempt that brought no usage nothing is kept that would bound it: the longest of the others stands for it.
    prompt = max(usage.prompt_tokens or 0 for usage, _ in found)
    limit = longest_answer(job)
    if limit is None and any(paid_for_nothing for _, paid_for_nothing in found):
        limit = by_row()
    window = 0 if price is None else price.context_window or 0
    longest = max(usage.completion_tokens or 0 for usage, _ in found)
    completion = max(longest, int(limit) * int(job.request.get("n") or 1) if limit else window)
    for usage, paid_for_nothing in found:
        answered = usage.prompt_tokens is not None or usage.completion_tokens is not None
        paid = cost(usage) if answered else Decimal(0)
        unknown = paid_for_nothing + (paid is None)
        total += (paid or Decimal(0)) + unknown * most(usage.prompt_tokens or prompt, completion)
    return total


def ledger_facts(ledger: Ledger) -> dict[str, Any]:
    """A ledger as the checkpoint's header keeps it."""
    return {"spent": str(ledger.spent), "reserved": str(ledger.reserved), "at": time.time()}


def settled_facts(at: float | None = None) -> dict[str, Any]:
    """The ledger of a job that has finished: a budget counts from here."""
    return {"spent": "0", "reserved": "0", "at": time.time() if at is None else at}


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
