"""The main job, end to end, against the simulator over a socket."""

from __future__ import annotations

import contextlib
import csv
import json
import sqlite3
import time
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from batchchat.api import execute, export_job, job_status, resume_job, show_requests
from batchchat.api.endpoint.descriptors import fitted
from batchchat.errors import CheckpointDamaged, UsageError
from batchchat.events import Observer
from batchchat.job import resolve


@pytest.fixture
def place(tmp_path: Path, monkeypatch) -> Path:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "BATCHCHAT_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(path: Path, *prompts: str, **columns: list[str]) -> str:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", *columns])
        writer.writerows([n, prompt, *(c[n] for c in columns.values())] for n, prompt in enumerate(prompts))
    return str(path)


def read(path: str | Path) -> list[dict[str, str]]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(source: str, sim, **options):
    options = {"base_url": sim.base_url, "model": "sim", "concurrency": 8} | options
    return execute(resolve(options, input=source, environ={}), observer=Observer())


def asked(sim) -> int:
    return sim.stats()["received"]


def test_a_table_gets_its_answers(place, simulator):
    """Every row gets its completion, finish_reason and tokens beside its own columns."""
    sim = simulator(text="echo")
    summary = run(table(place / "t.csv", "one", "two"), sim)
    assert (summary.status, summary.succeeded, summary.failed, summary.pending) == (0, 2, 0, 0)
    rows = read("t.completions.csv")
    assert [row["prompt"] for row in rows] == ["one", "two"]
    assert all(row["completion"] and row["finish_reason"] == "stop" and row["error"] == "" for row in rows)
    assert [*rows[0]] == [
        "id", "prompt", "completion", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "error"
    ]  # fmt: skip
    assert summary.requests == asked(sim) == 2


def test_a_finished_job_sends_nothing(place, simulator):
    """Run again, a finished job sends nothing, publishes the same, and exits as it did."""
    sim = simulator()
    source = table(place / "t.csv", "one", "@@400 two")
    first = run(source, sim)
    before = Path("t.completions.csv").read_bytes()
    again = run(source, sim)
    assert (first.status, again.status) == (3, 3)
    assert (again.requests, again.reused) == (0, 1)
    assert Path("t.completions.csv").read_bytes() == before


def test_a_failed_row_has_its_error(place, simulator):
    """A row that is refused fails alone: its error says why, with the HTTP status; the others are answered."""
    summary = run(table(place / "t.csv", "one", "@@400 two", "three"), simulator())
    assert (summary.status, summary.succeeded, summary.failed) == (3, 2, 1)
    rows = read("t.completions.csv")
    assert "(HTTP 400)" in rows[1]["error"]
    assert rows[1]["completion"] == ""
    assert summary.errors[0][1] == 1


def test_added_edited_and_swapped_rows_cost_only_themselves(place, simulator):
    """A row added costs one request, one edited costs one, two swapped cost none."""
    sim = simulator()
    prompts = [f"prompt {n}" for n in range(20)]
    run(table(place / "t.csv", *prompts), sim)
    answers = {row["prompt"]: row["completion"] for row in read("t.completions.csv")}
    steps = [
        ([*prompts, "added"], 1),
        ([*prompts[:3], "edited", *prompts[4:], "added"], 1),
        ([prompts[1], prompts[0], *prompts[2:3], "edited", *prompts[4:], "added"], 0),
        (["first", prompts[1], prompts[0], *prompts[2:3], "edited", *prompts[4:], "added"], 1),
        ([prompts[1], *prompts[2:3], "edited", *prompts[4:], "added"], 0),
    ]
    for rows, cost in steps:
        before = asked(sim)
        summary = run(table(place / "t.csv", *rows), sim)
        assert (asked(sim) - before, summary.requests, summary.status) == (cost, cost, 0)
        found = read("t.completions.csv")
        assert [row["prompt"] for row in found] == rows
        assert all(row["completion"] == answers.setdefault(row["prompt"], row["completion"]) for row in found)


