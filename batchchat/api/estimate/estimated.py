"""What an estimate found, as facts: for people to be rendered, for machines as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchchat.cost.estimate import Comparison, Estimate
    from batchchat.cost.interval import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The answers that an estimate was learned from.

    Attributes:
        rows: how many. prompt_tokens, completion_tokens, cost_usd: of them (cost None where the price is unknown).
        requests: sent for them now, by `--sample`. failed: rows of that sample that failed.
    """

    rows: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: Decimal | None = None
    requests: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What a job will take.

    Attributes:
        input, checkpoint: paths. model: that is asked. host: where.
        rows: of the table, as far as they are meant. answered: by the checkpoint, and `paid_usd` what that cost.
        to_send: rows that a run would send; `estimate` is of them alone. unsendable: rows that make no request.
        tokenizer: what counted the prompts.
        learned: the answers that it was learned from.
        notes: what the numbers are worth, in sentences.
        status: exit status. message: why a sample was stopped, None where it was not.
    """

    input: str
    checkpoint: str
    model: str
    host: str
    rows: int
    answered: int
    to_send: int
    unsendable: int
    paid_usd: Decimal | None
    tokenizer: str
    estimate: Estimate
    learned: Learned
    notes: tuple[str, ...]
    status: int = 0
    message: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able: money as a number."""
        named = ("input", "checkpoint", "model", "host", "rows", "answered", "to_send", "unsendable", "paid_usd")
        learned = ("rows", "requests", "failed", "prompt_tokens", "completion_tokens", "cost_usd")
        found = self.estimate
        return {
            **{name: _plain(getattr(self, name)) for name in named},
            **_amounts(found),
            "tokenizer": self.tokenizer,
            "prompt_basis": found.prompt_basis,
            "bound_by": found.bound_by,
            "price": None if found.price is None else str(found.price),
            "learned_from": {name: _plain(getattr(self.learned, name)) for name in learned},
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The same rows with several models.

    Attributes:
        input: path of the table.
        rows: that would be sent to each. unsendable: rows that make no request.
        models: a line each.
        notes: what holds for all of them; what only holds for one stands in its estimate.
        status, message: as of `Estimated`.
    """

    input: str
    rows: int
    unsendable: int
    models: tuple[Comparison, ...]
    notes: tuple[str, ...]
    status: int = 0
    message: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able: money as a number."""
        return {
            "input": self.input,
            "rows": self.rows,
            "unsendable": self.unsendable,
            "models": [_line(one) for one in self.models],
            "notes": list(self.notes),
        }


def _amounts(found: Estimate) -> dict[str, Any]:
    return {
        "prompt_tokens": _range(found.prompt_tokens),
        "completion_tokens": _range(found.completion_tokens),
        "prompt_cost_usd": _range(found.prompt_cost),
        "completion_cost_usd": _range(found.completion_cost),
        "cost_usd": _range(found.cost_usd),
        "seconds": _range(found.seconds),
    }


def _line(one: Comparison) -> dict[str, Any]:
    found = one.estimate
    return {
        "model": one.model,
        **_amounts(found),
        "batch_cost_usd": None if one.batch_cost is None else _range(one.batch_cost),
        "prompt_basis": found.prompt_basis,
        "price": None if found.price is None else str(found.price),
        "batch_price": None if one.batch_price is None else str(one.batch_price),
        "notes": list(found.notes),
    }


def _range(found: Range[Any]) -> dict[str, Any] | None:
    """Low, expected and high; None where nobody knows any of them."""
    values = {"low": _plain(found.low), "expected": _plain(found.expected), "high": _plain(found.high)}
    return None if all(value is None for value in values.values()) else values


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value
