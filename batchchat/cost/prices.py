"""What tokens cost: a model and its endpoint in, a `Price` out, which turns the usage of one request into dollars.

Prices come from the data that ships in the wheel of `genai-prices` (nothing is fetched), or are told. They are looked
up by the endpoint's URL, since the same model costs different money in different places. What is not known is None,
never zero and never a neighbour's price: an endpoint that is not in the data (a gateway, a server of one's own), a
fine-tuned model (`ft:`), a service tier or a batch discount that the provider does not publish.

A price belongs to one request: context tiers apply to a request's prompt, so the cost of a job is the sum over its
requests and never the price of its summed tokens. Cached, cache-writing and reasoning tokens are parts of their sums.

`genai_prices` takes 0.1 to 0.6 s to import and 157 µs a call, so it is imported by the one function that looks a price
up, and its rates are copied into `Rates`, which cost a few µs a request; a test compares the two over its whole table.
This room does not know jobs, checkpoints or the network.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchchat import defaults
from batchchat.cost.rates import Rates, ceilings_of, plain, priced, tiers_of
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from genai_prices.types import ModelInfo, Provider

    from batchchat.records import Usage

_ZERO = Decimal(0)
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", "0.0.0.0"})  # noqa: S104 - compared with, never bound to
# A price that begins within these days may apply before a long job has ended: the bound counts it.
_AHEAD = timedelta(days=30)
# The tier that an endpoint chooses by itself, from the settings of the account.
_TIER_OF_THE_ACCOUNT = "auto"
_STANDARD_TIERS = frozenset({None, "default", _TIER_OF_THE_ACCOUNT})
_PARTS = ("input", "output", "cached", "cache_write", "reasoning", "request")
# Kinds of tokens that a chat completion may be billed for and that no usage of ours counts: there is no bound.
_NOT_COUNTED = frozenset({"output_citation_mtok"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What one model costs at one endpoint, and who says so.

    Attributes:
        model: the model as it was asked for.
        provider: the provider's id, `told`, or `local`.
        source: who says so, with version and date, for people.
        tiers: rates by length of the prompt, shortest first, as they are when the price was looked up.
        ceilings: the same, each the highest that may apply within the next 30 days (off-peak hours end, announced
            prices begin): what bounds are made of.
        context_window: the most tokens that fit into the model, None where nobody says.
        batch: whether these are the prices of the provider's batch endpoint.
        fixed: False where the endpoint may bill another tier, or tokens that no usage counts.
        varies: whether it differs by hour, or will change within those 30 days.
    """

    model: str
    provider: str
    source: str
    tiers: tuple[Rates, ...]
    ceilings: tuple[Rates, ...]
    context_window: int | None = None
    batch: bool = False
    fixed: bool = True
    varies: bool = False
    schedule: Schedule | None = None

    def rates(self, prompt_tokens: int, at: datetime | None = None) -> Rates:
        """The rates for a request with such a prompt, at that time (default: now)."""
        tiers = self.tiers
        if self.schedule is not None and (at is not None or self.varies):
            tiers = self.schedule.tiers(at or datetime.now(UTC)) or tiers
        for rates in reversed(tiers):
            if prompt_tokens > rates.above:
                return rates
        return tiers[0]

    def cost(self, usage: Usage, *, at: datetime | None = None) -> Decimal | None:
        """US dollars for one request; None where the API gave no count of tokens and they are not free.

        Args:
            usage: of one request. A sum over requests would be priced as one long prompt.
            at: when it was answered, for prices that differ by hour or have changed since; default is now.
        """
        if self.free:
            return _ZERO
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return self.rates(usage.prompt_tokens, at).cost(usage)

    def most(self, prompt_tokens: int, completion_tokens: int) -> Decimal:
        """The most that a request of at most so many tokens can cost, whatever is cached, reasoned or reduced."""
        reachable = [rates for rates in self.ceilings if rates.above < prompt_tokens] or [self.ceilings[0]]
        tokens = (
            max(rates.highest_input for rates in reachable) * prompt_tokens
            + max(rates.highest_output for rates in reachable) * completion_tokens
        )
        return tokens / 1_000_000 + max(rates.request for rates in reachable)

    @property
    def free(self) -> bool:
        """Whether it is known to cost nothing."""
        return all(rates.highest_input == rates.highest_output == rates.request == 0 for rates in self.ceilings)

    @property
    def linear(self) -> bool:
        """Whether the cost of a sum of usages is the sum of their costs."""
        return len(self.tiers) == 1 and not self.varies and not self.tiers[0].request

    def __str__(self) -> str:
        """As people read it, with its source."""
        if self.free:
            return f"free ({self.source})"
        first = self.tiers[0]
        parts = [f"${plain(first.input)} in"]
        if first.cached is not None:
            parts.append(f"${plain(first.cached)} cached")
        parts.append(f"${plain(first.output)} out")
        text = ", ".join(parts) + " per million tokens"
        if first.request:
            text += f" and ${plain(first.request)} a request"
        for rates in self.tiers[1:]:
            text += f"; above {rates.above:,} prompt tokens ${plain(rates.input)} in, ${plain(rates.output)} out"
        return f"{text} ({self.source})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Prices that change by date or by hour: the provider's entry and the circumstances of the request."""

    info: ModelInfo
    context: Mapping[str, str]
    known: dict[datetime, tuple[Rates, ...] | None] = field(default_factory=dict, repr=False, compare=False)

    def tiers(self, at: datetime) -> tuple[Rates, ...] | None:
        """The rates in force at that time, None where there were none. Looked up once for each minute."""
        minute = at.replace(second=0, microsecond=0)
        if minute not in self.known:
            self.known[minute] = tiers_of(self.info.get_prices(minute, self.context))
        return self.known[minute]


