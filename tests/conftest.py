"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from unittest.mock import Mock

import aiohttp
import pytest
from aioresponses import aioresponses, core
from hypothesis import settings

from batchchat.serve import Simulator

# No test depends on speed. In CI the examples are the same every time: a change is not blamed for an old fault.
# EXAMPLES=20000 looks further.
EXAMPLES = int(os.environ.get("EXAMPLES", "100"))
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ, max_examples=EXAMPLES)
settings.load_profile("house")

# Who starts the tests in the background has these ignored, and so would every command that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def plain_surroundings(monkeypatch, tmp_path):
    """An empty working folder, and no variable that says something to batchchat."""
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def simulator():
    """A factory: `simulator(latency=0.1, rpm=60)` is a started Simulator, stopped after the test."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(Simulator(**settings))


class _Response(aiohttp.ClientResponse):
    """aiohttp 3.14 wants a `stream_writer`, of which aioresponses 0.7.9 does not know (its issue 289)."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("stream_writer", Mock())
        super().__init__(*args, **kwargs)


@pytest.fixture
def mocked(monkeypatch):
    """`aioresponses()` that works with the aiohttp that is installed."""
    monkeypatch.setattr(core, "ClientResponse", _Response)
    with aioresponses() as mock:
        yield mock
