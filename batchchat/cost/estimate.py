"""The bill before it comes: counts of prompts and a sample of answers in, tokens, dollars and hours out, as ranges.

Prompts are tallied by length (tally.py). Completions cannot be known before; from a sample of answers drawn at random
their mean is estimated, with an interval (`mean_range`) that knows that lengths are skewed (interval.py). Without a
sample `max_tokens` is all there is, and the notes say so.

This room does not read tables and sends nothing: who calls it counts, draws and asks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeVar

from batchchat.cost.interval import FEW, Range, line, mean_range
from batchchat.cost.prices import Price, price_for
from batchchat.records import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchchat.cost.tally import PromptTally
    from batchchat.cost.tokens import TokenCounter

Amount = TypeVar("Amount", int, Decimal)

_DAY = 86400
_MICRO_DOLLAR = Decimal("0.000001")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One answered row of the sample: what was counted before, what the endpoint billed, and how long it took."""

    counted: int
    usage: Usage
    latency: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the job would ask for and is allowed: per request its limit and choices, per minute and day the rates.

    Where each row has a limit of its own, `completion_limit` is their mean.
    """

    completion_limit: float | None = None
    choices: int = 1
    rpm: float | None = None
    tpm: float | None = None
    rpd: float | None = None
    tpd: float | None = None
    concurrency: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the rows that are still to be sent will take.

    Attributes:
        rows: how many they are.
        cost_usd: of them; the sample is paid already and not in it. None where the price is unknown.
        prompt_cost, completion_cost: its parts.
        prompt_basis: how prompts were counted: `exact`, `calibrated` by what was billed for a sample, or `estimated`.
        seconds: how long the job takes under its limits. `bound_by`: the limit that decides: `rpm`, `tpm`, `rpd`, `tpd`
            or `concurrency`.
        notes: what the numbers are worth, in sentences.
    """

    rows: int
    prompt_tokens: Range[int]
    prompt_basis: Literal["exact", "calibrated", "estimated"]
    completion_tokens: Range[int]
    prompt_cost: Range[Decimal]
    completion_cost: Range[Decimal]
    cost_usd: Range[Decimal]
    seconds: Range[float]
    bound_by: str | None
    price: Price | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line of a comparison: a model, its estimate, and the same at the provider's batch price (None: no such)."""

    model: str
    estimate: Estimate
    batch_cost: Range[Decimal] | None
    batch_price: Price | None


def estimate(
    prompts: PromptTally,
    *,
    counter: TokenCounter,
    price: Price | None,
    plan: Plan,
    observed: Sequence[Observed] = (),
) -> Estimate:
    """What the rows of a tally will take.

    Args:
        prompts: the rows to send, as `counter` counts them; the sample's rows are not among them.
        counter: what counted them.
        price: what the model costs, None where nobody knows.
        plan: limits of each request, and of the pool.
        observed: rows that this model answered with these settings, drawn at random (or all so far).
    """
    notes: list[str] = []
    corrected, prompt_error, basis = _correct(prompts, counter, observed, notes)
    rows = corrected.total_rows
    lengths = _lengths(rows, plan, observed, notes)
    tokens = corrected.tokens
    low, high = max(1 - prompt_error, 0.0), 1 + prompt_error
    if basis == "estimated" and tokens:
        high += counter.template * rows / tokens
    prompt_tokens = Range(low=round(tokens * low), expected=tokens, high=round(tokens * high))
    completion_tokens = Range(
        low=_times(lengths.low, rows), expected=_times(lengths.expected, rows), high=_times(lengths.high, rows)
    )
    prompt_cost, completion_cost = _costs(corrected, (low, high), lengths, price, observed)
    seconds, bound_by = _duration(rows, prompt_tokens, completion_tokens, plan, observed)
    if price is None:
        notes.append("the price of this model at this endpoint is not known; say --price input=USD,output=USD")
    return Estimate(
        rows=rows,
        prompt_tokens=prompt_tokens,
        prompt_basis=basis,
        completion_tokens=completion_tokens,
        prompt_cost=prompt_cost,
        completion_cost=completion_cost,
        cost_usd=Range(
            low=_sum(prompt_cost.low, completion_cost.low),
            expected=_sum(prompt_cost.expected, completion_cost.expected),
            high=_sum(prompt_cost.high, completion_cost.high),
        ),
        seconds=seconds,
        bound_by=bound_by,
        price=price,
        notes=tuple(notes),
    )