def price_for(
    model: str,
    *,
    base_url: str | None = None,
    told: str | Mapping[str, Any] | None = None,
    batch: bool = False,
    service_tier: str | None = None,
    anywhere: bool = False,
    at: datetime | None = None,
) -> Price | None:
    """What a model costs at an endpoint, or None where that is not known.

    Args:
        model: the model's name in the request.
        base_url: the endpoint; default is OpenAI's.
        told: `input=USD,output=USD[,cached=USD]` per million tokens, or the same as a mapping; it is believed.
        batch: the price of the provider's batch endpoint.
        service_tier: of the request; a tier other than `default` and `auto` must be one with a published price.
        anywhere: where the endpoint has no price for the model, take that of the model's maker (to compare models).
        at: the time of the request; default is now.

    Raises:
        UsageError: `told` makes no price.
    """
    if told is not None:
        return _told(model, told, batch=batch)
    embedded = model.partition(":")[0] == defaults.LOCAL_MODEL
    base_url = base_url or (None if embedded else defaults.BASE_URL)
    if embedded and (base_url is None or urlsplit(base_url).hostname in _LOOPBACK):
        free = (Rates(input=_ZERO, output=_ZERO),)
        source = "the embedded model runs on this machine"
        return Price(model=model, provider="local", source=source, tiers=free, ceilings=free, batch=batch)
    if base_url is None or model.startswith("ft:") or ".ft-" in model:
        return None
    at = at or datetime.now(UTC)
    found = _entry(model, base_url) or (_entry(model, None) if anywhere else None)
    return None if found is None else _published(model, *found, batch=batch, service_tier=service_tier, at=at)


def priced_models() -> list[str]:
    """The names of the models that the data knows, for what may be meant by a misspelt one."""
    from genai_prices import data_snapshot

    providers = data_snapshot.get_snapshot().providers
    return list(dict.fromkeys(info.id for provider in providers for info in provider.models))


def _published(
    model: str, provider: Provider, info: ModelInfo, *, batch: bool, service_tier: str | None, at: datetime
) -> Price | None:
    asked = {"processing": "batch"} if batch else {}
    if service_tier not in _STANDARD_TIERS:
        asked["service_tier"] = str(service_tier)
    context = {"service_tier": "default"} | asked
    if any(info is candidate for candidate in provider.models):
        if not all(_has_variant(info, key, context, at) for key in asked):
            return None
    elif asked:  # another provider's entry: its discounts are not this provider's
        return None
    else:
        context = {}
    tiers = tiers_of(info.get_prices(at, context), model=info.id)
    if tiers is None:
        return None
    schedule = Schedule(info=info, context=context)
    changes = list(_changes(info, context, at))
    return Price(
        model=model,
        provider=provider.id,
        source=_source(provider, at.date()),
        tiers=tiers,
        ceilings=ceilings_of([tiers, *(schedule.tiers(moment) or tiers for moment in changes)]),
        context_window=info.context_window,
        batch=batch,
        fixed=service_tier != _TIER_OF_THE_ACCOUNT and _NOT_COUNTED.isdisjoint(priced(info.get_prices(at))),
        varies=bool(changes),
        schedule=schedule if _constraints(info, context) else None,
    )


