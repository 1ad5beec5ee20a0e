"""What is told before the first request, what is asked, and what changed since the job began."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import threading
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from batchchat.api import execute, plan_job
from batchchat.cli import app, changes, header, stream
from batchchat.cost.interval import Range
from batchchat.errors import Interrupted, UsageError
from batchchat.events import Observer
from batchchat.job import resolve

pytestmark = pytest.mark.usefixtures("plain_surroundings")


@pytest.fixture
def run(capsys):
    def run(*words):
        status = app.entry([str(word) for word in words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def table(*prompts):
    with Path("t.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt"], *([prompt] for prompt in prompts)])


def cost(*amounts):
    low, expected, high = (None if one is None else Decimal(one) for one in amounts)
    return Range(low=low, expected=expected, high=high)


def plan(**facts):
    known = {"output": "o", "checkpoint": "c", "trial": False, "limits": {}, "key": None, "model": "m", "host": "h"}
    return header.lines(_plan(**{**known, **facts}))


def _plan(**facts):
    from batchchat.api import Plan

    return Plan(**{"input": "t.csv", "rows": 10, "reused": 0, "to_send": 10, **facts})


def job(**options):
    return resolve(options, input="t.csv", environ={"OPENAI_API_KEY": "k"})


def test_the_header_tells_rows_host_key_model_and_limits(run, simulator, monkeypatch):
    """Before the first request stderr says what is sent where, whose key it is, and what bounds it."""
    monkeypatch.setenv("MY_KEY", "hidden-key")
    server = simulator()
    table("one", "two", "three")
    words = ("run", "t.csv", "--base-url", server.base_url, "-m", "m", "--api-key-env", "MY_KEY")
    _, _, err = run(*words, "--limit", "2", "-c", "4", "--rpm", "60000", "--price", "input=1,output=1")
    host = server.base_url.removeprefix("http://").removesuffix("/v1")
    assert err.splitlines()[:3] == [
        "t.csv: 2 rows, 2 to send",
        f"to {host} with the key in MY_KEY, model m",
        "4 at once, 60,000 requests/min, cost 0.000014 USD for the prompts alone (estimate --sample 50 tells more)",
    ]
    assert "hidden-key" not in err
    _, _, err = run(*words, "-c", "4")
    assert err.splitlines()[0] == "t.csv: 3 rows, 1 to send (2 answered before)"
    _, _, err = run(*words)
    assert err.splitlines()[0] == "t.csv: 3 rows, nothing to send (3 answered before)"
    _, _, err = run(*words, "--rows", "1-2")
    assert err.splitlines()[0] == "t.csv: a trial of 2 rows, nothing to send (2 answered before)"


def test_a_dry_run_stops_at_the_header(run, simulator):
    """--dry-run prints the same header on stdout, and the plan as JSON with --json; nothing is sent."""
    server = simulator()
    table("one", "two")
    words = ("run", "t.csv", "--base-url", server.base_url, "-m", "m")
    status, out, err = run(*words, "--dry-run")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "t.csv: 2 rows, 2 to send"
    assert json.loads(run(*words, "--dry-run", "--json", "--rows", "2")[1])["to_send"] == 1
    assert server.stats()["received"] == 0
    assert run(*words, "--quiet") == (0, "", "")


@pytest.mark.parametrize(("words", "left"), [((), 0), (("--retry", "length"), 2), (("--retry", "length,failed"), 3)])
def test_what_is_sent_again_is_counted(simulator, words, left):
    """The plan counts the rows that --retry sends again, and the run sends as many."""
    server = simulator(text="echo")
    table("a word " * 30, "short", "a word " * 30, "@@400*1 no")
    told = {"base_url": server.base_url, "model": "m", "max_tokens": 8}
    execute(resolve(told, input="t.csv", environ={}), observer=Observer())
    again = resolve({**told, **({"retry": words[1]} if words else {})}, input="t.csv", environ={})
    assert plan_job(again).to_send == left
    before = server.stats()["received"]
    planned = []
    execute(again, observer=Observer(), confirm=planned.append)
    assert [found.to_send for found in planned] == [left]
    assert server.stats()["received"] - before == left


def test_unknown_numbers_are_not_guessed():
    """Where only reading the whole table would tell its rows, the header says so; costs are told where known."""
    assert plan(rows=None, to_send=None).splitlines()[0] == "t.csv: rows are counted as they are read"
    assert plan(host="this machine").splitlines()[1] == "to this machine, model m"
    assert plan(model=None).splitlines()[1] == "to h without a key, model as the endpoint says"
    assert plan(cost=cost("1", "1.5", "2"), limits={"max_cost": 2.0}).splitlines()[2] == (
        "at most 2.00 USD, expected cost 1.50 USD (1.00 USD to 2.00 USD)"
    )
    assert plan(cost=cost("1", None, None)).splitlines()[2].startswith("cost 1.00 USD for the prompts")
    assert len(plan(cost=cost("0", "0", "0")).splitlines()) == 2


def test_a_job_that_its_limit_stretches_says_so_at_once():
    """A limit a day makes days of a job, and a limit a minute many hours; what is soon over is not mentioned."""
    assert plan(rows=20_000, to_send=20_000, limits={"rpd": 200.0}).splitlines()[2] == (
        "200 requests/day, about 99 days at this limit"
    )
    assert (
        plan(rows=20_000, to_send=20_000, limits={"rpm": 60.0})
        .splitlines()[2]
        .endswith("about 5 h 33 min at this limit")
    )
    assert plan(rows=200, to_send=200, limits={"rpd": 200.0}).splitlines()[2] == "200 requests/day"


@pytest.mark.parametrize(
    ("amounts", "options", "terminal", "asked"),
    [
        (("8", "11", "12"), {}, True, True),
        (("11", None, None), {}, True, True),
        (("8", "9", "11"), {}, True, False),
        (None, {}, True, False),
        (("8", "11", "12"), {"yes": True}, True, False),
        (("8", "11", "12"), {"max_cost": "20"}, True, False),
        (("8", "11", "12"), {}, False, False),
    ],
)
def test_a_person_is_asked_above_ten_dollars(monkeypatch, amounts, options, terminal, asked):
    """At a terminal, without --yes or --max-cost, an expected cost above 10 USD is a question; no answer is a no."""
    monkeypatch.setattr(stream, "at_terminal", lambda: terminal)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    found = _plan(
        output="o",
        checkpoint="c",
        trial=False,
        limits={},
        key=None,
        model="m",
        host="h",
        cost=None if amounts is None else cost(*amounts),
    )
    if asked:
        with pytest.raises(UsageError, match="nothing was sent"):
            header.confirm(found, job(**options))
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    header.confirm(found, job(**options))


def test_a_no_at_the_terminal_sends_nothing(run, simulator, monkeypatch):
    """The question is asked before the first request, also with --quiet; a no is status 2."""
    server = simulator()
    table("one")
    monkeypatch.setattr(stream, "at_terminal", lambda: True)
    words = ("run", "t.csv", "--base-url", server.base_url, "-m", "m", "--quiet", "--max-tokens", "9")
    words += ("--price", "input=1000000,output=1000000")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert "Send it? [y/N]" in err
    assert server.stats()["received"] == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(*words)[0] == 0


def test_who_says_no_sends_nothing(simulator):
    """What `confirm` raises ends the run before its first request."""
    server = simulator()
    table("one")

    def no(found):
        raise UsageError(f"not {found.to_send}")

    told = resolve({"base_url": server.base_url, "model": "m"}, input="t.csv", environ={})
    with pytest.raises(UsageError, match="not 1"):
        execute(told, observer=Observer(), confirm=no)
    assert server.stats()["received"] == 0
    assert execute(told, observer=Observer()).status == 0


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_ends_the_question(simulator):
    """Ctrl-C while a question waits ends the run at once: nothing was sent."""
    server = simulator()
    table("one")

    def wait(_):
        os.kill(os.getpid(), signal.SIGINT)
        threading.Event().wait(30)

    told = resolve({"base_url": server.base_url, "model": "m"}, input="t.csv", environ={})
    with pytest.raises(Interrupted):
        execute(told, observer=Observer(), confirm=wait)
    assert server.stats()["received"] == 0


# What changed


def test_short_values_stand_in_a_line():
    """A changed number or name is one line; what is not set is said so."""
    found = changes.lines([("model", "a", "b"), ("temperature", None, 0.5)], 80)
    assert list(found) == ["  model: 'a' -> 'b'", "  temperature: not set -> 0.5"]


def test_texts_stand_side_by_side():
    """Old and new text stand in two columns with a sign between; what did not change is cut short."""
    old = "Classify it.\nBe brief.\nBe kind.\nBe true.\n\nText: {{ a }}"
    new = "Classify it, please.\nBe brief.\nBe kind.\nBe true.\n\nText: {{ a }}\nThanks"
    told = list(changes.lines([("prompt.template", old, new)], 60))
    assert max(map(len, told)) <= 60
    assert [line.split() for line in told] == [
        ["prompt.template:"],
        ["before", "now"],
        ["Classify", "it.", "|", "Classify", "it,", "please."],
        ["Be", "brief.", "Be", "brief."],
        ["…", "3", "unchanged", "lines"],
        ["Text:", "{{", "a", "}}", "Text:", "{{", "a", "}}"],
        [">", "Thanks"],
    ]


def test_a_changed_prompt_is_shown_side_by_side_and_refused(run, simulator):
    """A full run with another prompt shows both, and the ways on; nothing is sent."""
    server = simulator()
    table("one")
    words = ("run", "t.csv", "--base-url", server.base_url, "-m", "m", "--quiet")
    assert run(*words, "--prompt", "Say:\n{{ prompt }}")[0] == 0
    status, out, err = run(*words, "--prompt", "Sing:\n{{ prompt }}")
    assert (status, out) == (2, "")
    assert "Say:" in err
    assert "| Sing:" in err
    for way in ("--sample 5", "--keep-answered", "-o OTHER", "--restart"):
        assert way in err
    assert server.stats()["received"] == 1


# A key and a job file's host


@pytest.fixture
def collector(monkeypatch):
    """A listening socket behind a name that is no loopback's; gives (socket, name:port)."""
    real = socket.getaddrinfo

    def resolved(host, *rest, **options):
        return real("127.0.0.1" if host == "collector.example" else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    # uvloop resolves names without asking this module.
    monkeypatch.setattr("batchchat.api.run.loop._loop_factory", lambda: None)
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        yield listener, f"collector.example:{listener.getsockname()[1]}"


def job_file(host, *, header=False):
    table("one")
    line = 'headers = { X-Api-Key = "${MY_KEY}" }\n' if header else 'api_key_env = "MY_KEY"\n'
    Path("job.toml").write_text(
        f'input = "t.csv"\n[request]\nmodel = "m"\n[endpoint]\nbase_url = "http://{host}/v1"\n{line}'
        "[pool]\ntimeout = 1\nmax_retries = 0\n"
    )


@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("command", [["run", "job.toml"], ["run", "job.toml", "--rows", "1"]])
def test_a_job_file_from_elsewhere_gets_no_key(run, collector, monkeypatch, command, header):
    """Nothing connects to a host that only a job file names while a key or secret header would go there."""
    listener, host = collector
    monkeypatch.setenv("MY_KEY", "hidden-key")
    job_file(host, header=header)
    status, out, err = run(*command)
    assert (status, out) == (2, "")
    assert host in err
    assert "MY_KEY" in err
    assert "hidden-key" not in err
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("way", ["--yes", "--base-url"])
def test_an_approved_host_gets_the_key(run, collector, monkeypatch, way):
    """--yes, or --base-url with the same address, sends the key to where the job file says."""
    listener, host = collector
    monkeypatch.setenv("MY_KEY", "hidden-key")
    job_file(host)
    received = []

    def answer():
        listener.setblocking(True)
        peer, _ = listener.accept()
        received.append(peer.recv(65536))
        peer.sendall(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        peer.close()

    thread = threading.Thread(target=answer)
    thread.start()
    words = ["--yes"] if way == "--yes" else ["--base-url", f"http://{host}/v1"]
    assert run("run", "job.toml", *words)[0] == 1
    thread.join()
    assert b"Authorization: Bearer hidden-key" in received[0]
