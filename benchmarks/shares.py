"""Where the processor's time of a row goes, by library and by thread: the profile of docs/performance.md.

    python benchmarks/shares.py [--rows 20000] [--write docs/performance.md]

perf looks at a process a thousand times in each second that it has the processor. The looks at a short job are taken
off those at a longer one, so that start-up is not in it. What Python code costs by room shows in calls a row (work.py).
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import clients
import work
from bench import machine
from measures import table_of
from rounds import environment

START, END = "<!-- shares -->\n", "<!-- end of shares -->"
RATE = 997  # no divisor of anything that is done a hundred or a thousand times a second
FEWEST = 0.01
CLIENTS = {"batchchat": clients.batchchat, "bare loop": clients.bare}
LIBRARIES = (
    ("libpython", "Python itself"),
    ("python3.", "Python itself"),
    ("kernel", "the kernel: sockets, files"),
    ("libc.", "the C library"),
    ("sqlite", "SQLite"),
    ("libcrypto", "checksums and keys (OpenSSL)"),
    ("loop.", "uvloop"),
    ("_http_parser", "aiohttp's parser"),
    ("orjson", "orjson"),
    ("_csv", "the csv module"),
    ("arrow", "Arrow"),
)


def looks(command: list[str]) -> Counter[tuple[str, str]]:
    """How often perf found each thread in each library."""
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder, "data"))
        record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", str(RATE), "-o", data]
        subprocess.run([*record, *command], env=environment(), check=True, stdout=subprocess.DEVNULL)
        script = ["perf", "script", "-i", data, "-F", "pid,tid,ip,sym,dso"]
        said = subprocess.run(script, check=True, capture_output=True, text=True).stdout
    seen = re.findall(r"^ *(\d+)/(\d+) .*\(([^()]*)\)$", said, re.MULTILINE)
    others = sorted({int(tid) for pid, tid, _ in seen if tid != pid})
    names = {tid: ("reader", "committer")[place] if place < 2 else "other threads" for place, tid in enumerate(others)}
    return Counter((names.get(int(tid), "event loop"), library(dso)) for _, tid, dso in seen)


def library(dso: str) -> str:
    name = Path(dso).name
    return next((said for part, said in LIBRARIES if part in name), "others")


def a_row(name: str, rows: int, url: str) -> Counter[tuple[str, str]]:
    """Microseconds of one row more, by thread and library."""
    found = []
    for some in (rows // 10, rows):
        print(f"  {name}: {some} rows", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(dir=clients.BUILD) as folder:
            found.append(looks(CLIENTS[name](table_of(some, ".csv"), Path(folder, "out.csv"), url, 64)))
    few, many = found
    each = 1e6 / RATE / (rows - rows // 10)
    return Counter({key: (many[key] - few[key]) * each for key in many})


def summed(spent: Counter[tuple[str, str]], place: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, microseconds in spent.items():
        found[key[place]] += microseconds
    return found


def shown(rows: int) -> str:
    with clients.server() as url:
        spent = {name: a_row(name, rows, url) for name in CLIENTS}
    lines = []
    for what, place in (("library", 1), ("thread", 0)):
        ours, bare = (summed(spent[name], place) for name in CLIENTS)
        total = ours.total()
        lines += [f"| {what} | batchchat, µs a row | share | bare loop, µs a row |", "| --- | --- | --- | --- |"]
        for name, cost in ours.most_common():
            if cost >= FEWEST * total:
                lines.append(f"| {name} | {cost:.1f} | {cost / total:.0%} | {bare[name]:.1f} |")
        lines += [f"| all | {total:.0f} | | {bare.total():.0f} |", ""]
    calls = work.baseline() or {}
    lines += ["| room or library | calls a row |", "| --- | --- |"]
    lines += [f"| {name} | {count:.0f} |" for name, count in calls.items() if count >= FEWEST * calls["total"]]
    return "\n".join([*lines, "", f"Last measured on {machine()}."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page")
    chosen = parser.parse_args()
    if shutil.which("perf") is None:
        sys.exit("perf is not here: apt-get install linux-perf")
    table = shown(chosen.rows)
    print(table)
    if chosen.write:
        before, rest = chosen.write.read_text(encoding="utf-8").split(START)
        chosen.write.write_text(f"{before}{START}{table}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
