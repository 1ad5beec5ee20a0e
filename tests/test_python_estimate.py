"""`batchchat.estimate`: what a call of `batchchat.run` would take, for data in memory and for paths."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import batchchat
from batchchat.cli import app

TEXTS = [f"review number {n}" for n in range(40)]
PRICED = {"price": "input=1,output=2", "max_tokens": 50}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BATCHCHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def to(sim, **options):
    return {"base_url": sim.base_url, "model": "sim", "concurrency": 4, **PRICED, **options}


def asked(sim) -> int:
    return sim.stats()["received"]


@pytest.mark.parametrize("kind", [pd.DataFrame, pa.table, "path"])
def test_it_says_what_the_command_line_says(simulator, kind, capsys):
    """A DataFrame, a Table and a file of the same rows have the same estimate; nothing is sent, and nothing written."""
    sim = simulator()
    pd.DataFrame({"prompt": TEXTS}).to_csv("t.csv", index=False)
    before = sorted(Path().iterdir())
    found = batchchat.estimate("t.csv" if kind == "path" else kind({"prompt": TEXTS}), **to(sim))
    words = ["--base-url", sim.base_url, "-m", "sim", "-c", "4", "--max-tokens", "50", "--price", PRICED["price"]]
    assert app.entry(["estimate", "t.csv", *words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    same = set(told) - {"input", "checkpoint", "notes"}
    assert {name: found.as_dict()[name] for name in same} == {name: told[name] for name in same}
    assert (found.rows, found.answered, found.to_send, found.unsendable) == (40, 0, 40, 0)
    assert found.cost_usd.high == Decimal(2 * 50 * 40) / 10**6 + found.prompt_tokens.high * Decimal(1) / 10**6
    assert asked(sim) == 0
    assert sorted(Path().iterdir()) == before


def test_the_result_is_frozen_and_prints_as_a_table(simulator):
    """Its numbers cannot be changed by accident; printed, it is the table of the command, with options as keywords."""
    found = batchchat.estimate(pd.DataFrame({"prompt": TEXTS}), base_url=simulator().base_url, model="sim")
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.rows = 3
    assert str(found).startswith("data in memory: 40 rows, 40 to send\n")
    assert "tokens in" in str(found)
    assert "--" not in str(found)
    assert any("price=" in note for note in found.notes)
    assert repr(found) == "<batchchat.Estimate: 40 of 40 rows to send, expected cost unknown>"
    assert "<pre>data in memory" in found._repr_html_()


def test_a_sample_is_sent_once_and_kept_for_the_run(simulator):
    """With sample= so many rows are asked, the estimate learns from them, and the run does not ask them again."""
    sim = simulator(tokens=7)
    frame = pd.DataFrame({"prompt": TEXTS})
    found = batchchat.estimate(frame, sample=10, **to(sim))
    assert asked(sim) == 10
    assert (found.answered, found.to_send, found.learned_from) == (10, 30, 10)
    assert found.completion_tokens.expected == 7 * 30
    assert found.paid_usd > 0
    assert batchchat.estimate(frame, sample=10, **to(sim)).learned_from == 10
    assert asked(sim) == 10
    assert batchchat.run(frame, **to(sim)).error.isna().all()
    assert asked(sim) == 40
    after = batchchat.estimate(frame, **to(sim))
    assert (after.answered, after.to_send) == (40, 0)
    assert Path(after.checkpoint).exists()


def test_a_sample_of_a_path_is_kept_too(simulator):
    """A path may have a sample here, though a run of one has no trials."""
    sim = simulator()
    pd.DataFrame({"prompt": TEXTS}).to_csv("t.csv", index=False)
    found = batchchat.estimate("t.csv", sample=5, seed_rows=3, **to(sim))
    assert (found.to_send, asked(sim)) == (35, 5)
    batchchat.run("t.csv", **to(sim))
    assert asked(sim) == 40


def test_a_sample_is_drawn_among_the_rows_that_are_chosen(simulator):
    """With where= the rows that the estimate learns from are those that were sent."""
    sim = simulator()
    frame = pd.DataFrame({"prompt": TEXTS, "lang": ["en", "de"] * 20})
    found = batchchat.estimate(frame, sample=8, where="lang == 'de'", **to(sim))
    assert (asked(sim), found.learned_from, found.to_send) == (8, 8, 12)


def test_other_settings_are_another_estimate(simulator):
    """Data in memory have a checkpoint for each prompt: an estimate of another finds nothing in its way."""
    sim = simulator()
    frame = pd.DataFrame({"prompt": TEXTS})
    batchchat.run(frame, **to(sim))
    found = batchchat.estimate(frame, prompt="Other: {{ prompt }}", **to(sim))
    assert found.to_send == 40
    assert not any("restart" in note for note in found.notes)


def test_it_works_where_a_loop_is_running(simulator):
    """In a notebook the sample is sent though a loop runs in this thread."""

    async def cell():
        return batchchat.estimate(pd.DataFrame({"prompt": TEXTS}), sample=3, **to(simulator()))

    assert asyncio.run(cell()).learned_from == 3


def test_a_sample_that_is_stopped_says_why(simulator):
    """Where the endpoint refuses the key, that is raised, as of a run."""
    with pytest.raises(batchchat.KeyRefused) as caught:
        batchchat.estimate(pd.DataFrame({"prompt": TEXTS}), sample=3, **to(simulator(want_key=True)))
    assert caught.value.checkpoint


def test_what_is_wrong_is_told_in_words_of_python(simulator):
    """A misspelt column and a missing model are usage errors, without a key being asked for."""
    frame = pd.DataFrame({"prompt": TEXTS})
    with pytest.raises(batchchat.UsageError, match="did you mean 'prompt'"):
        batchchat.estimate(frame, prompt="{{ promt }}", model="gpt-4.1-mini")
    with pytest.raises(batchchat.UsageError, match="name one with model="):
        batchchat.estimate(frame)
    with pytest.raises(batchchat.UsageError, match="OPENAI_API_KEY"):
        batchchat.estimate(frame, model="gpt-4.1-mini", sample=3)
    assert batchchat.estimate(frame, model="gpt-4.1-mini", max_tokens=5).price is not None
