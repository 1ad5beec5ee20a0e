"""What the end of a run suggests: each command that it names is typed, and does what was said."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest

from batchchat.cli import app

LONG = "a word " * 30


pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def server(simulator):
    return simulator(text="echo")


@pytest.fixture
def run(capsys, server):
    """A command in words, without its first; `run` goes to the simulator. What was told on stderr."""

    def run(*words):
        where = ("--base-url", server.base_url, "-m", "m") if words[0] == "run" else ()
        app.entry([*map(str, words), *where])
        return capsys.readouterr().err

    return run


def table(*prompts):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])


def named(told, words):
    """The command that follows these words on a line, without its first word."""
    (line,) = [line for line in told.splitlines() if words in line]
    return shlex.split(line.partition("batchchat ")[2])


@pytest.mark.parametrize("option", ["--max-tokens", "--max-completion-tokens"])
def test_answers_that_were_cut_are_counted_and_sent_again_with_more_room(run, server, option):
    """The end counts answers that ended by length, and its command sends those alone, with twice the room."""
    table(LONG, "short", LONG)
    told = run("run", "t.csv", option, 16)
    assert "2 answers were cut by their length" in told
    command = named(told, "cut by their length")
    assert command == ["resume", "t.completions.csv", "--retry", "length", option, "32"]
    told = run(*command)
    assert server.stats()["received"] == 5
    assert "2 answers were cut" in told  # 30 words and more are still longer
    told = run("resume", "t.completions.csv", "--retry", "length", option, 400)
    assert server.stats()["received"] == 7
    assert "cut by" not in told


def test_a_trial_counts_what_was_cut(run):
    """Of a trial too, before the whole is sent with too little room."""
    table(LONG, "short")
    assert "1 answer was cut by its length; --max-tokens 16 would give more room" in run(
        "run", "t.csv", "--max-tokens", 8, "--rows", "1-2"
    )


def test_a_limit_that_left_rows_names_the_way_to_the_rest(run, server):
    """A run that ends at its limit says that it did, and the command goes on with the rows beyond it."""
    table("one", "two", "three")
    told = run("run", "t.csv", "--limit", 2, "--restart")
    assert "Only the first 2 rows were meant" in told
    command = named(told, "Only the first")
    assert "--limit" not in command
    assert "--restart" not in command
    assert "Only the first" not in run(*command[:2])
    assert server.stats()["received"] == 3
    assert "Only the first" not in run("run", "t.csv", "--limit", 3)


def test_a_limit_of_a_job_file_is_raised(run, server):
    """Where the job file has the limit, a larger one goes on."""
    table("one", "two", "three")
    Path("j.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "m"\n[endpoint]\nbase_url = "{server.base_url}"\n[job]\nlimit = 1\n'
    )
    app.entry(["run", "j.toml"])
    assert "batchchat resume t.completions.csv --limit N, with a larger N" in run("resume", "j.toml", "--limit", 2)
    assert server.stats()["received"] == 2


def test_a_checkpoint_elsewhere_is_named_itself(run):
    """Where the checkpoint does not lie beside the output, the commands name the checkpoint."""
    table("one", "@@400*1 two")
    assert named(run("run", "t.csv", "--checkpoint", "keep.batchchat"), "Send the failed rows again") == [
        "resume", "keep.batchchat", "--retry-failed"
    ]  # fmt: skip


def test_a_resume_with_more_room_says_what_it_lacks(run, server):
    """Longer answers alone would change every row's request: the remedy is one of the options that resume has."""
    table(LONG, "short")
    run("run", "t.csv", "--max-tokens", 8)
    told = run("resume", "t.csv", "--max-tokens", 16)
    assert "--retry length sends the answers again that were cut" in told
    assert "--keep-answered" not in told
    assert server.stats()["received"] == 2
