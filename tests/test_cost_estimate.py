"""The estimate: ranges that hold what comes, costs row by row, and honesty about what is not known."""

from __future__ import annotations

import importlib.util
import math
import random
from decimal import Decimal
from pathlib import Path

import pytest

from batchchat.cost.estimate import Observed, Plan, compare, estimate
from batchchat.cost.interval import line, mean_range
from batchchat.cost.prices import price_for
from batchchat.cost.tally import PromptTally
from batchchat.cost.tokens import TokenCounter
from batchchat.records import Usage

PRICE = price_for("any", told="input=1,output=10,cached=0.5")
EXACT = TokenCounter(len, name="letters", error=0.0, note="counted with letters")
ROUGH = TokenCounter(len, name="rough", error=0.25, note="estimated from nothing")
BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "estimate.py"


def observed(completions, *, prompt=100, latency=2.0, cached=0):
    return [
        Observed(
            counted=100,
            usage=Usage(prompt_tokens=prompt, completion_tokens=tokens, cached_tokens=cached),
            latency=latency,
        )
        for tokens in completions
    ]


def lognormal(draw, sigma, count):
    return [max(round(math.exp(draw.gauss(math.log(120), sigma))), 1) for _ in range(count)]


@pytest.mark.parametrize(("sigma", "error", "width"), [(0.5, 0.06, 0.35), (0.75, 0.10, 0.50), (1.0, 0.15, 0.80)])
def test_the_interval_holds_the_bill_in_at_least_88_of_100_jobs(sigma, error, width):
    """5,000 rows, a sample of 50: coverage, the median error of the expected value, and the median width."""
    benchmark = loaded_benchmark()
    jobs = [benchmark.one_job(benchmark.lognormal(sigma), rows=5000, sample=50, seed=seed) for seed in range(100)]
    assert sum(held for held, _, _ in jobs) >= 88
    assert sorted(off for _, off, _ in jobs)[50] <= error
    assert sorted(wide for _, _, wide in jobs)[50] <= width


