"""Fields of the request by row: a column says their value, null is not sent, and a wrong one is its row's error."""

from __future__ import annotations

import csv
import json
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import ScriptedServer, completion, http

import batchchat
from batchchat.api import run_job
from batchchat.api.run.signals import Switch
from batchchat.cli import app
from batchchat.errors import UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.job.parameter import BY_ROW, Parameters
from batchchat.job.schema import RequestSection
from batchchat.prompt import RequestBuilder
from batchchat.records import Batch

pytestmark = pytest.mark.usefixtures("plain_surroundings")


def table(*rows, columns=("prompt", "limit"), path="t.csv"):
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def read(path="t.completions.csv"):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def meant(source="t.csv", **options):
    return resolve({"model": "m", "base_url": "http://127.0.0.1:9/v1", **options}, input=source, environ={})


async def bodies(source="t.csv", **options):
    """What was sent, in the order of the rows."""
    async with ScriptedServer([http(completion())]) as server:
        job = meant(source, **{"base_url": server.url, "concurrency": 1, **options})
        await run_job(job, observer=Observer(), switch=Switch())
        return [request.json for request in server.received]


LIMIT = ("--param-column", "max_tokens=limit")


async def test_each_row_sends_its_own_value():
    """The value of the cell is sent as the field has it, also where it was written 7.0; of a null nothing is sent."""
    table(["a", 5], ["b", ""], ["c", "7.0"], ["d", " "])
    sent = await bodies(param_column=["max_tokens=limit"])
    assert [body.get("max_tokens", "not sent") for body in sent] == [5, "not sent", 7, "not sent"]


async def test_cells_of_text_are_read_as_the_field_has_them():
    """Numbers, truth values, JSON and text come out of text cells by the type of the field."""
    columns = ("prompt", "temp", "stop", "format", "user", "effort", "logprobs", "top", "tools", "tier")
    stops = '["a", "b"]'
    table(["x", "0.5", "###", '{"type": "json_object"}', "007", "high", "True", "3", "auto", "flex"], columns=columns)
    table(["y", "1", stops, "", "true", "", "", "", "", ""], columns=columns, path="u.csv")
    said = {
        "temperature": "temp", "stop": "stop", "response_format": "format", "user": "user",
        "reasoning_effort": "effort", "logprobs": "logprobs", "top_logprobs": "top", "tool_choice": "tools",
        "service_tier": "tier",
    }  # fmt: skip
    (body,) = await bodies(param_column=said)
    assert {name: body[name] for name in said} == {
        "temperature": 0.5, "stop": ["###"], "response_format": {"type": "json_object"}, "user": "007",
        "reasoning_effort": "high", "logprobs": True, "top_logprobs": 3, "tool_choice": "auto",
        "service_tier": "flex",
    }  # fmt: skip
    (body,) = await bodies("u.csv", param_column=said)
    assert (body["stop"], body["user"], body["temperature"]) == (["a", "b"], "true", 1.0)


async def test_parquet_types_are_taken_as_they_are():
    """Integers, floats with NaN, decimals, lists, structs (without their nulls) and maps of a Parquet file."""
    columns = {
        "prompt": pa.array(["a", "b"]),
        "limit": pa.array([5.0, float("nan")]),
        "temp": pa.array([Decimal("0.50"), None]),
        "stop": pa.array([["x"], None]),
        "bias": pa.array([[("50256", -100.0)], None], pa.map_(pa.string(), pa.float64())),
        "format": pa.array([{"type": "json_object", "json_schema": None}, None]),
    }
    pq.write_table(pa.table(columns), "t.parquet")
    said = ["max_tokens=limit", "temperature=temp", "stop=stop", "logit_bias=bias", "response_format=format"]
    one, other = await bodies("t.parquet", param_column=said)
    assert (one["max_tokens"], one["temperature"], one["stop"]) == (5, 0.5, ["x"])
    assert (one["logit_bias"], one["response_format"]) == ({"50256": -100}, {"type": "json_object"})
    assert sorted(other) == ["messages", "model"]


async def test_fields_of_other_servers_are_named_as_such():
    """extra_body.NAME sends whatever stands in the cell, JSON as JSON."""
    table(["a", "20", '{"x": [1]}', "[0-9]+"], columns=("prompt", "k", "more", "regex"))
    said = ["extra_body.top_k=k", "extra_body.kwargs=more", "extra_body.guided_regex=regex"]
    (body,) = await bodies(param_column=said)
    assert (body["top_k"], body["kwargs"], body["guided_regex"]) == (20, {"x": [1]}, "[0-9]+")


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("max_tokens", "0", "must be at least 1"),
        ("max_tokens", "7.5", "must be a whole number"),
        ("max_tokens", "many", "must be a whole number"),
        ("temperature", "2.5", "must be from 0 to 2"),
        ("temperature", "nan", "must be a"),
        ("logprobs", "yes", "must be true or false"),
        ("reasoning_effort", "hihg", "did you mean high"),
        ("stop", '["1","2","3","4","5"]', "at most 4"),
        ("response_format", "json", "must be a table"),
        ("top_logprobs", "3", "needs logprobs"),
        ("seed", str(2**70), "must be from"),
        ("metadata", '{"a": 1}', "must be text"),
    ],
)
def test_a_wrong_value_is_its_rows_error(simulator, capsys, field, value, why):
    """Out of its range or of a wrong type, the row fails with column, field, value and range; the others are sent."""
    sim = simulator()
    table(["a", value], ["b", ""])
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", "--param-column", f"{field}=limit", "--quiet"]
    assert app.entry(words) == 3
    wrong, right = read()
    assert wrong["error"].startswith("invalid_row: ")
    assert why in wrong["error"]
    assert "nothing was sent" in wrong["error"]
    assert right["completion"]
    assert sim.stats()["received"] == 1


