"""Mutation testing: how many small faults in `wire`, `retry` and `transport` do the tests of these rooms not notice?

    make mutants [ARGS="--jobs 2 --room wire --fraction 0.1"]

cosmic-ray makes the mutants (mutants_made.py), in an environment of its own. Its own runner starts pytest anew for
each, on all tests: half a day. Here a process that has imported everything that is not ours forks for each mutant; the
child imports the mutant in the place of its module and runs the tests of its room that pass through the changed lines,
those of its own file first and the quickest first, until one fails (mutants_judged.py). A mutant in what runs at import
meets every test that runs anything of its file.

Out: a Markdown table on stdout; the changes that no test noticed in build/mutants/alive.txt. What is judged is kept by
the mutant's source and not judged again, so that it goes on where it was interrupted; `--alive` asks those again that
were alive (after tests were added), `--fresh` all. It edits no file. A mutant that hangs is killed by time.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import venv
from collections import Counter
from pathlib import Path

from mutants_judged import PROJECT, TEST_SECONDS, judged, measured, preload, statement

BUILD = PROJECT / "build" / "mutants"
TOOL = "cosmic-ray==8.7.0"
ROOMS = {
    "wire": ("batchchat/wire/*.py", "tests/test_wire_*.py"),
    "retry": ("batchchat/retry.py", "tests/test_retry*.py"),
    "transport": ("batchchat/transport/*.py", "tests/test_transport*.py"),
}
VERDICTS = {0: "alive", 1: "killed"}
PATIENCE = 30
ENOUGH = 12.0
"""Seconds of tests for each mutant: the slowest come last, and are hardly ever the first to notice anything."""


def matching(patterns):
    return sorted(path.relative_to(PROJECT).as_posix() for each in patterns.split() for path in PROJECT.glob(each))


def room_of(path):
    return next(room for room, (files, _) in ROOMS.items() if path in matching(files))


def made(rooms):
    """The mutants of these rooms, made once for each state of their files."""
    python = BUILD / "cosmic-ray" / "bin" / "python"
    if not (BUILD / ".installed").exists():
        venv.create(BUILD / "cosmic-ray", with_pip=True)
        subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "-qq", "install", TOOL], check=True)
        (BUILD / ".installed").touch()
    found = []
    for file in [file for room in rooms for file in matching(ROOMS[room][0])]:
        name = f"{digest((PROJECT / file).read_text(encoding='utf-8'))}-{Path(file).stem}.jsonl"
        kept = BUILD / name
        if not kept.exists():
            command = [python, PROJECT / "benchmarks" / "mutants_made.py", file]
            kept.write_bytes(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout)
        found += [json.loads(line) for line in kept.read_text().splitlines()]
    return found


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def tests_of(rooms):
    """For each room its tests: what they run, and how long they take."""
    found = {}
    for room in rooms:
        out = BUILD / f"lines-{room}.json"
        files, tests = (matching(pattern) for pattern in ROOMS[room])
        child = os.fork()
        if child == 0:
            measured(tests, files, out, BUILD / f"measured-{room}.txt")
            os._exit(0)
        os.waitpid(child, 0)
        told = json.loads(out.read_text())
        if told["failed"]:
            print(f"these fail as it is, and judge nothing: {', '.join(told['failed'])}", file=sys.stderr)
        found[room] = {
            test: (about["seconds"], {(path, line) for path, line in about["lines"]})
            for test, about in told["tests"].items()
        }
    return found


def tests_for(mutant, tests):
    """The tests that run what was changed, those of the module's own file first, then the quickest."""
    path = mutant["path"]
    source = (PROJECT / path).read_text(encoding="utf-8")
    lines = statement(source, mutant["lines"][0])
    through = {test for test, (_, ran) in tests.items() if ran & places(path, lines)} if lines else set()
    if not through:
        through = {test for test, (_, ran) in tests.items() if any(file == path for file, _ in ran)}
    own = f"_{Path(path).stem}.py"
    chosen, seconds = [], 0.0
    for test in sorted(through, key=lambda test: (own not in test, tests[test][0])):
        seconds += tests[test][0]
        if seconds > ENOUGH:
            break
        chosen.append(test)
    return chosen


def places(path, lines):
    return {(path, line) for line in range(lines[0], lines[1] + 1)}


