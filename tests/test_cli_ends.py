"""What happens when a job has ended: the exit status, the notice, the window."""

from __future__ import annotations

import csv
import io
import json
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from batchchat.cli import app, tolerance
from batchchat.cli.progress import display
from batchchat.cli.tally import Tally
from batchchat.errors import UsageError
from batchchat.records import Secret
from batchchat.transport import post


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys, simulator):
    """A command on t.csv at a simulator."""
    server = simulator()

    def run(*words):
        status = app.entry(["run", "t.csv", "--base-url", server.base_url, "-m", "m", *map(str, words)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def table(*prompts):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])


@pytest.fixture
def listener():
    """A server that takes notices: `listener.statuses` are its next answers (200 when they are used up)."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            server.notices.append((self.path, dict(self.headers), json.loads(body)))
            status = server.statuses.pop(0) if server.statuses else 200
            self.send_response(status)
            if status == 302:
                self.send_header("location", f"{server.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.notices, server.statuses = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("said", "status"), [(None, 3), ("1", 3), ("2", 0), ("19%", 3), ("20%", 0), ("20.0 %", 0), ("0", 3), ("100%", 0)]
)
def test_so_many_rows_may_fail(run, said, status):
    """--ok-failed makes the status 0 where no more rows failed than it allows; the errors stay in the output."""
    table(*(["good"] * 8), "@@400*1 bad", "@@400*1 worse")
    words = ("--ok-failed", said) if said else ()
    assert run(*words)[0] == status
    assert Path("t.completions.csv").read_text(encoding="utf-8").count("HTTP 400") == 2
    assert run(*words, "--quiet")[2] == "" or status


def test_what_may_fail_is_a_share_of_the_rows_that_were_meant(run):
    """Rows that --where leaves out do not count."""
    table(*(["good"] * 98), "@@400*1 bad", "bad ok")
    assert run("--where", "'bad' in prompt", "--ok-failed", "10%")[0] == 3
    assert run("--where", "'bad' in prompt", "--ok-failed", "50%")[0] == 0


@pytest.mark.parametrize("said", ["", "-1", "1.5", "x%", "101%", "-1%", "nan%", "5%%", "5% of"])
def test_what_is_no_tolerance_is_a_usage_error(said):
    """A tolerance is a whole number of rows, or per cents from 0 to 100."""
    with pytest.raises(UsageError, match="must be a number of rows"):
        tolerance.parse(said)


def test_the_summary_is_posted(run, listener, monkeypatch):
    """--notify posts a sentence, the exit status and the summary as JSON to the URL that the variable holds."""
    monkeypatch.setenv("BATCHCHAT_NOTIFY", f"{listener.url}/hook/secret-path?token=secret-token")
    table("one", "@@400*1 two")
    status, out, err = run("--notify", "--json")
    ((path, headers, told),) = listener.notices
    assert path == "/hook/secret-path?token=secret-token"
    assert headers["Content-Type"] == "application/json"
    assert told["text"].startswith("t.completions.csv: 2 rows, 1 succeeded, 1 failed, ")
    assert (status, told["exit_status"]) == (3, 3)
    assert {name: told[name] for name in json.loads(out)} == json.loads(out)
    assert "secret" not in err


def test_a_job_that_stops_is_told_too(run, listener, monkeypatch, simulator, capsys):
    """Where the key is refused, the notice has the reason; a usage error is no end of a job."""
    monkeypatch.setenv("BATCHCHAT_NOTIFY", listener.url)
    table("one", "two")
    locked = simulator(want_key=True)
    assert app.entry(["run", "t.csv", "--base-url", locked.base_url, "-m", "m", "--notify"]) == 1
    assert [(told["stop_reason"], told["exit_status"]) for _, _, told in listener.notices] == [("key", 1)]
    assert "stopped (key)" in listener.notices[0][2]["text"]
    assert app.entry(["resume", "t.completions.csv", "--notify", "--base-url", simulator().base_url]) == 0
    assert len(listener.notices) == 2
    assert run("--notify", "--prompt-column", "no")[0] == 2
    assert len(listener.notices) == 2


@pytest.mark.parametrize("value", [None, "", "hooks.example.com/x", "ftp://example.com", "http://", "http://a b/c"])
def test_without_a_url_nothing_is_sent(run, monkeypatch, value):
    """Where the variable holds no URL, that is said before the first request, without what it holds."""
    if value is not None:
        monkeypatch.setenv("BATCHCHAT_NOTIFY", value)
    table("one")
    status, _, err = run("--notify")
    assert status == 2
    assert "BATCHCHAT_NOTIFY" in err
    assert not value or value not in err
    assert not Path("t.completions.csv").exists()


def test_an_env_file_may_hold_the_url(run, listener):
    """--env-file gives it, as it gives every variable."""
    Path("vars").write_text(f"BATCHCHAT_NOTIFY={listener.url}/x\n", encoding="utf-8")
    table("one")
    assert run("--notify", "--env-file", "vars")[0] == 0
    assert [path for path, _, _ in listener.notices] == ["/x"]


def test_a_notice_that_does_not_arrive_changes_nothing_else(run, listener, monkeypatch):
    """The job's status stays; one line says why, with the host and nothing else of the URL."""
    monkeypatch.setenv("BATCHCHAT_NOTIFY", f"{listener.url}/secret-path")
    listener.statuses[:] = [404]
    table("one")
    status, _, err = run("--notify")
    assert status == 0
    assert f"not delivered: {listener.url[7:]} answers HTTP 404" in err
    assert "secret" not in err
    assert len(listener.notices) == 1