def loaded_benchmark():
    spec = importlib.util.spec_from_file_location("estimate_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_same_sample_gives_the_same_range():
    """An estimate that is asked for twice says the same twice."""
    sample = lognormal(random.Random(1), 0.75, 50)
    assert mean_range(sample) == mean_range(sample)


def test_the_range_leans_to_the_side_of_the_long_answers():
    """Lengths are skewed: more is to be feared above than hoped for below."""
    found = mean_range(lognormal(random.Random(2), 1.0, 50))
    assert found.high - found.expected > 1.3 * (found.expected - found.low)


def test_a_larger_sample_makes_a_narrower_range():
    """Four times the answers, about half the width; thousands of them are as quick."""
    draw = random.Random(3)
    widths = []
    for count in (50, 200, 800, 20_000):
        found = mean_range(lognormal(draw, 0.75, count))
        widths.append((found.high - found.low) / found.expected)
    assert widths == sorted(widths, reverse=True)
    assert widths[3] < 0.04


def test_equal_values_leave_room_for_what_the_sample_did_not_see():
    """Fifty labels of one token do not prove that every label has one."""
    found = mean_range([1.0] * 50)
    assert 0.9 < found.low < 1 == found.expected < found.high < 1.1


@pytest.mark.parametrize("sample", [[5.0], [0.0] * 20, [1.0, 9.0], [0.0] * 19 + [50.0], [1.0] * 49 + [4000.0]])
def test_odd_samples_make_a_range_all_the_same(sample):
    """Few values, only nothing, or one giant among dwarfs: low, expected and high stand in order."""
    found = mean_range(sample)
    assert 0 <= found.low <= found.expected <= found.high
    assert math.isfinite(found.high)


def test_cost_is_priced_row_by_row():
    """A few long prompts pay the long tier, the others do not, however many they are together."""
    price = price_for("gemini-2.5-pro", base_url="https://generativelanguage.googleapis.com/v1beta/openai")
    tally = PromptTally([1_000] * 1000 + [300_000])
    found = estimate(tally, counter=EXACT, price=price, plan=Plan(completion_limit=100))
    low, high = price.rates(1_000), price.rates(300_000)
    assert found.prompt_cost.expected == (low.input * 1_000_000 + high.input * 300_000) / 1_000_000
    assert found.completion_cost.high == (low.output * 100_000 + high.output * 100) / 1_000_000


def test_without_a_sample_the_limit_is_all_that_is_known_and_it_is_said():
    """Expected is half of max_tokens, high is all of it, for each choice; the note names --sample."""
    found = estimate(PromptTally([100] * 10), counter=EXACT, price=PRICE, plan=Plan(completion_limit=50, choices=2))
    assert (found.completion_tokens.low, found.completion_tokens.expected, found.completion_tokens.high) == (
        20,
        500,
        1000,
    )
    assert found.cost_usd.high == Decimal("0.011")
    assert any("--sample 50" in note for note in found.notes)


def test_without_sample_and_limit_nobody_knows_the_cost():
    """No number is better than an invented one."""
    found = estimate(PromptTally([100] * 10), counter=EXACT, price=PRICE, plan=Plan())
    assert found.completion_tokens.expected is found.cost_usd.expected is found.cost_usd.high is None
    assert found.prompt_cost.expected == Decimal("0.001")


def test_without_a_price_there_are_tokens_and_no_dollars():
    """Unknown is unknown: the note names --price."""
    found = estimate(PromptTally([100] * 10), counter=EXACT, price=None, plan=Plan(completion_limit=5))
    assert found.cost_usd.low is found.cost_usd.expected is found.prompt_cost.high is None
    assert found.prompt_tokens.expected == 1000
    assert any("--price" in note for note in found.notes)


def test_a_sample_gives_completions_and_their_cost():
    """The rest is expected to be as long as the sample, n choices counted as the usage counts them."""
    completions = lognormal(random.Random(4), 0.5, 50)
    found = estimate(PromptTally([100] * 950), counter=EXACT, price=PRICE, plan=Plan(), observed=observed(completions))
    mean = sum(completions) / 50
    assert found.completion_tokens.expected == round(mean * 950)
    assert found.completion_cost.expected == pytest.approx(Decimal(mean * 950) * 10 / 1_000_000, rel=Decimal("0.001"))
    assert found.prompt_tokens.low == found.prompt_tokens.high == 95_000
    assert any("agree with what was billed" in note for note in found.notes)


def test_no_range_is_above_what_max_tokens_allows():
    """Where every answer was cut, high is the limit."""
    found = estimate(
        PromptTally([100] * 950),
        counter=EXACT,
        price=PRICE,
        plan=Plan(completion_limit=32),
        observed=observed([32] * 50),
    )
    assert found.completion_tokens.high == 950 * 32


def test_cached_prompts_are_expected_as_cheap_as_in_the_sample_and_high_as_if_none_were():
    """Half of each prompt came from the cache at half the price: expected is three quarters."""
    found = estimate(
        PromptTally([100] * 1000), counter=EXACT, price=PRICE, plan=Plan(), observed=observed([5] * 50, cached=50)
    )
    assert found.prompt_cost.expected == Decimal("0.075")
    assert found.prompt_cost.high == Decimal("0.1")


def test_prompts_are_corrected_by_what_was_billed():
    """A count that is a tenth too low, and without the template's 20 tokens, is put right by the sample."""
    draw = random.Random(5)
    sample = [
        Observed(counted=count, usage=Usage(prompt_tokens=round(count * 1.1 + 20), completion_tokens=5), latency=1.0)
        for count in (draw.randrange(50, 400) for _ in range(50))
    ]
    counts = [draw.randrange(50, 400) for _ in range(2000)]
    found = estimate(PromptTally(counts), counter=ROUGH, price=PRICE, plan=Plan(), observed=sample)
    assert found.prompt_tokens.expected == pytest.approx(sum(count * 1.1 + 20 for count in counts), rel=0.005)
    assert found.prompt_tokens.high - found.prompt_tokens.low < 0.01 * found.prompt_tokens.expected
    assert any("corrected" in note for note in found.notes)


def test_a_rough_count_without_a_sample_has_a_wide_range():
    """An estimate of prompts says how far it may be off."""
    found = estimate(PromptTally([100] * 10), counter=ROUGH, price=PRICE, plan=Plan(completion_limit=5))
    assert (found.prompt_tokens.low, found.prompt_tokens.expected, found.prompt_tokens.high) == (750, 1000, 1250)
    assert "estimated from nothing" in found.notes


def test_rows_of_one_length_give_a_constant_and_not_a_slope():
    """Nothing is concluded for longer prompts from short ones."""
    assert line([(100, 112)] * 20) == (1.0, 12.0, 0.0)
    assert line([(100, 112)])[0] == 1.0


def test_a_part_of_the_rows_stands_for_all_with_its_error():
    """Counting 1,000 of 100,000 rows gives a total within the error that it states."""
    draw = random.Random(6)
    rows = [draw.randrange(20, 300) for _ in range(100_000)]
    tally = PromptTally(draw.sample(rows, 1000))
    tally.stand_for(len(rows))
    assert tally.total_rows == 100_000
    assert tally.tokens == pytest.approx(sum(rows), rel=tally.error)
    assert 0.01 < tally.error < 0.05
    found = estimate(tally, counter=EXACT, price=PRICE, plan=Plan(completion_limit=5))
    assert found.prompt_tokens.low < sum(rows) < found.prompt_tokens.high
    assert found.prompt_cost.expected == pytest.approx(Decimal(sum(rows)) / 1_000_000, rel=Decimal("0.05"))


def test_a_tally_of_a_million_rows_is_small():
    """Its size follows the number of different lengths, not of rows."""
    tally = PromptTally()
    for _ in range(100):
        tally.add([100, 200, 300] * 3000)
    assert tally.rows == 900_000
    assert len(tally._rows_by_length) == 3


@pytest.mark.parametrize(
    ("plan", "seconds", "by"),
    [
        (Plan(rpm=60), 1000 + 2, "rpm"),
        (Plan(rpm=60, concurrency=1), 2000 + 2, "concurrency"),
        (Plan(tpm=6300, concurrency=100), 1000 + 2, "tpm"),
        (Plan(concurrency=10), 200 + 2, "concurrency"),
        (Plan(rpm=60, rpd=100), 9 * 86400 + 2, "rpd"),
        (Plan(rpm=60, tpd=10_500), 9 * 86400 + 2, "tpd"),
        (Plan(rpm=60, rpd=1000), 1000 + 2, "rpm"),
    ],
)
def test_the_duration_is_that_of_the_narrowest_limit(plan, seconds, by):
    """Rows a minute, tokens a minute, or latency over concurrency; and the last request's own latency."""
    found = estimate(PromptTally([100] * 1000), counter=EXACT, price=None, plan=plan, observed=observed([5] * 50))
    assert found.seconds.expected == pytest.approx(seconds)
    assert found.bound_by == by
    assert found.seconds.low <= found.seconds.expected <= found.seconds.high


def test_without_latencies_and_limits_the_duration_is_unknown():
    """A concurrency alone says nothing of seconds; a rate does."""
    found = estimate(PromptTally([100] * 10), counter=EXACT, price=None, plan=Plan(completion_limit=5, concurrency=8))
    assert found.seconds.expected is found.bound_by is None
    found = estimate(PromptTally([100] * 10), counter=EXACT, price=None, plan=Plan(completion_limit=5, rpm=60))
    assert found.seconds.expected == 10


def test_nothing_to_send_costs_nothing():
    """All rows answered: zero rows, zero dollars, zero seconds to wait for."""
    found = estimate(PromptTally(), counter=EXACT, price=PRICE, plan=Plan(), observed=observed([5] * 50))
    assert found.rows == 0
    assert found.cost_usd.expected == 0


def test_models_are_compared_each_at_its_price_with_batch_where_there_is_one():
    """Lengths come from the sampled model; prompts are counted with each model's own tokenizer; unknown is unknown."""
    models = ["gpt-4o-mini", "claude-haiku-4-5", "no-such-model"]
    counters = {"gpt-4o-mini": EXACT, "claude-haiku-4-5": ROUGH, "no-such-model": ROUGH}
    lines = compare(
        models,
        prompts={"letters": PromptTally([100] * 1000), "rough": PromptTally([120] * 1000)},
        counters=counters,
        plan=Plan(),
        observed={"gpt-4o-mini": observed([50] * 50, prompt=110, cached=100)},
    )
    mini, haiku, unknown = lines
    assert [line.model for line in lines] == models
    assert mini.estimate.prompt_tokens.expected == 110_000
    assert haiku.estimate.prompt_tokens.expected == 120_000
    assert haiku.estimate.prompt_cost.expected == Decimal("0.12")
    assert haiku.estimate.completion_cost.expected == Decimal("0.25")
    assert haiku.batch_cost.expected == Decimal("0.185")
    assert haiku.batch_price.batch
    assert unknown.estimate.cost_usd.expected is unknown.batch_cost is unknown.batch_price is None


def test_a_chat_template_that_is_not_known_is_in_the_high_end_until_a_sample_tells():
    """Short prompts feel it: each row may have so many tokens more; what was billed for a sample settles it."""
    rough = TokenCounter(len, name="rough", error=0.25, note="estimated", template=40)
    found = estimate(PromptTally([10] * 100), counter=rough, price=PRICE, plan=Plan(completion_limit=5))
    assert (found.prompt_tokens.low, found.prompt_tokens.expected, found.prompt_tokens.high) == (750, 1000, 5250)
    assert found.prompt_cost.high == Decimal("0.00525")
    sample = [Observed(counted=10, usage=Usage(prompt_tokens=36, completion_tokens=3)) for _ in range(20)]
    told = estimate(PromptTally([10] * 100), counter=rough, price=PRICE, plan=Plan(), observed=sample)
    assert (told.prompt_tokens.low, told.prompt_tokens.high, told.prompt_basis) == (3600, 3600, "calibrated")
