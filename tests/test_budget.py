"""Budgets of a run: room for small rows behind large ones, tokens as well as dollars, a disk that is full."""

from __future__ import annotations

import asyncio
import csv
import os
import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchchat.api import execute
from batchchat.api.money.purse import Account, Purse
from batchchat.cost.budget import Budget
from batchchat.errors import BudgetReached, StorageFull, UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.records import ChatRequest, Completion, Usage
from batchchat.serve import Simulator


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BATCHCHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(*prompts):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])
    return "t.csv"


def run(source, sim, **options):
    options = {"base_url": sim.base_url, "model": "sim", "concurrency": 8} | options
    return execute(resolve(options, input=source, environ={}), observer=Observer())


def sized(size):
    return ChatRequest(body=b"x" * size, key=b"")


def answered(tokens):
    usage = Usage(prompt_tokens=0, completion_tokens=tokens)
    return Completion(contents=("",), finish_reasons=("stop",), usage=usage)


class Written:
    """A checkpoint that takes what it is given."""

    def __init__(self, fails=None):
        self.fails = fails
        self.ledgers = []

    async def __call__(self, ledgers):
        await asyncio.sleep(0)
        if self.fails is not None:
            raise self.fails
        self.ledgers.append(dict(ledgers))


def purse(written, **limits):
    accounts = [
        Account(
            name=name,
            budget=Budget(Decimal(limit)),
            bound=lambda request: Decimal(len(request.body)),
            cost=lambda completion: Decimal(completion.usage.completion_tokens),
        )
        for name, limit in limits.items()
    ]
    return Purse(accounts, write=written, outlook=lambda: None)


async def test_a_smaller_request_has_a_moment_to_come_before_the_large_are_refused():
    """While a request that cannot fit waits and nothing is in flight, one that fits is still let through."""
    one = purse(Written(), money=100)
    huge = asyncio.ensure_future(one.reserve(sized(500)))
    await asyncio.sleep(0)
    small = await one.reserve(sized(60))
    assert not huge.done()
    one.settle(small, answered(50), billed=True)
    with pytest.raises(BudgetReached, match="500"):
        await huge
    assert one.final()["money"].spent == 50


async def test_what_waits_is_told_when_nothing_can_be_written():
    """A full disk is the reason that everybody who waits for a reservation gets; nobody waits for ever."""
    one = purse(Written(fails=StorageFull("no room")), money=100)
    waiting = [asyncio.ensure_future(one.reserve(sized(10))) for _ in range(3)]
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, StorageFull)
    assert one.final()["money"].spent == 0


async def test_two_budgets_both_hold_and_neither_waits_for_the_other():
    """A request that the second budget has no room for gives back what it holds of the first."""
    one = purse(Written(), money=100, tokens=20)
    held = await one.reserve(sized(15))
    others = [asyncio.ensure_future(one.reserve(sized(size))) for size in (18, 12, 70)]
    await asyncio.sleep(0.01)
    assert not any(other.done() for other in others)
    one.settle(held, answered(15), billed=True)
    for result in await asyncio.gather(*others, return_exceptions=True):
        assert isinstance(result, BudgetReached)
    assert [ledger.spent for ledger in one.final().values()] == [15, 15]


def test_rows_that_fit_are_not_kept_waiting_by_rows_that_do_not(place, simulator):
    """More rows with huge bounds than there are slots stop the job only after the small rows behind them."""
    sim = simulator(tokens=5)
    source = table(*("long " * 400 for _ in range(20)), *(f"short {n}" for n in range(10)))
    options = {"price": "input=1000,output=1000", "max_tokens": 5, "concurrency": 4}
    summary = run(source, sim, max_cost="1.9", **options)
    assert (summary.stop_reason, summary.succeeded, summary.pending) == ("budget", 10, 20)


def test_a_budget_of_tokens_is_never_passed(place, simulator):
    """--max-tokens-total needs no price, stops before it could be passed, and goes on with a higher one."""
    sim = simulator(tokens=50)
    source = table(*(f"p{n}" for n in range(40)))
    summary = run(source, sim, max_tokens_total=1000, max_tokens=50)
    assert (summary.status, summary.stop_reason) == (1, "budget")
    assert "--max-tokens-total" in summary.message
    stats = sim.stats()
    assert 700 < stats["prompt_tokens"] + stats["completion_tokens"] <= 1000
    assert run(source, sim, max_tokens_total=100_000, max_tokens=50).status == 0
    assert sim.stats()["received"] == 40


def test_a_budget_of_tokens_counts_runs_that_had_none(place, simulator):
    """Tokens that were used before the budget was set count, by what the endpoint said."""
    sim = simulator(tokens=50)
    source = table(*(f"p{n}" for n in range(10)), "@@quota")
    assert run(source, sim, concurrency=1, max_tokens=50).stop_reason == "quota"
    used = sim.stats()["prompt_tokens"] + sim.stats()["completion_tokens"]
    before = sim.stats()["received"]
    summary = run(table(*(f"p{n}" for n in range(20))), sim, max_tokens_total=used + 60, max_tokens=50)
    assert (summary.stop_reason, sim.stats()["received"]) == ("budget", before)