@functools.lru_cache(maxsize=256)
def _entry(model: str, base_url: str | None) -> tuple[Provider, ModelInfo] | None:
    from genai_prices import data_snapshot

    try:
        return data_snapshot.get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None


@functools.lru_cache(maxsize=8)
def _data_date(today: date) -> date:
    """The data carries no date of its own: it is no older than the latest change of a price that it knows of."""
    from genai_prices import data_snapshot

    known = [
        constraint.start_date
        for provider in data_snapshot.get_snapshot().providers
        for info in provider.models
        for constraint in _constraints(info)
        if hasattr(constraint, "start_date") and constraint.start_date <= today
    ]
    return max(known, default=date.min)


def _source(provider: Provider, today: date) -> str:
    import genai_prices

    page = f", {provider.pricing_urls[0]}" if provider.pricing_urls else ""
    return f"genai-prices {genai_prices.__version__}, as of {_data_date(today)}: {provider.name}{page}"


def _has_variant(info: ModelInfo, key: str, context: Mapping[str, str], at: datetime) -> bool:
    """Whether the provider publishes a price for this circumstance."""
    return any(
        key in variant.when
        and all(context.get(name) == value for name, value in variant.when.items())
        and (variant.constraint is None or variant.constraint.active(at))
        for variant in info.price_variants or ()
    )


def _constraints(info: ModelInfo, context: Mapping[str, str] | None = None) -> list[Any]:
    """Everything that makes a model's price, in these circumstances or in any, depend on the time."""
    conditional = info.prices if isinstance(info.prices, list) else []
    variants = [
        variant
        for variant in info.price_variants or ()
        if context is None or all(context.get(name) == value for name, value in variant.when.items())
    ]
    found = [entry.constraint for entry in conditional] + [variant.constraint for variant in variants]
    return [constraint for constraint in found if constraint is not None]


def _changes(info: ModelInfo, context: Mapping[str, str], at: datetime) -> Iterator[datetime]:
    """The moments within the next 30 days at which the price may change."""
    for constraint in _constraints(info, context):
        if hasattr(constraint, "start_date"):
            start = datetime.combine(constraint.start_date, datetime.min.time(), tzinfo=UTC)
            if at < start <= at + _AHEAD:
                yield start
        else:
            for moment in (constraint.start_time, constraint.end_time):
                yield datetime.combine(at.date() + timedelta(days=1), moment, tzinfo=moment.tzinfo or UTC)


def _told(model: str, told: str | Mapping[str, Any], *, batch: bool) -> Price:
    amounts: dict[str, Decimal] = {}
    for name, text in _pairs(told):
        if name not in _PARTS:
            raise UsageError(f"--price: unknown part {name!r}; it has {', '.join(_PARTS)}")
        try:
            amounts[name] = Decimal(text)
        except InvalidOperation:
            raise UsageError(f"--price: {name}={text} is no number of US dollars") from None
        if not amounts[name].is_finite() or amounts[name] < 0:
            raise UsageError(f"--price: {name}={text} is no price")
    if not {"input", "output"} <= amounts.keys():
        raise UsageError("--price: say both, as --price input=0.15,output=0.60 (US dollars per million tokens)")
    rates = Rates(
        input=amounts["input"],
        output=amounts["output"],
        cached=amounts.get("cached"),
        cache_write=amounts.get("cache_write"),
        reasoning=amounts.get("reasoning"),
        request=amounts.get("request", _ZERO),
    )
    tiers = (rates,)
    return Price(
        model=model,
        provider="told",
        source="as told by --price",
        tiers=tiers,
        ceilings=ceilings_of([tiers]),
        batch=batch,
    )


def _pairs(told: str | Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not isinstance(told, str):
        yield from ((str(name).strip(), str(value).strip()) for name, value in told.items())
        return
    for part in told.split(","):
        name, equals, text = part.partition("=")
        if not equals:
            raise UsageError(f"--price: {part!r} is not name=USD; write --price input=0.15,output=0.60")
        yield name.strip(), text.strip().removeprefix("$")
