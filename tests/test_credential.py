"""A key out of a command, and jobs that get theirs from one."""

from __future__ import annotations

import csv
import sys

import pytest

from batchchat.api import execute
from batchchat.api.endpoint.credential import printed_key
from batchchat.errors import KeyRefused
from batchchat.events import Observer
from batchchat.job import resolve

PYTHON = f'"{sys.executable}" -c'


async def test_what_a_command_prints_is_the_key():
    """Its first and only line, without white space around it."""
    assert (await printed_key("echo ' abc '")).reveal() == "abc"


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("exit 3", "status 3"),
        ("echo who are you >&2; exit 1", "who are you"),
        ("true", "printed no key"),
        ("echo two words", "printed no key"),
    ],
)
async def test_a_command_that_gives_no_key(command, words):
    """One that fails, prints nothing or prints what is no key stops the job, and says why."""
    with pytest.raises(KeyRefused, match=words):
        await printed_key(command)


async def test_a_command_that_hangs_is_ended():
    """A command that does not end is killed, and the job stops."""
    with pytest.raises(KeyRefused, match=r"within 0\.1 seconds"):
        await printed_key("exec sleep 30", patience=0.1)


async def test_what_looks_like_a_key_is_not_shown():
    """A failing command that says a key on its stderr does not get it into our message."""
    with pytest.raises(KeyRefused) as caught:
        await printed_key("echo sk-test1234567890 >&2; exit 1")
    assert "sk-test" not in str(caught.value)


def table(folder):
    source = folder / "t.csv"
    with source.open("w", newline="") as file:
        csv.writer(file).writerows([["prompt"], *([f"question {n}"] for n in range(4))])
    return str(source)


def test_a_job_asks_its_command_for_the_key(tmp_path, simulator):
    """Every request carries the printed key; a key that the endpoint refuses is asked for once more."""
    keys = tmp_path / "keys"
    keys.write_text("stale\nfresh\n")
    # Prints the file's first line and keeps the rest: a key that expired in the night.
    command = f'head -n 1 "{keys}"; tail -n +2 "{keys}" > "{keys}.rest"; mv "{keys}.rest" "{keys}"'
    endpoint = simulator(want_key=True, key="fresh")
    options = {"base_url": endpoint.base_url, "model": "sim", "api_key_command": command, "concurrency": 1}

    summary = execute(resolve(options, input=table(tmp_path), environ={}), observer=Observer())

    assert (summary.status, summary.succeeded) == (0, 4)
    assert keys.read_text() == ""


def test_a_job_of_the_azure_clients_variables(tmp_path, simulator):
    """AZURE_OPENAI_ENDPOINT, AZURE_OPENAI_API_KEY and OPENAI_API_VERSION are all that a job on Azure needs."""
    endpoint = simulator(want_key=True, key="k")
    environ = {
        "AZURE_OPENAI_ENDPOINT": endpoint.base_url.removesuffix("/v1"),
        "AZURE_OPENAI_API_KEY": "k",
        "OPENAI_API_VERSION": "2024-10-21",
    }
    options = {"model": "labels", "stream": True}

    summary = execute(resolve(options, input=table(tmp_path), environ=environ), observer=Observer())

    assert (summary.status, summary.succeeded) == (0, 4)
