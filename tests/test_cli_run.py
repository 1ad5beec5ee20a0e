"""Whole commands against the simulator: what is sent, written, told, and the status that is left."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from batchchat.cli import app

PROJECT = Path(__file__).resolve().parents[1]
SUMMARY = """
rows succeeded failed pending prompt_tokens completion_tokens cost_usd output checkpoint reused requests retries
elapsed_s stop_reason
"""


pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    def run(*words):
        status = app.entry([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.fixture
def table():
    def write(*prompts, name="t.csv"):
        path = Path(name)
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["id", "prompt"], *((f"{n:03}", text) for n, text in enumerate(prompts, 1))])
        return path

    return write


def rows_of(path):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_comes_back_with_its_answers(run, table, simulator):
    """Run writes the table with result columns, exits 0, and says so on stderr alone."""
    server = simulator()
    status, out, err = run("run", table("one", "two"), "--base-url", server.base_url, "-m", "m")
    assert (status, out) == (0, "")
    assert "t.completions.csv: 2 rows, 2 succeeded, 0 failed" in err
    written = rows_of("t.completions.csv")
    assert [row["id"] for row in written] == ["001", "002"]
    assert all(row["completion"] and row["finish_reason"] == "stop" and not row["error"] for row in written)


def test_the_summary_is_one_object_on_stdout(run, table, simulator):
    """--json prints the contract's keys; run again, everything is reused and nothing is sent."""
    server = simulator()
    words = ("run", table("one", "two"), "--base-url", server.base_url, "-m", "m", "--json", "--quiet")
    status, out, err = run(*words)
    first = json.loads(out)
    assert (status, err) == (0, "")
    assert list(first) == SUMMARY.split()
    assert (first["rows"], first["succeeded"], first["requests"], first["reused"]) == (2, 2, 2, 0)
    assert (first["output"], first["checkpoint"]) == ("t.completions.csv", "t.completions.csv.batchchat")
    status, out, _ = run(*words)
    again = json.loads(out)
    assert status == 0
    assert (again["requests"], again["reused"], again["rows"]) == (0, 2, 2)
    assert server.stats()["received"] == 2


def test_failed_rows_are_status_three(run, table, simulator):
    """A row that fails for good leaves its error in the table, status 3, and the command that tries it again."""
    server = simulator()
    words = ("--base-url", server.base_url, "-m", "m", "--quiet")
    status, out, err = run("run", table("one", "@@400*1 two"), *words)
    assert (status, out) == (3, "")
    assert "1 row: invalid_request_error" in err
    assert "batchchat resume t.completions.csv --retry-failed" in err
    assert "(HTTP 400)" in rows_of("t.completions.csv")[1]["error"]
    status, _, err = run("resume", "t.completions.csv", "--retry-failed", "--quiet")
    assert (status, err) == (0, "")
    assert rows_of("t.completions.csv")[1]["error"] == ""


def test_a_refused_key_stops_the_job_with_a_summary(run, table, simulator, monkeypatch):
    """401 is status 1, the JSON says `key`, and no output is published."""
    monkeypatch.setenv("OPENAI_API_KEY", "wrong-key")
    server = simulator(key="right-key")
    status, out, err = run("run", table("one"), "--base-url", server.base_url, "-m", "m", "--json")
    assert status == 1
    assert json.loads(out)["stop_reason"] == "key"
    assert "batchchat resume" in err
    assert "wrong-key" not in out + err
    assert not Path("t.completions.csv").exists()
    monkeypatch.setenv("OPENAI_API_KEY", "right-key\n")
    assert run("resume", "t.csv")[0] == 0


def test_a_busy_checkpoint_is_a_summary_too(run, table, simulator, monkeypatch):
    """Where another run holds the checkpoint, --json still prints one object."""
    server = simulator(latency=2.0)
    path = table("one", "two")
    words = ["run", str(path), "--base-url", server.base_url, "-m", "m"]
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    first = subprocess.Popen([sys.executable, "-m", "batchchat", *words], stderr=subprocess.DEVNULL, env=environ)
    try:
        _until(lambda: server.stats()["received"] == 2)
        status, out, err = run(*words, "--json")
        assert (status, json.loads(out)["stop_reason"]) == (1, "busy")
        assert len(err.splitlines()) <= 3
        assert run("status", path, "--json")[1].count('"running": true') == 1
    finally:
        assert first.wait(20) == 0