def compare(
    models: Sequence[str],
    *,
    prompts: Mapping[str, PromptTally],
    counters: Mapping[str, TokenCounter],
    plan: Plan,
    base_url: str | None = None,
    observed: Mapping[str, Sequence[Observed]] | None = None,
    told: Mapping[str, str] | None = None,
    named: Mapping[str, str] | None = None,
) -> list[Comparison]:
    """The same rows with other models, each at its own price.

    Args:
        models: their names. One that has no price at `base_url` is priced at its maker's.
        prompts: by the name of the tokenizer (`TokenCounter.name`), the rows to send.
        counters: by model.
        plan: the same for all.
        base_url: the endpoint where a model is looked for first.
        observed: by model, the sample that it answered. A model without one is taken to answer at the same lengths as
            the one that has one.
        told: by model, a price that is believed.
        named: by model, the name under which its price is known.
    """
    samples = observed or {}
    lengths = _lengths_only(next(iter(samples.values()), ()))
    found = []
    for model in models:
        tally, counter, sample = prompts[counters[model].name], counters[model], samples.get(model, lengths)
        said, name = (told or {}).get(model), (named or {}).get(model, model)
        price = price_for(name, base_url=base_url, told=said, anywhere=True)
        batch = price_for(name, base_url=base_url, anywhere=True, batch=True)
        if said or (batch is not None and batch.free):
            batch = None
        at_batch = estimate(tally, counter=counter, price=batch, plan=plan, observed=sample).cost_usd if batch else None
        whole = estimate(tally, counter=counter, price=price, plan=plan, observed=sample)
        found.append(Comparison(model=model, estimate=whole, batch_cost=at_batch, batch_price=batch))
    return found


def _correct(
    prompts: PromptTally, counter: TokenCounter, observed: Sequence[Observed], notes: list[str]
) -> tuple[PromptTally, float, Literal["exact", "calibrated", "estimated"]]:
    """The tally as the endpoint would bill it, its relative error (half of the 90 % interval), and what it is."""
    error = prompts.error
    pairs = [(o.counted, o.usage.prompt_tokens) for o in observed if o.usage.prompt_tokens is not None]
    if not pairs or counter.exact:
        notes.append(counter.note)
    if error:
        notes.append(f"prompts counted in {prompts.rows:,} rows of {prompts.total_rows:,}, within {error:.1%}")
    if not pairs:
        return prompts, math.hypot(error, counter.error), "exact" if counter.exact else "estimated"
    if all(counted == billed for counted, billed in pairs):
        notes.append(f"prompt tokens agree with what was billed for {len(pairs)} rows")
        return prompts, error, "exact"
    slope, constant, residual = line(pairs)
    notes.append(f"prompt tokens corrected by what was billed for {len(pairs)} rows")
    return prompts.corrected(slope, constant), math.hypot(error, residual), "calibrated"


def _lengths(rows: int, plan: Plan, observed: Sequence[Observed], notes: list[str]) -> Range[float]:
    """Completion tokens per row."""
    sample = [float(o.usage.completion_tokens) for o in observed if o.usage.completion_tokens is not None]
    most = None if plan.completion_limit is None else float(plan.completion_limit * plan.choices)
    if sample:
        found = mean_range(sample, rest=rows or None)
        few = f"; fewer than {FEW} say little" if len(sample) < FEW else ""
        notes.append(f"lengths of answers from {len(sample)} rows{few}")
        if most is None or most < max(sample):
            return found
        return Range(low=found.low, expected=found.expected, high=min(found.high or most, most))
    if most is None:
        notes.append("nothing is known of the lengths of answers, and nothing bounds them; --sample 50 measures them")
        return Range(low=float(plan.choices), expected=None, high=None)
    notes.append(
        "nothing is known of the lengths of answers: expected is half of what max_tokens allows, high is all of it; "
        "--sample 50 measures them"
    )
    return Range(low=float(plan.choices), expected=most / 2, high=most)


