"""How often `estimate --sample` is right, and how fast prompts are counted. No network, no key.

    python benchmarks/estimate.py                  the tables as they stand in docs/cost.md
    python benchmarks/estimate.py --seeds 1000     more jobs per line
    python benchmarks/estimate.py --only simulator

`coverage`: a job is drawn (5,000 completion lengths), 50 rows of it are the sample, and the rest is estimated by
`batchchat.cost.estimate`. `simulator`: the whole of `estimate --sample 50` on a table of 5,000 rows, against the
simulator over a socket; the real bill is the sum of what the simulator answers to every row. Right is an interval that
holds what the rest really costs. `counting`: prompts counted one after the other. `command`: the whole command on a
table, in a process of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat.api import estimate_job, send_sample
from batchchat.cost.estimate import Observed, Plan, estimate
from batchchat.cost.prices import price_for
from batchchat.cost.tally import PromptTally
from batchchat.cost.tokens import counter
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.records import Usage
from batchchat.serve import Simulator
from batchchat.serve.sim.ask import Ask
from batchchat.serve.sim.settings import Settings
from batchchat.serve.sim.words import answer

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


def against_simulator(seeds: int, rows: int, sample: int) -> None:
    """The command itself: a table, a sample over HTTP, its checkpoint, and the rest estimated."""
    print(f"\n{seeds} jobs of {rows:,} rows each, estimate --sample {sample} against the simulator:\n")
    print("| lengths of answers | in the interval | error of expected, median | width of interval, median |")
    print("| --- | --- | --- | --- |")
    for sigma in (0.5, 0.75, 1.0):
        with Simulator() as simulator:
            jobs = [_command(simulator, sigma, seed, rows=rows, sample=sample) for seed in range(seeds)]
        held = sum(job[0] for job in jobs)
        error, width = (statistics.median(job[at] for job in jobs) for at in (1, 2))
        print(f"| lognormal, sigma {sigma} | {held} of {seeds} | {error:.1%} | {width:.0%} |", flush=True)


def _command(simulator: Simulator, sigma: float, seed: int, *, rows: int, sample: int) -> tuple[bool, float, float]:
    settings = {"tokens": MEDIAN, "tokens_sigma": sigma, "seed": seed}
    simulator.reset(**settings)
    with tempfile.TemporaryDirectory() as folder:
        prompts = [f"Is review {row} good, or is it not?" for row in range(rows)]
        table = Path(folder) / "t.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])
        told = {"base_url": simulator.base_url, "model": "sim", "price": "input=0.15,output=0.60"}
        job = resolve({**told, "sample": sample, "seed_rows": seed, "concurrency": 16}, input=str(table), environ={})
        answered = send_sample(job, observer=Observer())
        found = estimate_job(job, sample=answered, progress=lambda _seen, _of: None)
    real = _answered_to(prompts, Settings.of(settings))
    bill = Decimal("0.60") * real / 1_000_000
    paid = Decimal("0.60") * found.learned.completion_tokens / 1_000_000
    cost = found.estimate.completion_cost
    assert cost.low is not None
    assert cost.expected is not None
    assert cost.high is not None
    held = paid + cost.low <= bill <= paid + cost.high
    return held, float(abs(paid + cost.expected - bill) / bill), float((cost.high - cost.low) / bill)


def _answered_to(prompts: list[str], settings: Settings) -> int:
    """Completion tokens of what the simulator says to all of them."""
    total = 0
    for prompt in prompts:
        asked = Ask.of({"model": "sim", "messages": [{"role": "user", "content": prompt}]}, settings.seed)
        usage = answer(asked, settings).usage
        assert usage is not None
        total += usage["completion_tokens"]
    return total


def command(rows: int) -> None:
    """The whole command on a CSV, each table in a process of its own: memory must not follow the rows."""
    print("\nbatchchat estimate on a CSV of one review of 15 to 20 words a row, in one process:\n")
    print("| rows | CPU seconds | seconds | peak memory |")
    print("| --- | --- | --- | --- |")
    for count in (rows // 10, rows):
        with tempfile.TemporaryDirectory() as folder:
            table = Path(folder) / "reviews.csv"
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["id", "review"])
                writer.writerows([row, _review(row)] for row in range(count))
            words = ["estimate", str(table), "-m", "gpt-4o-mini", "--max-tokens", "5", "--json"]
            script = (
                "import resource, sys\nfrom batchchat.cli.app import entry\n"
                "status = entry(sys.argv[1:])\nused = resource.getrusage(resource.RUSAGE_SELF)\n"
                "print(status, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, file=sys.stderr)"
            )
            prompt = "Is this review positive? {{ review }}"
            begun = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-c", script, *words, "--prompt", prompt], capture_output=True, text=True, check=True
            )
            taken = time.monotonic() - begun
        status, cpu, memory = (float(word) for word in done.stderr.split()[-3:])
        found = json.loads(done.stdout)
        assert (status, found["to_send"]) == (0, count)
        part = "" if found["prompt_basis"] == "exact" and not _in_part(found) else ", of a part of the rows"
        print(f"| {count:,}{part} | {cpu:.1f} | {taken:.1f} | {memory:.0f} MB |", flush=True)


def _in_part(found):
    return any("prompts counted in" in str(note) for note in found["notes"])


def _review(row: int) -> str:
    return f"Review {row}: the phone was {row % 97} days late, but it works, and the seller answered my questions."


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
    messages = [
        {"role": "system", "content": "Is this review positive?"},
        {"role": "user", "content": _review(row)},
    ]
    return json.dumps({"max_tokens": 5, "messages": messages, "model": "m"}, separators=(",", ":")).encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--sample", type=int, default=50)
    parser.add_argument("--count", type=int, default=1_000_000)
    tables = ("coverage", "simulator", "counting", "command")
    parser.add_argument("--only", choices=tables)
    options = parser.parse_args()
    chosen = tables if options.only is None else (options.only,)
    if "coverage" in chosen:
        coverage(options.seeds, options.rows, options.sample)
    if "simulator" in chosen:
        against_simulator(options.seeds, options.rows, options.sample)
    if "counting" in chosen:
        counting(options.count)
    if "command" in chosen:
        command(options.count)


if __name__ == "__main__":
    main()