@pytest.mark.parametrize("field", ["n", "stream", "messages", "model", "stream_options", "extra_body", "param_columns"])
def test_what_is_the_same_for_all_rows_is_refused(field):
    """Choices, model, messages and the way of the answer are the job's."""
    with pytest.raises(UsageError, match=f"--param-column: {field} cannot be said by a column"):
        resolve({"param_column": [f"{field}=limit"]}, input="t.csv", environ={}, need_key=False)


def test_a_misspelt_field_or_column_suggests_the_right_one():
    """A field that is none is not sent as it stands: it is refused, with the one that was meant; so is a column."""
    with pytest.raises(UsageError, match="no field 'max_tokns'; did you mean max_tokens"):
        meant(param_column=["max_tokns=limit"])
    job = meant(param_column=["max_tokens=limt"])
    with pytest.raises(UsageError, match=r"--param-column max_tokens: there is no column 'limt'.*did you mean 'limit'"):
        builder(job)
    for wrong in ("limit", "=limit", "max_tokens="):
        with pytest.raises(UsageError, match="write NAME=COLUMN"):
            meant(param_column=[wrong])
    with pytest.raises(UsageError, match="write top_p"):
        meant(param_column=["extra_body.top_p=limit"])


def test_a_field_is_said_once_and_the_nearer_word_counts():
    """In one place both ways are an error; an option goes before a job file, whichever way either says it."""
    with pytest.raises(UsageError, match="max_tokens is said twice"):
        meant(param_column=["max_tokens=limit"], max_tokens=4)
    with pytest.raises(UsageError, match="said twice"):
        meant(param_column=["max_tokens=limit"], extra_body={"max_tokens": 4})
    Path("job.toml").write_text(
        'input = "t.csv"\n[request]\nmodel = "m"\nmax_tokens = 3\nparam_columns = { temperature = "temp" }\n',
        encoding="utf-8",
    )
    said = resolve(
        {"param_column": ["max_tokens=limit"], "temperature": 0}, input="job.toml", environ={}, need_key=False
    )
    assert (dict(said.request), said.prompt.param_columns) == ({"temperature": 0.0}, {"max_tokens": "limit"})


def builder(job, columns=("prompt", "limit")):
    return RequestBuilder(job.prompt, model="m", parameters=job.request, columns=columns)


def test_the_key_is_that_of_the_request():
    """A row that says 8 has the key of a job that says 8 for all; one that says nothing, of one that says nothing."""
    rows = Batch(start=1, size=2, columns={"prompt": ["a", "a"], "limit": ["8", None]})
    eight, nothing = builder(meant(param_column=["max_tokens=limit"], temperature=0)).tasks(rows)
    fixed = next(builder(meant(max_tokens=8, temperature=0)).tasks(rows))
    plain = next(builder(meant(temperature=0)).tasks(rows))
    assert (eight.key, nothing.key) == (fixed.key, plain.key)
    assert eight.request.body == fixed.request.body
    assert (eight.request.completion_limit, nothing.request.completion_limit) == (8, None)


def test_every_field_has_a_place():
    """A new field of a request may be said by a column, or is the same for all."""
    assert set(BY_ROW) | {"model", "n", "stream", "extra_body", "param_columns"} == set(RequestSection.model_fields)
    for name in BY_ROW:
        assert Parameters({name: "c"}, {}).of({"c": None}) == {}


def test_an_edited_cell_costs_its_row(simulator, capsys):
    """The value belongs to the row's key: an edit sends that row again, a finished job run again sends nothing."""
    sim = simulator()
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", *LIMIT, "--quiet"]
    table(["a", 5], ["b", 6], ["c", 7], ["d", "x"])
    assert app.entry(words) == 3
    table(["a", 5], ["b", 9], ["c", 7], ["d", 8])
    assert app.entry(words) == 0
    assert sim.stats()["received"] == 5
    assert app.entry([*words, "--param-column", "temperature=limit"]) == 2  # other settings
    assert "param_columns" in capsys.readouterr().err
    assert sim.stats()["received"] == 5