def _costs(
    prompts: PromptTally,
    factors: tuple[float, float],
    lengths: Range[float],
    price: Price | None,
    observed: Sequence[Observed],
) -> tuple[Range[Decimal], Range[Decimal]]:
    if price is None:
        unknown: Range[Decimal] = Range(low=None, expected=None, high=None)
        return unknown, unknown
    full, per_token = prompts.priced(price)
    expected = full * _discount(price, observed)
    low, high = expected * Decimal(repr(factors[0])), full * Decimal(repr(factors[1]))
    return (
        Range(low=_money(low), expected=_money(expected), high=_money(high)),
        Range(
            low=_per(lengths.low, per_token),
            expected=_per(lengths.expected, per_token),
            high=_per(lengths.high, per_token),
        ),
    )


def _discount(price: Price, observed: Sequence[Observed]) -> Decimal:
    """What the provider's cache left of the price of the sample's prompts."""
    paid = full = Decimal(0)
    for one in observed:
        if one.usage.prompt_tokens:
            rates = price.rates(one.usage.prompt_tokens)
            cached = min(one.usage.cached_tokens or 0, one.usage.prompt_tokens)
            full += rates.input * one.usage.prompt_tokens
            paid += rates.input * one.usage.prompt_tokens
            paid -= (rates.input - rates.cached) * cached if rates.cached is not None else 0
    return paid / full if full else Decimal(1)


def _duration(
    rows: int, prompts: Range[int], completions: Range[int], plan: Plan, observed: Sequence[Observed]
) -> tuple[Range[float], str | None]:
    latencies = [one.latency for one in observed if one.latency is not None]
    latency: Range[float] = Range(low=None, expected=None, high=None)
    if latencies:
        latency = mean_range(latencies, rest=rows or None)
    low, _ = _seconds(rows, _sum(prompts.low, completions.low), latency.low, plan)
    expected, bound_by = _seconds(rows, _sum(prompts.expected, completions.expected), latency.expected, plan)
    high, _ = _seconds(rows, _sum(prompts.high, completions.high), latency.high, plan)
    return Range(low=low, expected=expected, high=high), bound_by


def _seconds(rows: int, tokens: int | None, latency: float | None, plan: Plan) -> tuple[float | None, str | None]:
    """The slowest of the limits decides, and the last request ends one latency after it began."""
    ways: list[tuple[float, str]] = []
    if plan.rpm:
        ways.append((rows * 60 / plan.rpm, "rpm"))
    if plan.tpm and tokens is not None:
        ways.append((tokens * 60 / plan.tpm, "tpm"))
    # The first day's allowance is spent at once: the rest takes days.
    if plan.rpd:
        ways.append((max(rows - plan.rpd, 0) * _DAY / plan.rpd, "rpd"))
    if plan.tpd and tokens is not None:
        ways.append((max(tokens - plan.tpd, 0) * _DAY / plan.tpd, "tpd"))
    if plan.concurrency and latency is not None:
        ways.append((rows * latency / plan.concurrency, "concurrency"))
    if not ways:
        return None, None
    seconds, bound_by = max(ways)
    return seconds + (latency or 0.0), bound_by


def _lengths_only(observed: Sequence[Observed]) -> list[Observed]:
    """What one model was billed for prompts says nothing of another's tokenizer and cache; nor does its latency."""
    return [replace(one, usage=Usage(completion_tokens=one.usage.completion_tokens), latency=None) for one in observed]


def _times(value: float | None, rows: int) -> int | None:
    return None if value is None else round(value * rows)


def _per(tokens: float | None, price: Decimal) -> Decimal | None:
    return None if tokens is None else _money(price * Decimal(repr(tokens)))


def _money(amount: Decimal) -> Decimal:
    return amount.quantize(_MICRO_DOLLAR)


def _sum(one: Amount | None, other: Amount | None) -> Amount | None:
    return None if one is None or other is None else one + other
