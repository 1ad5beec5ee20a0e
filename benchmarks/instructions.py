"""Instructions a row, counted by callgrind: what the processor does for it, whatever else the machine is doing.

    python benchmarks/instructions.py [--write docs/performance.md] [--check] [--keep] [--only NAMES]

Three clients ask the fast server, 64 in flight, over a CSV: the bare loop, batchchat, and both halves of what its
checkpoint costs: batchchat without publishing, with the checkpoint and with a store that keeps nothing. The count of a
short job is taken off that of a longer one. It takes some minutes, since callgrind runs a program fifty times slower.

`--check` fails where batchchat, with its checkpoint or without, takes 10 % more than instructions.json says; `--keep`
writes that file. Counts of other versions of Python or of the libraries are not compared.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import clients
from bench import HEAD, row, write
from measures import Line, table_of
from rounds import environment, measured

FEW, MANY = 200, 1_200
BASELINE = Path(__file__).with_name("instructions.json")
MOST, CHECKPOINT_MOST = 1.10, 1.08
PACKAGES = ("aiohttp", "orjson", "uvloop")
GROUP = 64
# A commit finds in every run as many rows as it finds at full speed: how long callgrind takes must not count.
PROGRAM = f"""
import asyncio, sys
from batchchat import defaults
from batchchat.api.run import execution as run
from batchchat.__main__ import main

class Engine(run.Engine):
    ending = False
    def __init__(self, **parts):
        super().__init__(**(parts if keeps else parts | {{"commit": keep_nothing}}))
        self.enough = asyncio.Event()
    async def _work_through(self):
        await super()._work_through()
        self.ending = True
        self.enough.set()
    def _hand_over(self, outcome):
        super()._hand_over(outcome)
        if len(self._settled) >= {GROUP}:
            self.enough.set()
    async def _commit_group(self):
        while len(self._settled) < {GROUP} and not self.ending:
            self.enough.clear()
            await self.enough.wait()
        await super()._commit_group()

async def keep_nothing(outcomes): pass
keeps = sys.argv.pop(1) != "without"
if sys.argv.pop(1) != "all":
    run._Run._publish = lambda self: None
run.Engine, defaults.COMMIT_SECONDS, run._LOOK_SECONDS = Engine, 0.0, 3600.0
main()
"""


def grouped(store: str, publishing: str):
    def command(*fields) -> list[str]:
        _, _, _, *arguments = clients.batchchat(*fields)
        return [sys.executable, "-c", PROGRAM, store, publishing, *arguments]

    return command


CLIENTS = {
    "bare loop": clients.bare,
    "batchchat": grouped("with", "all"),
    "with its checkpoint": grouped("with", "unpublished"),
    "without": grouped("without", "unpublished"),
}


def instructions(command: list[str]) -> int:
    """How many instructions a command takes, in all its threads."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--quiet", "--compress-pos=no"]
        ended = subprocess.run(
            [*tool, *command], env=environment() | {"PYTHONHASHSEED": "0"}, capture_output=True, check=False, text=True
        )
        if ended.returncode:
            sys.exit(f"exit {ended.returncode}: {' '.join(command)}\n{ended.stdout}{ended.stderr}")
        found = re.search(r"^(?:summary|totals): (\d+)", out.read_text(encoding="utf-8"), re.MULTILINE)
        assert found
        return int(found[1])


def a_row(name: str, url: str) -> float:
    """Instructions of one row more."""
    counts = []
    with tempfile.TemporaryDirectory() as folder:  # the first time, modules are compiled
        measured(CLIENTS[name](table_of(FEW, ".csv"), Path(folder, "out.csv"), url, 64))
    for rows in (FEW, MANY):
        print(f"  {name}: {rows} rows", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            table = table_of(rows, ".csv")
            counts.append(instructions(CLIENTS[name](table, Path(folder, "out.csv"), url, 64)))
    return (counts[1] - counts[0]) / (MANY - FEW)


def versions() -> dict[str, str]:
    found = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "machine": platform.machine(), **found}


def lines(found: dict[str, float]) -> list[Line]:
    told = []
    if {"batchchat", "bare loop"} <= found.keys():
        ours, bare = found["batchchat"], found["bare loop"]
        said = f"{ours / bare:.2f} ({ours:,.0f} against {bare:,.0f})"
        told.append(Line(what="instructions a row, csv, uvloop", goal="of the bare loop", found=said))
    if {"with its checkpoint", "without"} <= found.keys():
        part = found["with its checkpoint"] / found["without"]
        said = f"{part - 1:+.1%} ({found['with its checkpoint']:,.0f} against {found['without']:,.0f})"
        what, goal = "instructions a row, checkpoint against none", "≤ 8 % more"
        told.append(Line(what=what, goal=goal, found=said, met=part <= CHECKPOINT_MOST))
    return told


def faults(found: dict[str, float]) -> list[str]:
    """What `--check` fails for."""
    said: list[str] = []
    kept = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
    if kept.get("versions") != versions():
        print(f"no baseline of {versions()}: make bench-work ARGS=--keep", file=sys.stderr)
        return said
    for name, count in found.items():
        if name != "bare loop" and count > MOST * kept["instructions a row"][name]:
            said.append(
                f"{name}: {count:,.0f} instructions a row, and the baseline has {kept['instructions a row'][name]:,}"
            )
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the lines into this page")
    parser.add_argument("--check", action="store_true", help="fail where there are too many")
    parser.add_argument("--keep", action="store_true", help="keep the counts as the baseline")
    parser.add_argument("--only", default=",".join(CLIENTS), help="some of the clients, by commas")
    chosen = parser.parse_args()
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not here: apt-get install valgrind")
    with clients.server() as url:
        found = {name: round(a_row(name, url)) for name in chosen.only.split(",")}
    print("\n".join([HEAD, *map(row, lines(found))]))
    if chosen.write:
        write(chosen.write, lines(found))
    if chosen.keep:
        kept = {"versions": versions(), "instructions a row": found}
        BASELINE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    if chosen.check and (wrong := faults(found)):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
