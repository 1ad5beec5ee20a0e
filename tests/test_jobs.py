"""The job files under jobs/: each is valid, runs as it is, and stands beside its table and the table's source."""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchchat.cli import app
from batchchat.job import resolve

PROJECT = Path(__file__).resolve().parents[1]
JOBS = sorted((PROJECT / "jobs").glob("*.toml"))
README = (PROJECT / "jobs" / "README.md").read_text(encoding="utf-8")
SOURCES = (PROJECT / "jobs" / "data" / "SOURCES.md").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)


@pytest.fixture(params=JOBS, ids=lambda path: path.stem)
def job(request):
    return request.param


def rows_of(path):
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_there_is_one_for_labels_one_for_texts_and_one_for_languages():
    """Labelling, generation and many languages are shown."""
    assert [path.stem for path in JOBS] == ["label_reviews", "name_languages", "tell_morals"]


def test_it_needs_no_key_and_is_dry_run(job, capsys, tmp_path):
    """`run --dry-run` says what would be sent to the embedded model; nothing is sent or written."""
    there = sorted((PROJECT / "jobs").rglob("*"))
    output = tmp_path / "o.csv"
    assert app.entry(["run", str(job), "-o", str(output), "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["host"], plan["key"], plan["model"]) == ("this machine", None, "local")
    assert plan["to_send"] == plan["rows"] > 0
    assert sorted((PROJECT / "jobs").rglob("*")) == there
    assert not output.exists()


def test_it_runs(job, simulator, tmp_path):
    """Every row of the whole table makes a request, and its output is written."""
    suffix = Path(resolve({}, input=str(job), environ={}).output_path).suffix
    output = tmp_path / f"o{suffix}"
    words = ["-o", str(output), "--base-url", simulator().base_url, "--limit", "1000", "--quiet"]
    assert app.entry(["run", str(job), *words]) == 0
    found = pq.read_table(output).to_pylist() if suffix == ".parquet" else rows_of(output)
    rows = rows_of(resolve({}, input=str(job), environ={}).input)
    assert len(found) == len(rows)
    assert all(row["completion"] for row in found)
    assert [{name: row[name] for name in rows[0]} for row in found] == rows


def test_its_table_and_its_source_are_told(job):
    """The README names the job and its table, and SOURCES.md says where the table comes from."""
    table = Path(resolve({}, input=str(job), environ={}).input).name
    assert re.search(rf"^\| `{job.name}` \| .* \| `data/{table}` \|$", README, re.MULTILINE)
    assert re.search(rf"^## {table}$", SOURCES, re.MULTILINE)
    assert re.search(rf"^## data/{table}$", README, re.MULTILINE)


def test_its_outputs_are_no_part_of_the_repository(job):
    """What a run writes beside the table is passed by by git."""
    output = Path(resolve({}, input=str(job), environ={}).output_path).name
    suffix = output.partition(".")[2]
    assert f"/jobs/data/*.{suffix}" in (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_languages_are_those_that_may_be_answered():
    """The languages of the table are the words that the model may answer with."""
    job = resolve({}, input=str(PROJECT / "jobs" / "name_languages.toml"), environ={})
    allowed = job.request["response_format"]["json_schema"]["schema"]["properties"]["language"]["enum"]
    said = [row["language"] for row in rows_of(job.input)]
    assert sorted(set(said)) == allowed
    assert said[: job.rows.limit] == list(dict.fromkeys(said))


@pytest.mark.local
@pytest.mark.parametrize("name", ["tell_morals", "name_languages"])
def test_it_runs_on_the_embedded_model(name, tmp_path, capsys):
    """Two rows are answered as the job file says, by the model that ships."""
    words = ["-o", str(tmp_path / "o.csv"), "--limit", "2", "--json", "--quiet"]
    assert app.entry(["run", str(PROJECT / "jobs" / f"{name}.toml"), *words]) == 0
    assert json.loads(capsys.readouterr().out)["succeeded"] == 2
    completions = [row["completion"] for row in rows_of(tmp_path / "o.csv")]
    assert all(completions)
    if name == "name_languages":
        assert all(set(json.loads(text)) == {"language"} for text in completions)