def test_an_edit_taken_back_costs_nothing(place, simulator):
    """An answer that lost its row is kept, and found again when the row comes back."""
    sim = simulator()
    prompts = [f"prompt {n}" for n in range(10)]
    for rows, cost in ((prompts, 10), (["other", *prompts[1:]], 1), (prompts, 0)):
        before = asked(sim)
        run(table(place / "t.csv", *rows), sim)
        assert asked(sim) - before == cost


def test_equal_prompts_are_asked_for_each(place, simulator):
    """Two rows with the same request are two requests."""
    sim = simulator()
    run(table(place / "t.csv", "same", "same", "same"), sim)
    assert asked(sim) == 3


def test_most_rows_changed_asks_first(place, simulator):
    """Where most answered rows have changed nothing is sent, until --yes."""
    sim = simulator()
    run(table(place / "t.csv", *(f"a{n}" for n in range(10))), sim)
    changed = table(place / "t.csv", *(f"b{n}" for n in range(10)))
    with pytest.raises(UsageError, match=r"10 of the 10 rows.*--yes.*--restart"):
        run(changed, sim)
    assert asked(sim) == 10
    assert run(changed, sim, yes=True).status == 0
    assert asked(sim) == 20


def test_reordering_the_whole_table_is_no_change(place, simulator):
    """A table sorted another way sends nothing, though most rows have another number."""
    sim = simulator()
    prompts = [f"p{n}" for n in range(30)]
    run(table(place / "t.csv", *prompts), sim)
    summary = run(table(place / "t.csv", *reversed(prompts)), sim)
    assert (summary.requests, summary.status, asked(sim)) == (0, 0, 30)
    assert [row["prompt"] for row in read("t.completions.csv")] == prompts[::-1]


def test_limit_then_all(place, simulator):
    """--limit publishes the first N rows; run again without it, the job goes on."""
    sim = simulator()
    source = table(place / "t.csv", *(f"p{n}" for n in range(10)))
    assert run(source, sim, limit=4).rows == 4
    assert len(read("t.completions.csv")) == 4
    summary = run(source, sim)
    assert (summary.requests, summary.reused, len(read("t.completions.csv"))) == (6, 4, 10)
    back = run(source, sim, limit=4)
    assert (back.requests, back.rows, back.succeeded, len(read("t.completions.csv"))) == (0, 4, 4, 4)


def test_changed_settings_are_named_and_refused(place, simulator):
    """A full run with other settings is a usage error that names each change and the ways on."""
    sim = simulator()
    source = table(place / "t.csv", "one", "two")
    run(source, sim, temperature=0.5)
    with pytest.raises(UsageError) as refused:
        run(source, sim, temperature=0.7, max_tokens=9)
    for word in ("temperature: 0.5 -> 0.7", "max_tokens: not set -> 9", "--restart", "--keep-answered", "-o OTHER"):
        assert word in str(refused.value)
    assert asked(sim) == 2


def test_pool_limit_and_prefix_may_change(place, simulator):
    """Pool, endpoint, stream and prefix are no settings: they change freely, and nothing is paid again."""
    sim, other = simulator(), simulator()
    source = table(place / "t.csv", "one", "two")
    run(source, sim)
    run(source, other, concurrency=2, timeout=30, prefix="llm_", stream=True)
    assert asked(other) == 0
    assert "llm_completion" in read("t.completions.csv")[0]


def test_settings_may_change_while_no_row_succeeded(place, simulator):
    """A job in which nothing was answered takes new settings in place."""
    sim = simulator()
    source = table(place / "t.csv", "@@400 one")
    assert run(source, sim).status == 3
    assert run(source, sim, temperature=0.1).requests == 1


def test_keep_answered_sends_only_the_rest(place, simulator):
    """--keep-answered with new settings sends only rows without an answer, and says so again the next time."""
    sim = simulator()
    source = table(place / "t.csv", "one", "@@400 two", "three")
    run(source, sim)
    before = read("t.completions.csv")
    summary = run(source, sim, temperature=0.1, keep_answered=True)
    assert (summary.requests, summary.succeeded) == (1, 2)
    assert [row["completion"] for row in read("t.completions.csv")] == [row["completion"] for row in before]
    assert run(source, sim, temperature=0.1).requests == 0