def test_a_budget_of_tokens_needs_a_bound(place, simulator):
    """Where nothing bounds an answer, no number of tokens can be kept to, and nothing is sent."""
    sim = simulator()
    with pytest.raises(UsageError, match=r"--max-tokens-total: .*--max-tokens"):
        run(table("one"), sim, max_tokens_total=1000)
    assert sim.stats()["received"] == 0


def test_both_budgets_go_together(place, simulator):
    """The first that is reached stops the job."""
    sim = simulator(tokens=50)
    source = table(*(f"p{n}" for n in range(40)))
    options = {"price": "input=0,output=1000", "max_tokens": 50}
    first = run(source, sim, max_cost="0.52", max_tokens_total=100_000, **options)
    assert (first.stop_reason, first.succeeded) == ("budget", 10)
    second = run(source, sim, max_cost="100", max_tokens_total=2000, **options)
    assert (second.stop_reason, 10 < second.succeeded < 40) == ("budget", True)


def test_a_finished_job_begins_its_budgets_anew(place, simulator):
    """Both budgets count since the job last finished."""
    sim = simulator(tokens=50)
    options = {"max_cost": "0.26", "max_tokens_total": 1000, "price": "input=0,output=1000", "max_tokens": 50}
    assert run(table(*(f"p{n}" for n in range(5))), sim, **options).status == 0
    assert run(table(*(f"p{n}" for n in range(10))), sim, **options).status == 0


def test_an_attempt_without_usage_counts_as_the_longest(place, simulator):
    """A budget that is set later counts a cut answer as the longest prompt that is known, and all of max_tokens."""
    sim = simulator(tokens=10)
    source = table("x" * 4000, "@@cut", "@@quota")
    options = {"price": "input=1000,output=1000", "max_tokens": 50, "max_retries": 0}
    run(source, sim, concurrency=1, **options)
    prompt = sim.stats()["prompt_tokens"]
    spent = Decimal(prompt + 10) / 1000 + Decimal(prompt + 50) / 1000
    summary = run(source, sim, max_cost=str(spent), **options)
    assert summary.stop_reason == "budget"
    assert f"${spent:,.2f} are spent" in summary.message


FAULTS = ("cut", "drop", "drop-mid", "malformed", "error-200", "no-usage", "no-choices", "500", "stall", "stall-mid")
shares = st.dictionaries(st.sampled_from(FAULTS), st.sampled_from([0.05, 0.1]), max_size=4)
jobs = st.fixed_dictionaries(
    {
        "concurrency": st.sampled_from([1, 3, 8]),
        "stream": st.booleans(),
        "n": st.sampled_from([None, 2]),
        "max_retries": st.integers(0, 1),
        "retry": st.sampled_from([None, "failed"]),
    }
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    how=jobs,
    prices=st.tuples(st.integers(0, 2000), st.integers(0, 2000)).filter(any),
    lengths=st.lists(st.integers(1, 120), min_size=4, max_size=24),
    answers=st.tuples(st.integers(1, 40), st.sampled_from([0.0, 1.0]), st.integers(5, 60)),
    faults=shares,
    budgets=st.lists(st.sampled_from([0.1, 0.3, 0.6, 1.0, 2.0]), min_size=1, max_size=3),
    tokens=st.booleans(),
)
def test_what_is_billed_never_passes_the_budget(
    tmp_path_factory, how, prices, lengths, answers, faults, budgets, tokens
):
    """Over jobs, prices, failures, timeouts, cut bodies and resumes, by the endpoint's own count of all it did."""
    length, sigma, limit = answers
    home = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("job"))
    try:
        source = table(*(f"{n} " + "word " * words for n, words in enumerate(lengths)))
        with Simulator(tokens=length, tokens_sigma=sigma, faults=faults, context=0) as sim:
            finished = spent = 0
            sizes = [250 + 5 * words for words in lengths]
            most = (
                sum(sizes) + limit * len(sizes) if tokens else sum(sizes) * prices[0] + limit * len(sizes) * prices[1]
            )
            for part in budgets:
                budget = max(1, round(most * part))
                told = {"max_tokens_total": budget} if tokens else {"max_cost": str(Decimal(budget) / 1_000_000)}
                price = {"price": f"input={prices[0]},output={prices[1]}"}
                summary = run(source, sim, max_tokens=limit, timeout=0.3, **told, **price, **how)
                before, spent = spent, billed(sim, prices, tokens=tokens) - finished
                assert spent <= max(budget, before), summary
                assert summary.stop_reason in {None, "budget", "outage", "hopeless"}
                if summary.stop_reason is None:  # a budget counts since the job last finished
                    finished, spent = finished + spent, 0
    finally:
        os.chdir(home)


def billed(sim, prices, *, tokens):
    """All that the endpoint may bill for, in millionths of a dollar or in tokens."""
    for _ in range(500):  # what the client gave up may be still on its way
        stats = sim.stats()
        if not stats["in_flight"]:
            break
        time.sleep(0.01)
    prompt, completion = stats["billable_prompt_tokens"], stats["billable_completion_tokens"]
    return prompt + completion if tokens else prompt * prices[0] + completion * prices[1]
