"""Going on: what a second run of a job costs, whatever happened to its table, files and settings in between."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import batchchat
from batchchat.cli import app


@pytest.fixture(autouse=True)
def _place(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "job"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture
def sim(simulator):
    return simulator(text="echo")


@pytest.fixture
def run(capsys, sim):
    """A command; its summary, its status and what it told, and how many requests came of it."""

    def run(*words, command="run", to=True):
        before = sim.stats()["received"]
        where = ("--base-url", sim.base_url, "-m", "sim", "-c", "4") if to else ()
        status = app.entry([command, *map(str, words), *where, "--json"])
        told = capsys.readouterr()
        summary = json.loads(told.out) if told.out else None
        return summary, status, told.err, sim.stats()["received"] - before

    return run


def write(*prompts, name="t.csv"):
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "prompt"], *((f"{n:03}", text) for n, text in enumerate(prompts, 1))])


def completions(path="t.completions.csv"):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [row["completion"] for row in csv.DictReader(file)]


def test_equal_rows_are_paid_for_one_by_one(run):
    """Of equal rows each has an answer of its own: one more costs one, fewer cost none, and a move costs none."""
    for prompts, cost in [
        (["same", "other", "same"], 3),
        (["same", "same", "other"], 0),
        (["other", "same", "same", "same"], 1),
        (["same", "other"], 0),
        (["same", "same", "same", "other"], 0),
        (["same", "new", "same", "same", "same", "other"], 2),
    ]:
        write(*prompts)
        summary, status, _, sent = run("t.csv")
        assert (status, sent, summary["requests"]) == (0, cost, cost)
        assert completions() == prompts


def test_a_restart_says_where_the_old_answers_are(run):
    """`--restart` sends every row again, and prints the name under which the old checkpoint is kept, whole."""
    write("one", "two")
    run("t.csv")
    _, status, said, sent = run("t.csv", "--restart")
    assert (status, sent) == (0, 2)
    (aside,) = re.findall(r"the old checkpoint is kept as (\S+)", said)
    assert Path(aside).exists()
    facts, status, _, _ = run(aside, command="status", to=False)
    assert (status, facts["succeeded"]) == (0, 2)


def test_files_that_move_together_stay_a_job(run, monkeypatch):
    """A folder that was moved goes on where it was: by `resume` as by the same command, and nothing is sent again."""
    write("one", "two", "@@quota three")
    _, status, _, _ = run("t.csv", "-c", "1")
    assert status == 1
    moved = Path.cwd().with_name("moved")
    shutil.move(Path.cwd(), moved)
    monkeypatch.chdir(moved)
    write("one", "two", "three")
    summary, status, _, sent = run("t.completions.csv", command="resume", to=False)
    assert (status, sent, summary["reused"], summary["output"]) == (0, 1, 2, str(moved / "t.completions.csv"))
    assert run("t.csv")[1::2] == (0, 0)
    assert completions() == ["one", "two", "three"]


def test_a_checkpoint_may_lie_elsewhere(run, tmp_path):
    """With --checkpoint the answers are in that file, and every command takes it as the job."""
    write("one", "two")
    kept = tmp_path / "kept.db"
    assert run("t.csv", "--checkpoint", kept)[1] == 0
    assert sorted(path.name for path in Path().iterdir()) == ["t.completions.csv", "t.csv"]
    assert run("t.csv", "--checkpoint", kept)[3] == 0
    facts, status, _, _ = run(kept, command="status", to=False)
    assert (status, facts["succeeded"], facts["checkpoint"]) == (0, 2, str(kept))
    assert run(kept, "-o", "far.csv", command="export", to=False)[1] == 0
    assert completions("far.csv") == ["one", "two"]
    summary, status, _, sent = run(kept, command="resume", to=False)
    assert (status, sent, summary["reused"]) == (0, 0, 2)


def test_another_format_comes_of_the_same_checkpoint(run):
    """An output in another format, over the checkpoint that is there, costs nothing."""
    write("one", "two")
    assert run("t.csv", "--checkpoint", "c.batchchat")[3] == 2
    _, status, _, sent = run("t.csv", "--checkpoint", "c.batchchat", "-o", "o.parquet")
    assert (status, sent) == (0, 0)
    assert pq.read_table("o.parquet")["completion"].to_pylist() == ["one", "two"]


def test_a_table_exported_anew_with_most_rows_changed_is_asked_about(run):
    """Where most answered rows match no more, nothing is sent before somebody says so; --yes pays for those alone."""
    write(*(f"row {n}" for n in range(10)))
    run("t.csv")
    write("row 0", *(f"Row {n}" for n in range(1, 10)))
    _, status, said, sent = run("t.csv")
    assert (status, sent) == (2, 0)
    for words in ("9 of the 10 rows", "nothing was sent", "--yes", "--restart"):
        assert words in said
    assert run("t.csv", "--yes")[3] == 9


def test_a_job_file_that_changed_in_its_pool_is_the_same_job(run, sim):
    """Pool and limits of money change no request: nothing is refused, nothing is sent again."""
    write("one", "two")
    text = f'input = "t.csv"\n[request]\nmodel = "sim"\n[endpoint]\nbase_url = "{sim.base_url}"\n'
    Path("j.toml").write_text(text + "[pool]\nconcurrency = 2\n")
    assert run("j.toml", to=False)[1] == 0
    Path("j.toml").write_text(text + "[pool]\nconcurrency = 7\nrpm = 600\nmax_retries = 1\ntimeout = 9\n")
    summary, status, _, sent = run("j.toml", to=False)
    assert (status, sent, summary["reused"]) == (0, 0, 2)


def test_failed_rows_are_sent_again_when_it_is_said(run):
    """Run again, a row that failed stays failed and costs nothing; --retry-failed sends it, and it alone."""
    write("one", "@@400*1 two", "three")
    assert run("t.csv")[1::2] == (3, 3)
    assert run("t.csv")[1::2] == (3, 0)
    assert run("t.csv", "--retry-failed")[1::2] == (0, 1)
    assert completions() == ["one", "two", "three"]


def test_a_table_that_is_edited_meanwhile_gets_no_output(run, sim):
    """Edited while the job runs, the table has answers that may belong to other rows: nothing is published.

    They are kept, and the next run sends only what was edited.
    """
    write("one", "two", "three @@latency=1.5")
    stopped = []

    def work():
        try:
            batchchat.run("t.csv", base_url=sim.base_url, model="sim")
        except batchchat.JobStopped as error:
            stopped.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while sim.stats()["answered"] < 2:
        time.sleep(0.01)
    write("one", "edited", "three @@latency=1.5")
    thread.join(60)
    assert (stopped[0].stop_reason, "was changed while" in str(stopped[0])) == ("input", True)
    assert not Path("t.completions.csv").exists()
    summary, status, _, sent = run("t.csv")
    assert (status, sent, summary["reused"]) == (0, 1, 2)
    assert completions() == ["one", "edited", "three"]


@pytest.mark.parametrize("back", [False, True])
def test_equal_rows_share_what_two_settings_answered(run, back):
    """Answers of several settings that lost their rows go to rows that have none: nothing is paid for twice."""
    write("same", "@@400 same", "x")
    run("t.csv", "--limit", "1")
    write("same", "same", "x")
    assert run("t.csv", "--temperature", "0.5", "--keep-answered")[1::2] == (0, 2)
    write("x", "same", "same")
    words = () if back else ("--temperature", "0.5")
    assert run("t.csv", *words, "--keep-answered", "--yes")[1::2] == (0, 0)
    assert completions() == ["x", "same", "same"]
