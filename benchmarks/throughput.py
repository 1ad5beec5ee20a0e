"""How fast `batchchat run` is beside a bare aiohttp loop, against the simulator on this machine.

    python benchmarks/throughput.py [--rounds 5] [--share 1.0]

Out: a Markdown table on stdout, with versions and machine; progress on stderr. Rounds are interleaved, since the
neighbours' load comes and goes: a ratio compares both clients within one round, and the table has the median of them.
Start-up is measured by itself in every round (a run of one row) and taken off; CPU is the client's, user and system.
The simulator needs a core of its own: with fewer than two the figures say little.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.metadata
import os
import platform
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
PACKAGES = ("batchchat", "aiohttp", "uvloop", "orjson")
WORDS = "the quick brown fox jumps over a lazy dog while seven quiet owls look on from their old oak"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A job and how the simulator answers it, after `latency` seconds."""

    rows: int
    concurrency: int
    latency: float

    @property
    def name(self) -> str:
        return f"{self.rows:,} rows, {self.concurrency} in flight, {self.latency:g} s latency"

    @property
    def ideal(self) -> float:
        """The least wall time that any client needs."""
        return self.rows / self.concurrency * self.latency


SCENES = (
    Scene(rows=20_000, concurrency=64, latency=0.0),
    Scene(rows=8_000, concurrency=256, latency=0.2),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a process took: seconds of the wall clock and of the processor."""

    wall: float
    cpu: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(wall=max(self.wall - other.wall, 1e-6), cpu=max(self.cpu - other.cpu, 1e-6))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One client in one round: its start-up, and the rows without it."""

    start: Cost
    steady: Cost


def command(client: str, table: Path, output: Path, base_url: str, concurrency: int) -> list[str]:
    if client == "bare loop":
        return [sys.executable, str(HERE / "bare_loop.py"), str(table), str(output), base_url, str(concurrency)]
    run = [sys.executable, "-m", "batchchat", "run", str(table), "-o", str(output), "-m", "sim"]
    return [*run, "--base-url", base_url, "-c", str(concurrency), "--quiet"]


def measured(arguments: list[str]) -> Cost:
    """Run a command to its end and measure it; its failure is ours."""
    began = time.perf_counter()
    process = subprocess.Popen(arguments, env=os.environ | {"OPENAI_API_KEY": "none"})
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if code := os.waitstatus_to_exitcode(status):
        sys.exit(f"exit {code}: {' '.join(arguments)}")
    return Cost(wall=wall, cpu=usage.ru_utime + usage.ru_stime)


@contextlib.contextmanager
def simulator(latency: float) -> Iterator[str]:
    """The base URL of a simulator of its own."""
    options = ["--port", "0", "--latency", str(latency)]
    arguments = [sys.executable, "-m", "batchchat.serve", "--model", "sim", *options]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def write_table(path: Path, rows: int) -> None:
    words = WORDS.split()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt"])
        for number in range(rows):
            turn = number % len(words)
            writer.writerow([f"Row {number}: {' '.join(words[turn:] + words[:turn])}"])


def check(output: Path, rows: int) -> None:
    with output.open(encoding="utf-8", newline="") as file:
        answered = sum(bool(row["completion"]) for row in csv.DictReader(file))
    if answered != rows:
        sys.exit(f"{output.name}: {answered} of {rows} rows have a completion")


def play(client: str, base_url: str, scene: Scene) -> Result:
    """One client, first with one row, then with all of them."""
    costs = []
    for count in (1, scene.rows):
        with tempfile.TemporaryDirectory() as folder:
            table, output = Path(folder, "in.csv"), Path(folder, "out.csv")
            write_table(table, count)
            costs.append(measured(command(client, table, output, base_url, scene.concurrency)))
            check(output, count)
    start, whole = costs
    # What one row waits for is no part of the start-up.
    start = Cost(wall=start.wall - scene.latency, cpu=start.cpu)
    return Result(start=start, steady=whole - start)


def figures(client: str, scene: Scene, results: dict[str, list[Result]]) -> list[str]:
    """One line of the table."""
    own, bare = results[client], results["bare loop"]
    share = median(b.steady.wall / o.steady.wall for o, b in zip(own, bare, strict=True))
    cpu_ratio = median(o.steady.cpu / b.steady.cpu for o, b in zip(own, bare, strict=True))
    wall = median(r.steady.wall for r in own)
    return [
        scene.name,
        client,
        f"{scene.rows / wall:,.0f}",
        f"{share:.2f}",
        f"{1e6 * median(r.steady.cpu for r in own) / scene.rows:,.0f}",
        f"{cpu_ratio:.2f}",
        f"{scene.ideal / wall:.0%}" if scene.ideal else "",
        f"{median(r.start.wall for r in own):.2f}",
    ]


def machine() -> str:
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux only
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"


def versions() -> str:
    found = []
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--share", type=float, default=1.0, help="of the rows of each scene")
    chosen = parser.parse_args()

    lines = []
    for whole in SCENES:
        scene = replace(whole, rows=max(1, round(whole.rows * chosen.share)))
        results: dict[str, list[Result]] = {"bare loop": [], "batchchat": []}
        with simulator(scene.latency) as base_url:
            for number in range(chosen.rounds):
                order = list(results) if number % 2 == 0 else list(reversed(results))
                for client in order:
                    print(f"{scene.name}, round {number + 1} of {chosen.rounds}: {client}", file=sys.stderr)
                    results[client].append(play(client, base_url, scene))
        lines += [figures(client, scene, results) for client in results]

    head = ["scene", "client", "rows/s", "of bare", "CPU µs/row", "of bare", "of the ideal", "start-up s"]
    for line in (head, ["---"] * len(head), *lines):
        print(f"| {' | '.join(line)} |")
    print(f"\nMedian of {chosen.rounds} interleaved rounds; {machine()}; {versions()}")


if __name__ == "__main__":
    main()
