"""Every field of a request from a job file, an option or extra_body to the socket, and what is refused before it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from fakes import ScriptedServer, completion, http

from batchchat.api import run_job
from batchchat.api.run.signals import Switch
from batchchat.cli import app
from batchchat.errors import UsageError
from batchchat.events import Observer
from batchchat.job import resolve
from batchchat.job.options import REQUEST_OPTIONS
from batchchat.job.schema import RequestSection

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
# Every field of API.md but messages, model and the way of the answer, with a value that it may have.
FIELDS = {
    "audio": {"format": "mp3", "voice": "alloy"},
    "frequency_penalty": -2.0,
    "function_call": "auto",
    "functions": [{"name": "f"}],
    "logit_bias": {"50256": -100, "7": 0.5},
    "logprobs": True,
    "max_completion_tokens": 9,
    "max_tokens": 8,
    "metadata": {"job": "labels"},
    "modalities": ["text"],
    "moderation": {"model": "omni"},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 2.0,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "xhigh",
    "response_format": {"type": "json_object"},
    "safety_identifier": "somebody",
    "seed": -(2**63),
    "service_tier": "flex",
    "stop": ["a", "b", "c", "d"],
    "store": False,
    "temperature": 0.0,
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "tools": [TOOL, {"type": "custom", "custom": {"name": "g"}}],
    "top_logprobs": 20,
    "top_p": 1.0,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}
# What each of them may not be, and the words of the refusal.
WRONG = {
    "frequency_penalty": (-2.1, "from -2 to 2"),
    "functions": ([], "at least 1"),
    "logit_bias": ({"7": 101}, "from -100 to 100"),
    "logprobs": ("yes", "must be true or false"),
    "max_completion_tokens": (0, "at least 1"),
    "max_tokens": (0.5, "a whole number"),
    "metadata": ({"k" * 65: "v"}, "at most 16 pairs"),
    "modalities": (["smell"], "one of"),
    "n": (129, "from 1 to 128"),
    "parallel_tool_calls": (1, "must be true or false"),
    "presence_penalty": (3, "from -2 to 2"),
    "prompt_cache_retention": ("48h", "one of"),
    "reasoning_effort": ("hihg", "did you mean high"),
    "response_format": ({}, "must say its type"),
    "safety_identifier": ("x" * 65, "at most 64 characters"),
    "seed": (2**63, "must be from"),
    "service_tier": ("cheap", "one of"),
    "stop": (["a"] * 5, "at most 4"),
    "store": ("no", "must be true or false"),
    "temperature": (2.5, "from 0 to 2"),
    "tools": ([TOOL] * 129, "at most 128"),
    "top_logprobs": (21, "from 0 to 20"),
    "top_p": (1.5, "from 0 to 1"),
    "user": (7, "must be text"),
    "verbosity": ("hi", "one of"),
}


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("prompt\nhello\n", encoding="utf-8")


def toml(value):
    """A value as TOML has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {toml(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


def job_file(fields, more=""):
    said = "".join(f"{name} = {toml(value)}\n" for name, value in fields.items())
    Path("job.toml").write_text(f'input = "t.csv"\n[request]\nmodel = "m"\n{said}{more}', encoding="utf-8")
    return "job.toml"


async def sent(source="t.csv", **options):
    """The body of the one request."""
    async with ScriptedServer([http(completion())]) as server:
        job = resolve({"base_url": server.url, "model": "m", **options}, input=source, environ={})
        await run_job(job, observer=Observer(), switch=Switch())
        (request,) = server.received
        return request.json


def test_the_fields_are_all_there_are():
    """The table above is the schema's: a new field has to be said here."""
    assert set(FIELDS) == set(RequestSection.model_fields) - {"model", "stream", "extra_body", "param_columns"}


async def test_every_field_of_a_job_file_reaches_the_wire():
    """All fields at once, as the API names them; nothing else is sent but model and messages."""
    body = await sent(job_file(FIELDS))
    assert body == {"model": "m", "messages": [{"role": "user", "content": "hello"}], **FIELDS}


@pytest.mark.parametrize("name", FIELDS)
async def test_each_field_reaches_the_wire_by_extra_body(name):
    """--extra-body says the same as the field of a job file."""
    fields = {name: FIELDS[name], **({"logprobs": True} if name == "top_logprobs" else {})}
    body = await sent(extra_body=json.dumps(fields))
    assert {field: body[field] for field in fields} == fields
    assert len(body) == 2 + len(fields)


@pytest.mark.parametrize("name", [name for name in REQUEST_OPTIONS if name in FIELDS])
def test_each_option_says_the_same(name, simulator, capsys):
    """An option of the command line gives the same request as a job file."""
    fields = {name: FIELDS[name], **({"logprobs": True} if name == "top_logprobs" else {})}
    words = ["show", "t.csv", "-m", "m"]
    for field, value in fields.items():
        flag = "--" + field.replace("_", "-")
        if value is True:
            words.append(flag)
        elif field == "stop":
            words += [word for text in value for word in (flag, text)]
        else:
            words += [flag, value if isinstance(value, str) else json.dumps(value)]
    assert app.entry(words) == 0
    typed = json.loads(capsys.readouterr().out)
    assert app.entry(["show", job_file(fields)]) == 0
    assert typed == json.loads(capsys.readouterr().out)
    assert typed[name] == FIELDS[name]


@pytest.mark.parametrize("name", WRONG)
def test_what_a_field_may_not_be_is_refused_before_anything_is_sent(name):
    """Out of range or of a wrong type it is a usage error with file, line, name and what it must be."""
    value, why = WRONG[name]
    with pytest.raises(UsageError) as refused:
        resolve({}, input=job_file({name: value}), environ={}, need_key=False)
    assert str(refused.value).startswith("job.toml, line 4: request.")
    assert name in str(refused.value)
    assert why in str(refused.value)


async def test_what_is_not_said_is_not_sent():
    """A job that says nothing sends model and messages, and a stream asks for its usage alone."""
    assert sorted(await sent()) == ["messages", "model"]
    body = await sent(stream=True, output="o.csv")
    assert body.pop("stream_options") == {"include_usage": True}
    assert sorted(body) == ["messages", "model", "stream"]


async def test_fields_of_other_servers_are_sent_as_they_stand():
    """[request.extra_body] takes anything, also a value that OpenAI would refuse."""
    body = await sent(job_file({}, '[request.extra_body]\ntop_k = 3\ntemperature = 5\nmore = { deep = ["x"] }\n'))
    assert (body["top_k"], body["temperature"], body["more"]) == (3, 5, {"deep": ["x"]})
