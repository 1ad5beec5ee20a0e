"""The goals of docs/performance.md, measured: `make bench`.

    python benchmarks/bench.py [--only throughput,latency,memory,start,publish,pacing] [--rounds N] [--quick]
                               [--write docs/performance.md]

Out: a Markdown table on stdout; progress on stderr. Rounds are interleaved; ratios are medians of the rounds' ratios,
of five rounds at least (nine where start-up or latency is compared). With `--write` the lines that were measured take
the place of those of the same name in the page; other lines, and reasons that somebody wrote beside one, stay.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

from measures import MEASURES, Line, Size, quick

PACKAGES = ("aiohttp", "uvloop", "orjson", "pyarrow", "pydantic", "typer")
HEAD = "| measure | goal | measured | | reason of a miss |\n| --- | --- | --- | --- | --- |"
START, END = "<!-- table -->\n", "<!-- end of table -->"


def machine() -> str:
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    versions = [f"Python {platform.python_version()}"]
    versions += [f"{package} {importlib.metadata.version(package)}" for package in PACKAGES]
    return f"{model}, {os.cpu_count()} cores{load}, {platform.system()}; {', '.join(versions)}"


def row(line: Line, reason: str = "") -> str:
    verdict = {None: "", True: "met", False: "missed"}[line.met]
    return f"| {line.what} | {line.goal} | {line.found} | {verdict} | {reason} |"


def merged(old: str, lines: list[Line]) -> str:
    """The table with the new lines in their places; the reasons of the old ones stay."""
    rows = {cells[1]: text for text in old.splitlines()[2:] if len(cells := [c.strip() for c in text.split("|")]) > 5}
    for line in lines:
        reason = "" if line.what not in rows else rows[line.what].split("|")[5].strip()
        rows[line.what] = row(line, "" if line.met else reason)
    return "\n".join([HEAD, *rows.values()])


def write(page: Path, lines: list[Line]) -> None:
    text = page.read_text(encoding="utf-8")
    before, rest = text.split(START)
    old, after = rest.split(END)
    table, _, _ = old.partition("\n\n")
    page.write_text(f"{before}{START}{merged(table, lines)}\n\nLast measured on {machine()}.\n{END}{after}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(MEASURES), help="some of them, by commas")
    parser.add_argument("--rounds", type=int, help="of every measure, in place of its own number")
    parser.add_argument("--share", type=float, default=1.0, help="of the rows")
    parser.add_argument("--quick", action="store_true", help="one round of a twentieth of the rows")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the lines into this page")
    chosen = parser.parse_args()
    size = Size(rounds=chosen.rounds, share=chosen.share)
    lines = []
    for name in chosen.only.split(","):
        print(f"{name}: {MEASURES[name].__doc__}", file=sys.stderr)
        lines += MEASURES[name](quick(size) if chosen.quick else size)
        if chosen.write:
            write(chosen.write, lines)
    print("\n".join([HEAD, *map(row, lines)]), f"\n\n{machine()}")


if __name__ == "__main__":
    main()
