"""Programs that run beside a test: servers of others, and our own `serve`.

In comes a command; out goes a base URL, as long as the context lasts. What a program said stands in the message when it
does not come up.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

from peers.places import foreign, surroundings

START_SECONDS = 120


@contextmanager
def listening(command, *, port, ready, **environment):
    """A server of others, once `ready`, a path, answers; its address."""
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile("w+") as log, tempfile.TemporaryDirectory() as folder:
        words = [str(word) for word in command]
        process = subprocess.Popen(words, stdout=log, stderr=log, env=foreign(**environment), cwd=folder)
        try:
            end = time.monotonic() + START_SECONDS
            while not _answers(address + ready):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise AssertionError(f"{' '.join(words)} did not come up:\n{log.read()[-4000:]}")
                time.sleep(0.1)
            yield address
        finally:
            _end(process)


@contextmanager
def served(model, *options):
    """`batchchat serve`; its base URL."""
    command = [sys.executable, "-m", "batchchat", "serve", "--model", model, "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings())
    try:
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), f"{' '.join(command)} did not come up"
        yield url
    finally:
        _end(process)
        process.stdout.close()


def asked(address, body=None):
    """The JSON that an address answers."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data=data, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def _answers(address):
    try:
        with urllib.request.urlopen(address, timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _end(process):
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
