"""Columns on request: made of what the checkpoint keeps, at any time, with nothing sent for them."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fakes import ScriptedServer, completion, delta, error, http, sse

import batchchat
from batchchat.api import export_job, run_job
from batchchat.api.run.signals import Switch
from batchchat.cli import app
from batchchat.errors import UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.records import ADDED_COLUMNS

ALL = ",".join(ADDED_COLUMNS)
PRICE = "input=1,output=10,cached=0.5"
CALLS = [{"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at": "ü"}'}}]
LOGPROBS = {"content": [{"token": "hi", "logprob": -0.25, "bytes": None, "top_logprobs": []}]}


pytestmark = pytest.mark.usefixtures("plain_surroundings")


def table(rows, path="t.csv"):
    Path(path).write_text("prompt\n" + "".join(f"row {n}\n" for n in range(1, rows + 1)), encoding="utf-8")
    return path


def choice(content="hi", *, index=0, finish="stop", logprobs=None, **message):
    return {
        "index": index,
        "message": {"role": "assistant", "content": content, **message},
        "finish_reason": finish,
        "logprobs": logprobs,
    }


def reply(*choices, usage=None, **more):
    return completion(
        choices=list(choices),
        usage=usage or {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100},
        model="fake-2026-01-01",
        **more,
    )


DETAILED = {
    "prompt_tokens": 1000,
    "completion_tokens": 100,
    "total_tokens": 1100,
    "prompt_tokens_details": {"cached_tokens": 400},
    "completion_tokens_details": {"reasoning_tokens": 30},
}


async def run(server, source, output, **options):
    said = {"base_url": server.url, "model": "fake", "concurrency": 1, "output": output, "price": PRICE} | options
    job = resolve(said, input=source, environ={})
    return await run_job(job, observer=Observer(), switch=Switch())


def arrow(path):
    return pq.read_table(path)


async def test_every_column_has_its_type_and_value():
    """Each column stands behind the usual ones in the order asked for, with its Arrow type, null where nothing is."""
    script = [
        http(reply(choice(tool_calls=CALLS, content=None, finish="tool_calls"), usage=DETAILED), x_request_id="req-1"),
        http(reply(choice(logprobs=LOGPROBS)), x_request_id="req-2"),
        http(reply(choice(None, refusal="I will not.")), x_request_id="req-3"),
        http(error("no", code="bad"), 400, x_request_id="req-4"),
        http(error("later"), 500),
        http(completion(usage=None, id="from-the-body")),
    ]
    async with ScriptedServer(script) as server:
        await run(server, table(5), "out.parquet", add_columns=ALL)
    found = arrow("out.parquet")
    assert found.column_names[-len(ADDED_COLUMNS) :] == list(ADDED_COLUMNS)
    kinds = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    assert {name: found.schema.field(name).type for name in ADDED_COLUMNS} == {
        name: kinds[kind] for name, kind in ADDED_COLUMNS.items()
    }
    rows = found.to_pydict()
    assert rows["request_id"] == ["req-1", "req-2", "req-3", "req-4", "from-the-body"]
    assert rows["response_model"] == ["fake-2026-01-01"] * 3 + [None, "fake"]
    assert rows["attempts"] == [1, 1, 1, 1, 2]
    assert [at is None for at in rows["latency_s"]] == [False, False, False, True, False]
    assert rows["first_token_s"] == [None] * 5
    assert rows["cached_tokens"] == [400, None, None, None, None]
    assert rows["reasoning_tokens"] == [30, None, None, None, None]
    assert [text and json.loads(text) for text in rows["tool_calls"]] == [CALLS, None, None, None, None]
    assert rows["refusal"] == [None, None, "I will not.", None, None]
    assert [text and json.loads(text) for text in rows["logprobs"]] == [None, LOGPROBS, None, None, None]
    assert rows["cost_usd"] == pytest.approx([0.0018, 0.002, 0.002, None, None])
    assert rows["error"][2] is not None  # a refusal is paid for


async def test_a_finished_job_gets_its_columns_without_a_request():
    """Asked for later, the columns are written from the checkpoint: by the run itself and by an export."""
    async with ScriptedServer([http(reply(choice()), x_request_id="r")]) as server:
        await run(server, table(3), "out.csv")
        again = await run(server, "t.csv", "out.csv", add_columns=["attempts", "cost_usd"])
        assert (again.requests, len(server.received)) == (0, 3)
    found = pd.read_csv("out.csv")
    assert (found["attempts"].tolist(), found["cost_usd"].tolist()) == ([1] * 3, [0.002] * 3)
    written = export_job("out.csv", "other.parquet", add_columns="request_id,response_model")
    found = arrow(written.path)
    assert found.column_names[-2:] == ["request_id", "response_model"]
    assert found["request_id"].to_pylist() == ["r"] * 3
    assert arrow(export_job("out.csv", "same.parquet").path).column_names[-2:] == ["attempts", "cost_usd"]


async def test_an_unknown_price_is_null():
    """Where nobody knows the price the column is null, never zero; a told one counts at the next export."""
    async with ScriptedServer([http(reply(choice()))]) as server:
        await run(server, table(1), "out.parquet", price=None, add_columns="cost_usd")
        assert arrow("out.parquet")["cost_usd"].to_pylist() == [None]
        await run(server, "t.csv", "out.parquet", add_columns="cost_usd", overwrite=True)
    assert arrow("out.parquet")["cost_usd"].to_pylist() == [0.002]


async def test_answers_that_were_kept_have_the_price_of_their_own_model():
    """With --keep-answered a price that was told of the new model is not put on answers of the old one."""
    async with ScriptedServer([http(reply(choice())), http(error("no"), 400), http(reply(choice()))]) as server:
        await run(server, table(2), "out.parquet", model="old")
        await run(
            server, "t.csv", "out.parquet", model="new", keep_answered=True, retry="failed", add_columns="cost_usd"
        )
    assert arrow("out.parquet")["cost_usd"].to_pylist() == [None, 0.002]


async def test_several_choices_are_a_list():
    """With n above 1 the texts of a row are a list, one for each choice, null where no choice has any."""
    two = reply(choice(logprobs=LOGPROBS), choice("b", index=1))
    async with ScriptedServer([http(two)]) as server:
        await run(server, table(1), "out.parquet", n=2, add_columns="logprobs,refusal")
    found = arrow("out.parquet")
    assert found.schema.field("logprobs").type == pa.list_(pa.string())
    logprobs = found["logprobs"].to_pylist()[0]
    assert (json.loads(logprobs[0]), logprobs[1]) == (LOGPROBS, None)
    assert found["refusal"].to_pylist() == [None]


async def test_a_stream_says_when_its_first_token_came():
    """With --stream first_token_s is there, and no later than latency_s; tool calls of a stream are put together."""
    calls = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}]
    more = [{"index": 0, "function": {"arguments": ": 1}"}}]
    body = sse(delta(tool_calls=calls), delta(tool_calls=more), delta(finish="tool_calls"))
    async with ScriptedServer([http(body, content_type="text/event-stream")]) as server:
        await run(server, table(1), "out.parquet", stream=True, add_columns="first_token_s,latency_s,tool_calls")
    row = {name: values[0] for name, values in arrow("out.parquet").to_pydict().items()}
    assert 0 <= row["first_token_s"] <= row["latency_s"]
    (call,) = json.loads(row["tool_calls"])
    assert call == {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


async def test_the_older_function_call_is_a_tool_call():
    """What an old server gives as function_call stands in the same column."""
    call = {"name": "f", "arguments": "{}"}
    body = reply(choice(None, function_call=call, finish="function_call"))
    async with ScriptedServer([http(body)]) as server:
        await run(server, table(1), "out.parquet", add_columns="tool_calls")
    (calls,) = arrow("out.parquet")["tool_calls"].to_pylist()
    assert json.loads(calls) == [{"type": "function", "function": call}]


@pytest.mark.parametrize("names", ["latency_s,cost_usd", ["latency_s", "cost_usd", "latency_s"]])
def test_names_come_by_commas_or_as_a_list(names):
    """Each column is written once, in the order in which it was named first."""
    job = resolve({"model": "m", "add_columns": names, "base_url": "http://h/v1"}, input="t.csv", environ={})
    assert job.policy.add_columns == ("latency_s", "cost_usd")


def test_a_misspelt_name_is_a_usage_error():
    """A name that is none is refused with the one that was meant; one that is like none, with all of them."""
    with pytest.raises(UsageError, match=r"--add-columns: there is no column 'latency' to add; .*latency_s"):
        resolve({"model": "m", "add_columns": "latency"}, input="t.csv", environ={}, need_key=False)
    with pytest.raises(UsageError, match="there are request_id, response_model"):
        resolve({"model": "m", "add_columns": "zzz"}, input="t.csv", environ={}, need_key=False)


def test_a_name_that_the_input_has_is_refused(simulator, capsys):
    """A column that the input has already is a usage error that names --prefix, and nothing is sent."""
    Path("t.csv").write_text("prompt,attempts\nhello,3\n", encoding="utf-8")
    sim = simulator()
    words = ["run", "t.csv", "--base-url", sim.base_url, "-m", "m", "--add-columns", "attempts"]
    assert app.entry(words) == 2
    assert "'attempts'" in (said := capsys.readouterr().err)
    assert "--prefix" in said
    assert sim.stats()["received"] == 0
    assert app.entry([*words, "--prefix", "x_"]) == 0
    assert Path("t.completions.csv").read_text(encoding="utf-8").startswith("prompt,attempts,x_completion")


def test_job_files_and_resume_say_it_too(simulator, capsys):
    """A job file lists them, --save-job writes them, resume may ask for others."""
    table(2)
    sim = simulator()
    Path("job.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "m"\n[endpoint]\nbase_url = "{sim.base_url}"\n'
        '[job]\nadd_columns = ["response_model"]\n',
        encoding="utf-8",
    )
    assert app.entry(["run", "job.toml", "--save-job", "saved.toml"]) == 0
    assert 'add_columns = ["response_model"]' in Path("saved.toml").read_text(encoding="utf-8")
    assert app.entry(["run", "saved.toml"]) == 0
    assert pd.read_csv("t.completions.csv").columns[-1] == "response_model"
    assert app.entry(["resume", "t.completions.csv", "--add-columns", "latency_s"]) == 0
    assert pd.read_csv("t.completions.csv").columns[-1] == "latency_s"
    assert sim.stats()["received"] == 2


def test_data_in_memory_get_them(simulator):
    """A DataFrame and a Table come back with the columns, counts as Int64; a trial has them too."""
    sim = simulator()
    frame = pd.DataFrame({"prompt": ["a", "b"]})
    options = {"model": "m", "base_url": sim.base_url, "add_columns": ["attempts", "latency_s"], "progress": False}
    found = batchchat.run(frame, **options)
    assert list(found.columns[-2:]) == ["attempts", "latency_s"]
    assert (str(found["attempts"].dtype), found["attempts"].tolist()) == ("Int64", [1, 1])
    trial = batchchat.run(pa.table({"prompt": ["a", "b"]}), rows=[2], **options)
    assert trial["attempts"].to_pylist() == [1]


def test_a_trial_shows_them(simulator, capsys):
    """The JSON of a trial has the columns that were asked for."""
    table(2)
    words = ["--base-url", simulator().base_url, "-m", "m", "--rows", "1", "--json", "--add-columns", "attempts"]
    assert app.entry(["run", "t.csv", *words]) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["attempts"] == 1
