"""Two jobs, or two settings of one, row by row."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from batchchat.api.look.comparison import label
from batchchat.cli import app

pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    def run(*words):
        status = app.entry([str(word) for word in words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


@pytest.fixture
def answer(run, simulator):
    """Runs t.csv with a prompt; the simulator says the prompt again."""
    server = simulator(text="echo")

    def answer(prompt, *words):
        told = ("--base-url", server.base_url, "-m", "m", "--quiet", "--prompt", prompt)
        assert run("run", "t.csv", *told, *words)[0] in {0, 3}

    return answer


def table(*texts, gold=None):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = ([text, *([gold[n]] if gold else [])] for n, text in enumerate(texts))
        csv.writer(file).writerows([["text", *(["gold"] if gold else [])], *rows])


def found(run, *words):
    status, out, err = run("compare", *words, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_two_outputs_are_compared(run, answer):
    """Agreement, rows of one alone, tokens and the rows that differ, first ones first."""
    table("a", "b", "c", "d")
    answer("{{ text }}", "-o", "one.csv", "--limit", "3")
    answer("{{ 'X' if text == 'b' else text | upper }}.", "-o", "two.csv")
    both = found(run, "one.csv", "two.csv")
    assert (both["both"], both["agree"], both["only_a"], both["only_b"]) == (3, 2, 0, 1)
    assert [(row["row"], row["inputs"], row["a"], row["b"]) for row in both["changed"]] == [
        (2, {"text": "b"}, "b", "X.")
    ]
    assert both["a"]["answered"] == 3
    assert both["b"]["cost_usd"] is None


def test_the_last_two_settings_of_a_job(run, answer):
    """Without B the settings that were used last stand beside those before them; @N names others."""
    table("a", "b", "c")
    answer("{{ text }}")
    answer("B {{ text }}", "--rows", "2-3")
    answer("C {{ text }}", "--rows", "3")
    last = found(run, "t.completions.csv")
    assert (last["a"]["name"], last["b"]["name"]) == ("t.completions.csv@2", "t.completions.csv@3")
    assert [(row["row"], row["a"], row["b"]) for row in last["changed"]] == [(3, "B c", "C c")]
    first = found(run, "t.completions.csv@1", "t.completions.csv@2")
    assert (first["both"], first["only_a"]) == (2, 1)
    assert found(run, "t.completions.csv@3")["b"]["answered"] == 3
    status, _, err = run("compare", "t.completions.csv@1", "t.completions.csv@9")
    assert status == 2
    assert "t.completions.csv@2  m, 2 answers: B {{ text }}" in err


def test_gold_tells_who_is_right(run, answer):
    """With --gold the share that each gets right, and who was right alone."""
    table("yes", "no", "yes", "no", gold=["Yes", "no", "no", "yes"])
    answer("{{ text }}", "-o", "one.csv")
    answer("yes{{ '' if text else text }}", "-o", "two.csv")
    right = found(run, "one.csv", "two.csv", "--gold", "gold")["right"]
    assert right == {"column": "gold", "a": 2, "b": 2, "both": 1, "neither": 1}
    status, out, _ = run("compare", "one.csv", "two.csv", "--gold", "gold")
    assert status == 0
    assert "both right 1, A alone 1, B alone 1, neither 1" in out
    assert "2 (50.0 %)" in out


def test_rows_that_are_not_the_same_are_not_compared(run, answer):
    """Where the tables differ at a row, its answers say nothing about each other."""
    table("a", "b")
    answer("{{ text }}", "-o", "one.csv")
    Path("t.csv").rename("old.csv")
    table("a", "z")
    answer("{{ text }}", "-o", "two.csv")
    Path("old.csv").replace("t.csv")
    both = found(run, "one.csv", "two.csv")
    assert (both["both"], both["only_a"], both["unlike"]) == (1, 1, 0)


def test_failed_rows_are_no_answers(run, answer):
    """A row that failed on one side counts for the other alone."""
    table("a", "@@400*1 b")
    answer("{{ text }}", "-o", "one.csv")
    answer("x {{ text | replace('@', '') }}", "-o", "two.csv")
    both = found(run, "one.csv", "two.csv")
    assert (both["both"], both["only_b"], both["a"]["failed"]) == (1, 1, 1)


def test_markdown_can_be_pasted(run, answer):
    """--format md gives tables whose cells break nothing."""
    table("a|b", "<c>")
    answer("{{ text }}", "-o", "one.csv")
    answer("{{ text }}!", "-o", "two.csv")
    status, out, _ = run("compare", "one.csv", "two.csv", "--format", "md", "-n", "1")
    assert status == 0
    assert "| row | text | A | B |\n| --- | --- | --- | --- |\n| 1 | a\\|b | a\\|b | a\\|b! |" in out
    assert "and 1 more" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["one.csv", "one.csv"], "are the same answers"),
        (["one.csv"], "has answers of one setting only"),
        (["one.csv", "none.csv"], "did you mean one.csv?"),
        (["one.csv@1", "one.csv", "--gold", "txt"], "did you mean text?"),
        (["one.csv", "one.csv", "--format", "txt"], "did you mean text?"),
        (["one.csv", "one.csv", "-n", "-1"], "at least 0"),
    ],
)
def test_wrong_words_are_usage_errors(run, answer, words, said):
    """Each is status 2 and says what is meant."""
    table("a")
    answer("{{ text }}", "-o", "one.csv")
    status, out, err = run("compare", *words)
    assert (status, out) == (2, "")
    assert said in err


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("Positive.", "positive"),
        (' "positive" ', "positive"),
        ('{"sentiment": "positive"}', "positive"),
        ('{\n "a": 1, "b": 2\n}', '{\n "a": 1, "b": 2\n}'),
        ("{not json", "{not json"),
        (None, ""),
        (["Yes", "NO."], "yes\nno"),
    ],
)
def test_what_a_label_is(answer, same):
    """White space, quotes, a full stop, capitals and a JSON object around one value do not count."""
    assert label(answer) == same
