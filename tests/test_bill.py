"""The bill after a run: totals by model, attempts that brought nothing, what was saved; and where it is told."""

from __future__ import annotations

import csv
import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from batchchat.api import execute, job_status
from batchchat.checkpoint import open_journal
from batchchat.cli import app
from batchchat.errors import UsageError
from batchchat.events import Observer
from batchchat.job import resolve

PRICE = {"price": "input=0,output=1000", "max_tokens": 10}


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(*prompts):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])


def run(sim, **options):
    options = {"base_url": sim.base_url, "model": "sim", "concurrency": 1, **PRICE} | options
    return execute(resolve(options, input="t.csv", environ={}), observer=Observer())


def test_attempts_that_brought_nothing_are_on_the_bill(place, simulator):
    """A cut answer may have been billed: the attempt is counted, with the most that it can have cost."""
    sim = simulator(tokens=5)
    table("one", "@@cut*1 two", "three")
    bill = run(sim).bill
    assert (bill.attempts_for_nothing, bill.for_nothing_usd) == (1, Decimal("0.01"))
    assert bill.cost_usd == Decimal("0.015")
    assert job_status("t.csv").bill["paid_for_nothing"] == {"attempts": 1, "at_most_usd": 0.01}


def test_what_was_answered_before_is_saved(place, simulator):
    """Rows that the checkpoint answers are told with about what they would have cost again."""
    sim = simulator(tokens=5)
    table(*(f"p{n}" for n in range(4)))
    assert run(sim).bill.saved_rows == 0
    table(*(f"p{n}" for n in range(6)))
    bill = run(sim).bill
    assert (bill.saved_rows, bill.saved_usd, bill.cost_usd) == (4, Decimal("0.02"), Decimal("0.03"))


def test_each_model_that_answered_has_its_line(place, simulator):
    """Totals are by the model's own name, and their sum is the cost in the summary."""
    sim = simulator(tokens=5)
    table("one", "two", "three")
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    choice = {"index": 0, "message": {"role": "assistant", "content": "yes"}, "finish_reason": "stop"}
    sim.script([{"status": 200, "body": {"id": "x", "model": "sim-older", "choices": [choice], "usage": usage}}])
    summary = run(sim)
    lines = summary.bill.models
    assert {name: (line.rows, line.cost_usd) for name, line in lines.items()} == {
        "sim": (2, Decimal("0.01")),
        "sim-older": (1, Decimal("0.003")),
    }
    assert summary.cost_usd == Decimal("0.013")
    kept = job_status("t.csv")
    assert kept.cost_usd == 0.013
    assert kept.bill["models"]["sim-older"]["completion_tokens"] == 3


def test_a_price_for_long_prompts_is_of_each_row(place, simulator):
    """Row by row and by sums the bill is the same where each request has a price of its own."""
    sim = simulator(tokens=5)
    table(*(f"p{n}" for n in range(4)))
    assert run(sim, price="input=0,output=1000,request=0.5").bill.cost_usd == Decimal("2.02")


def test_what_is_not_known_is_null(place, simulator):
    """Without a price, or where one answer came without usage, there is no sum; counts are there all the same."""
    sim = simulator(tokens=5)
    table("one", "@@no-usage two")
    bill = run(sim).bill
    assert (bill.cost_usd, bill.saved_usd) == (None, None)
    assert bill.models["sim"].rows == 2
    sim2 = simulator(tokens=5)
    assert run(sim2, price=None, output="o.csv").bill.for_nothing_usd is None


def test_the_end_and_the_status_tell_it(place, simulator, capsys):
    """Lines at the end of a run and in `status`, where there is something to tell; --json keeps the contract's keys."""
    sim = simulator(tokens=5)
    table("one", "@@cut*1 two")
    words = ["t.csv", "--base-url", sim.base_url, "-m", "sim", "--price", "input=0,output=1000", "--max-tokens", "10"]
    assert app.entry(["run", *words]) == 0
    told = capsys.readouterr().err
    assert "paid for nothing, perhaps: 1 attempt that brought no answer (at most 0.01 USD)" in told
    assert "saved" not in told
    table("one", "@@cut*1 two", "three")
    assert app.entry(["run", *words, "--json"]) == 0
    found = capsys.readouterr()
    assert "saved: 0.01 USD for what was answered before" in found.err
    assert "bill" not in json.loads(found.out)
    app.entry(["status", "t.csv"])
    text = capsys.readouterr().out
    assert "paid for nothing" in text
    assert "2 rows, about 0.01 USD" in text
    app.entry(["status", "t.csv", "--json"])
    assert json.loads(capsys.readouterr().out)["bill"]["saved"]["rows"] == 2


def test_a_trial_keeps_the_bill_of_the_job(place, simulator):
    """A trial after a run does not wipe what the run has cost from the status."""
    sim = simulator(tokens=5)
    table("one", "two")
    run(sim)
    run(sim, rows="1", temperature=0.5)
    assert job_status("t.csv").cost_usd == 0.01
    with pytest.raises(UsageError):
        run(sim, temperature=0.7)


def test_a_bill_that_is_kept_is_the_one_that_would_be_counted(place, simulator):
    """Run again, the job has the same bill; each change of it, of its rows or of its limit makes another."""
    sim = simulator(tokens=5)
    prompts = ["one", "two", "@@cut*1 three", "four", "@@tokens=9 five"]

    def fresh(**options):
        """The same without what was kept."""
        journal = open_journal("t.completions.csv.batchchat")
        journal.set_header(counted=None)
        journal.close()
        return run(sim, **options)

    table(*prompts)
    first = run(sim)
    for prompts_now, options in [
        (prompts, {}),
        (prompts, {"limit": 3}),
        (prompts[::-1], {}),
        ([*prompts, "six"], {"limit": 2}),
        ([*prompts, "six"], {}),
        (["changed", *prompts], {}),
    ]:
        table(*prompts_now)
        run(sim, **options)
        again = run(sim, **options)
        counted = fresh(**options)
        assert again.requests == counted.requests == 0
        assert (again.bill, again.cut) == (counted.bill, counted.cut)
    assert again.bill != first.bill
