"""`export`, and outputs that are safe to open in a spreadsheet: at the command line, in job files and in Python."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import threading
import time
from pathlib import Path

import pandas as pd
import pytest

import batchchat
from batchchat.cli import app

FORMULA = "=HYPERLINK(1)"


@pytest.fixture(autouse=True)
def _place(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call(capsys):
    def call(*words):
        status = app.entry([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


def write(*prompts, name="t.csv"):
    with Path(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "prompt"], *((f"{n:03}", text) for n, text in enumerate(prompts, 1))])
    return name


def completions(path="t.completions.csv"):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [row["completion"] for row in csv.DictReader(file)]


def words_for(sim, *more):
    return ("run", "t.csv", "--base-url", sim.base_url, "-m", "sim", *more)


def test_safe_csv_is_asked_for(call, simulator):
    """Without --safe-csv an answer is written as it came; with it a formula is not run; asking costs no request."""
    sim = simulator(text="echo")
    write(FORMULA, "plain")
    assert call(*words_for(sim))[0] == 0
    assert completions() == [FORMULA, "plain"]
    assert call(*words_for(sim, "--safe-csv"))[0] == 0
    assert completions() == [f"'{FORMULA}", "plain"]
    assert call(*words_for(sim, "--no-safe-csv"))[0] == 0
    assert completions() == [FORMULA, "plain"]
    assert sim.stats()["received"] == 2


def test_an_export_may_be_safe(call, simulator):
    """`export --safe-csv` makes one table safe; a job that is safe exports so, unless it is told not to."""
    sim = simulator(text="echo")
    write(FORMULA)
    assert call(*words_for(sim))[0] == 0
    assert call("export", "t.csv", "-o", "safe.csv", "--safe-csv")[0] == 0
    assert (completions("safe.csv"), completions()) == ([f"'{FORMULA}"], [FORMULA])
    assert call("resume", "t.csv", "--safe-csv")[0] == 0
    assert completions() == [f"'{FORMULA}"]
    assert call("export", "t.csv", "-o", "kept.tsv")[0] == 0
    assert f"\t'{FORMULA}\t" in Path("kept.tsv").read_text()
    assert call("export", "t.csv", "-o", "raw.csv", "--no-safe-csv")[0] == 0
    assert completions("raw.csv") == [FORMULA]
    assert call("export", "t.csv", "-o", "o.jsonl")[0] == 0
    assert json.loads(Path("o.jsonl").read_text())["completion"] == FORMULA


def test_a_job_file_may_be_safe(call, simulator):
    """`safe_csv` of [job] is the option; --no-safe-csv is nearer."""
    sim = simulator(text="echo")
    write(FORMULA)
    Path("j.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "sim"\n[endpoint]\nbase_url = "{sim.base_url}"\n[job]\nsafe_csv = true\n'
    )
    assert call("run", "j.toml")[0] == 0
    assert completions() == [f"'{FORMULA}"]
    assert call("run", "j.toml", "--no-safe-csv")[0] == 0
    assert completions() == [FORMULA]


def test_python_may_be_safe(simulator):
    """`safe_csv=True` is of the file; the table that is returned has the answers as they came."""
    sim = simulator(text="echo")
    told = {"base_url": sim.base_url, "model": "sim", "prompt": "{{ a }}"}
    found = batchchat.run(pd.DataFrame({"a": [FORMULA]}), output="o.csv", safe_csv=True, **told)
    assert found["completion"].tolist() == [FORMULA]
    assert completions("o.csv") == [f"'{FORMULA}"]


def test_an_export_does_not_replace_an_edited_output(call, simulator):
    """A published output that a person edited is kept; the message names an option that export has."""
    sim = simulator()
    write("one", "two")
    assert call(*words_for(sim))[0] == 0
    whole = Path("t.completions.csv").read_bytes()
    Path("t.completions.csv").write_bytes(whole + b"mine\n")
    status, _, err = call("export", "t.csv")
    assert status == 2
    assert "was changed since it was published; nothing was written. --overwrite" in err
    assert Path("t.completions.csv").read_bytes() == whole + b"mine\n"
    assert call("export", "t.csv", "--overwrite")[0] == 0
    assert Path("t.completions.csv").read_bytes() == whole


@pytest.mark.parametrize("damage", ["beginning", "middle", "empty", "other"])
def test_a_damaged_checkpoint_elsewhere_is_damage_to_every_command(call, simulator, damage):
    """Whatever its name, a damaged checkpoint is exit 1 with what to do; it is not changed, and nothing is sent."""
    sim = simulator()
    write("one", "two")
    assert call(*words_for(sim, "--checkpoint", "kept.db"))[0] == 0
    content = bytearray(Path("kept.db").read_bytes())
    if damage in {"beginning", "middle"}:
        at = 0 if damage == "beginning" else 4096
        content[at : at + 64] = os.urandom(64)
    else:
        content = bytearray(b"" if damage == "empty" else b"a note of mine\n")
    Path("kept.db").write_bytes(content)
    for words in (
        words_for(sim, "--checkpoint", "kept.db"),
        ("resume", "kept.db"),
        ("status", "kept.db"),
        ("export", "kept.db", "-o", "o.csv"),
        ("rows", "kept.db"),
    ):
        status, _, err = call(*words)
        assert status == 1, (words, err)
        assert "kept.db" in err
        assert "--restart" in err
        assert Path("kept.db").read_bytes() == content
    assert sim.stats()["received"] == 2


@contextlib.contextmanager
def running(sim):
    """A run in a thread of this process, as long as the context lasts; its summary comes at the end."""
    found = []
    words = {"base_url": sim.base_url, "model": "sim", "concurrency": 2}
    thread = threading.Thread(target=lambda: found.append(batchchat.run("t.csv", **words)))
    thread.start()
    try:
        yield found
    finally:
        thread.join(60)


def test_export_and_status_of_a_job_that_runs_and_of_one_that_ended(call, simulator):
    """While a job runs, and after it, `export --json` and `status --json` say what there is, and disturb nothing."""
    sim = simulator(latency=0.02)
    rows = 60
    write(*(f"prompt {n}" for n in range(rows)), "slow @@latency=1.5")
    with running(sim) as ended:
        while sim.stats()["answered"] < rows // 2:
            time.sleep(0.01)
        status, out, _ = call("status", "t.csv", "--json")
        facts = json.loads(out)
        assert (status, facts["running"], facts["rows"]) == (0, True, rows + 1)
        status, out, _ = call("export", "t.csv", "-o", "far.csv", "--json")
        told = json.loads(out)
        assert (status, told["output"], told["rows"]) == (0, "far.csv", rows + 1)
        assert told["bytes"] == Path("far.csv").stat().st_size
        assert facts["succeeded"] <= sum(map(bool, completions("far.csv"))) < rows + 1
    assert ended == ["t.completions.csv"]
    facts = json.loads(call("status", "t.csv", "--json")[1])
    assert (facts["running"], facts["succeeded"], facts["pending"]) == (False, rows + 1, 0)
    told = json.loads(call("export", "t.csv", "-o", "far.csv", "--json")[1])
    assert Path("far.csv").read_bytes() == Path("t.completions.csv").read_bytes()
    assert told["rows"] == rows + 1
    assert sim.stats()["received"] == rows + 1
