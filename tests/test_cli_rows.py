"""`batchchat rows`: a job's rows beside their answers, as a person or a program reads them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from batchchat.api import job_rows
from batchchat.cli import app, grid, stream
from batchchat.dataset.delimited import DelimitedPart

pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    def run(*words):
        status = app.entry([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def job(run, simulator):
    """Runs a table of prompts to its end; further words go to `run`."""
    server = simulator(text="echo")

    def job(*prompts, words=(), name="t.csv"):
        with Path(name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "text"], *((f"{n:03}", text) for n, text in enumerate(prompts, 1))])
        told = ("--base-url", server.base_url, "-m", "m", "--prompt", "{{ text }}", "--quiet")
        assert run("run", name, *told, *words)[0] in {0, 3}
        return server

    return job


@pytest.fixture
def terminal(monkeypatch):
    """Somebody looks at stdout, 80 columns wide."""
    monkeypatch.setattr(stream, "shown_at_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_a_row_is_a_plain_line_where_nobody_looks(run, job):
    """Piped on, each row is one line without colour: number, the columns that the prompt reads, the answer."""
    job("one", "two\nlines", "@@400*1 three")
    status, out, err = run("rows", "t.csv")
    assert (status, err) == (0, "")
    head, *rows = out.splitlines()
    assert head.split() == ["row", "text", "completion"]
    assert [row.split()[0] for row in rows] == ["1", "2", "3"]
    assert "two lines" in rows[1]
    assert "error: invalid_request_error" in rows[2]
    assert "\x1b" not in out


def test_failed_rows_alone(run, job):
    """--failed shows those that failed, and says how to send them again; where none did, it says so."""
    job("one", "@@400*1 two", "three")
    status, out, err = run("rows", "t.csv", "--failed", "--format", "json")
    assert status == 0
    assert [(row["row"], row["completion"]) for row in json.loads(out)] == [(2, None)]
    assert "batchchat resume t.csv --retry failed" in err
    assert run("resume", "t.csv", "--retry", "failed", "--quiet")[0] == 0
    assert run("rows", "t.csv", "--failed") == (0, "", "no row has failed\n")


def test_csv_and_json_have_every_fact_as_it_is(run, job):
    """Both formats are whole and can be read back: inputs, result columns, and what the request took."""
    job('a "quoted"\ntext', "two")
    objects = json.loads(run("rows", "t.csv", "--format", "json")[1])
    rows = list(csv.DictReader(io.StringIO(run("rows", "t.csv", "--format", "csv")[1])))
    assert [*objects[0]] == [*rows[0]]
    assert [*objects[0]][:3] == ["row", "text", "completion"]
    assert objects[0]["text"] == rows[0]["text"] == 'a "quoted"\ntext'
    assert (objects[0]["attempts"], objects[0]["model"], objects[0]["error"]) == (1, "m", None)


def test_some_rows_by_number(run, job):
    """--row takes numbers and ranges and shows all of each; a row that the table lacks is a usage error."""
    job(*(f"prompt {n}" for n in range(1, 9)), words=("--limit", "4"))
    status, out, _ = run("rows", "t.csv", "--row", "2-3,5")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("row ")] == ["row 2", "row 3", "row 5"]
    assert "(pending)" in out
    assert "tokens in" in out
    status, out, err = run("rows", "t.csv", "--row", "9")
    assert (status, out) == (2, "")
    assert "there is no row 9" in err


def test_a_sample_is_drawn_among_the_answered(run, job):
    """--sample shows so many different rows that have an outcome."""
    job(*(f"prompt {n}" for n in range(30)), words=("--limit", "20"))
    numbers = [row["row"] for row in json.loads(run("rows", "t.csv", "--sample", "7", "--format", "json")[1])]
    assert len(set(numbers)) == 7
    assert numbers == sorted(numbers)
    assert max(numbers) <= 20


def test_a_few_rows_do_not_read_the_table(run, job, monkeypatch):
    """-n 3 of 5,000 rows reads one batch of them."""
    job(*(f"prompt {n}" for n in range(5000)), words=("--limit", "4000"))
    read = []
    real = DelimitedPart.batches

    def counting(self, *words, **options):
        for batch in real(self, *words, **options):
            read.append(batch.size)
            yield batch

    monkeypatch.setattr(DelimitedPart, "batches", counting)
    assert len(json.loads(run("rows", "t.csv", "-n", "3", "--format", "json")[1])) == 3
    assert len(read) == 1


def test_at_a_terminal_twenty_rows_are_wrapped_and_coloured(run, job, terminal):
    """A terminal gets a table of its own width, and is told how to see more."""
    job(*(f"prompt {n} " + "and a long text " * 9 for n in range(25)))
    status, out, err = run("rows", "t.csv")
    assert status == 0
    assert "\x1b[32m" in out
    assert max(grid.plain(line).count(" ") for line in out.splitlines()) < 80
    assert "prompt 19" in out
    assert "prompt 20" not in out
    assert "the first 20 are shown; -n N shows more" in err


def test_no_color_means_none(run, job, terminal, monkeypatch):
    """With NO_COLOR the table has no colours."""
    monkeypatch.setenv("NO_COLOR", "1")
    job("one")
    out = run("rows", "t.csv")[1]
    assert "\x1b[3" not in out
    assert "one" in out


def test_what_a_model_says_is_not_obeyed(run, job, terminal):
    """Control characters in an answer do not reach the terminal."""
    job("clear \x1b[2J\x07 it \x9b5n")
    assert "\x1b[2J" not in run("rows", "t.csv")[1]
    assert "\x07" not in run("rows", "t.csv", "--row", "1")[1]


def test_a_long_answer_is_cut_in_the_table_and_whole_alone(run, job, terminal):
    """The table shows some lines of a cell; --row shows all of it."""
    job("\n".join(f"line-{n}" for n in range(30)))
    assert "line-29" not in run("rows", "t.csv")[1]
    assert "line-29" in run("rows", "t.csv", "--row", "1")[1]


def test_an_edited_row_has_no_answer_any_more(run, job):
    """Beside a row that was edited since, the old answer is not shown."""
    job("one", "two", "three")
    text = Path("t.csv").read_text()
    Path("t.csv").write_text(text.replace("two", "2"))
    assert [row["row"] for row in json.loads(run("rows", "t.csv", "--format", "json")[1])] == [1, 3]
    assert "(pending)" in run("rows", "t.csv", "--row", "2")[1]


def test_a_trial_can_be_looked_at_again(run, job):
    """Where only trials were made, the rows are those of the last one."""
    job("one", "two", "three", words=("--rows", "2"))
    assert [row["row"] for row in json.loads(run("rows", "t.completions.csv.batchchat", "--format", "json")[1])] == [2]


def test_kept_answers_stand_beside_new_ones(run, job):
    """Under --keep-answered each row shows the answer that its output has."""
    server = job("one", "two", "three", words=("--limit", "2"))
    words = ("--base-url", server.base_url, "-m", "m", "--prompt", "New {{ text }}", "--keep-answered", "--quiet")
    assert run("run", "t.csv", *words)[0] == 0
    rows = json.loads(run("rows", "t.csv", "--format", "json")[1])
    assert [row["completion"] for row in rows] == ["one", "two", "New three"]


def test_a_column_called_row_keeps_its_value(simulator, run):
    """An input column whose name is taken is shown under another."""
    Path("t.csv").write_text("row,error\n7,mine\n")
    words = ("--base-url", simulator().base_url, "-m", "m", "--prompt", "{{ row['row'] }} {{ error }}")
    assert run("run", "t.csv", *words, "--prefix", "p_", "--quiet")[0] == 0
    found = json.loads(run("rows", "t.csv", "--format", "json")[1])[0]
    assert (found["row"], found["row (input)"], found["error (input)"], found["error"]) == (1, "7", "mine", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "cvs"], "did you mean csv?"),
        (["--row", "x"], "must be row numbers and ranges"),
        (["--row", "1", "--failed"], "do not go with it"),
        (["-n", "0"], "must be at least 1"),
        (["--sample", "-1"], "must be at least 1"),
    ],
)
def test_wrong_words_are_usage_errors(run, job, words, said):
    """Each is status 2 and a sentence."""
    job("one")
    status, out, err = run("rows", "t.csv", *words)
    assert (status, out) == (2, "")
    assert said in err


def test_a_broken_pipe_ends_it(run, job, monkeypatch):
    """`rows JOB | head -1` reads no further than it is read."""
    job(*(f"prompt {n}" for n in range(200)))
    asked = []
    monkeypatch.setattr(stream, "emit", asked.append)
    assert app.entry(["rows", "t.csv"]) == 0
    assert len(asked) == 1


def test_rows_are_given_one_by_one(job):
    """The api gives an iterator that closes the checkpoint when it is left."""
    job("one", "two")
    found = job_rows("t.csv")
    assert next(found).results["completion"] == "one"
    found.close()
