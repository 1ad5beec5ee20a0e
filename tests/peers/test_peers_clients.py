"""The official clients and curl against `serve`: the simulator and the embedded model."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from peers.job import assert_whole, run_job
from peers.places import foreign, needed, node_folder, python_of
from peers.programs import served

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

HERE = Path(__file__).parent
REFUSED = {
    "role": ["BadRequestError", 400],
    "range": ["BadRequestError", 400],
    "model": ["NotFoundError", 404],
    "empty": ["BadRequestError", 400],
}
BARE = {"messages": [{"role": "user", "content": "Say this is a test."}]}


@pytest.fixture(scope="module", params=["sim", "local"])
def endpoint(request):
    """`serve` with one of its models: its base URL and the model's name."""
    options = ["--models", "sim"] if request.param == "sim" else []
    with served(request.param, *options) as url:
        yield url, request.param


def said_by(command):
    ran = subprocess.run(
        [str(word) for word in command], env=foreign(), capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def assert_tutorial(found, model):
    """What the tutorial's calls must give."""
    assert model in found["models"]
    assert found["plain"]["content"].strip()
    wanted = {"object": "chat.completion", "role": "assistant", "finish_reason": "stop", "adds_up": True}
    reasons = {"stop", "length"}
    assert found["plain"].pop("finish_reason") in reasons
    assert {**found["plain"], "finish_reason": "stop", "content": ""} == {**wanted, "content": ""}
    assert found["stream"]["content"].strip()
    assert found["stream"]["pieces"] > 1
    assert found["stream"]["usage"]
    assert len(found["stream"]["reasons"]) == 1
    assert set(found["stream"]["reasons"]) <= reasons
    assert {name: raised[:2] for name, raised in found["refused"].items()} == REFUSED
    assert found["refused"]["role"][2].startswith("'doctor' is not one of ['system', 'assistant', 'user'")


def test_openai_for_python(endpoint):
    """Plain, streamed and concurrent calls work; what is refused is raised as the class that it is."""
    url, model = endpoint
    found = json.loads(said_by([python_of("openai"), HERE / "openai_client.py", url, model]))
    assert_tutorial(found, model)
    assert len([text for text in found["async"]["answers"] if text]) == 6
    assert found["async"]["content"].strip()


def test_openai_for_node(endpoint):
    """Plain and streamed calls work; what is refused is raised as the class that it is."""
    url, model = endpoint
    script = shutil.copy(HERE / "openai_client.mjs", node_folder())  # modules are looked for beside the script
    assert_tutorial(json.loads(said_by([needed("node", "Node.js"), script, url, model])), model)


def test_curl(endpoint):
    """A bare request is answered, and streamed where that is asked for."""
    url, model = endpoint
    ask = [needed("curl", "curl"), "-sS", "-N", f"{url}/chat/completions", "-H", "Content-Type: application/json", "-d"]
    answer = json.loads(said_by([*ask, json.dumps({"model": model, **BARE})]))
    assert answer["choices"][0]["message"]["content"].strip()
    assert answer["usage"]["completion_tokens"] > 0
    lines = said_by([*ask, json.dumps({"model": model, **BARE, "stream": True, "max_tokens": 8})]).split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert all(line.startswith("data: {") for line in lines[:-2])


@pytest.mark.parametrize("stream", ["--no-stream", "--stream"])
def test_batchchat_itself(tmp_path, endpoint, stream):
    """A job is answered through `serve`, by llama.cpp too."""
    url, model = endpoint
    ran = run_job(tmp_path, url, stream, "--max-tokens", "8", "--temperature", "0", rows=12, model=model)
    assert_whole(ran, 12)
    assert all(0 < int(row["completion_tokens"]) <= 8 for row in ran.rows)
