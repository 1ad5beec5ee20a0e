"""A job of the real command against a server of others, and what came of it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import dataclass

from peers.places import surroundings


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a run ended, what it summed up, and the rows of its output by their number."""

    status: int
    summary: dict
    rows: list
    err: str


def run_job(folder, url, *options, rows, model="mocked", **environment):
    """Ask one question a row, each its own."""
    source, output = folder / "questions.csv", folder / "answers.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["id", "prompt"], *([f"{n:04d}", f"What is number {n}?"] for n in range(rows))])
    command = [sys.executable, "-m", "batchchat", "run", source, "-o", output, "--base-url", url, "--json"]
    command += [] if model is None else ["-m", model]
    ran = subprocess.run(
        [str(word) for word in [*command, *options]],
        env=surroundings(**environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=1800,
    )
    assert ran.stdout, ran.stderr
    found = []
    if output.exists():
        with output.open(newline="") as file:
            found = list(csv.DictReader(file))
    return Ran(status=ran.returncode, summary=json.loads(ran.stdout), rows=found, err=ran.stderr)


def assert_whole(ran, rows):
    """Every row was answered, and stands in its place."""
    assert ran.status == 0, ran.err
    assert (ran.summary["succeeded"], ran.summary["failed"], ran.summary["pending"]) == (rows, 0, 0)
    assert [row["id"] for row in ran.rows] == [f"{n:04d}" for n in range(rows)]
    assert all(row["completion"] and not row["error"] for row in ran.rows)
