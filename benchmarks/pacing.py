"""The table of docs/pacing.md: how much of a quota is used, and how often it is collided with.

    python benchmarks/pacing.py --simulated            in simulated time, about a minute
    python benchmarks/pacing.py --sockets [--runs 5]   in real time against the simulator, eight scenes at once
    python benchmarks/pacing.py --simulated --write docs/pacing.md   puts the table between its marks in the page
    python benchmarks/pacing.py --sockets --keep build/pacing.jsonl  keeps each run, and makes none that is kept there

Out: a Markdown table on stdout; progress on stderr. Each figure is a median. The three columns are batchchat, 64
workers without pacing, and 64 workers that retry as the official client does.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import statistics
import sys
from pathlib import Path

import pacing_situations
import pacing_sockets

HOWS = ("batchchat", "fixed", "client")
HEAD = """| situation | server | goal | batchchat | no pacing | official client's retries |
| --- | --- | --- | --- | --- | --- |"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", action="store_true")
    parser.add_argument("--sockets", action="store_true")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=8, help="scenes at once, over sockets")
    parser.add_argument("--how", default=",".join(HOWS), help="which of the three columns, over sockets")
    parser.add_argument("--keep", type=Path, help="a file of runs over sockets: what it has is not run again")
    parser.add_argument("--only", default="", help="part of a situation's name")
    parser.add_argument("--write", type=Path, help="a page with marks for the table")
    options = parser.parse_args()
    if options.sockets:
        kind, table = "sockets", asyncio.run(sockets(options))
    else:
        kind, table = "simulated", simulated(options)
    print(table)
    if options.write:
        write(options.write, kind, table)


def simulated(options):
    lines = [HEAD]
    for situation in pacing_situations.SITUATIONS:
        if options.only not in situation.name:
            continue
        for server in situation.servers:
            print(situation.name, server, file=sys.stderr, flush=True)
            results = [pacing_situations.median(situation, server, range(1, options.runs + 1), how=how) for how in HOWS]
            lines.append(line(situation.name, server, results))
    return "\n".join(lines)


async def sockets(options):
    gate = asyncio.Semaphore(options.at_once)
    kept = read_kept(options.keep)

    async def one(scene, how, seed):
        name = f"{scene.name}, {scene.server}, {how}, {seed}"
        if name not in kept and how in options.how.split(","):
            async with gate:
                print(name, file=sys.stderr, flush=True)
                try:
                    kept[name] = await pacing_sockets.measure(scene, how, seed=seed)
                except RuntimeError as error:  # one run that fails does not cost the others; the table says so
                    print(error, file=sys.stderr, flush=True)
                else:
                    keep(options.keep, name, kept[name])
        return kept.get(name)

    async def row(scene):
        runs = [[one(scene, how, seed) for seed in range(1, options.runs + 1)] for how in HOWS]
        results = await asyncio.gather(*(asyncio.gather(*each) for each in runs))
        return line(scene.name, scene.server, [median(each) for each in results])

    chosen = [scene for scene in pacing_sockets.scenes() if options.only in scene.name]
    chosen.sort(key=lambda scene: [each.name for each in pacing_situations.SITUATIONS].index(scene.name))
    return "\n".join([HEAD, *await asyncio.gather(*map(row, chosen))])


def read_kept(path):
    """Runs by name, of a file that `keep` wrote."""
    if path is None or not path.exists():
        return {}
    lines = (json.loads(text) for text in path.read_text().splitlines())
    return {each.pop("run"): pacing_sockets.Result(**each) for each in lines}


def keep(path, name, result):
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps({"run": name, **dataclasses.asdict(result)}) + "\n")


def median(results):
    results = [each for each in results if each is not None]
    if not results:
        return None
    slower = [each.slower for each in results if each.slower is not None]
    return pacing_sockets.Result(
        used=statistics.median(each.used for each in results),
        refused=statistics.median(each.refused for each in results),
        slower=statistics.median(slower) if slower else None,
    )


def line(name, server, results):
    goal = next(each for each in pacing_situations.SITUATIONS if each.name == name)
    slower = f", latency x {goal.slower:g}" if goal.slower else ""
    said = f"{goal.used:.0%}, {goal.refused:.1%}{slower}"
    first, *others = [cell(each) for each in results]
    ours = results[0]
    met = ours is not None and ours.used >= goal.used and ours.refused <= goal.refused
    met = met and (goal.slower is None or ours.slower <= goal.slower)
    return f"| {name} | {server} | {said} | {first}{'' if met else ' (missed)'} | {' | '.join(others)} |"


def cell(result):
    if result is None:
        return "-"
    slower = f", x {result.slower:.1f}" if result.slower is not None else ""
    return f"{result.used:.1%}, {result.refused:.2%}{slower}"


def write(page, kind, table):
    text = page.read_text()
    start, end = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->"
    before, rest = text.split(start)
    after = rest.split(end)[1]
    page.write_text(f"{before}{start}{table}\n{end}{after}")


if __name__ == "__main__":
    main()
