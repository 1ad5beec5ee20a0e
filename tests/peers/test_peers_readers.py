"""DuckDB, datasette and SQLite's shell read a checkpoint while batchchat writes to it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import pytest
from peers.places import needed, python_of, surroundings
from resume_readers import Readers

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

ROWS = 3000


def test_programs_of_others_read_while_a_run_writes(tmp_path, simulator):
    """Each reads the whole again and again: nobody is told that it is locked, and the run ends with every row."""
    needed("sqlite3", "SQLite's shell")
    python = python_of("readers")
    sim = simulator(latency=0.02)
    table = tmp_path / "t.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], *([f"prompt {n}"] for n in range(ROWS))])
    words = ["run", str(table), "--base-url", sim.base_url, "-m", "sim", "-c", "8", "--json", "--quiet"]
    command = [sys.executable, "-m", "batchchat", *words]
    checkpoint = tmp_path / "t.completions.csv.batchchat"
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings())
    while not checkpoint.exists() or sim.stats()["answered"] < 100:
        assert process.poll() is None
    with Readers(checkpoint, str(python)) as readers:
        out, err = process.communicate(timeout=200)
    assert (process.returncode, json.loads(out)["succeeded"]) == (0, ROWS), err
    assert sorted(readers.looks) == ["DuckDB", "datasette", "sqlite3"]
    assert min(readers.looks.values()) > 0, readers.looks
    assert (readers.locked, readers.wrong) == (0, [])
    again = subprocess.run(command, capture_output=True, text=True, env=surroundings(), check=False)
    assert (again.returncode, json.loads(again.stdout)["requests"]) == (0, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.completions.csv", checkpoint.name, "t.csv"]
