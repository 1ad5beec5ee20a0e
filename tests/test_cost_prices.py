"""Prices: the providers' public ones, told ones, unknown ones, and what is done with them."""

from __future__ import annotations

import pickle
import random
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from batchchat.cost.prices import Price, price_for
from batchchat.errors import UsageError
from batchchat.records import Usage

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
OPENAI = "https://api.openai.com/v1"
ANTHROPIC = "https://api.anthropic.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai"
DEEPSEEK = "https://api.deepseek.com/v1"

# US dollars per million tokens: input, cached input, output; then the batch endpoint's input and output.
# As known from the providers' own pages at the end of November 2025, independently of genai-prices:
# https://platform.openai.com/docs/pricing, https://claude.com/pricing#api (cache hits; batch 50 % off),
# https://ai.google.dev/gemini-api/docs/pricing (prompts up to 200,000 tokens).
PUBLIC = [
    (OPENAI, "gpt-4o", "2.50", "1.25", "10.00", "1.25", "5.00"),
    (OPENAI, "gpt-4o-mini", "0.15", "0.075", "0.60", "0.075", "0.30"),
    (OPENAI, "gpt-4.1", "2.00", "0.50", "8.00", "1.00", "4.00"),
    (OPENAI, "gpt-4.1-mini", "0.40", "0.10", "1.60", "0.20", "0.80"),
    (OPENAI, "gpt-4.1-nano", "0.10", "0.025", "0.40", "0.05", "0.20"),
    (OPENAI, "o4-mini", "1.10", "0.275", "4.40", "0.55", "2.20"),
    (OPENAI, "gpt-5", "1.25", "0.125", "10.00", "0.625", "5.00"),
    (OPENAI, "gpt-5-mini", "0.25", "0.025", "2.00", "0.125", "1.00"),
    (ANTHROPIC, "claude-sonnet-4-5", "3.00", "0.30", "15.00", "1.50", "7.50"),
    (ANTHROPIC, "claude-haiku-4-5", "1.00", "0.10", "5.00", "0.50", "2.50"),
    (ANTHROPIC, "claude-opus-4-5", "5.00", "0.50", "25.00", "2.50", "12.50"),
    (GOOGLE, "gemini-2.5-pro", "1.25", "0.125", "10.00", "0.625", "5.00"),
    (GOOGLE, "gemini-2.5-flash", "0.30", "0.03", "2.50", "0.15", "1.25"),
    (GOOGLE, "gemini-2.5-flash-lite", "0.10", "0.01", "0.40", "0.05", "0.20"),
]
PLAIN = Usage(prompt_tokens=12_000, completion_tokens=3_000)
MIXED = Usage(prompt_tokens=12_000, completion_tokens=3_000, cached_tokens=8_000, reasoning_tokens=2_500)


@pytest.mark.parametrize(("url", "model", "input_", "cached", "output", "batch_input", "batch_output"), PUBLIC)
def test_a_fixed_usage_costs_what_the_provider_publishes(url, model, input_, cached, output, batch_input, batch_output):
    """Fourteen models of three providers: plain, with a cached part, and at the batch price (late 2025)."""
    price = price_for(model, base_url=url, at=NOW)
    plain = (Decimal(input_) * 12_000 + Decimal(output) * 3_000) / 1_000_000
    mixed = (Decimal(input_) * 4_000 + Decimal(cached) * 8_000 + Decimal(output) * 3_000) / 1_000_000
    batch = (Decimal(batch_input) * 12_000 + Decimal(batch_output) * 3_000) / 1_000_000
    assert price.cost(PLAIN, at=NOW) == price.cost(PLAIN) == plain
    assert price.cost(MIXED) == mixed
    assert not price.varies
    assert price_for(model, base_url=url, batch=True, at=NOW).cost(PLAIN) == batch
    assert "genai-prices" in price.source
    assert "as of 2026-" in price.source
    assert "https://" in price.source


def test_a_long_prompt_pays_the_tier_of_its_own_request_and_a_sum_of_short_ones_does_not():
    """Above 200,000 prompt tokens gemini-2.5-pro costs 2.50 and 15.00 for all tokens of that request."""
    price = price_for("gemini-2.5-pro", base_url=GOOGLE, at=NOW)
    at_most = Usage(prompt_tokens=200_000, completion_tokens=1_000)
    above = Usage(prompt_tokens=200_001, completion_tokens=1_000)
    assert price.cost(at_most) == Decimal("0.26")
    assert price.cost(above) == Decimal("0.5150025")
    assert sum(price.cost(Usage(prompt_tokens=1_000, completion_tokens=0)) for _ in range(1000)) == Decimal("1.25")