def test_a_notice_is_tried_twice(listener):
    """A server that is busy is asked once more."""
    listener.statuses[:] = [503]
    assert post(Secret(listener.url), {}) is None
    assert len(listener.notices) == 2


def test_a_notice_follows_no_redirect(listener):
    """What a summary says goes nowhere but to the URL that was named."""
    listener.statuses[:] = [302]
    assert "HTTP 302" in post(Secret(f"{listener.url}/a"), {})
    assert [path for path, _, _ in listener.notices] == ["/a"]


def test_a_login_goes_into_a_header(listener):
    """A name and a password before the host are no part of the address that is asked."""
    assert post(Secret(listener.url.replace("//", "//me:p%40ss@")), {"a": 1}) is None
    assert listener.notices[0][1]["Authorization"] == "Basic bWU6cEBzcw=="
    assert "@" not in listener.notices[0][1]["Host"]


def test_a_notice_takes_no_longer_than_it_may():
    """A server that never answers is left after a bounded time; one that is not there is said at once."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        why = post(Secret(f"http://127.0.0.1:{silent.getsockname()[1]}/secret"), {}, patience=0.3)
        assert "no answer" in why
        assert time.monotonic() - began < 30
        address = silent.getsockname()[1]
    why = post(Secret(f"http://127.0.0.1:{address}/secret"), {})
    assert "refused" in why
    assert "secret" not in why


class Screen(io.StringIO):
    def isatty(self):
        return True


def drawn(tally, **more):
    screen = Screen()
    with display(tally, file=screen, quiet=False, **more):
        pass
    return screen.getvalue()


def test_a_window_has_the_job_in_its_title_and_the_bell_rings(monkeypatch):
    """At a terminal the title says how far the job is and how it ended, and the bell rings after work."""
    monkeypatch.setenv("TERM", "xterm")
    tally = Tally()
    tally.planned(rows=4, reused=4, pending=0)
    told = drawn(tally, name="my\x1b]0;labels\a.csv")
    assert "\x1b]0;batchchat: my]0;labels.csv done\x07" in told
    assert not told.endswith("\a\a")
    tally.planned(rows=4, reused=1, pending=3)
    tally.settled_rows, tally.failed = 1, 1
    told = drawn(tally, name="labels.csv")
    assert "\x1b]0;batchchat: labels.csv 50 %\x07" in told
    assert told.endswith("\x1b]0;batchchat: labels.csv stopped, 1 failed\x07\a")
    assert "\x1b]0;" not in drawn(tally)  # a trial, or Python's own call


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_without_escapes_gets_none(monkeypatch, term):
    """Neither title nor bell goes to a terminal that knows no escape sequences."""
    monkeypatch.setenv("TERM", term)
    tally = Tally()
    tally.settled_rows = 1
    assert "\x1b" not in drawn(tally, name="t.csv")
    assert "\a" not in drawn(tally, name="t.csv")
