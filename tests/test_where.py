"""Filters: rows that an expression does not choose pass through without an answer, and cost nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

import batchchat
from batchchat.cli import app
from batchchat.errors import BadRow, UsageError
from batchchat.prompt import Where

pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def server(simulator):
    return simulator(text="echo")


@pytest.fixture
def run(capsys, server):
    def run(*words, command="run"):
        told = ("--base-url", server.base_url, "-m", "m", "--prompt", "{{ text }}") if command == "run" else ()
        status = app.entry([command, "t.csv", *told, *map(str, words)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def table(count=10, lang=lambda n: "en" if n % 2 else "de"):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        rows = ([n, f"text {n}", lang(n)] for n in range(1, count + 1))
        csv.writer(file).writerows([["n", "text", "lang"], *rows])


def answered(path="t.completions.csv"):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [int(row["n"]) for row in csv.DictReader(file) if row["completion"]]


def asked(server):
    return server.stats()["received"]


ODD = ("--where", "lang == 'en'")


def test_other_rows_pass_through(run, server):
    """Only chosen rows are sent; the others are in the output with nulls, and counted as skipped; the status is 0."""
    table()
    status, out, err = run(*ODD, "--json")
    summary = json.loads(out)
    assert status == 0
    assert (summary["rows"], summary["succeeded"], summary["failed"], summary["pending"], summary["skipped"]) == (
        10, 5, 0, 0, 5
    )  # fmt: skip
    assert asked(server) == 5
    assert answered() == [1, 3, 5, 7, 9]
    assert "10 rows, 5 to send (5 skipped)" in err
    with Path("t.completions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["n"] for row in rows] == [str(n) for n in range(1, 11)]
    assert all(row["error"] == row["finish_reason"] == "" for row in rows[1::2])


def test_a_finished_job_sends_nothing(run, server):
    """Run again with the same filter nothing is sent, and the status command counts nothing as pending."""
    table()
    run(*ODD)
    status, _, err = run(*ODD)
    assert status == 0
    assert "nothing to send (5 answered before, 5 skipped)" in err
    assert asked(server) == 5
    facts = json.loads(run("--json", command="status")[1])
    assert (facts["succeeded"], facts["pending"]) == (5, 0)


def test_the_filter_may_change_freely(run, server):
    """Another filter, or none, sends what was never sent, and shows what it chooses; nothing is paid twice."""
    table()
    run(*ODD, "--quiet")
    assert run("--where", "(n | int) <= 4", "--quiet")[0] == 0
    assert asked(server) == 7
    assert answered() == [1, 2, 3, 4]
    assert run("--quiet")[0] == 0
    assert asked(server) == 10
    assert answered() == list(range(1, 11))
    assert run(*ODD, "--quiet")[0] == 0
    assert asked(server) == 10
    assert answered() == [1, 3, 5, 7, 9]


def test_a_table_of_many_batches(run, server):
    """A filter that chooses few rows of many batches finds each of them, also after a limit."""
    table(5000, lang=lambda n: "en" if n % 1000 == 7 else "de")
    assert run(*ODD, "--limit", "1500", "--quiet")[0] == 0
    assert (answered(), asked(server)) == ([7, 1007], 2)
    assert run(*ODD, "--quiet")[0] == 0
    assert (answered(), asked(server)) == ([7, 1007, 2007, 3007, 4007], 5)


def test_a_resumed_job_keeps_its_filter(run, server):
    """`resume` and `export` use the filter that the job was run with."""
    table()
    run(*ODD, "--limit", "4", "--quiet")
    assert run("--limit", "10", "--quiet", command="resume")[0] == 0
    assert answered() == [1, 3, 5, 7, 9]
    assert run("-o", "other.csv", command="export")[0] == 0
    assert answered("other.csv") == [1, 3, 5, 7, 9]


def test_a_trial_draws_among_the_chosen(run, server):
    """--sample and --rows take chosen rows alone."""
    table(100)
    found = json.loads(run(*ODD, "--sample", "8", "--json")[1])
    assert len(found) == 8
    assert all(one["row"] % 2 for one in found)
    assert [one["row"] for one in json.loads(run(*ODD, "--rows", "1-4", "--json")[1])] == [1, 3]


def test_a_failed_row_counts_only_where_it_is_chosen(run, server):
    """The status speaks of the chosen rows."""
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["n", "text", "lang"], [1, "one", "en"], [2, "@@400*1 two", "de"]])
    assert run("--quiet")[0] == 3
    assert run(*ODD, "--quiet")[0] == 0
    assert run("--where", "lang == 'de'", "--quiet")[0] == 3


def test_estimate_counts_the_chosen(run, server, capsys):
    """An estimate counts the rows that a run would send."""
    table()
    words = ["estimate", "t.csv", "--prompt", "{{ text }}", "-m", "m", "--price", "input=1,output=1", "--json", *ODD]
    assert app.entry([*words, "--base-url", server.base_url, "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["to_send"] == 5


def test_a_dry_run_counts_them(run, server):
    """--dry-run says what would be sent."""
    table()
    plan = json.loads(run(*ODD, "--dry-run", "--json")[1])
    assert (plan["rows"], plan["skipped"], plan["to_send"]) == (10, 5, 5)
    assert asked(server) == 0


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("langg == 'en'", "did you mean 'lang'?"),
        ("lang ==", "this is no expression"),
        ("1 == 1", "names no column"),
        ("n > 3", "(age | int) > 3"),
        ("lang.__class__.__mro__", "unsafe"),
        ("", "must not be empty"),
    ],
)
def test_a_wrong_filter_is_a_usage_error(run, server, expression, said):
    """A filter that does not parse, names what is no column, or fails on a row costs nothing, and says where."""
    table()
    status, out, err = run("--where", expression)
    assert (status, out) == (2, "")
    assert said in err
    assert asked(server) == 0


def test_a_filter_of_a_job_file(run, server, capsys):
    """`where` stands in [job]."""
    table()
    Path("job.toml").write_text(
        'input = "t.csv"\n[prompt]\ntemplate = "{{ text }}"\n[request]\nmodel = "m"\n'
        f"[endpoint]\nbase_url = \"{server.base_url}\"\n[job]\nwhere = \"row['n'] == '3'\"\n"
    )
    assert app.entry(["run", "job.toml", "--quiet"]) == 0
    assert answered() == [3]


def test_a_frame_is_filtered_too(server):
    """From Python the frame comes back whole, with nulls where the filter does not hold."""
    frame = pd.DataFrame({"text": ["a", "b", "c"], "n": [1, 2, 3]}, index=[7, 8, 9])
    found = batchchat.run(frame, prompt="{{ text }}", model="m", base_url=server.base_url, where="n > 1")
    assert list(found.index) == [7, 8, 9]
    assert found["completion"].isna().tolist() == [True, False, False]
    assert asked(server) == 2


def test_an_expression_alone():
    """A null is falsy, `row` reaches any name, and what fails is that row's error."""
    where = Where("row['a b'] or c", columns=["a b", "c", "d"])
    assert where.columns == ("a b", "c")
    assert where.holds({"a b": None, "c": "x"})
    assert not where.holds({"a b": None, "c": None})
    with pytest.raises(BadRow):
        Where("c < 3", columns=["c"]).holds({"c": None})
    with pytest.raises(UsageError):
        Where("c }} {{ c", columns=["c"])