def test_retry_sends_the_kinds_that_were_asked_for(place, simulator):
    """--retry failed, length or empty sends those rows again, and no other; changed settings are allowed with it."""
    sim = simulator(tokens=20)
    source = table(place / "t.csv", "one", "@@400 two", "@@empty three")
    assert run(source, sim, max_tokens=5).failed == 1
    assert run(source, sim, max_tokens=5, retry="failed").requests == 1
    assert run(source, sim, max_tokens=5, retry="empty").requests == 1
    summary = run(source, sim, max_tokens=64, retry="length")
    assert summary.requests == 1
    assert read("t.completions.csv")[0]["finish_reason"] == "stop"
    assert run(source, sim, max_tokens=64, retry="length").requests == 0


def test_restart_keeps_the_old_checkpoint(place, simulator):
    """--restart pays anew and keeps the old checkpoint under a name that it says."""
    sim = simulator()
    source = table(place / "t.csv", "one", "two")
    run(source, sim)

    class Notes(Observer):
        said = ""

        def note(self, message):
            self.said += message

    job = resolve({"base_url": sim.base_url, "model": "sim", "restart": True}, input=source, environ={})
    notes = Notes()
    assert execute(job, observer=notes).requests == 2
    aside = [str(path) for path in place.glob("*.batchchat") if path.name != "t.completions.csv.batchchat"]
    assert len(aside) == 1
    assert aside[0].rpartition("/")[2] in notes.said
    assert job_status(aside[0]).succeeded == 2


def test_an_edited_output_is_not_overwritten(place, simulator):
    """An output that a person changed is a usage error that names --overwrite; with it, it is replaced."""
    sim = simulator()
    source = table(place / "t.csv", "one")
    run(source, sim)
    published = Path("t.completions.csv").read_text()
    Path("t.completions.csv").write_text(published + "edited\n")
    with pytest.raises(UsageError, match="--overwrite"):
        run(source, sim)
    run(source, sim, overwrite=True)
    assert Path("t.completions.csv").read_text() == published


def test_a_foreign_output_is_not_overwritten(place, simulator):
    """An output that exists without a checkpoint is a usage error; nothing is sent and no checkpoint is made."""
    sim = simulator()
    Path("out.csv").write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        run(table(place / "t.csv", "one"), sim, output="out.csv")
    assert asked(sim) == 0
    assert not Path("out.csv.batchchat").exists()


def test_trials_publish_nothing_and_are_not_paid_again(place, simulator):
    """--rows and --sample answer a few rows, publish nothing, and the run that follows sends only the others."""
    sim = simulator()
    source = table(place / "t.csv", *(f"p{n}" for n in range(20)))
    trial = run(source, sim, rows="3,5-6")
    assert [answer["row"] for answer in trial.answers] == [3, 5, 6]
    assert all(answer["completion"] for answer in trial.answers)
    sample = run(source, sim, sample=5, seed_rows=1)
    assert len(sample.answers) == 5
    assert not Path("t.completions.csv").exists()
    tried = {3, 5, 6} | {answer["row"] for answer in sample.answers}
    assert asked(sim) == len(tried)
    assert run(source, sim).requests == 20 - len(tried)


def test_a_trial_of_other_settings_leaves_the_job_alone(place, simulator):
    """Any number of settings can be tried on a job; it stays what it was begun with."""
    sim = simulator()
    source = table(place / "t.csv", *(f"p{n}" for n in range(10)))
    run(source, sim)
    assert run(source, sim, temperature=0.9, sample=3).requests == 3
    assert run(source, sim, temperature=0.9, sample=3).requests == 0
    assert run(source, sim).requests == 0


def test_resume_needs_nothing_typed(place, simulator):
    """`resume` goes on with a job by its checkpoint alone."""
    sim = simulator()
    source = table(place / "t.csv", *(f"p{n}" for n in range(6)))
    run(source, sim, limit=2, temperature=0.3)
    table(place / "t.csv", *(f"p{n}" for n in range(7)))
    job = resume_job("t.csv", {"limit": 7})
    assert job.request == {"temperature": 0.3}
    assert execute(job, observer=Observer()).requests == 5