def test_trials_retries_and_resume_know_it(simulator, capsys):
    """A trial pays for its rows once, a retry and a resume ask with the row's value."""
    sim = simulator(text="echo")
    table(["one two three four five six seven eight nine ten", 4], ["one two three", ""])
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", *LIMIT, "--quiet"]
    assert app.entry([*words, "--rows", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["completion_tokens"] == 4
    assert app.entry(words) == 0
    assert sim.stats()["received"] == 2
    assert [row["finish_reason"] for row in read()] == ["length", "stop"]
    assert app.entry(["resume", "t.completions.csv", "--retry", "length"]) == 0
    assert sim.stats()["received"] == 3
    assert read()[0]["completion_tokens"] == "4"


def test_cut_answers_get_more_room_by_the_option_of_their_column(simulator, capsys):
    """The command that is suggested for answers that were cut says the field that the column said."""
    table(["one two three four five six seven eight nine ten", 4])
    sim = simulator(text="echo")
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", "--param-column", "max_completion_tokens=limit"]
    assert app.entry(words) == 0
    assert "--retry length --max-completion-tokens 8" in capsys.readouterr().err
    assert app.entry(["resume", "t.completions.csv", "--retry", "length", "--max-completion-tokens", "50"]) == 0
    assert read()[0]["finish_reason"] == "stop"


def test_a_budget_reserves_what_each_row_may_cost(simulator, capsys):
    """The bound of a row is made of its own limit: small rows go, one that does not fit stops the job unsent."""
    sim = simulator()
    table(["a", 2], ["b", 1_000_000], ["c", 3])
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", *LIMIT, "--price", "input=1,output=10", "--json"]
    assert app.entry([*words, "--max-cost", "0.01", "--quiet"]) == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["succeeded"], summary["pending"], summary["stop_reason"]) == (2, 1, "budget")
    assert sim.stats()["received"] == 2


def test_a_row_without_a_limit_has_no_bound(simulator, capsys):
    """Under a budget a null limit is that row's error, which names the remedy; the others are sent."""
    sim = simulator()
    table(["a", 2], ["b", ""])
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", *LIMIT, "--price", "input=1,output=10", "--quiet"]
    assert app.entry([*words, "--max-cost", "1"]) == 3
    assert "--max-tokens" in read()[1]["error"]
    assert sim.stats()["received"] == 1


def test_tiers_by_row_have_no_price(simulator, capsys):
    """Where each row has a service tier of its own no list's price is right: cost unknown, a budget a usage error."""
    table(["a", "flex"])
    words = ["run", "t.csv", "-m", "gpt-4o-mini", "--max-tokens", "3", "--param-column", "service_tier=limit"]
    sim = simulator()
    assert app.entry([*words, "--base-url", sim.base_url, "--price-as", "gpt-4o-mini", "--max-cost", "1"]) == 2
    assert "is not known" in capsys.readouterr().err
    assert app.entry([*words, "--base-url", sim.base_url, "--price", "input=1,output=1", "--max-cost", "1"]) == 0


def test_an_estimate_takes_each_rows_limit(capsys):
    """The most that answers can be is the sum of the rows' limits; where a row has none, it is not known."""
    table(["a", 100], ["b", 300])
    words = ["estimate", "t.csv", "-m", "gpt-4o-mini", *LIMIT, "--json"]
    assert app.entry(words) == 0
    assert json.loads(capsys.readouterr().out)["completion_tokens"]["high"] == 400
    table(["a", 100], ["b", ""])
    assert app.entry(words) == 0
    assert json.loads(capsys.readouterr().out)["completion_tokens"]["high"] is None


def test_job_files_say_it_in_a_table(simulator, capsys):
    """[request.param_columns] says the same, --save-job writes it, a curl command shows it."""
    sim = simulator()
    table(["a", 5])
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", *LIMIT, "--param-column", "extra_body.top_k=limit"]
    assert app.entry([*words, "--save-job", "job.toml"]) == 0
    text = Path("job.toml").read_text(encoding="utf-8")
    assert '[request.param_columns]\nmax_tokens = "limit"\n"extra_body.top_k" = "limit"\n' in text
    capsys.readouterr()
    assert app.entry(["show", "job.toml", "--row", "1"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["max_tokens"], body["top_k"]) == (5, 5)
    Path("job.toml").write_text(text.replace("max_tokens", "max_tokns"), encoding="utf-8")
    assert app.entry(["run", "job.toml"]) == 2
    said = capsys.readouterr().err
    assert "job.toml, line 1" in said
    assert "did you mean max_tokens?" in said


def test_a_data_frame_says_it_too(simulator):
    """In Python it is a dict; a column with missing numbers is taken as it is."""
    frame = pd.DataFrame({"prompt": ["one two three four", "b"], "limit": [2, None]})
    found = batchchat.run(
        frame, model="m", base_url=simulator(text="echo").base_url, param_column={"max_tokens": "limit"}, progress=False
    )
    assert found["completion_tokens"].tolist()[0] == 2
    assert found["error"].isna().all()
