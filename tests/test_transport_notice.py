"""A notice is posted once or twice, within its time, and says nothing of its URL but the host."""

from __future__ import annotations

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from batchchat.records import Secret
from batchchat.transport import notice, post


@pytest.fixture
def server():
    """`server.statuses` are its answers, None for none; `server.bodies` is what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            told.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status = told.statuses.pop(0)
            if status is None:
                return
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Nothing."""

    told = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.bodies, told.statuses = [], []
    told.url = f"http://127.0.0.1:{told.server_address[1]}/secret"
    thread = threading.Thread(target=told.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield told
    told.shutdown()
    told.server_close()
    thread.join()


@pytest.fixture
def slept(monkeypatch):
    """The pauses that were made, without making them."""
    pauses = []
    monkeypatch.setattr(notice, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append))
    return pauses


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 503])
def test_what_may_pass_is_tried_once_more(server, slept, status):
    """After a second, and not a third time."""
    server.statuses = [status, 200]
    assert post(Secret(server.url), {}) is None
    assert slept == [1.0]
    server.statuses = [status, status, 200]
    assert post(Secret(server.url), {}) == f"{server.url[7:-7]} answers HTTP {status}"
    assert server.statuses == [200]


@pytest.mark.parametrize("status", [400, 404, 407, 409, 424, 426, 428, 430, 499])
def test_what_will_not_pass_is_tried_once(server, slept, status):
    """Nor is anything waited for."""
    server.statuses = [status, 200]
    assert "answers HTTP" in post(Secret(server.url), {})
    assert (server.statuses, slept) == ([200], [])


def test_a_connection_that_breaks_is_tried_once_more(server, slept):
    """Without an answer there is nothing else to go by."""
    server.statuses = [None, 200]
    assert post(Secret(server.url), {"text": "é"}) is None
    assert server.bodies == ['{"text": "é"}'.encode()] * 2
    server.statuses = [None, None]
    why = post(Secret(server.url), {})
    assert why.startswith("127.0.0.1:")
    assert "secret" not in why


def test_what_is_posted_is_json_whatever_it_is_made_of(server):
    """A path or a date is written as its text."""
    server.statuses = [200]
    assert post(Secret(server.url), {"a": 1, "b": ValueError("x")}) is None
    assert json.loads(server.bodies[0]) == {"a": 1, "b": "x"}


class Time:
    """A clock that only waiting moves."""

    def __init__(self):
        self.now = 50.0

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


@pytest.mark.parametrize(
    ("patience", "given"), [(30.0, [30.0, 28.5]), (2.0, [2.0, 0.5]), (1.5, [1.5]), (0.25, [0.25]), (0.0, [])]
)
def test_no_attempt_has_more_time_than_is_left(monkeypatch, patience, given):
    """What the first attempt and the pause used up is not there for the second."""
    clock, found = Time(), []
    monkeypatch.setattr(notice, "time", clock)

    class Opener:
        def open(self, request, *, timeout):
            found.append(timeout)
            clock.sleep(0.5)
            raise TimeoutError

    monkeypatch.setattr(notice, "_opener", lambda address: Opener())
    why = notice._posted("http://h.example/x", b"{}", clock.now + patience)
    assert why == ("h.example: no answer in time" if given else "h.example: no answer")
    assert found == given


def test_a_proxy_that_is_not_spoken_is_said(monkeypatch):
    """It is a mistake of the environment, told as one."""
    monkeypatch.setenv("ALL_PROXY", "socks5://p.example:1080")
    assert "h.example: the environment names a proxy of a kind" in post(Secret("http://h.example/secret"), {})


def test_a_fault_of_our_own_is_told_by_its_name(monkeypatch):
    """What it says might show the URL."""

    def broken(*_):
        raise RuntimeError("http://h.example/secret")

    monkeypatch.setattr(notice, "_posted", broken)
    assert post(Secret("http://h.example/secret"), {}) == "h.example: RuntimeError"


def test_a_notice_that_hangs_does_not_keep_the_process():
    """Its thread is one that nobody waits for."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x"
        post(Secret(address), {}, patience=0.2)
        threads = [thread for thread in threading.enumerate() if thread.name == "batchchat-notice"]
        assert all(thread.daemon for thread in threads)
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize(("address", "asked"), [("https://h.example/x", 1), ("http://h.example/x", 0)])
def test_certificates_are_those_that_requests_trust(monkeypatch, address, asked):
    """Where there are any to be checked."""
    found = []
    monkeypatch.setattr(notice, "trust", lambda: found.append(1))
    notice._opener(address)
    assert len(found) == asked