def test_a_key_that_is_refused_stops_the_job(place, simulator):
    """401 stops the job at once with the reason `key`; no row is marked and no output is published."""
    sim = simulator(want_key=True)
    summary = run(table(place / "t.csv", *(f"p{n}" for n in range(50))), sim)
    assert (summary.status, summary.stop_reason, summary.pending, summary.failed) == (1, "key", 50, 0)
    assert summary.requests <= 8
    assert not Path("t.completions.csv").exists()
    assert "batchchat resume" in summary.message


def test_a_spent_quota_stops_the_job_and_keeps_what_was_paid(place, simulator):
    """429 of the billing kind stops the job; what was answered before is kept and not asked again."""
    sim = simulator()
    source = table(place / "t.csv", *(f"p{n}" for n in range(5)), "@@quota", *(f"q{n}" for n in range(5)))
    summary = run(source, sim, concurrency=1)
    assert (summary.status, summary.stop_reason, summary.succeeded) == (1, "quota", 5)
    assert job_status("t.csv").stop_reason == "quota"


def test_every_row_refused_alike_stops_and_can_be_mended(place, simulator):
    """A parameter that the model does not take stops the job after 20 rows, and may then be changed in place."""
    sim = simulator(strict=True)
    source = table(place / "t.csv", *(f"p{n}" for n in range(60)))
    summary = run(source, sim, extra_body='{"top_k": 3}', concurrency=4)
    assert (summary.stop_reason, summary.failed, summary.pending) == ("hopeless", 0, 60)
    assert summary.requests <= 24
    assert run(source, sim).status == 0


def test_a_dead_endpoint_marks_no_row(place):
    """Where nothing ever answers, the job stops when a request has used up its retries; every row stays pending."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    source = table(place / "t.csv", *(f"p{n}" for n in range(10)))
    job = resolve({"base_url": url, "model": "m", "max_retries": 1}, input=source, environ={})
    summary = execute(job, observer=Observer())
    assert (summary.status, summary.stop_reason, summary.pending, summary.failed) == (1, "outage", 10, 0)


def test_errors_that_pass_are_retried(place, simulator):
    """Drops, 500s and malformed bodies are tried again until each row is answered."""
    sim = simulator(faults="500=0.1,drop=0.1,malformed=0.05", seed=3)
    summary = run(table(place / "t.csv", *(f"p{n}" for n in range(60))), sim, max_retries=12)
    assert (summary.status, summary.succeeded) == (0, 60)
    assert summary.retries > 0


def test_rate_limits_are_kept(place, simulator):
    """With the server's own limit told, no request is refused."""
    sim = simulator(rpm=1200)
    summary = run(table(place / "t.csv", *(f"p{n}" for n in range(40))), sim, rpm=1200)
    assert summary.status == 0
    assert sim.stats()["refused"] == {}


def test_retry_after_is_obeyed_and_not_counted(place, simulator):
    """429 with Retry-After is waited for, and costs no retry."""
    sim = simulator()
    sim.script([{"status": 429, "headers": {"retry-after": "1"}, "body": {"error": {"message": "slow", "type": "x"}}}])
    begun = time.monotonic()
    summary = run(table(place / "t.csv", "one"), sim, max_retries=0)
    assert summary.status == 0
    assert time.monotonic() - begun >= 1.0


def test_a_wait_that_is_too_long_stops_the_job(place, simulator):
    """A Retry-After beyond --max-retry-after stops the job and says when to come back."""
    sim = simulator()
    sim.script([{"status": 429, "headers": {"retry-after": "9999"}, "body": {"error": {"message": "slow"}}}] * 8)
    summary = run(table(place / "t.csv", "one", "two"), sim)
    assert (summary.status, summary.stop_reason) == (1, "wait")


def test_streams_give_the_same_answer(place, simulator):
    """With --stream the completion, the finish_reason and the tokens are those without it."""
    sim = simulator(stream_split=7)
    source = table(place / "t.csv", "one", "two \u00e4\u00f6\u00fc \U0001f600")
    run(source, sim)
    run(source, sim, stream=True, output="s.csv")
    assert read("s.csv") == read("t.completions.csv")


