"""How often `estimate --sample` is right, and how fast prompts are counted. No network, no key.

    python benchmarks/estimate.py                 both tables, as they stand in docs/cost.md
    python benchmarks/estimate.py --seeds 1000    more jobs per line
    python benchmarks/estimate.py --only counting

A job is drawn (5,000 completion lengths, as the simulator draws them), 50 rows of it are the sample, and the rest is
estimated by `batchchat.cost.estimate`. Right is an interval that holds what the rest really costs.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import resource
import statistics
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from batchchat.cost.estimate import Observed, Plan, estimate
from batchchat.cost.prices import price_for
from batchchat.cost.tally import PromptTally
from batchchat.cost.tokens import counter
from batchchat.records import Usage

if TYPE_CHECKING:
    from collections.abc import Callable

MEDIAN = 120
PROMPT = 60


def lognormal(sigma: float) -> Callable[[random.Random], int]:
    return lambda draw: max(round(math.exp(draw.gauss(math.log(MEDIAN), sigma))), 1)


def two_humps(draw: random.Random) -> int:
    return max(round(draw.gauss(20, 4) if draw.random() < 0.7 else draw.gauss(400, 80)), 1)


LENGTHS: dict[str, Callable[[random.Random], int]] = {
    "lognormal, sigma 0.5": lognormal(0.5),
    "lognormal, sigma 0.75": lognormal(0.75),
    "lognormal, sigma 1.0": lognormal(1.0),
    "lognormal 0.75, cut at 200": lambda draw: min(lognormal(0.75)(draw), 200),
    "exponential": lambda draw: max(round(draw.expovariate(1 / MEDIAN)), 1),
    "two humps (20 and 400)": two_humps,
    "labels of 1 to 3": lambda draw: draw.choice((1, 1, 1, 2, 3)),
}


def one_job(lengths: Callable[[random.Random], int], *, rows: int, sample: int, seed: int) -> tuple[bool, float, float]:
    """Whether the interval held the bill of the job, the error of its expected value, and its width, relative."""
    draw = random.Random(seed)
    completions = [lengths(draw) for _ in range(rows)]
    chosen = set(draw.sample(range(rows), sample))
    price = price_for("any", told={"input": "0.15", "output": "0.60"})
    assert price is not None
    usages = [Usage(prompt_tokens=PROMPT, completion_tokens=tokens) for tokens in completions]
    parts = [price.rates(PROMPT).output * tokens / 1_000_000 for tokens in completions]
    paid = sum((parts[row] for row in chosen), Decimal(0))
    found = estimate(
        PromptTally([PROMPT] * (rows - sample)),
        counter=counter("gpt-4o-mini"),
        price=price,
        plan=Plan(),
        observed=[Observed(counted=PROMPT, usage=usages[row]) for row in sorted(chosen)],
    ).completion_cost
    bill = sum(parts, Decimal(0))
    assert found.low is not None
    assert found.expected is not None
    assert found.high is not None
    held = paid + found.low <= bill <= paid + found.high
    return held, float(abs(paid + found.expected - bill) / bill), float((found.high - found.low) / bill)


def coverage(seeds: int, rows: int, sample: int) -> None:
    print(f"{seeds} jobs of {rows:,} rows each, --sample {sample}, the completion part of the bill:\n")
    print("| lengths of answers | in the interval | error of expected, median | width of interval, median |")
    print("| --- | --- | --- | --- |")
    for name, lengths in LENGTHS.items():
        jobs = [one_job(lengths, rows=rows, sample=sample, seed=seed) for seed in range(seeds)]
        held = sum(job[0] for job in jobs)
        error, width = (statistics.median(job[at] for job in jobs) for at in (1, 2))
        print(f"| {name} | {held} of {seeds} | {error:.1%} | {width:.0%} |")


def counting(rows: int) -> None:
    print(f"\nCounting {rows:,} requests (a system prompt and a review of 15 to 20 words), one core:\n")
    print("| model | counted with | rows/s | seconds | peak memory |")
    print("| --- | --- | --- | --- | --- |")
    for model in ("some-other-model", "gpt-3.5-turbo", "gpt-4o-mini"):
        count, tally, batch = counter(model), PromptTally(), []
        spent = 0.0
        for row in range(rows):
            batch.append(body(row))
            if len(batch) == 1024 or row == rows - 1:
                started = time.process_time()
                tally.add(count.count_bodies(batch))
                spent += time.process_time() - started
                batch.clear()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"| {model} | {count.name} | {rows / spent:,.0f} | {spent:.1f} | {memory:.0f} MB |")


def body(row: int) -> bytes:
    review = f"Review {row}: the phone was {row % 97} days late, but it works, and the seller answered my questions."
    messages = [{"role": "system", "content": "Is this review positive?"}, {"role": "user", "content": review}]
    return json.dumps({"max_tokens": 5, "messages": messages, "model": "m"}, separators=(",", ":")).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--sample", type=int, default=50)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--only", choices=("coverage", "counting"))
    options = parser.parse_args()
    if options.only != "counting":
        coverage(options.seeds, options.rows, options.sample)
    if options.only != "coverage":
        counting(options.count)


if __name__ == "__main__":
    main()
