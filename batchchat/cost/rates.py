"""Dollars per million tokens: an entry of `genai-prices` in, rates by length of the prompt out, and what a usage costs.

Nothing here knows models, endpoints or time; prices.py looks them up.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genai_prices.types import ModelPrice

    from batchchat.records import Usage

_MILLION = Decimal(1_000_000)
_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """US dollars per million tokens, for prompts of more than `above` tokens.

    Attributes:
        cached, cache_write: of prompt tokens read from, or written to, the provider's cache; None: as `input`.
        reasoning: of completion tokens spent on reasoning; None: as `output`.
        request: dollars for each request, beside its tokens.
    """

    input: Decimal
    output: Decimal
    cached: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    request: Decimal = _ZERO
    above: int = -1

    def cost(self, usage: Usage) -> Decimal:
        """Dollars for one request whose prompt and completion tokens are known."""
        prompt, completion = usage.prompt_tokens or 0, usage.completion_tokens or 0
        total = self.input * prompt + self.output * completion
        if usage.cached_tokens and self.cached is not None:
            total += (self.cached - self.input) * min(usage.cached_tokens, prompt)
        if usage.cache_write_tokens and self.cache_write is not None:
            rest = prompt - min(usage.cached_tokens or 0, prompt)
            total += (self.cache_write - self.input) * min(usage.cache_write_tokens, rest)
        if usage.reasoning_tokens and self.reasoning is not None:
            total += (self.reasoning - self.output) * min(usage.reasoning_tokens, completion)
        return total / _MILLION + self.request

    @property
    def highest_input(self) -> Decimal:
        """What a prompt token can cost at most."""
        return max(self.input, self.cached or _ZERO, self.cache_write or _ZERO)

    @property
    def highest_output(self) -> Decimal:
        """What a completion token can cost at most."""
        return max(self.output, self.reasoning or _ZERO)


def priced(prices: ModelPrice) -> dict[str, Any]:
    """The parts of an entry that have a price, by the names of genai-prices."""
    return {key: value for key, value in prices.__dict__.items() if value is not None and not key.startswith("_")}


def tiers_of(prices: ModelPrice, *, model: str = "") -> tuple[Rates, ...] | None:
    """The rates of an entry, one for each length of the prompt; None where it prices no prompts or no completions."""
    parts = priced(prices)
    if not parts and model.endswith(":free"):
        return (Rates(input=_ZERO, output=_ZERO),)
    if "input_mtok" not in parts or "output_mtok" not in parts:
        return None
    starts = sorted({tier.start for value in parts.values() for tier in getattr(value, "tiers", ())})
    return tuple(_rates(parts, above) for above in (-1, *starts))


def _rates(parts: Mapping[str, Any], above: int) -> Rates:
    def rate(key: str) -> Decimal | None:
        value = parts.get(key)
        if value is None or isinstance(value, Decimal):
            return value
        reached = [tier.price for tier in value.tiers if tier.start <= above]
        found: Decimal = reached[-1] if reached else value.base
        return found

    return Rates(
        input=rate("input_mtok") or _ZERO,
        output=rate("output_mtok") or _ZERO,
        cached=rate("cache_read_mtok"),
        cache_write=rate("cache_write_mtok"),
        reasoning=rate("output_reasoning_mtok"),
        request=(rate("requests_kcount") or _ZERO) / 1000,
        above=above,
    )


def ceilings_of(alternatives: list[tuple[Rates, ...]]) -> tuple[Rates, ...]:
    """For each length of the prompt, the highest that any of the alternatives asks."""
    ceilings = []
    for above in sorted({rates.above for tiers in alternatives for rates in tiers}):
        there = [[rates for rates in tiers if rates.above <= above][-1] for tiers in alternatives]
        ceilings.append(
            Rates(
                input=max(rates.highest_input for rates in there),
                output=max(rates.highest_output for rates in there),
                request=max(rates.request for rates in there),
                above=above,
            )
        )
    return tuple(ceilings)


def plain(amount: Decimal) -> str:
    """Without exponent and without superfluous zeros."""
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