def test_several_choices_are_a_list(place, simulator):
    """--n 2 gives a JSON array of completions in CSV."""
    run(table(place / "t.csv", "one"), simulator(), n=2)
    assert len(json.loads(read("t.completions.csv")[0]["completion"])) == 2


def test_a_budget_is_never_passed(place, simulator):
    """--max-cost stops the job before what was spent could pass it; a higher one goes on."""
    sim = simulator(tokens=50)
    source = table(place / "t.csv", *(f"p{n}" for n in range(40)))
    price = {"price": "input=0,output=1000", "max_tokens": 50}
    summary = run(source, sim, max_cost="0.52", **price)
    assert (summary.status, summary.stop_reason, summary.succeeded) == (1, "budget", 10)
    assert summary.cost_usd == Decimal("0.5")
    assert sim.stats()["completion_tokens"] == 500
    assert run(source, sim, max_cost="10", **price).status == 0
    assert asked(sim) == 40


def test_a_budget_counts_what_was_spent_before_it_was_set(place, simulator):
    """What a run without a budget has spent since the job last finished counts against a budget set later."""
    sim = simulator(tokens=50)
    source = table(place / "t.csv", *(f"p{n}" for n in range(20)), "@@quota")
    price = {"price": "input=0,output=1000", "max_tokens": 50}
    assert run(source, sim, concurrency=1, **price).stop_reason == "quota"
    table(place / "t.csv", *(f"p{n}" for n in range(40)))
    assert run(source, sim, max_cost="1.26", **price).succeeded == 25


def test_a_budget_without_a_bound_is_a_usage_error(place, simulator):
    """A budget needs a known price and a bound for each request; else nothing is sent and no file is made."""
    sim = simulator()
    source = table(place / "t.csv", "one")
    with pytest.raises(UsageError, match="--price"):
        run(source, sim, max_cost="1")
    with pytest.raises(UsageError, match="--max-tokens"):
        run(source, sim, max_cost="1", price="input=1,output=1")
    assert asked(sim) == 0
    assert [path.name for path in place.iterdir()] == ["t.csv"]


def test_the_only_model_of_an_endpoint_is_taken(place, simulator):
    """Without -m the endpoint is asked; the only model that it serves is used, of several none."""
    one, two = simulator(models=("solo",)), simulator(models=("a", "b"))
    source = table(place / "t.csv", "one")
    assert run(source, one, model=None).status == 0
    assert job_status("t.csv").model == "solo"
    with pytest.raises(UsageError, match="a, b"):
        run(source, two, model=None, output="other.csv")


def test_a_blank_prompt_is_not_sent(place, simulator):
    """A row whose prompt is blank fails without a request."""
    sim = simulator()
    summary = run(table(place / "t.csv", "one", " "), sim)
    assert (summary.status, summary.failed, asked(sim)) == (3, 1, 1)


def test_export_writes_the_table_as_it_stands(place, simulator):
    """An interrupted job can be written out: answered rows with their answers, others with nulls."""
    sim = simulator()
    source = table(place / "t.csv", "one", "@@quota", "three")
    run(source, sim, concurrency=1)
    assert not Path("t.completions.csv").exists()
    published = export_job("t.csv", "part.csv")
    assert (published.rows, [bool(row["completion"]) for row in read("part.csv")]) == (3, [True, False, False])


def test_export_into_another_format_sends_nothing(place, simulator):
    """The same checkpoint gives another format without a request."""
    sim = simulator()
    run(table(place / "t.csv", "one", "two"), sim)
    export_job("t.csv", "x.jsonl")
    assert [json.loads(line)["prompt"] for line in Path("x.jsonl").read_text().splitlines()] == ["one", "two"]
    assert asked(sim) == 2


def test_export_never_shows_an_answer_beside_an_edited_row(place, simulator):
    """When the input was edited after the run, export leaves the edited rows without an answer."""
    sim = simulator()
    run(table(place / "t.csv", "one", "two", "three"), sim)
    table(place / "t.csv", "one", "edited", "three")
    export_job("t.csv", "x.csv")
    assert [bool(row["completion"]) for row in read("x.csv")] == [True, False, True]