def test_service_tiers_have_their_own_published_price_or_none():
    """Flex is half of gpt-5's price; a tier that nobody prices is unknown; the account's choice is not fixed."""
    standard = price_for("gpt-5", at=NOW)
    assert price_for("gpt-5", service_tier="flex", at=NOW).cost(PLAIN) == standard.cost(PLAIN) / 2
    assert price_for("gpt-5", service_tier="default", at=NOW).cost(PLAIN) == standard.cost(PLAIN)
    assert price_for("gpt-5", service_tier="priority", at=NOW).cost(PLAIN) > standard.cost(PLAIN)
    assert price_for("gpt-5", service_tier="scale", at=NOW) is None
    assert not price_for("gpt-5", service_tier="auto", at=NOW).fixed
    assert standard.fixed


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("no-such-model", OPENAI),
        ("ft:gpt-4o-mini-2024-07-18:us::abc", OPENAI),
        ("ft:gpt-4-0613:us::abc", OPENAI),
        ("gpt-4o-mini-2024-07-18.ft-abc", "https://x.openai.azure.com/openai"),
        ("gpt-4o", "http://127.0.0.1:8000/v1"),
        ("gpt-4o", "https://gateway.example.org/v1"),
        ("gpt-4o", "https://api.githubcopilot.com"),
        ("local", "https://api.openai.com/v1"),
        ("claude-haiku-4-5", OPENAI),
        ("", OPENAI),
    ],
)
def test_an_unknown_price_is_none(model, url):
    """Neither zero nor a neighbour's price: unknown models, fine-tunes, gateways, entries without rates."""
    assert price_for(model, base_url=url, at=NOW) is None


def test_a_missing_batch_price_is_none():
    """A provider without a published batch price has none, also where the model is another provider's."""
    assert price_for("deepseek-chat", base_url=DEEPSEEK, batch=True, at=NOW) is None
    azure = "https://x.openai.azure.com/openai"
    assert price_for("gpt-4o", base_url=azure, at=NOW) is not None
    assert price_for("gpt-4o", base_url=azure, batch=True, at=NOW) is None


def test_the_embedded_model_is_free_and_says_so():
    """`local` costs a known zero, whatever the server says of its tokens."""
    for model, url in (("local", None), ("local", "http://127.0.0.1:4711/v1"), ("local:other.gguf", None)):
        price = price_for(model, base_url=url)
        assert price.free
        assert price.cost(PLAIN) == price.cost(Usage()) == 0
        assert "this machine" in str(price)


def test_a_usage_without_counts_has_no_cost():
    """Where the API gave no usage the cost is unknown, not zero."""
    price = price_for("gpt-4o", at=NOW)
    assert price.cost(Usage()) is None
    assert price.cost(Usage(prompt_tokens=5)) is None


def test_a_told_price_is_believed():
    """`--price` is for models that nobody lists, and wins over the list; cached tokens cost as said."""
    price = price_for("gpt-4o", told="input=1, output=$2,cached=0.5")
    assert price.cost(MIXED) == Decimal("0.014")
    assert price.source == "as told by --price"
    assert price_for("x", told={"input": 1.5, "output": 2}).cost(PLAIN) == Decimal("0.024")
    assert price_for("x", told="input=0,output=0").free


@pytest.mark.parametrize(
    "told",
    ["", "1,2", "input=1", "output=1", "input=one,output=2", "input=-1,output=2", "input=nan,output=1", "in=1,out=2"],
)
def test_a_told_price_that_makes_none_is_a_usage_error(told):
    """The message names the option."""
    with pytest.raises(UsageError, match="--price"):
        price_for("x", told=told)


def test_prices_of_the_hour_are_those_of_the_request_and_the_ceiling_is_the_highest():
    """DeepSeek's discount by hour: a request costs what its hour costs, a bound what the dearest hour costs."""
    cheap, dear = (datetime(2026, 11, 20, hour, tzinfo=UTC) for hour in (20, 2))
    price = price_for("deepseek-flash", base_url=DEEPSEEK, at=cheap)
    assert price.varies
    assert not price.linear
    assert price.cost(PLAIN, at=cheap) < price.cost(PLAIN, at=dear)
    assert price.cost(PLAIN) in {price.cost(PLAIN, at=cheap), price.cost(PLAIN, at=dear)}
    assert price.most(12_000, 3_000) >= price.cost(PLAIN, at=dear)


def test_a_steady_price_is_the_same_for_a_sum_and_tiers_and_fees_are_not():
    """`linear` tells whether the bill may be made from summed tokens."""
    assert price_for("gpt-4o", at=NOW).linear
    assert not price_for("gemini-2.5-pro", base_url=GOOGLE, at=NOW).linear
    assert not price_for("x", told="input=1,output=1,request=0.01").linear


