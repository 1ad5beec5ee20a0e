"""`estimate`: it counts the rows that a run then sends, sends nothing but its sample, and says what its numbers are."""

from __future__ import annotations

import csv
import io
import json
import os
import random
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batchchat.api import compare_models, estimate_job, execute, expected_cost, send_sample
from batchchat.api.estimate.counting import PART, PROBE, Counting
from batchchat.api.input.table import open_table
from batchchat.api.kept.pending import Pending
from batchchat.cli import app
from batchchat.cli.counting import counting
from batchchat.cost.tokens import counter
from batchchat.errors import UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.serve import Simulator


@pytest.fixture
def place(tmp_path, monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(*prompts):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "prompt"], *([n, prompt] for n, prompt in enumerate(prompts))])
    return "t.csv"


def job_of(sim, source="t.csv", **options):
    options = {"base_url": sim.base_url, "model": "sim", "concurrency": 8} | options
    return resolve(options, input=source, environ={})


def run(sim, **options):
    return execute(job_of(sim, **options), observer=Observer())


def estimated(sim, **options):
    job = job_of(sim, **options)
    return estimate_job(job, sample=send_sample(job, observer=Observer()), progress=lambda _seen, _of: None)


def asked(sim):
    return sim.stats()["received"]


@pytest.fixture
def bc(capsys):
    def bc(*words):
        status = app.entry([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return bc


def test_nothing_is_sent_and_nothing_is_written(place, simulator):
    """Without --sample no request is made, no file appears, and no key is needed."""
    sim = simulator(want_key=True)
    table("one", "two", " ", "four")
    job = resolve({"base_url": sim.base_url, "model": "sim"}, input="t.csv", environ={}, need_key=False)
    found = estimate_job(job, sample=None, progress=lambda _seen, _of: None)
    assert (found.rows, found.answered, found.to_send, found.unsendable) == (4, 0, 3, 1)
    assert found.estimate.rows == 3
    assert asked(sim) == 0
    assert [path.name for path in place.iterdir()] == ["t.csv"]


def test_a_sample_is_paid_once_and_is_what_the_run_reuses(place, simulator):
    """--sample 10 sends ten, asked again none, and the run sends the other rows alone."""
    sim = simulator(tokens=40, tokens_sigma=0.5)
    table(*(f"row {n} " * 5 for n in range(60)))
    first = estimated(sim, sample=10, price="input=1,output=2")
    assert (first.answered, first.to_send, first.learned.rows, first.learned.requests) == (10, 50, 10, 10)
    again = estimated(sim, sample=10, price="input=1,output=2")
    assert (again.learned.requests, again.estimate) == (0, first.estimate)
    assert again.paid_usd == first.learned.cost_usd > 0
    assert estimated(sim, price="input=1,output=2").estimate == first.estimate
    summary = run(sim, price="input=1,output=2")
    assert (summary.requests, summary.reused, asked(sim)) == (50, 10, 60)
    rest = summary.cost_usd - first.paid_usd
    assert first.estimate.cost_usd.low <= rest <= first.estimate.cost_usd.high
    assert first.estimate.prompt_tokens.expected == pytest.approx(summary.prompt_tokens * 50 / 60, rel=0.05)


def test_other_seeds_draw_other_rows(place, simulator):
    """--seed-rows chooses the sample; rows that were drawn twice are not paid twice."""
    sim = simulator()
    table(*(f"row {n}" for n in range(40)))
    estimated(sim, sample=10, seed_rows=1)
    estimated(sim, sample=10, seed_rows=2)
    assert 10 < asked(sim) < 20
    assert sim.stats()["answered_again"] == 0


def test_a_sample_of_all_rows_leaves_nothing_to_estimate(place, simulator):
    """Where the sample is the table, the bill is known: nothing is to be sent."""
    sim = simulator()
    table("one", "two")
    found = estimated(sim, sample=50, price="input=1,output=2")
    assert (found.to_send, found.estimate.cost_usd.expected) == (0, 0)
    assert run(sim, price="input=1,output=2").requests == 0


def test_a_sample_keeps_to_the_budget(place, simulator):
    """--max-cost holds for the sample too: it stops, the estimate is made of what was answered, and the status is 1."""
    sim = simulator(tokens=50)
    table(*(f"p{n}" for n in range(40)))
    found = estimated(sim, sample=30, price="input=0,output=1000", max_tokens=50, max_cost="0.52", concurrency=1)
    assert (found.status, found.learned.rows) == (1, 10)
    assert "--max-cost" in found.message
    assert any("--max-cost 0.52 is not enough" in note for note in found.notes)
    assert sim.stats()["completion_tokens"] == 500


def test_failed_rows_of_a_sample_are_told(place, simulator):
    """Rows of the sample that failed teach nothing of lengths; the status is that of a trial."""
    sim = simulator()
    table(*("@@400 bad" if n % 4 == 0 else f"good {n}" for n in range(20)))
    found = estimated(sim, sample=20)
    assert (found.status, found.learned.rows, found.learned.failed) == (3, 15, 5)


edits = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30), st.integers(0, 12)),
        st.tuples(st.just("drop"), st.integers(0, 30), st.just(0)),
        st.tuples(st.just("edit"), st.integers(0, 30), st.integers(0, 12)),
        st.tuples(st.just("swap"), st.integers(0, 30), st.integers(0, 30)),
        st.tuples(st.just("sort"), st.just(0), st.just(0)),
    ),
    max_size=5,
)
ways = st.sampled_from(
    [
        {},
        {"limit": 6},
        {"retry": "failed"},
        {"restart": True},
        {"temperature": 0.5},
        {"yes": True},
    ]
)


