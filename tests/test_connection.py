"""The way to the endpoint is opened when something is to be sent, and not before."""

from __future__ import annotations

import csv
import shlex
import sys
from importlib import util

import pytest

from batchchat.api import execute
from batchchat.errors import EndpointDown, UsageError
from batchchat.events import Observer
from batchchat.job import resolve


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "t.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], ["one"], ["two"]])
    return source


def run(source, **options):
    return execute(resolve(options, input=str(source), environ={}), observer=Observer())


def test_a_finished_job_starts_no_model(table, simulator, monkeypatch):
    """The embedded model is started for a row that is to be sent, not for a job whose rows are all answered."""
    weights = table.with_name("broken.gguf")
    weights.write_bytes(b"GGUF and nothing more")  # it is taken, and cannot be started
    monkeypatch.setattr(util, "find_spec", lambda name: name)
    model = f"local:{weights}"
    assert run(table, base_url=simulator().base_url, model=model).status == 0

    again = run(table, model=model)

    assert (again.status, again.requests, again.reused) == (0, 0, 2)
    with table.open("a", encoding="utf-8") as file:
        file.write("three\n")
    with pytest.raises(EndpointDown, match="did not start"):
        run(table, model=model)


def test_a_model_that_is_not_installed_is_told_before_anything(table, monkeypatch):
    """Where the embedded model is not there, no checkpoint is begun."""
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed"):
        run(table, model="local")
    assert [path.name for path in table.parent.iterdir()] == ["t.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="a command of another shell")
def test_a_finished_job_asks_for_no_key(table, simulator):
    """The command that prints the key is run for requests alone."""
    sim, asked = simulator(want_key=True), table.with_name("asked")
    options = {
        "base_url": sim.base_url,
        "model": "sim",
        "api_key_command": f"echo x >> {shlex.quote(str(asked))}; echo k",
    }
    assert run(table, **options).status == 0
    assert run(table, **options).status == 0
    assert asked.read_text() == "x\n"
