"""What is spent never passes the budget, however often the run is killed, by the endpoint's own count."""

from __future__ import annotations

import os
import random
from decimal import Decimal

import pytest
from crash import strike
from crash.job import Job, prompts_of, wait_until

pytestmark = pytest.mark.crash

# A fifth of all kills is for the budget.
KILLS = max(4, int(os.environ.get("CRASH_KILLS", "20")) // 5)
KILLS_PER_JOB = 4
ROWS = 400
FAULTS = ("", "cut=0.05,no-usage=0.05", "drop-mid=0.05,malformed=0.05,500=0.05", "stall-mid=0.01,drop=0.05")


def billed(endpoint, prices):
    """All that the endpoint may bill for, in dollars: whole answers, and what it had begun to work on."""
    wait_until(lambda: endpoint.stats()["in_flight"] == 0)
    stats = endpoint.stats()
    tokens = stats["billable_prompt_tokens"], stats["billable_completion_tokens"]
    return sum(Decimal(price) * count for price, count in zip(prices, tokens, strict=True)) / 1_000_000


def moment(draw):
    """At a number of answers, while a group or a ledger is written, or anywhere."""
    if draw.random() < 0.4:
        return strike.of_a_commit(draw)
    return strike.anywhere(draw, ROWS // 4)


@strike.needs_strace
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", range(-(-KILLS // KILLS_PER_JOB)))
def test_a_budget_holds_however_often_the_run_is_killed(endpoint, tmp_path, number):
    """After each kill, after a run that stopped at its budget, and after one with a higher budget: never more."""
    draw = random.Random(number)
    # Answers that are nearly as long as they may be: a request costs nearly what is reserved for it.
    prices, limit = (draw.randrange(1, 20), draw.randrange(500, 2000)), draw.choice((8, 40))
    endpoint.reset(tokens=limit, tokens_sigma=draw.choice((0, 0.5)), faults=FAULTS[number % len(FAULTS)])
    how = ["--max-tokens", limit, "--price", f"input={prices[0]},output={prices[1]}", "--timeout", "2"]
    how += ["--stream"] if number % 2 else []
    job = Job(
        tmp_path / "job", endpoint.url, prompts_of(ROWS, seed=number), concurrency=draw.choice((4, 16)), options=how
    )
    plain = list(job.words)
    # What all rows would cost by their bounds, about: budgets are parts of it.
    most = Decimal(ROWS * (300 * prices[0] + limit * prices[1])) / 1_000_000
    kills = spent = 0
    for part in ("0.05", "0.2", "0.5"):
        budget = (most * Decimal(part)).quantize(Decimal("0.000001"))
        job.words = [*plain, "--max-cost", str(budget)]
        for _ in range(2):
            struck = moment(draw).strike(job, endpoint)
            kills += struck.killed
            spent = billed(endpoint, prices)
            assert spent <= budget, struck
        if struck.run.status == 0:
            break
        run = job.run()
        spent = billed(endpoint, prices)
        assert spent <= budget, run.err
        assert run.status in {0, 1, 3}, run.err
        assert run.status != 1 or run.summary["stop_reason"] == "budget", run.err
        if run.status != 1:
            break
    assert kills
    assert spent > 0