def edited(prompts, steps):
    prompts = list(prompts)
    for what, place, another in steps:
        at, other = place % len(prompts), another % len(prompts)
        if what == "add":
            prompts.insert(at, f"p{another}")
        elif what == "drop" and len(prompts) > 1:
            del prompts[at]
        elif what == "edit":
            prompts[at] = f"p{another}"
        elif what == "swap":
            prompts[at], prompts[other] = prompts[other], prompts[at]
        elif what == "sort":
            prompts.sort()
    return prompts


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.tuples(edits, ways), min_size=1, max_size=3))
def test_what_is_to_send_is_what_the_run_sends(tmp_path_factory, rounds):
    """Whatever was edited, moved, dropped or asked to be retried, the rows that are counted are those that are sent."""
    home = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("job"))
    try:
        with Simulator() as sim:
            prompts = [f"p{n}" for n in range(10)] + ["@@400 bad", " "]
            for steps, way in [([], {}), *rounds]:
                prompts = edited(prompts, steps)
                table(*prompts)
                found = estimated(sim, **way)
                try:
                    summary = run(sim, **{**way, "yes": True})
                except UsageError:  # the settings changed: the estimate said so
                    assert any("--restart" in note for note in found.notes)
                    continue
                assert found.to_send == summary.requests, (prompts, way)
    finally:
        os.chdir(home)


def test_answers_that_are_kept_under_other_settings_count_though_their_rows_moved(place, simulator):
    """--keep-answered: rows with an answer of the earlier settings are not to be sent, wherever they stand now."""
    sim = simulator()
    table(*(f"p{n}" for n in range(10)), "@@400 bad")
    run(sim)
    table("new", "@@400 bad", *(f"p{n}" for n in range(9, -1, -1)))
    options = {"temperature": 0.5, "keep_answered": True}
    found = estimated(sim, **options)
    assert (found.answered, found.to_send) == (10, 2)
    assert run(sim, **options).requests == 2


def test_settings_that_a_run_would_refuse_are_told(place, simulator):
    """Other settings than the job began with: all rows are counted, and the ways on are named."""
    sim = simulator()
    table("one", "two", "three")
    run(sim)
    found = estimated(sim, temperature=0.5)
    assert found.to_send == 3
    assert any("--restart" in note and "--keep-answered" in note for note in found.notes)
    assert not any("--restart" in note for note in estimated(sim, temperature=0.5, rows="1,2").notes)


def test_a_job_that_runs_may_be_estimated(place, simulator):
    """The checkpoint is only read: an estimate needs no lock, and changes nothing in it."""
    sim = simulator()
    table(*(f"p{n}" for n in range(10)))
    assert run(sim, max_tokens=4, price="input=0,output=1000", max_cost="0.02").stop_reason == "budget"
    before = Path("t.completions.csv.batchchat").read_bytes()
    table(*(f"p{n}" for n in range(3, 10)), "p0", "new")
    found = estimated(sim, max_tokens=4, price="input=0,output=1000")
    assert (found.answered, found.to_send) == (3, 6) or found.answered + found.to_send == 9
    assert Path("t.completions.csv.batchchat").read_bytes() == before


def test_the_sample_tells_a_model_that_nobody_named(place, simulator):
    """With --sample the endpoint is asked which model it has, as run does; without, the error names -m."""
    sim = simulator(models=("solo",))
    table("one", "two", "three")
    assert estimated(sim, sample=2, model=None).model == "solo"
    with pytest.raises(UsageError, match="-m"):
        estimated(sim, model=None)


def test_the_limits_that_were_told_are_the_duration(place, simulator):
    """--rpm gives a duration without a sample; a sample's latencies and -c give another."""
    sim = simulator()
    table(*(f"p{n}" for n in range(60)))
    found = estimated(sim, rpm=60, max_tokens=5)
    assert (found.estimate.seconds.expected, found.estimate.bound_by) == (60, "rpm")
    assert estimated(sim, max_tokens=5).estimate.seconds.expected is None
    learned = estimated(sim, max_tokens=5, sample=10).estimate
    assert learned.bound_by == "concurrency"
    assert learned.seconds.expected > 0