def _until(holds, seconds=20.0):
    waiting = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if holds():
            return
        waiting.wait(0.05)
    raise AssertionError("it never came to be")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals to send to another process")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_drains_and_says_how_to_go_on(run, table, simulator, number, status):
    """After a signal what was in flight is kept, nothing is published, and the messages name resume and export."""
    server = simulator(latency=1.5)
    path = table(*(f"row {n}" for n in range(40)))
    words = ["run", str(path), "--base-url", server.base_url, "-m", "m", "-c", "4", "--json"]
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    job = subprocess.Popen(
        [sys.executable, "-m", "batchchat", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        text=True,
    )
    _until(lambda: server.stats()["received"] >= 4)
    job.send_signal(number)
    out, err = job.communicate(timeout=30)
    summary = json.loads(out)
    assert (job.returncode, summary["stop_reason"]) == (status, "interrupt")
    assert summary["succeeded"] == server.stats()["received"] < 40
    assert "batchchat resume" in err
    assert "batchchat export" in err
    assert "interrupted: requests in flight are waited for" in err
    assert not Path("t.completions.csv").exists()
    assert run("export", path, "-o", "so-far.csv")[0] == 0
    assert sum(bool(row["completion"]) for row in rows_of("so-far.csv")) == summary["succeeded"]


def test_a_trial_prints_its_answers_and_writes_nothing(run, table, simulator):
    """--rows prints the answers, as a list of objects with --json; the full run pays only for the rest."""
    server = simulator()
    path = table("one", "two", "three")
    words = ("--base-url", server.base_url, "-m", "m")
    status, out, err = run("run", path, *words, "--rows", "1,3")
    assert status == 0
    assert "row 1" in out
    assert "row 3" in out
    assert "no output was written" in err
    assert not Path("t.completions.csv").exists()
    status, out, _ = run("run", path, *words, "--rows", "1,3", "--json")
    assert [answer["row"] for answer in json.loads(out)] == [1, 3]
    assert run("run", path, *words)[0] == 0
    assert server.stats()["received"] == 3


def test_a_dry_run_sends_nothing_and_needs_no_key(run, table, simulator):
    """--dry-run says what would be sent, and leaves the folder as it was."""
    server = simulator()
    path = table("one", "two")
    status, out, _ = run("run", path, "--base-url", server.base_url, "-m", "m", "--dry-run", "--json")
    plan = json.loads(out)
    assert (status, plan["to_send"], plan["model"]) == (0, 2, "m")
    assert run("run", path, "-m", "m", "--dry-run")[0] == 0
    assert server.stats()["received"] == 0
    assert [entry.name for entry in Path().iterdir()] == ["t.csv"]


def test_show_prints_the_body_that_run_sends(run, table, simulator):
    """Show and run build the same request; show sends nothing and needs no key."""
    server = simulator(record=10)
    path = table("one", "two")
    words = ("--prompt", "Say {{ prompt }}", "--system", "Be brief", "-m", "m", "--temperature", "1", "--stop", "x")
    words += ("--extra-body", '{"top_k": 3}')
    status, out, err = run("show", path, "--row", "2", *words)
    assert (status, err) == (0, "")
    assert run("run", path, "--base-url", server.base_url, *words, "--rows", "2")[0] == 0
    assert [json.loads(out)] == [request["body"] for request in server.requests()]


def test_show_as_curl_names_the_variable_of_the_key(run, table, monkeypatch):
    """--curl prints a command with the variable's name in place of the key."""
    monkeypatch.setenv("MY_KEY", "hidden-key")
    status, out, _ = run(
        "show", table("it's"), "-m", "m", "--base-url", "http://127.0.0.1:9/v1", "--api-key-env", "MY_KEY", "--curl"
    )
    assert status == 0
    assert out.startswith("curl http://127.0.0.1:9/v1/chat/completions")
    assert '"Authorization: Bearer $MY_KEY"' in out
    assert "hidden-key" not in out


def test_a_job_file_runs_shows_and_is_a_job(run, simulator, tmp_path):
    """The same job file is INPUT for run and show, and JOB for status and export."""
    server = simulator()
    folder = tmp_path / "sub"
    folder.mkdir()
    (folder / "t.csv").write_text("review\ngood\nbad\n")
    (folder / "job.toml").write_text(
        f'input = "t.csv"\noutput = "o.jsonl"\n[prompt]\ntemplate = "Label {{{{ review }}}}"\n'
        f'[request]\nmodel = "m"\n[endpoint]\nbase_url = "{server.base_url}"\n'
    )
    assert json.loads(run("show", "sub/job.toml", "--row", "1")[1])["messages"][0]["content"] == "Label good"
    assert run("run", "sub/job.toml")[0] == 0
    assert len((folder / "o.jsonl").read_text().splitlines()) == 2
    status, out, _ = run("status", "sub/job.toml", "--json")
    assert (status, json.loads(out)["succeeded"]) == (0, 2)
    assert "succeeded" in run("status", "sub/o.jsonl")[1]
    assert run("export", "sub/job.toml", "-o", "other.csv")[0] == 0
    assert len(rows_of("other.csv")) == 2


def test_an_only_model_is_asked_for(run, table, simulator):
    """Without -m the endpoint's only model is taken; with several it is a usage error that names them."""
    path = table("one")
    assert run("run", path, "--base-url", simulator(models="solo").base_url)[0] == 0
    status, _, err = run("run", table("one", name="u.csv"), "--base-url", simulator(models="a,b").base_url)
    assert status == 2
    assert "-m" in err


# A job file's host


@pytest.fixture
def foreign_host():
    """A listening socket at an address of this machine that is not loopback; what connects to it is counted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        try:
            # No packet is sent: connecting a datagram socket only chooses the address that would be used.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chooser:
                chooser.connect(("192.0.2.1", 9))
                address = chooser.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but loopback")
    with socket.socket() as listener:
        listener.bind((address, 0))
        listener.listen()
        listener.setblocking(False)
        yield listener


def test_a_job_file_cannot_send_a_key_to_its_own_host(run, table, monkeypatch, foreign_host):
    """Without approval no connection is made, and the error names host and variable, not the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-key")
    host, port = foreign_host.getsockname()
    table("one")
    Path("job.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "m"\n[endpoint]\nbase_url = "http://{host}:{port}/v1"\n'
    )
    status, out, err = run("run", "job.toml")
    assert (status, out) == (2, "")
    assert f"{host}:{port}" in err
    assert "OPENAI_API_KEY" in err
    assert "hidden-key" not in err
    with pytest.raises(BlockingIOError):
        foreign_host.accept()
    assert sorted(entry.name for entry in Path().iterdir()) == ["job.toml", "t.csv"]


@pytest.mark.parametrize(("answer", "status"), [("y\n", 0), ("YES\n", 0), ("n\n", 2), ("\n", 2), ("", 2)])
def test_at_a_terminal_a_person_is_asked(run, table, simulator, monkeypatch, answer, status):
    """A `y` at a terminal approves the host; anything else is a usage error."""
    server = simulator(want_key=True)
    monkeypatch.setenv("OPENAI_API_KEY", "hidden-key")
    monkeypatch.setattr("batchchat.cli.stream.at_terminal", lambda: True)
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    monkeypatch.setattr("batchchat.job.endpoint.is_loopback", lambda url: False)
    table("one")
    Path("job.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "m"\n[endpoint]\nbase_url = "{server.base_url}"\n'
    )
    assert run("run", "job.toml")[0] == status
    assert server.stats()["received"] == (1 if status == 0 else 0)


# serve


def test_serve_says_where_and_answers():
    """The first line on stdout is the base URL; SIGTERM ends it with status 0."""
    environ = {**os.environ, "PYTHONPATH": str(PROJECT)}
    words = ["serve", "--port", "0", "--models", "alpha", "--latency=0.01", "--no-prompts"]
    server = subprocess.Popen(
        [sys.executable, "-m", "batchchat", *words], stdout=subprocess.PIPE, env=environ, text=True
    )
    try:
        url = server.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:")
        host, _, port = url.removeprefix("http://").removesuffix("/v1").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"alpha" in b"".join(iter(lambda: client.recv(4096), b""))
    finally:
        server.terminate()
        assert server.wait(20) == 0
        server.stdout.close()


@pytest.mark.parametrize(
    "command", [("run", "t.csv", "-m", "sim"), ("resume", "t.completions.csv"), ("resume", "t.csv")]
)
def test_a_damaged_checkpoint_ends_with_a_summary(run, table, simulator, command):
    """With --json a damaged checkpoint leaves a summary on stdout, of `run` and of `resume`; the file stays."""
    table("one")
    url = simulator().base_url
    assert run("run", "t.csv", "-m", "sim", "--base-url", url)[0] == 0
    Path("t.completions.csv.batchchat").write_bytes(b"no database")
    status, out, err = run(*command, "--base-url", url, "--json")
    facts = json.loads(out)
    assert status == 1
    assert (facts["stop_reason"], facts["checkpoint"]) == ("damaged", "t.completions.csv.batchchat")
    assert "--restart" in err
    assert Path("t.completions.csv.batchchat").read_bytes() == b"no database"
