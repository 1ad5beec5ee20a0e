"""A job on disk, run by the real command: its table, its files, what a run printed, what its checkpoint holds.

The checkpoint is looked at with SQLite itself, in a copy: nothing of batchchat takes part, and what a run left behind
stays as it left it.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

UNCLAIMED = 1 << 39
ROWS = (1 << 40) - 1
PATIENCE = 120.0


def prompts_of(rows, *, doubled=0.2, seed=0):
    """Prompts, a share of which stand in the table twice."""
    draw = random.Random(seed)
    texts = [f"Is review {number} good, or is it not?" for number in range(rows)]
    for again in draw.sample(range(rows), int(rows * doubled / 2)):
        texts[again] = texts[draw.randrange(rows)]
    draw.shuffle(texts)
    return texts


def write_table(path, prompts):
    """A CSV or Parquet table with columns that a careless tool would change."""
    columns = {
        "code": [f"{number:03d}" for number in range(len(prompts))],
        "prompt": list(prompts),
        "remark": [("NA", "", 'said "no", twice', "two\nlines", "π 🙂")[number % 5] for number in range(len(prompts))],
    }
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table(columns), path, row_group_size=500)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a run ended: its status as a shell shows it, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def summary(self):
        return json.loads(self.out)


class Job:
    """A table and the command that runs it.

    Args:
        folder: holds input, output and checkpoint.
        url: of the endpoint.
        prompts: one a row.
        suffix: of the table.
        concurrency: rows in flight.
        options: more words of the command line.
        checkpoint: where it lies, if not beside the output.
        output: a path elsewhere than in the folder.
    """

    def __init__(
        self, folder, url, prompts, *, suffix=".csv", concurrency=16, options=(), checkpoint=None, output=None
    ):
        self.folder = folder
        self.prompts = list(prompts)
        self.concurrency = concurrency
        self.input = folder / f"reviews{suffix}"
        self.output = output or folder / f"labels{suffix}"
        self.checkpoint = checkpoint or Path(f"{self.output}.batchchat")
        self.words = [str(self.input), "-o", str(self.output), "--base-url", url, "-m", "sim", "-c", str(concurrency)]
        self.words += ["--checkpoint", str(checkpoint)] if checkpoint else []
        self.words += [str(word) for word in options]
        folder.mkdir(parents=True, exist_ok=True)
        if not self.input.exists():
            write_table(self.input, self.prompts)

    def command(self, *more):
        return [sys.executable, "-m", "batchchat", "run", *self.words, "--json", *more]

    def start(self, *more, under=(), **how):
        """Start a run; `under` are the words of a program that runs it."""
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": surroundings(), **how}
        return subprocess.Popen([*under, *self.command(*more)], cwd=self.folder, **how)

    def run(self, *more, under=(), **how):
        """A whole run."""
        return ended(self.start(*more, under=under, **how))

    def call(self, *words):
        """Another command of batchchat, in the job's folder."""
        command = [sys.executable, "-m", "batchchat", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return ended(subprocess.Popen(command, cwd=self.folder.parent, env=surroundings(), **pipes))

    def leftovers(self):
        """Files that are neither input, output nor the one file of the checkpoint."""
        known = {self.input, self.output, self.checkpoint}
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.iterdir() if path not in known)

    def temporary(self):
        """Outputs that are being written, or that a kill left."""
        return list(self.output.parent.glob(".*.publishing"))

    def clear_temporary(self):
        for path in self.temporary():
            path.unlink()

    def stored(self):
        """By row, the answer that the checkpoint holds: what a reader would find who opened it now."""
        return stored_in(self.checkpoint)

    def digest(self):
        """The bytes of the output, None where there is none."""
        return self.output.read_bytes() if self.output.exists() else None


def ended(process):
    """Wait for a run; killed by a signal, its status is 128 and the number, as a shell has it."""
    out, err = process.communicate(timeout=PATIENCE)
    status = process.returncode
    return Ended(status=status if status >= 0 else 128 - status, out=out or "", err=err or "")


def surroundings(**more):
    """An environment in which nothing but what is named here says how a job runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BATCHCHAT", "OPENAI"))}
    return {**kept, "OPENAI_API_KEY": "sk-test-not-a-key", **more}


def stored_in(checkpoint):
    """Answers by row in a checkpoint that lies anywhere; of a copy, so that looking leaves no trace."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        for suffix in ("", "-wal", "-journal"):
            part = Path(f"{checkpoint}{suffix}")
            if part.exists():
                shutil.copyfile(part, f"{copy}{suffix}")
        if not copy.exists():
            return {}
        with closing(sqlite3.connect(copy)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'outcomes'").fetchone():
                return {}
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = database.execute(
                "SELECT id & ?, completion FROM outcomes WHERE answered AND (id & ?) = 0", (ROWS, UNCLAIMED)
            )
            return dict(rows.fetchall())


def wait_until(what, *, seconds=30.0, every=0.005):
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(every)


def child_of(process):
    """The process that strace runs: signals are for it, not for strace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