def test_limits_that_a_run_found_are_the_duration(place, simulator):
    """What headers, refusals and latencies showed is kept with the job, and tells how long the rest takes."""
    sim = simulator(rpm=600, latency=0.05)
    table(*(f"p{n}" for n in range(60)))
    run(sim, limit=30, concurrency=None)
    found = estimated(sim, concurrency=None, max_tokens=None)
    assert found.estimate.bound_by == "rpm"
    assert 1.5 < found.estimate.seconds.expected < 30
    assert any("requests a minute, as the last run found" in note for note in found.notes)
    assert estimated(sim, rpm=60).estimate.seconds.expected == pytest.approx(30, abs=1)
    assert "as the last run found" not in " ".join(estimated(sim, rpm=60).notes)
    other = simulator()
    assert estimated(other, concurrency=None).estimate.bound_by != "rpm"


class Clock:
    """Time that goes on only when rows are looked at."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def counted(sim, rows, seconds_per_row, **options):
    job = job_of(sim, **options)
    opened = open_table(job)
    clock, tokens = Clock(), counter("gpt-4o-mini")

    def progress(seen, of):
        clock.now += seconds_per_row * 1024
        assert seen <= rows
        assert of == rows

    one = Counting(
        opened.dataset,
        lambda: Pending(job, opened.dataset, model="sim"),
        {tokens.name: tokens},
        progress=progress,
        clock=clock,
    )
    return one, tokens


def test_a_table_that_takes_minutes_is_counted_in_part(place, simulator):
    """Where all rows would take too long, a random part of the whole table is counted, and its error is told."""
    draw = random.Random(7)
    table(*("word " * draw.randrange(1, 40) for _ in range(20_000)))
    one, tokens = counted(simulator(), 20_000, 0.02)
    part = one.all(20_000)
    whole, _ = counted(simulator(), 20_000, 0.0)
    exact = whole.all(20_000)
    assert exact.share == 1 > part.share == pytest.approx(PART / (20_000 * 0.02), rel=0.2)
    assert exact.to_send == 20_000 == part.rows == part.to_send
    tally, truth = part.tallies[tokens.name], exact.tallies[tokens.name]
    assert 0.5 * part.share < tally.rows / 20_000 < 1.5 * part.share
    assert truth.error == 0 < tally.error < 0.06
    assert tally.tokens == pytest.approx(truth.tokens, rel=2 * tally.error)
    assert PROBE < PART


def test_a_part_of_a_job_that_is_half_done_counts_the_other_half(place, simulator):
    """What a part of the rows stands for is what is still to be sent."""
    sim = simulator()
    table(*(f"p{n}" for n in range(6000)))
    run(sim, limit=3000, concurrency=64)
    one, _ = counted(sim, 6000, 0.05)
    part = one.all(6000)
    assert part.share < 1
    assert (part.to_send, part.answered) == (3000, 3000)


def test_models_are_compared_over_the_same_rows(place, simulator):
    """--compare counts every row for every model, answered or not, with what is known of lengths from the job's own."""
    sim = simulator(tokens=7)
    table("one", "two", "three", " ")
    run(sim)
    job = job_of(sim, max_tokens=None)
    found = compare_models(job, ["gpt-4o-mini", "local", "nobody"], sample=None, progress=lambda _seen, _of: None)
    mini, local, nobody = found.models
    assert (found.rows, found.unsendable) == (3, 1)
    assert [one.estimate.completion_tokens.expected for one in found.models] == [21, 21, 21]
    assert mini.batch_cost.expected == pytest.approx(mini.estimate.cost_usd.expected / 2, abs=Decimal("0.000002"))
    assert (local.estimate.cost_usd.expected, local.batch_cost) == (0, None)
    assert nobody.estimate.cost_usd.expected is None
    assert asked(sim) == 3


def test_the_price_of_ones_own_server_stands_in_the_comparison(place, simulator):
    """--price is of the job's own model."""
    table("one")
    job = job_of(simulator(), price="input=1,output=1000", max_tokens=10)
    found = compare_models(job, ["sim", "gpt-4o-mini"], sample=None, progress=lambda _seen, _of: None)
    assert found.models[0].estimate.completion_cost.high == Decimal("0.01")
    assert found.models[0].batch_cost is None
    assert found.models[1].estimate.completion_cost.high == Decimal("0.000006")