def test_show_is_what_run_sends(place, simulator):
    """Show prints the very body that the run sends."""
    sim = simulator(record=5)
    source = table(place / "t.csv", "one", "two")
    options = {"base_url": sim.base_url, "model": "sim", "prompt": "Say {{ prompt }}", "temperature": 0, "stop": ["x"]}
    job = resolve(options, input=source, environ={})
    (shown,) = show_requests(job, 2)
    execute(job, observer=Observer())
    bodies = [request["body"] for request in sim.requests()]
    assert shown.body in [json.loads(body) if isinstance(body, str) else body for body in bodies]


def test_a_parquet_output_keeps_text_as_text(place, simulator):
    """CSV in and Parquet out: `007` stays text."""
    import pyarrow.parquet as pq

    sim = simulator()
    run(table(place / "t.csv", "one", code=["007"]), sim, output="o.parquet")
    found = pq.read_table("o.parquet").to_pylist()
    assert found[0]["code"] == "007"
    assert found[0]["prompt_tokens"] > 0


def test_the_key_is_written_nowhere(place, simulator):
    """A key stands in no file that a run writes, and in nothing that it says."""
    key = "sk-verysecret0123456789"
    sim = simulator(want_key=True)
    source = table(place / "t.csv", "one", "@@400 two")
    job = resolve({"base_url": sim.base_url, "model": "sim"}, input=source, environ={"OPENAI_API_KEY": f" {key}\n"})
    summary = execute(job, observer=Observer())
    assert summary.succeeded == 1
    written = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    assert key.encode() not in written
    assert key not in repr(summary) + repr(job)


def test_an_input_that_changes_while_the_job_runs_is_not_published(place, simulator):
    """When the table is edited between the first request and the publish, the job stops and says so."""
    sim = simulator()
    source = table(place / "t.csv", "one", "two", "three")

    class Editor(Observer):
        def settled(self, outcome):
            table(place / "t.csv", "edited", "two", "three")

    job = resolve({"base_url": sim.base_url, "model": "sim"}, input=source, environ={})
    summary = execute(job, observer=Editor())
    assert (summary.status, summary.stop_reason) == (1, "input")
    assert not Path("t.completions.csv").exists()
    again = run(source, sim)
    assert (again.status, again.requests) == (0, 1)


def test_an_output_that_is_as_published_is_left_alone(place, simulator):
    """A finished job run again does not write the same file again; a lost output is written, without a request."""
    sim = simulator()
    source = table(place / "t.csv", "one", "two")
    run(source, sim)
    before = Path("t.completions.csv").stat()
    assert run(source, sim).status == 0
    assert Path("t.completions.csv").stat().st_ino == before.st_ino
    Path("t.completions.csv").unlink()
    assert run(source, sim).requests == 0
    assert Path("t.completions.csv").stat().st_size == before.st_size


def test_another_column_in_the_input_is_published(place, simulator):
    """A column that no prompt reads costs nothing and appears in the output."""
    sim = simulator()
    source = table(place / "t.csv", "one", "two")
    run(source, sim)
    table(place / "t.csv", "one", "two", lang=["de", "en"])
    assert run(source, sim).requests == 0
    assert [row["lang"] for row in read("t.completions.csv")] == ["de", "en"]


@pytest.mark.parametrize("published", [True, False], ids=["every batch complete", "some rows pending"])
def test_a_row_that_vanished_from_the_checkpoint_is_missed(place, simulator, published):
    """A row that was settled and is not found is damage: it is neither paid for again nor published without answer."""
    sim = simulator()
    source = table(place / "t.csv", *(f"prompt {n}" for n in range(20)))
    run(source, sim, limit=None if published else 15)
    output = Path("t.completions.csv")
    output.unlink()
    with contextlib.closing(sqlite3.connect("t.completions.csv.batchchat", isolation_level=None)) as database:
        assert database.execute("DELETE FROM outcomes WHERE (id & 0xff) = 7").rowcount == 1
    before = asked(sim)
    try:
        stopped = run(source, sim).stop_reason
    except CheckpointDamaged as error:
        stopped = error.stop_reason
    assert stopped == "damaged"
    assert asked(sim) == before
    assert not output.exists()