class Bench:
    """Children that judge, a few at a time."""

    def __init__(self, jobs):
        self.jobs = jobs
        self.running = {}  # by process: the mutant, and when it is over

    def judge(self, mutants, tests, tell):
        for mutant in mutants:
            while len(self.running) >= self.jobs:
                self._collect(tell)
            mine = tests[room_of(mutant["path"])]
            chosen = tests_for(mutant, mine)
            if not chosen:
                tell(mutant, "alive")
                continue
            child = os.fork()
            if child == 0:
                os.setsid()
                os._exit(judged(mutant, chosen, BUILD / f"log-{digest(mutant['source'])}.txt"))
            limit = PATIENCE + TEST_SECONDS + 3 * sum(mine[test][0] for test in chosen)
            self.running[child] = (mutant, time.monotonic() + limit)
        while self.running:
            self._collect(tell)

    def _collect(self, tell):
        time.sleep(0.01)
        for child, (mutant, end) in list(self.running.items()):
            over = time.monotonic() > end
            if over:
                os.killpg(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0 if over else os.WNOHANG)
            if not ended:
                continue
            del self.running[child]
            verdict = "time" if over else VERDICTS.get(os.waitstatus_to_exitcode(status), "unknown")
            log = BUILD / f"log-{digest(mutant['source'])}.txt"
            if verdict == "killed" and "Timeout" in log.read_text(errors="replace"):
                verdict = "time"
            if verdict != "unknown":
                log.unlink()
            tell(mutant, verdict)


def changed(mutant):
    """What a mutant changes, as people read it."""
    before = (PROJECT / mutant["path"]).read_text(encoding="utf-8").splitlines()
    lines = difflib.unified_diff(before, mutant["source"].splitlines(), n=0, lineterm="")
    shown = [line for line in list(lines)[2:] if not line.startswith("@@")]
    return "\n".join([f"{mutant['path']}:{mutant['lines'][0]} {mutant['operator']}", *shown])


def table(mutants, results):
    """The figures, by room and file."""
    rows = ["| of | mutants | killed | by time | alive |", "| --- | --- | --- | --- | --- |"]
    groups = {}
    for mutant in mutants:
        verdict = results.get(digest(mutant["source"]))
        if verdict is not None:
            groups.setdefault(room_of(mutant["path"]), Counter())[verdict] += 1
            groups.setdefault(mutant["path"], Counter())[verdict] += 1
    for name, counts in sorted(groups.items()):
        total, alive = counts.total(), counts["alive"]
        said = f"`{name}`" if "/" in name else f"**{name}**"
        rows.append(f"| {said} | {total} | {counts['killed']} | {counts['time']} | {alive} ({alive / total:.1%}) |")
        if counts["unknown"]:
            rows[-1] += f" {counts['unknown']} unknown"
    return "\n".join(rows)


def options():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--room", action="append", choices=list(ROOMS), help="of these rooms only")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--fraction", type=float, default=1.0, help="of the mutants, drawn at random")
    parser.add_argument("--alive", action="store_true", help="judge those again that were alive")
    parser.add_argument("--fresh", action="store_true", help="forget what was judged")
    return parser.parse_args()


def main():
    told = options()
    BUILD.mkdir(parents=True, exist_ok=True)
    os.chdir(PROJECT)
    rooms = told.room or list(ROOMS)
    kept = BUILD / "results.jsonl"
    if told.fresh:
        kept.unlink(missing_ok=True)
    results = dict(map(json.loads, kept.read_text().splitlines())) if kept.exists() else {}
    mutants = made(rooms)
    random.Random(1).shuffle(mutants)
    mutants = mutants[: round(len(mutants) * told.fraction)]
    judged_before = {"killed", "time"} if told.alive else {"killed", "time", "alive"}
    todo = [mutant for mutant in mutants if results.get(digest(mutant["source"])) not in judged_before]
    preload([file for room in rooms for file in matching(ROOMS[room][1])], BUILD / "preload.txt")
    tests = tests_of(rooms)
    with kept.open("a") as file:
        left = len(todo)

        def tell(mutant, verdict):
            nonlocal left
            left -= 1
            if left % 50 == 0:
                print(f"{left} left", file=sys.stderr)
            results[digest(mutant["source"])] = verdict
            print(json.dumps([digest(mutant["source"]), verdict]), file=file, flush=True)

        Bench(told.jobs).judge(todo, tests, tell)
    alive = [mutant for mutant in mutants if results.get(digest(mutant["source"])) in {"alive", "unknown"}]
    alive.sort(key=lambda mutant: (mutant["path"], mutant["lines"]))
    (BUILD / "alive.txt").write_text("\n\n".join(map(changed, alive)) + "\n")
    print(table(mutants, results))


if __name__ == "__main__":
    main()
