"""The result columns of a job: those that every output has, and those that `--add-columns` asks for.

All of them are made of what the checkpoint keeps of a row, so a column may be asked for at any time, also of a job that
has finished: nothing is sent for it. What an endpoint did not say, and what no row was asked for, is null.

Of several choices (`n`) the texts of a row are a list, one for each choice, as the completion's are.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from batchchat.api.money.price import find_price
from batchchat.records import ADDED_BY_CHOICE, ADDED_COLUMNS, ResultColumn, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.cost.prices import Price
    from batchchat.job import Job
    from batchchat.records import ColumnKind

RESULTS = ("completion", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "error")

_COUNTED = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")
# What an added column is called in the checkpoint; more than one name where it is made of several.
_STORED = {
    "response_model": ("model",),
    "latency_s": ("latency",),
    "first_token_s": ("first_token",),
    **dict.fromkeys(ADDED_BY_CHOICE, ("message",)),
    "cost_usd": ("settings", "answered", "at", *_COUNTED),
}


def result_columns(job: Job) -> tuple[ResultColumn, ...]:
    """The columns that the output gets."""
    several = int(job.request.get("n") or 1) > 1
    text: ColumnKind = "strings" if several else "string"
    kinds: dict[str, ColumnKind] = {"completion": text, "finish_reason": text, "error": "string"}
    kinds |= ADDED_COLUMNS | dict.fromkeys(ADDED_BY_CHOICE, text)
    names = (*RESULTS, *job.policy.add_columns)
    return tuple(ResultColumn(name=job.policy.prefix + name, kind=kinds.get(name, "int64")) for name in names)


def shaped(columns: Sequence[ResultColumn], results: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Stored results under the names of their columns, and of their kinds.

    An endpoint may give one choice where several were asked for, or several where one was; and answers that were kept
    may be of settings with another `n`.
    """
    found: dict[str, Sequence[Any]] = {}
    for column, values in zip(columns, results.values(), strict=True):
        if column.kind == "strings":
            found[column.name] = [[value] if isinstance(value, str) else value for value in values]
        elif column.kind == "string" and list in map(type, values):
            found[column.name] = [value[0] if isinstance(value, list) else value for value in values]
        else:
            found[column.name] = values
    return found


class Reader:
    """Reads the result columns of a job out of its checkpoint.

    Args:
        job: what is meant.
        journal: the checkpoint.
        chain: the settings whose answers count.

    Attributes:
        journal, chain: as they were given.
        names: of the columns, without a prefix: `RESULTS`, and those that were asked for.
        safe_csv: whether what a spreadsheet would run is written so that it is not.
    """

    def __init__(self, job: Job, journal: Journal, chain: Sequence[int]) -> None:
        self.names = (*RESULTS, *job.policy.add_columns)
        self._added = job.policy.add_columns
        self.safe_csv = job.policy.safe_csv
        self.journal = journal
        self.chain = tuple(chain)
        self._prices = _Prices(job, journal, chain)
        stored = [name for added in self._added for name in _STORED.get(added, (added,))]
        self._stored = tuple(dict.fromkeys((*RESULTS, *stored)))

    def read(
        self,
        start: int,
        size: int,
        *,
        without: Mapping[int, frozenset[int]] | None = None,
        also: Sequence[str] = (),
    ) -> dict[str, list[Any]]:
        """The columns of some rows, in their order, and behind them what is asked for `also` by its stored name.

        `without` is as `Journal.results` takes it.
        """
        names = tuple(dict.fromkeys((*self._stored, *also)))
        stored = self.journal.results(self.chain, start, size, names, without=without)
        found = {name: stored[name] for name in RESULTS}
        for name in self._added:
            found[name] = self._made(name, stored)
        return {**found, **{name: stored[name] for name in also}}

    def _made(self, name: str, stored: Mapping[str, list[Any]]) -> list[Any]:
        if name in ADDED_BY_CHOICE:
            read = _OF_A_CHOICE[name]
            return [_by_choice(message, read) for message in stored["message"]]
        if name == "cost_usd":
            rows = zip(*(stored[part] for part in _STORED[name]), strict=True)
            return [self._prices.cost(*row) for row in rows]
        return stored[_STORED.get(name, (name,))[0]]


class _Prices:
    """What a row cost, at the price of the settings that it was asked with."""

    def __init__(self, job: Job, journal: Journal, chain: Sequence[int]) -> None:
        self._job = job
        self._journal = journal
        self._chain = chain
        self._known: dict[int, Price | None] = {}

    def cost(self, settings: int | None, answered: int | None, at: float | None, *counts: int | None) -> float | None:
        """US dollars, None where the price or the usage is not known, or nothing came."""
        if settings is None:
            return None
        usage = Usage(**dict(zip(_COUNTED, counts, strict=True)))
        price = self._price(settings)
        if price is None or (not answered and usage.prompt_tokens is None):
            return None
        cost = price.cost(usage, at=None if at is None else datetime.fromtimestamp(at, UTC))
        return None if cost is None else float(cost)

    def _price(self, settings: int) -> Price | None:
        if settings not in self._known:
            self._known[settings] = self._found(settings)
        return self._known[settings]

    def _found(self, settings: int) -> Price | None:
        body = self._journal.settings(settings)
        model, job = body["model"], replace(self._job, request=body)
        if settings != self._chain[0] and model != self._journal.settings(self._chain[0])["model"]:
            # What was told of this job's model says nothing of the one that gave the answers that are kept.
            job = replace(job, model=model, money=replace(job.money, price=None, price_as=None))
        return find_price(job, model)


def _by_choice(message: str | None, read: Callable[[dict[str, Any]], str | None]) -> Any:
    """What each choice of a raw message says: one text, a list of several, None where none says anything."""
    if message is None:
        return None
    said = [read(choice) for choice in json.loads(message)]
    if all(text is None for text in said):
        return None
    return said[0] if len(said) == 1 else said


def _tool_calls(choice: dict[str, Any]) -> str | None:
    message = choice.get("message") or {}
    calls = message.get("tool_calls")
    if not calls and message.get("function_call"):  # the field's older name, of one call
        calls = [{"type": "function", "function": message["function_call"]}]
    if not isinstance(calls, list):
        return _json(calls)
    # A stream numbers its pieces; put together they are the same calls as without a stream.
    return _json(
        [{k: v for k, v in call.items() if k != "index"} if isinstance(call, dict) else call for call in calls]
    )


def _refusal(choice: dict[str, Any]) -> str | None:
    said = (choice.get("message") or {}).get("refusal")
    return said if isinstance(said, str) and said else None


def _logprobs(choice: dict[str, Any]) -> str | None:
    return _json(choice.get("logprobs"))


def _json(value: Any) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


_OF_A_CHOICE: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "tool_calls": _tool_calls,
    "refusal": _refusal,
    "logprobs": _logprobs,
}