def test_an_announced_rise_counts_in_the_ceiling_before_it_begins():
    """A price that rises within the month may be billed before a long job ends."""
    before = datetime(2026, 10, 10, tzinfo=UTC)
    price = price_for("mistral-large-4", base_url="https://api.mistral.ai/v1", at=before)
    after = price.cost(PLAIN, at=datetime(2026, 10, 21, tzinfo=UTC))
    assert price.cost(PLAIN, at=before) < after
    assert price.most(12_000, 3_000) >= after


def test_a_model_can_be_priced_at_its_makers_for_a_comparison():
    """`anywhere` finds Claude's price for a job that runs at OpenAI, and never a price for a fine-tune."""
    assert price_for("claude-haiku-4-5", base_url=OPENAI, anywhere=True, at=NOW).provider == "anthropic"
    assert price_for("ft:gpt-4o-2024-08-06:x", base_url=OPENAI, anywhere=True) is None
    assert price_for("no-such-model", base_url=OPENAI, anywhere=True) is None


def all_prices():
    from genai_prices import data_snapshot

    for provider in data_snapshot.get_snapshot().providers:
        for info in provider.models:
            yield provider, info


def test_costs_equal_those_of_genai_prices_over_its_whole_table():
    """Our arithmetic gives what the library's own gives, for every model, with tiers, caches and reasoning."""
    from genai_prices import types
    from genai_prices.data_snapshot import get_snapshot

    from batchchat.cost import rates

    draw, compared = random.Random(3), 0
    for provider, info in all_prices():
        tiers = rates.tiers_of(info.get_prices(NOW, {}))
        if tiers is None:
            continue
        prompt, completion = draw.choice((900, 150_000, 400_000)), draw.randrange(5_000)
        cached, reasoning = draw.randrange(prompt // 2), draw.randrange(completion + 1)
        written = draw.randrange(prompt // 2)
        theirs = types.Usage(
            input_tokens=prompt,
            output_tokens=completion,
            cache_read_tokens=cached,
            cache_write_tokens=written,
            output_reasoning_tokens=reasoning,
        )
        ours = Usage(
            prompt_tokens=prompt,
            completion_tokens=completion,
            cached_tokens=cached,
            cache_write_tokens=written,
            reasoning_tokens=reasoning,
        )
        price = Price(model=info.id, provider="", source="", tiers=tiers, ceilings=rates.ceilings_of([tiers]))
        expected = info.calc_price(theirs, provider, genai_request_timestamp=NOW).total_price
        assert price.cost(ours) == expected, (provider.id, info.id)
        assert price.most(prompt, completion) >= expected
        compared += 1
    assert compared > 1500
    assert get_snapshot().from_auto_update is False


def test_what_a_request_can_cost_at_most_is_no_less_for_a_longer_one():
    """The bound grows with both lengths, over tiers."""
    price = price_for("gemini-2.5-pro", base_url=GOOGLE, at=NOW)
    bounds = [price.most(prompt, 100) for prompt in (0, 1, 199_999, 200_000, 200_001, 10**6)]
    assert bounds == sorted(bounds)
    assert price.most(200_001, 0) == Decimal("0.5000025")


def test_cached_and_reasoning_tokens_beyond_their_sums_do_not_lower_the_cost():
    """An endpoint that counts parts larger than the whole does not make a request cheaper than free."""
    price = price_for("x", told="input=1,output=2,cached=0,reasoning=2,cache_write=2")
    odd = Usage(prompt_tokens=10, completion_tokens=10, cached_tokens=99, reasoning_tokens=99, cache_write_tokens=99)
    assert price.cost(odd) == Decimal("0.00002")


def test_a_price_reads_well_and_travels():
    """As text it has rates and source; it can be pickled to another process."""
    price = price_for("claude-sonnet-4-5", base_url=ANTHROPIC, at=NOW)
    assert str(price).startswith("$3 in, $0.3 cached, $15 out per million tokens; above 200,000 prompt tokens $6 in")
    assert pickle.loads(pickle.dumps(price)).cost(PLAIN) == price.cost(PLAIN)


def test_importing_the_room_imports_nothing_heavy():
    """Price data and tokenizers are loaded when they are needed, so that `--help` stays fast."""
    code = (
        "import sys, batchchat.cost.prices, batchchat.cost.tokens, batchchat.cost.budget, batchchat.cost.estimate; "
        "print([m for m in ('genai_prices', 'pydantic', 'tiktoken', 'bpe_openai', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"