def test_fewer_choices_than_asked_are_a_list_too(place, simulator):
    """With `n` above 1 the completion is a list, also where the endpoint gives one choice; with `n` 1 it is a text."""
    sim, source = simulator(text="echo"), table(place / "t.csv", "one", "two")
    run(source, sim, rows="1")
    run(source, sim, limit=1)
    run(source, sim, n=2, keep_answered=True, output="t.completions.csv")
    rows = read("t.completions.csv")
    assert [len(json.loads(row["completion"])) for row in rows] == [1, 2]
    assert [json.loads(row["finish_reason"]) for row in rows] == [["stop"], ["stop", "stop"]]
    export_job("t.completions.csv", "t.parquet")
    assert [len(row["completion"]) for row in pq.read_table("t.parquet").to_pylist()] == [1, 2]


def test_the_input_finds_its_job_after_a_restart_and_from_elsewhere(place, simulator, monkeypatch):
    """An input names the job that took the old one's place, and does so by any path to it."""
    sim, source = simulator(), table(place / "t.csv", "one")
    run("t.csv", sim)
    run("t.csv", sim, restart=True, temperature=1.0)
    assert job_status("t.csv").checkpoint.endswith("t.completions.csv.batchchat")
    (place / "sub").mkdir()
    (place / "link.csv").symlink_to(source)
    monkeypatch.chdir(place / "sub")
    assert job_status("../t.csv").succeeded == 1
    assert job_status("../sub/../t.csv").succeeded == 1
    assert job_status("../link.csv").succeeded == 1


def test_rows_taken_out_of_the_input_are_no_reason_to_ask(place, simulator):
    """Where rows were only removed there is nothing to pay, so nobody is asked, however many they were."""
    sim = simulator(text="echo")
    run(table(place / "t.csv", *"abcdefgh"), sim)
    summary = run(table(place / "t.csv", "h", "b"), sim)
    assert (summary.status, summary.requests, summary.rows) == (0, 0, 2)
    assert [row["completion"][-1] for row in read("t.completions.csv")] == ["h", "b"]


def test_a_job_goes_on_after_its_unfinished_table_was_exported(place, simulator):
    """What `export` wrote as the job's own output is the job's: `resume` replaces it. An edit of it is still seen."""
    sim, source = simulator(), table(place / "t.csv", "one", "@@401 two", "three")
    assert run(source, sim, concurrency=1).status == 1
    export_job("t.csv")
    assert not list(place.glob("t.completions.csv.batchchat-*"))
    table(place / "t.csv", "one", "two", "three")
    assert run(source, sim).status == 0
    assert run(source, sim, prefix="x_", limit=2).status == 0
    export_job("t.csv", "t.completions.csv")
    with Path("t.completions.csv").open("a", encoding="utf-8") as file:
        file.write("4,four,,,,,,\n")
    with pytest.raises(UsageError, match="--overwrite"):
        run(source, sim)


def test_a_late_line_with_the_name_of_a_result_is_found_before_paying(place, simulator):
    """A key of a result column that only a late line of JSON has is a usage error, and nothing is sent."""
    sim = simulator()
    Path("t.jsonl").write_text('{"prompt": "a"}\n' * 30_000 + '{"prompt": "a", "error": 1}\n', encoding="utf-8")
    with pytest.raises(UsageError, match="--prefix"):
        run("t.jsonl", sim)
    assert asked(sim) == 0


def test_no_more_is_sent_at_once_than_files_may_be_open(place):
    """Where the system allows fewer files than connections were asked for, fewer are used, and the person is told."""

    class Listener(Observer):
        notes = ()

        def note(self, message):
            self.notes = (*self.notes, message)

    listener = Listener()
    source = table(place / "t.csv", "one")
    asked_for = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    job = resolve({**asked_for, "concurrency": 200}, input=source, environ={})
    assert fitted(job, listener, allowed=1024) is job
    assert listener.notes == ()
    assert fitted(job, listener, allowed=64).pool.concurrency == 24
    assert "64 files: at most 24 requests at once instead of 200 (see ulimit -n" in listener.notes[0]
    learned = resolve(asked_for, input=source, environ={})
    assert fitted(learned, listener, allowed=1024) is learned
    assert fitted(learned, listener, allowed=64).pool.concurrency == 24


