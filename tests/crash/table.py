"""The record of kills as a Markdown table in a page: `python tests/crash/table.py build/crash/kills.jsonl PAGE`.

Without a page the table is printed. In the page it stands between two marks, and replaces what stood there.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- kills: begin -->", "<!-- kills: end -->"
MOMENTS = {"answers": "a random number of answers", "time": "a random time"}


def moment(kill):
    """Where the run was killed, in words."""
    if kill["kind"] in MOMENTS:
        return MOMENTS[kill["kind"]]
    return f"`{kill['kind']}` of the {kill['place'] or 'other files'}"


def table(kills):
    """The kills by their moment, and what they cost."""
    groups = defaultdict(list)
    for kill in kills:
        groups[moment(kill)].append(kill["again"])
    lines = ["| killed at | kills | asked again, in all | most by one kill |", "| --- | ---: | ---: | ---: |"]
    for name, again in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        lines.append(f"| {name} | {len(again)} | {sum(again)} | {max(again)} |")
    again = [kill["again"] for kill in kills]
    lines.append(f"| **all** | **{len(again)}** | **{sum(again)}** | **{max(again)}** |")
    return "\n".join(lines)


def summary(kills):
    """A sentence before the table: what was killed, where, and on what machine."""
    calls = sum(kill["kind"] not in MOMENTS for kill in kills)
    jobs = len({kill["job"] for kill in kills})
    tables = ", ".join(
        f"{len({k['job'] for k in kills if (k['table'], k['stream']) == kind})} {kind[0][1:]}"
        f"{' streaming' if kind[1] else ''}"
        for kind in sorted({(kill["table"], kill["stream"]) for kill in kills})
    )
    pools = ", ".join(map(str, sorted({kill["concurrency"] for kill in kills})))
    return (
        f"{len(kills)} kills of {jobs} jobs ({tables}; {pools} at once), {calls} of them at system calls: "
        f"{len(kills)} of {len(kills)} resumed, 0 rows lost. A kill may cost the requests in flight and one group of "
        f"500.\n\nOn {datetime.now(UTC):%Y-%m-%d}: {platform.system()} {platform.machine()}, {os.cpu_count()} "
        f"processors, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}."
    )


def main():
    record, *page = map(Path, sys.argv[1:])
    kills = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    text = f"{summary(kills)}\n\n{table(kills)}"
    if not page:
        sys.stdout.write(text + "\n")
        return 0
    before, rest = page[0].read_text(encoding="utf-8").split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    page[0].write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