def test_the_expected_cost_is_quick_and_of_the_rows_to_send(place, simulator):
    """For the header of a run: prompts and half of max_tokens, by the first rows; None where no price is known."""
    sim = simulator()
    table(*(f"row {n}" for n in range(100)))
    cost = expected_cost(job_of(sim, price="input=0,output=1000", max_tokens=10), to_send=100)
    assert (cost.low, cost.expected, cost.high) == (Decimal("0.1"), Decimal("0.5"), Decimal(1))
    assert expected_cost(job_of(sim, price="input=0,output=1000"), to_send=100).expected is None
    assert expected_cost(job_of(sim), to_send=100) is None
    assert expected_cost(job_of(sim, model=None, price="input=1,output=1"), to_send=100) is None
    run(sim, max_tokens=10, price="input=0,output=1000", limit=50)
    learned = expected_cost(job_of(sim, price="input=0,output=1000", max_tokens=10), to_send=50)
    assert learned.expected == pytest.approx(Decimal("0.5"), rel=Decimal("0.01"))


def test_the_command_prints_a_table_on_stdout(place, simulator, bc):
    """Rows, tokens, cost and time, each low, expected and high, with what the count is worth; nothing on stderr."""
    sim = simulator(tokens=30, tokens_sigma=0.5)
    table(*(f"row {n}" for n in range(100)))
    words = ("t.csv", "-m", "gpt-4o-mini", "--base-url", sim.base_url, "--price", "input=0.15,output=0.6")
    status, out, err = bc("estimate", *words, "--max-tokens", 50)
    assert (status, err) == (0, "")
    assert "t.csv: 100 rows, 100 to send" in out
    assert "exact (o200k_base)" in out
    assert "from max_tokens alone" in out
    assert asked(sim) == 0
    status, out, err = bc("estimate", *words, "--sample", 20)
    assert status == 0
    assert "20 answered already (" in out
    assert "from 20 answers" in out
    assert "cost in all" in out
    assert "by concurrency" in out


def test_the_command_prints_json(place, simulator, bc):
    """--json gives numbers: counts, ranges and money; null where nobody knows."""
    sim = simulator(tokens=30)
    table("one", "two", "three")
    status, out, _ = bc("estimate", "t.csv", "-m", "m", "--base-url", sim.base_url, "--json")
    found = json.loads(out)
    assert (status, found["rows"], found["to_send"], found["cost_usd"], found["seconds"]) == (0, 3, 3, None, None)
    assert found["completion_tokens"] == {"low": 3, "expected": None, "high": None}
    price = ("--price", "input=1,output=1000")
    status, out, _ = bc("estimate", "t.csv", "-m", "m", "--base-url", sim.base_url, "--json", "--sample", 2, *price)
    found = json.loads(out)
    assert (found["answered"], found["to_send"], found["learned_from"]["requests"]) == (2, 1, 2)
    assert found["completion_cost_usd"]["expected"] == pytest.approx(0.03)
    assert found["learned_from"]["cost_usd"] == pytest.approx(found["paid_usd"])
    assert found["prompt_basis"] in {"exact", "calibrated"}


def test_the_command_compares(place, simulator, bc):
    """--compare prints a line for each model, its price and source below; --json an object for each."""
    table("one", "two")
    words = ("estimate", "t.csv", "--compare", "gpt-4o-mini, gpt-4.1-nano,no-such", "--max-tokens", 5)
    status, out, err = bc(*words)
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines()[2:6]] == ["model", "gpt-4o-mini", "gpt-4.1-nano", "no-such"]
    assert "genai-prices" in out
    assert "no-such: price not known" in out
    status, out, _ = bc(*words, "--json")
    models = json.loads(out)["models"]
    assert [one["model"] for one in models] == ["gpt-4o-mini", "gpt-4.1-nano", "no-such"]
    assert models[2]["cost_usd"] is None
    assert bc("estimate", "t.csv", "--compare", ",")[0] == 2
    status, _, err = bc("estimate", "t.csv", "--compare", "a,b", "--sample", 1)
    assert (status, "-m" in err) == (2, True)


def test_a_wrong_template_is_the_error_of_run(place, bc):
    """What run would refuse, estimate refuses: a column that is not there, with the one that is meant."""
    table("one")
    status, out, err = bc("estimate", "t.csv", "--prompt", "{{ promt }}", "-m", "gpt-4o-mini")
    assert (status, out) == (2, "")
    assert "did you mean 'prompt'" in err


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_long_count_is_shown_at_a_terminal_and_leaves_nothing():
    """A line that is written over and wiped at the end; quick counts, pipes and --quiet show nothing."""
    clock = Clock()
    for file, quiet, shows in ((Terminal(), False, True), (io.StringIO(), False, False), (Terminal(), True, False)):
        clock.now = 0.0
        with counting(file, quiet=quiet, clock=clock) as progress:
            progress(1024, 10_000)
            assert file.getvalue() == ""
            clock.now = 1.0
            progress(2048, 10_000)
            assert ("counting: 2,048 of 10,000 rows" in file.getvalue()) is shows
        assert not shows or file.getvalue().endswith(" \r")