def test_a_trial_finds_the_answers_of_rows_that_moved(place, simulator):
    """A trial on a table that was sorted another way pays for nothing that was answered at another row."""
    sim = simulator()
    prompts = [f"p{n}" for n in range(10)]
    run(table(place / "t.csv", *prompts), sim, rows="1-3")
    source = table(place / "t.csv", *reversed(prompts))
    assert run(source, sim, rows="8-10").requests == 0
    assert run(source, sim).requests == 7
    assert [row["prompt"] for row in read("t.completions.csv")] == prompts[::-1]


def test_a_trial_takes_no_answer_from_a_row_that_still_asks_for_it(place, simulator):
    """Two rows with the same request are two requests, also where one of them is only tried."""
    sim = simulator()
    source = table(place / "t.csv", "same", "other", "same")
    run(source, sim, rows="1")
    assert run(source, sim, rows="3").requests == 1


def test_answers_beyond_a_limit_are_found_by_rows_that_moved_within_it(place, simulator):
    """With --limit, a row that came from beyond the limit has its answer and is not paid for again."""
    sim = simulator()
    prompts = [f"p{n}" for n in range(10)]
    run(table(place / "t.csv", *prompts), sim)
    assert run(table(place / "t.csv", *prompts[1:]), sim, limit=4).requests == 0
    assert run(table(place / "t.csv", *reversed(prompts)), sim, limit=4).requests == 0
    assert run(table(place / "t.csv", *prompts), sim).requests == 0
    assert asked(sim) == 10


SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "answer": {"enum": ["a", "b"]}},
    "required": ["reason", "answer"],
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "l", "schema": SCHEMA}}


def test_names_inside_a_field_keep_their_order_in_the_checkpoint(place, simulator):
    """A model fills a schema's properties in their order: resume sends what run sent, and pays for nothing else."""
    sim = simulator(record=10)
    run(table(place / "t.csv", "one", "two", "three"), sim, response_format=json.dumps(FORMAT))
    table(place / "t.csv", "one", "changed", "three")
    export_job("t.csv", "e.csv")
    assert [bool(row["completion"]) for row in read("e.csv")] == [True, False, True]
    assert execute(resume_job("t.csv", {}), observer=Observer()).requests == 1
    sent = [request["body"]["response_format"]["json_schema"]["schema"]["properties"] for request in sim.requests()]
    assert [list(properties) for properties in sent] == [["reason", "answer"]] * 4


def test_another_order_of_names_inside_a_field_is_a_change(place, simulator):
    """Properties in another order are another request: the job asks before it pays for them."""
    sim = simulator()
    source = table(place / "t.csv", "one", "two")
    run(source, sim, response_format=json.dumps(FORMAT))
    turned = dict(reversed(SCHEMA["properties"].items()))
    other = {"type": "json_schema", "json_schema": {"name": "l", "schema": {**SCHEMA, "properties": turned}}}
    with pytest.raises(UsageError, match="settings"):
        run(source, sim, response_format=json.dumps(other))
    assert asked(sim) == 2


def test_a_trial_of_an_edit_that_is_taken_back_costs_nothing(place, simulator):
    """What a trial of an edited row set aside is found again when the edit is undone: nothing is damaged, or paid."""
    sim = simulator()
    prompts = [f"prompt {n}" for n in range(6)]
    run(table(place / "t.csv", *prompts), sim)
    before = Path("t.completions.csv").read_bytes()
    run(table(place / "t.csv", *prompts[:2], "edited", *prompts[3:]), sim, rows="3")
    assert asked(sim) == 7
    summary = run(table(place / "t.csv", *prompts), sim)
    assert (summary.status, summary.requests, asked(sim)) == (0, 0, 7)
    assert Path("t.completions.csv").read_bytes() == before
