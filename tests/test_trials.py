"""Trials: a prompt on a few rows, looked at, changed, tried again; and what each of it costs."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import pytest

from batchchat.api import execute
from batchchat.cli import app, stream
from batchchat.events import Observer
from batchchat.job import resolve

pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def server(simulator):
    return simulator(text="echo")


@pytest.fixture
def run(capsys, server):
    """A command on t.csv, at the simulator; the prompt is `prompt`."""

    def run(*words, prompt="{{ text }}", command="run"):
        told = ("--base-url", server.base_url, "-m", "m", "--prompt", prompt)
        status = app.entry([command, "t.csv", *told, *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def table(*texts, **columns):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [[n, text, *(c[n - 1] for c in columns.values())] for n, text in enumerate(texts, 1)]
        csv.writer(file).writerows([["id", "text", *columns], *rows])


def asked(server):
    return server.stats()["received"]


def test_answers_stand_beside_their_prompts(run):
    """Each row of a trial is printed with what was asked and what was answered; no output is written."""
    table("one", "two", "three")
    status, out, err = run("--rows", "1,3", prompt="Say {{ text }}")
    assert status == 0
    assert sorted(out.split("row ")) == ["", *(f"{n}\n  prompt: Say {t}\n  completion: Say {t}\n" for n, t in
                                               ((1, "one"), (3, "three")))]  # fmt: skip
    assert "a trial of 2 rows: 0 failed; no output was written" in err
    assert not Path("t.completions.csv").exists()


def test_json_is_a_list_at_the_end(run):
    """--json prints one list of objects, a row each, with prompt, answer, tokens and error; stderr may talk."""
    table("one", "@@400*1 two")
    status, out, _ = run("--rows", "1-2", "--json")
    first, second = json.loads(out)
    assert status == 3
    assert [*first] == [
        "row", "prompt", "completion", "before", "finish_reason", "prompt_tokens", "completion_tokens", "total_tokens",
        "error", "cost_usd",
    ]  # fmt: skip
    assert (first["row"], first["prompt"], first["completion"], first["before"]) == (1, "one", "one", None)
    assert "HTTP 400" in second["error"]


def test_an_old_answer_stands_beside_the_new_one(run, server):
    """Where an earlier setting answered the row, its answer is `before`: of the last setting that did."""
    table(*(f"text {n}" for n in range(10)))
    assert run("--quiet", prompt="A {{ text }}")[0] == 0
    status, out, _ = run("--rows", "2,4", "--json", prompt="B {{ text }}")
    assert status == 0
    assert [(found["completion"], found["before"]) for found in json.loads(out)] == [
        ("B text 1", "A text 1"),
        ("B text 3", "A text 3"),
    ]
    _, out, _ = run("--rows", "4-5", "--json", prompt="C {{ text }}")
    assert [found["before"] for found in json.loads(out)] == ["B text 3", "A text 4"]
    assert asked(server) == 14
    _, out, _ = run("--rows", "4", prompt="A {{ text }}")
    assert "completion: A text 3\n  before: C text 3" in out
    assert asked(server) == 14


def test_an_old_answer_to_another_text_is_none(run):
    """What was answered to a row that was edited since does not stand beside it."""
    table("one", "two")
    run("--quiet", prompt="A {{ text }}")
    table("one", "2")
    _, out, _ = run("--rows", "1-2", "--json", prompt="B {{ text }}")
    assert [found["before"] for found in json.loads(out)] == ["A one", None]


def test_an_old_prompt_may_read_columns_that_are_gone(run):
    """An earlier setting whose columns the table no longer has gives no old answers, and no error."""
    table("one", "two", other=["x", "y"])
    run("--rows", "1", prompt="{{ other }}")
    table("one", "two")
    status, out, _ = run("--rows", "1", "--json")
    assert (status, json.loads(out)[0]["before"]) == (0, None)


def test_a_sample_is_the_same_until_another_is_asked_for(run, server):
    """--sample draws the same rows again, so that a changed prompt is seen on them; --seed-rows draws others."""
    table(*(f"text {n}" for n in range(100)))

    def rows(*words, **options):
        return [found["row"] for found in json.loads(run("--sample", "5", "--json", *words, **options)[1])]

    first = rows()
    assert len(first) == 5
    assert rows() == first
    assert asked(server) == 5
    assert rows(prompt="New {{ text }}") == first
    assert rows("--seed-rows", "7") != first


def test_editing_the_prompt_after_a_thousand_answers(run, server):
    """A sample of a changed prompt costs itself, the full run is refused, and what is kept costs only the rest."""
    table(*(f"text {n}" for n in range(1100)))
    assert run("--limit", "1000", "--quiet")[0] == 0
    assert asked(server) == 1000
    assert run("--sample", "5", prompt="New {{ text }}")[0] == 0
    assert asked(server) == 1005
    status, out, err = run(prompt="New {{ text }}")
    assert (status, out) == (2, "")
    assert "{{ text }}" in err
    assert "New {{ text }}" in err
    assert "--keep-answered" in err
    assert asked(server) == 1005
    assert run("--keep-answered", "--quiet", prompt="New {{ text }}")[0] == 0
    # Of the 100 rows without an answer the sample may have paid for some.
    assert 1100 <= asked(server) <= 1105


def test_retrying_what_was_cut_sends_only_that(run, server):
    """--retry length with a longer --max-tokens sends the rows that were cut, and no other."""
    table(*(("a word " * 30 if n % 10 == 0 else "short") for n in range(50)))
    assert run("--max-tokens", "8", "--quiet")[0] == 0
    assert asked(server) == 50
    assert run("--max-tokens", "64", "--retry", "length", "--quiet")[0] == 0
    assert asked(server) == 55
    with Path("t.completions.csv").open(newline="", encoding="utf-8") as file:
        assert {row["finish_reason"] for row in csv.DictReader(file)} == {"stop"}


def test_the_cost_of_a_trial_is_that_of_its_rows(run):
    """Tokens and cost are those of the rows that were shown, not of every answer that the checkpoint holds."""
    table(*(f"text {n}" for n in range(20)))
    price = ("--price", "input=1000000,output=0")
    run("--rows", "1-10", *price)
    _, out, err = run("--rows", "3-4", *price, "--json")
    found = json.loads(out)
    assert [one["cost_usd"] for one in found] == [one["prompt_tokens"] for one in found]
    assert f"{sum(one['prompt_tokens'] for one in found):,}.00 USD" in err
    assert "2 rows answered before" in err


def test_an_unknown_price_is_no_cost(run):
    """Without a price the cost is null, not zero."""
    table("one")
    _, out, err = run("--rows", "1", "--json")
    assert json.loads(out)[0]["cost_usd"] is None
    assert "USD" not in err


def test_the_next_command_can_be_pasted(run, server):
    """A trial suggests the full run with the same options; a run suggests looking at its rows."""
    table("it's one", "two")
    _, _, err = run("--sample=1", "--seed-rows", "3", "-c", "2", "--temperature=0", prompt="It's {{ text }}")
    line = next(line for line in err.splitlines() if line.startswith("Send all of it: "))
    assert line.endswith(
        f"batchchat run t.csv --base-url {server.base_url} -m m --prompt 'It'\"'\"'s {{{{ text }}}}' -c 2 "
        "--temperature=0"
    )
    _, _, err = run(prompt="It's {{ text }}")
    assert "Look at the answers: batchchat rows t.completions.csv" in err


def test_quiet_says_only_the_answers(run):
    """--quiet leaves the answers, which were asked for, and nothing else."""
    table("one", "two")
    status, out, err = run("--rows", "2", "--quiet")
    assert (status, out, err) == (0, "row 2\n  prompt: two\n  completion: two\n", "")


def test_rows_that_cannot_be_sent_are_shown_with_their_error(run, server):
    """A blank prompt is a failed row of a trial; nothing is sent for it."""
    table("one", " ")
    status, out, _ = run("--rows", "2")
    assert status == 3
    assert "error: invalid_row" in out
    assert asked(server) == 0


def test_a_row_beyond_the_table_is_a_usage_error(run):
    """--rows names rows that are there."""
    table("one", "two")
    status, out, err = run("--rows", "2-3")
    assert (status, out) == (2, "")
    assert "there is no row 3" in err


def test_a_trial_that_is_stopped_shows_what_was_answered(run, simulator, capsys):
    """A refused key stops a trial with status 1; --json still prints the list, nulls where nothing was answered."""
    table("one", "two")
    words = ["run", "t.csv", "--base-url", simulator(key="right").base_url, "-m", "m", "--prompt", "{{ text }}"]
    status = app.entry([*words, "--rows", "1", "--json"])
    told = capsys.readouterr()
    assert status == 1
    assert json.loads(told.out)[0]["completion"] is None
    assert "refuses" in told.err


def test_the_first_answers_of_a_new_job_are_shown(run):
    """A full run shows its first three answers on stderr; a run that goes on, or a quiet one, shows none."""
    table(*(f"text {n}" for n in range(8)))
    status, out, err = run("--limit", "5")
    assert (status, out) == (0, "")
    assert err.count("completion: text") == 3
    _, _, err = run()
    assert "completion: text" not in err
    Path("t.completions.csv").unlink()
    Path("t.completions.csv.batchchat").unlink()
    assert run("--quiet") == (0, "", "")


def test_an_observer_is_told_of_each_answer(server):
    """Answers come one by one, when they are durable, while the trial runs."""
    table("one", "two", "three")
    seen = []

    class Watching(Observer):
        def answered(self, answer):
            seen.append((answer["row"], answer["prompt"], answer["completion"]))

    options = {"base_url": server.base_url, "model": "m", "prompt": "{{ text }}", "rows": "1-3"}
    summary = execute(resolve(options, input="t.csv", environ={}), observer=Watching())
    assert sorted(seen) == [(1, "one", "one"), (2, "two", "two"), (3, "three", "three")]
    assert (summary.rows, summary.succeeded, summary.pending) == (3, 3, 0)


def test_show_prints_the_requests_of_a_trial(run, server):
    """`show --rows` is a list of bodies, those that the trial sends; a row that makes none is told."""
    table("one", " ", "three")
    status, out, err = run("--rows", "1-3", command="show")
    assert status == 0
    assert [body["messages"][0]["content"] for body in json.loads(out)] == ["one", "three"]
    assert "t.csv, row 2 (line 3)" in err
    assert run("--rows", "1,3", "--curl", command="show")[1].count("curl ") == 2
    assert asked(server) == 0


def test_show_takes_one_way_to_name_rows(run):
    """--row and --rows do not go together."""
    table("one")
    assert run("--row", "1", "--rows", "1", command="show")[0] == 2


def test_at_a_terminal_answers_are_coloured(run, monkeypatch):
    """Where somebody looks, an answer that the checkpoint had is drawn with colours."""
    table("one")
    run("--rows", "1")
    monkeypatch.setattr(stream, "shown_at_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[32mone" in run("--rows", "1")[1]


def test_the_end_of_a_trial_names_commands_that_are_not_refused(run, server, capsys):
    """Where the job was begun with another prompt, the end names the two ways to go on with this one; both run."""
    table("one", "two", "three")
    assert run("--limit", 2)[0] == 0
    _, _, err = run("--sample", 1, prompt="Other: {{ text }}")
    commands = [shlex.split(line)[1:] for line in err.splitlines() if line.startswith("  batchchat run")]
    assert [command[-2:] for command in commands] == [
        ["Other: {{ text }}", "--keep-answered"], ["-o", "t.2.completions.csv"]
    ]  # fmt: skip
    before = asked(server)
    assert [app.entry(command) for command in commands] == [0, 0]
    assert asked(server) - before == 1 + 3
    _, _, err = run("--sample", 1, prompt="Other: {{ text }}")
    assert "Send all of it: batchchat run" in err
