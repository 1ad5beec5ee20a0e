"""What `make bench` measures: a function each, that gives lines for the table."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import clients
import first_request
from rounds import Cost, environment, interleaved, interval, measured, median, ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MILLION = 1_000_000
SHORTEST = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the table: what, the goal, what was found, and whether that meets it (None: there is no goal)."""

    what: str
    goal: str
    found: str
    met: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How long it takes: rounds of each measure, and the share of the rows."""

    rounds: int | None = None
    share: float = 1.0

    def of(self, rows: int) -> int:
        return max(100, round(rows * self.share))

    def times(self, usual: int) -> int:
        return self.rounds or usual


def table_of(rows: int, suffix: str) -> Path:
    """A table of so many rows, made once."""
    path = clients.BUILD / f"{rows}{suffix}"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # In another process: a child's peak memory counts what its parent had when it was started.
        measured([sys.executable, str(clients.HERE / "tables.py"), str(path), str(rows)])
    return path


def throughput(size: Size) -> Iterator[Line]:
    """Zero latency, 64 in flight: a run less one of a tenth of the rows, so that start-up is in neither."""
    who: dict[str, tuple[int, Callable[..., list[str]]]] = {}
    many, few = max(size.of(20_000), 5_000), max(size.of(2_000), 500)
    for suffix in ("csv", "parquet"):
        for loop in ("uvloop", "asyncio"):
            who[f"batchchat {suffix} {loop}"] = (many, _with(clients.batchchat, loop=loop))
            who[f"bare {suffix} {loop}"] = (many, _with(clients.bare, loop=loop))
    for transport in ("default", "aiohttp"):
        who[f"official parquet {transport}"] = (few, _with(clients.official, transport=transport))
    clients.official_python()
    with clients.server() as url:
        found = interleaved(
            who, size.times(5), lambda name: _steady(who[name][1], who[name][0], f".{name.split()[1]}", url)
        )
    speed = {name: [one[0] for one in all_of] for name, all_of in found.items()}
    cpu = {name: [one[1] for one in all_of] for name, all_of in found.items()}
    for suffix in ("csv", "parquet"):
        for loop in ("uvloop", "asyncio"):
            ours, bare = f"batchchat {suffix} {loop}", f"bare {suffix} {loop}"
            part = ratio(speed[ours], speed[bare])
            told = f"{part:.2f} ({median(speed[ours]):,.0f} against {median(speed[bare]):,.0f} rows/s)"
            yield Line(what=f"rows/s, {suffix}, {loop}", goal="≥ 0.9 of the bare loop", found=told, met=part >= 0.9)
            part = ratio(cpu[ours], cpu[bare])
            told = f"{part:.2f} ({median(cpu[ours]):.3f} against {median(cpu[bare]):.3f} s per 1,000 rows)"
            yield Line(what=f"CPU, {suffix}, {loop}", goal="≤ 1.15 of the bare loop", found=told, met=part <= 1.15)
    for transport, goal in (("default", 15), ("aiohttp", 8)):
        part = ratio(speed["batchchat parquet uvloop"], speed[f"official parquet {transport}"])
        told = f"{part:.1f} ({median(speed[f'official parquet {transport}']):,.0f} rows/s)"
        what = f"rows/s beside the official client, {transport} transport"
        yield Line(what=what, goal=f"≥ {goal} times", found=told, met=part >= goal)


def latency(size: Size) -> Iterator[Line]:
    """Lognormal latency (median 0.5 s, sigma 0.6), 256 in flight, 4,000 rows: the whole wall time."""
    table = table_of(size.of(4_000), ".parquet")
    who = {"batchchat": clients.batchchat, "bare": clients.bare}
    with clients.server("--median", "0.5") as url:
        found = interleaved(who, size.times(9), lambda name: _run(who[name], table, url, 256).wall)
    ratios = [ours / bare for ours, bare in zip(found["batchchat"], found["bare"], strict=True)]
    low, high = interval(ratios)
    part = median(ratios)
    told = f"{part:.3f}, 90 % interval {low:.3f} to {high:.3f} ({median(found['batchchat']):.2f} s)"
    goal = "≤ 1.03 of the bare loop"
    yield Line(what="wall, lognormal latency, -c 256, 4,000 rows", goal=goal, found=told, met=part <= 1.03)


def memory(size: Size) -> Iterator[Line]:
    """Peak memory of a long job and of a short one."""
    for suffix in (".parquet", ".csv"):
        peaks = []
        for rows in (10_000, MILLION):
            print(f"  {suffix[1:]}, {size.of(rows):,} rows", file=sys.stderr, flush=True)
            with clients.server() as url:
                peaks.append(_run(clients.batchchat, table_of(size.of(rows), suffix), url, 64).peak)
        more = peaks[1] - peaks[0]
        told = f"{more:+.0f} MiB ({peaks[0]:.0f} and {peaks[1]:.0f})"
        what = f"peak memory, 1,000,000 rows against 10,000, {suffix[1:]}"
        yield Line(what=what, goal="≤ 60 MB more, < 250 MB", found=told, met=more <= 60 and peaks[1] < 250)


def start(size: Size) -> Iterator[Line]:
    """`--help`, and the first request of a job over a million rows."""
    program = ["-m", "batchchat", "--help"]
    table = table_of(size.of(MILLION), ".parquet")
    who = {
        "help": lambda: measured([sys.executable, *program]).wall,
        "typer": lambda: measured([sys.executable, "-c", "import typer"]).wall,
        "first request": lambda: first_request.first_request(table),
        "imports": lambda: measured([sys.executable, "-c", first_request.LIBRARIES]).wall,
    }
    for one in who.values():  # the first time the disk is read, and modules are compiled
        one()
    found = interleaved(who, size.times(9), lambda name: who[name]())
    cases = (
        ("--help", "help", "typer", "`import typer`", "seconds"),
        ("first request, Parquet table of 1,000,000 rows", "first request", "imports", "the bare imports", "seconds"),
    )
    for what, ours, bare, beside, _ in cases:
        part = ratio(found[ours], found[bare])
        told = f"{part:.2f} ({median(found[ours]):.3f} against {median(found[bare]):.3f} s)"
        yield Line(what=what, goal=f"≤ 1.5 times {beside}", found=told, met=part <= 1.5)


def publish(size: Size) -> Iterator[Line]:
    """The step that ends a run, beside reading and writing what it wrote."""
    rows = size.of(MILLION)
    folder = clients.BUILD / f"finished-{rows}"
    if not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        measured([sys.executable, str(clients.HERE / "finished.py"), str(folder), str(rows)])
        (folder / "made").touch()

    def play(what: str) -> Cost:
        arguments = [sys.executable, str(clients.HERE / "publish.py"), what, str(folder)]
        said = subprocess.run(arguments, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
        facts = json.loads(said.stdout)
        return Cost(wall=facts["wall"], cpu=facts["cpu"])

    play("ours")
    found = interleaved(("ours", "plain"), size.times(5), play)
    ours, plain = ([cost.wall for cost in found[name]] for name in ("ours", "plain"))
    part = ratio(ours, plain)
    told = f"{part:.2f} ({median(ours):.1f} against {median(plain):.1f} s)"
    what = "publish of 1,000,000 finished rows (Parquet)"
    yield Line(what=what, goal="≤ 3 times reading and writing them", found=told, met=part <= 3)


def pacing(size: Size) -> Iterator[Line]:
    """A limit of 30,000 requests a minute that is told; the server holds a second of it, and answers after 0.1 s."""
    rows = size.of(10_000)

    def play(_: str) -> tuple[float, int]:
        with clients.server("--rpm", "30000", "--median", "0.1", "--sigma", "0.0001") as url:
            _run(_with(clients.batchchat, "--rpm", "30000"), table_of(rows, ".parquet"), url, 256)
            counted = clients.counts(url)
        return rows / 500 / (counted["last"] - counted["first"]), counted["refused"]

    found = interleaved(("batchchat",), size.times(5), play)["batchchat"]
    part, refused = median(one[0] for one in found), sum(one[1] for one in found)
    told = f"{part:.1%}, {refused} refused"
    goal = "≥ 97 % of the ideal time, no 429"
    yield Line(what="pacing at 30,000 requests a minute", goal=goal, found=told, met=part >= 0.97 and not refused)


MEASURES: dict[str, Callable[[Size], Iterator[Line]]] = {
    one.__name__: one for one in (throughput, latency, memory, start, publish, pacing)
}


def quick(size: Size) -> Size:
    """The same in a few minutes: it shows that everything runs, and about what it takes."""
    return replace(size, rounds=size.rounds or 1, share=size.share * 0.05)


def _with(command: Callable[..., list[str]], *options: str, **more: str) -> Callable[..., list[str]]:
    return lambda *fields: command(*fields, *options, **more)


def _run(command: Callable[..., list[str]], table: Path, url: str, concurrency: int) -> Cost:
    with tempfile.TemporaryDirectory(dir=clients.BUILD) as folder:
        return measured(command(table, Path(folder, f"out{table.suffix}"), url, concurrency))


def _steady(command: Callable[..., list[str]], rows: int, suffix: str, url: str) -> tuple[float, float]:
    """Rows a second, and CPU seconds per 1,000 rows, of what is more than a tenth of the rows."""
    few = max(20, rows // 10)
    short = _run(command, table_of(few, suffix), url, 64)
    more = _run(command, table_of(rows, suffix), url, 64) - short
    # Too short a difference is the neighbours' noise: such a round tells nothing of the speed.
    speed = (rows - few) / more.wall if more.wall >= SHORTEST else math.nan
    return speed, 1000 * more.cpu / (rows - few)
