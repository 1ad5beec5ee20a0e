"""What a checkpoint of a million rows costs: resuming it, asking it how far it is, reading it while a run writes to it.

    python benchmarks/resume.py [--rows 1000000] [--rounds 5] [--formats parquet,csv] [--flips 10] [--readers PYTHON]

Out: Markdown tables on stdout; progress on stderr. The checkpoint is written by batchchat's own code, all but its last
hundredth; a run against the simulator finishes it. Then, in interleaved rounds, each in a process of its own:

* a bare scan: the column that the template names, as Python texts, by pyarrow's `iter_batches` or the csv module;
* the finished job run again, which finds that nothing is left;
* the unfinished job, up to its first POST: a server here notes when that comes, and what the run had taken until then.

CPU is user and system time without start-up, which is measured by itself in every round (the same over one row); the
figures are medians. Then bytes of the checkpoint are changed, one at a time, and the table is exported: what was
changed is found, or the export is as it was. At last a run adds the last hundredth, slowly, while others look:
`batchchat status`, the shell `sqlite3`, and with `--readers`, an interpreter that has duckdb,
duckdb-extension-sqlite-scanner and datasette, those two.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median

from resume_job import Job, batchchat, say, simulator, until_first_post, write_job, write_table
from resume_readers import Readers
from rounds import Cost, environment, measured

SCANS = {
    "parquet": (
        "import sys, pyarrow.parquet as pq\n"
        "for batch in pq.ParquetFile(sys.argv[1]).iter_batches(columns=['text']): batch.column(0).to_pylist()"
    ),
    "csv": (
        "import sys, csv\n"
        "with open(sys.argv[1], newline='', encoding='utf-8') as file:\n"
        "    rows = csv.reader(file); at = next(rows).index('text')\n"
        "    for row in rows: row[at]"
    ),
}
ASIDE = "http://127.0.0.1:1/v1"  # a finished job asks nobody


class Scene:
    """Jobs of one format: finished, with the last hundredth to do, and of one row."""

    def __init__(self, folder: Path, form: str, rows: int) -> None:
        self.form, self.rows, self.pending = form, rows, max(1, rows // 100)
        self.finished, self.unfinished, self.one, self.one_unfinished = (
            Job(table=folder / f"{form}-{name}" / f"reviews.{form}")
            for name in ("finished", "unfinished", "one", "one-unfinished")
        )
        self._make()

    def _make(self) -> None:
        for job in (self.finished, self.unfinished, self.one, self.one_unfinished):
            job.table.parent.mkdir()
        say(f"{self.form}: writing the table and the checkpoint")
        # In a process of its own: what a child takes at most would begin with what its parent has.
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
            other.submit(write_job, self.finished, self.rows, self.pending).result()
        shutil.copyfile(self.finished.table, self.unfinished.table)
        shutil.copyfile(self.finished.checkpoint, self.unfinished.checkpoint)
        for job in (self.one, self.one_unfinished):
            write_table(job.table, 1)
        say(f"{self.form}: finishing the job")
        with simulator() as base_url:
            for job in (self.finished, self.one):
                measured(job.command(base_url, "--quiet"))

    def round(self) -> dict[str, Cost]:
        """Each process once, without its start-up."""
        scan = [sys.executable, "-c", SCANS[self.form]]
        return {
            "scan": measured([*scan, str(self.finished.table)]) - measured([*scan, str(self.one.table)]),
            "finished": measured(self.finished.command(ASIDE, "--quiet"))
            - measured(self.one.command(ASIDE, "--quiet")),
            "unfinished": until_first_post(self.unfinished) - until_first_post(self.one_unfinished),
        }


def resume_table(scenes: list[Scene], rounds: int) -> list[str]:
    """CPU seconds, their ratios, and the largest memory."""
    lines = [
        "| table | bare scan | finished: nothing left | | last 1 % unfinished: to the first POST | | peak memory |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for scene in scenes:
        found = []
        for number in range(rounds):
            found.append(scene.round())
            told = ", ".join(f"{name} {cost.cpu:.2f} s" for name, cost in found[-1].items())
            say(f"{scene.form}, round {number + 1} of {rounds}: {told}")
        cpu = {name: median(one[name].cpu for one in found) for name in found[0]}
        wall = {name: median(one[name].wall for one in found) for name in found[0]}
        ratio = {name: median(one[name].cpu / one["scan"].cpu for one in found) for name in found[0]}
        peak = max(one[name].peak for one in found for name in ("finished", "unfinished"))
        cells = [f"{scene.form}, {scene.rows:,} rows", f"{cpu['scan']:.2f} s"]
        for name in ("finished", "unfinished"):
            cells += [f"{cpu[name]:.2f} s ({wall[name]:.2f} s of the clock)", f"**{ratio[name]:.2f}**"]
        lines.append(f"| {' | '.join(cells)} | {peak:.0f} MB |")
    return lines


def flips_table(scene: Scene, flips: int) -> list[str]:
    """Each byte that was changed alone, and what an export then said."""
    job = scene.finished
    calm, content = digest(job.output), job.checkpoint.read_bytes()
    draw, found = random.Random(flips), {"damaged": 0, "the same table": 0}
    for number in range(flips):
        at, change = draw.randrange(len(content)), 1 << draw.randrange(8)
        with job.checkpoint.open("r+b") as file:
            file.seek(at)
            file.write(bytes([content[at] ^ change]))
        other = job.output.with_name(f"export{job.output.suffix}")
        command = batchchat("export", str(job.checkpoint), "-o", str(other))
        ran = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
        with job.checkpoint.open("r+b") as file:
            file.seek(at)
            file.write(content[at : at + 1])
        if ran.returncode == 1 and "is damaged" in ran.stderr:
            found["damaged"] += 1
        elif ran.returncode == 0 and digest(other) == calm:
            found["the same table"] += 1
        else:
            sys.exit(f"byte {at} ^ {change}: exit {ran.returncode}, another table: {ran.stderr}")
        other.unlink(missing_ok=True)
        say(f"{scene.form}, flip {number + 1} of {flips}: byte {at:,}: exit {ran.returncode}")
    told = ", ".join(f"{count} times {what}" for what, count in found.items())
    return [f"{flips} bytes changed, one at a time, of {len(content) >> 20} MB, and exported: {told}, never another."]


def looked_at(scene: Scene, python: str | None) -> list[str]:
    """`status`, then other programs too, while a run adds the last hundredth to the checkpoint."""
    job = scene.unfinished
    with ExitStack() as stack:
        base_url = stack.enter_context(simulator("--latency", "0.05"))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        run = subprocess.Popen(job.command(base_url), env=environment(), **pipes)
        alone = asked_how_far(job, run, looks=10)
        readers = stack.enter_context(Readers(job.checkpoint, python))
        among = asked_how_far(job, run, looks=1000)
        out, err = run.communicate()
    if run.returncode != 0 or json.loads(out)["succeeded"] != scene.rows:
        sys.exit(f"exit {run.returncode}: {out}{err}")
    with closing(sqlite3.connect(job.checkpoint)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM results WHERE answered").fetchone() == (scene.rows,)
    assert digest(job.output) == digest(scene.finished.output)
    start = median(measured([sys.executable, "-c", "pass"]).wall for _ in range(9))
    told = ", ".join(f"{name} {count} times" for name, count in readers.looks.items())
    ended = f"{readers.locked} times locked, {len(readers.wrong)} other errors"
    asked = f"`status` beside the run: {said_of(alone)}; among the readers: {said_of(among)}."
    same = "the run ended with every row, and its output is that of the undisturbed job"
    return [
        f"{asked} An interpreter that does nothing takes {start:.2f} s.\n",
        f"Read through meanwhile by {told}: {ended}; {same}.",
    ]


def asked_how_far(job: Job, run: subprocess.Popen[str], *, looks: int) -> list[Cost]:
    """What `status` takes, so many times, while the run writes."""
    found: list[Cost] = []
    command = batchchat("status", str(job.checkpoint), "--json")
    while run.poll() is None and len(found) < looks:
        facts = json.loads(subprocess.run(command, env=environment(), capture_output=True, check=True).stdout)
        cost = measured(command)
        if run.poll() is None and facts["running"] and facts["succeeded"] > facts["rows"] * 0.99:
            found.append(cost)
        time.sleep(0.2)
    return found


def said_of(costs: list[Cost]) -> str:
    if not costs:
        return "never asked, the run was too short"
    wall, cpu = (sorted(getattr(cost, name) for cost in costs) for name in ("wall", "cpu"))
    return f"{median(wall):.2f} s ({median(cpu):.2f} s of the processor), at most {wall[-1]:.2f} s, of {len(costs)}"


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--formats", default="parquet,csv")
    parser.add_argument("--flips", type=int, default=10)
    parser.add_argument("--readers", help="an interpreter that has duckdb and datasette")
    parser.add_argument("--folder", help="where the jobs are made (default: a temporary folder)")
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=said.folder) as folder:
        scenes = [Scene(Path(folder), form, said.rows) for form in said.formats.split(",")]
        print("\n".join(resume_table(scenes, said.rounds)), flush=True)
        if said.flips:
            print("", *flips_table(scenes[0], said.flips), sep="\n", flush=True)
        print("", *looked_at(scenes[0], said.readers), sep="\n", flush=True)
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    print(f"\n{machine}, SQLite {sqlite3.sqlite_version}, pyarrow {version('pyarrow')}.")


if __name__ == "__main__":
    main()
