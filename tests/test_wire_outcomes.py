"""What each error of the API does to its row, to the pool and to the job, over sockets and from end to end.

A job of six rows is asked one at a time; the third one meets the error. Two rows were answered before it, so that what
is decided by evidence (a 403) has some.
"""

from __future__ import annotations

import csv
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedServer, completion, error, http

from batchchat import defaults
from batchchat.api import run_job
from batchchat.api.run.signals import Switch
from batchchat.events import Observer
from batchchat.job import resolve

ROWS = 6
BAD = 3
SOON = {"retry_after_ms": 300}


@pytest.fixture(autouse=True)
def _plain_surroundings(monkeypatch, tmp_path):
    for name in list(os.environ):
        if name.startswith(("OPENAI_", "BATCHCHAT_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    # Long enough that the other rows come first on a loaded machine too.
    monkeypatch.setattr(defaults, "BACKOFF_FIRST", 1.0)


@dataclass
class Met:
    """What came of the job: its summary, the rows of its output, the rows that were asked and when, the freezes."""

    summary: Any = None
    rows: list = field(default_factory=list)
    asked: list = field(default_factory=list)
    at: list = field(default_factory=list)
    freezes: list = field(default_factory=list)
    retried: list = field(default_factory=list)


class Watching(Observer):
    def __init__(self, met):
        self.met = met

    def throttled(self, error, *, delay):
        self.met.freezes.append(delay)

    def retrying(self, error, **_):
        self.met.retried.append(error)


async def meet(answer, *, times=1, **options):
    """Run the job; the first `times` requests of row `BAD` are answered by `answer`, bytes or an async function."""
    met = Met()

    async def serve(peer, request):
        row = int(request.json["messages"][-1]["content"].split()[-1])
        met.asked.append(row)
        met.at.append(time.monotonic())
        if row != BAD or met.asked.count(BAD) > times:
            await peer.send(http(completion(f"answer {row}")))
        elif isinstance(answer, bytes):
            await peer.send(answer)
        else:
            await answer(peer, request)

    write_table()
    async with ScriptedServer([serve]) as server:
        said = {"base_url": server.url, "model": "m", "concurrency": 1, **options}
        job = resolve(said, input="t.csv", environ={"OPENAI_API_KEY": "sk-secret"})
        met.summary = await run_job(job, observer=Watching(met), switch=Switch())
    met.rows = read()
    return met


def write_table():
    Path("t.csv").write_text("prompt\n" + "".join(f"row {n}\n" for n in range(1, ROWS + 1)), encoding="utf-8")


def read():
    if not Path("t.completions.csv").exists():
        return []
    with Path("t.completions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def check_fails(met, *said):
    """The row fails at once, with what was said; its slot is free for the next; the job goes on, and exits 3."""
    assert met.asked == [1, 2, 3, 4, 5, 6]
    assert (met.summary.status, met.summary.stop_reason) == (3, None)
    assert (met.summary.succeeded, met.summary.failed, met.summary.pending) == (ROWS - 1, 1, 0)
    assert not met.freezes
    bad = met.rows[BAD - 1]
    assert bad["completion"] == ""
    for text in said:
        assert text in bad["error"]
    assert all(row["completion"] and not row["error"] for row in met.rows if row is not bad)


def check_again(met, *, times):
    """The row is asked again and answered; it holds no slot while it sleeps; the job goes on, and exits 0."""
    assert sorted(met.asked) == sorted([1, 2, 3, 4, 5, 6] + [BAD] * times)
    assert met.asked.index(4) < len(met.asked) - 1 - met.asked[::-1].index(BAD)
    assert (met.summary.status, met.summary.succeeded) == (0, ROWS)
    assert met.summary.retries == len(met.retried) == times
    assert met.rows[BAD - 1]["completion"] == f"answer {BAD}"


def check_paced(met, *, times):
    """All starts wait until the time that was asked for; no retry is counted; the job goes on, and exits 0."""
    assert sorted(met.asked) == sorted([1, 2, 3, 4, 5, 6] + [BAD] * times)
    refused = met.asked.index(BAD)
    assert met.at[refused + 1] - met.at[refused] >= SOON["retry_after_ms"] / 1000 - 0.02
    assert met.freezes
    assert (met.summary.status, met.summary.succeeded) == (0, ROWS)
    assert met.summary.retries == len(met.retried) == 0


def check_stops(met, reason):
    """The row stays pending, nothing more is asked, no output appears, and the job exits 1 with what was answered."""
    assert met.asked == [1, 2, 3]
    assert (met.summary.status, met.summary.stop_reason) == (1, reason)
    assert (met.summary.succeeded, met.summary.failed, met.summary.pending) == (2, 0, ROWS - 2)
    assert met.rows == []
    assert "sk-secret" not in met.summary.message


THE_ROWS = {
    "400": (http(error("bad value", kind="invalid_request_error", param="user"), 400), "HTTP 400", "bad value"),
    "400 of a context that is too long": (
        http(error("maximum context length is 8192", code="context_length_exceeded"), 400), "context_length_exceeded",
    ),
    "400 of Azure's filter": (
        http(error("The response was filtered", code="content_filter"), 400), "HTTP 400", "filtered",
    ),
    "403, after others were answered": (http(error("not for you"), 403), "HTTP 403", "not for you"),
    "403 of a context that is too long": (http(error("prompt is too long: 9000 tokens"), 403), "HTTP 403", "too long"),
    "404 of something else": (http(error("no such file: file-1", code="file_missing"), 404), "HTTP 404", "file-1"),
    "413": (http(error("request_too_large", kind="request_too_large"), 413), "HTTP 413"),
    "422": (http(error("unprocessable"), 422), "HTTP 422", "unprocessable"),
    "418": (http(b"a teapot", 418, content_type="text/plain"), "HTTP 418", "a teapot"),
    "429 that never succeeds": (
        http(error("Request too large for m on tokens per min (TPM): Limit 30000, Requested 36278."), 429), "HTTP 429",
        "too large",
    ),
    "500 that is not to be asked again": (http(error("never"), 500, x_should_retry="false"), "HTTP 500", "never"),
    "a redirect elsewhere": (http(b"", 307, location="http://127.0.0.1:1/v1/chat/completions"), "HTTP 307", "origin"),
}  # fmt: skip


@pytest.mark.parametrize("name", THE_ROWS)
async def test_errors_of_the_row(name):
    """A request that can never succeed is its row's error, said once; slot, pool and job go on."""
    answer, *said = THE_ROWS[name]
    check_fails(await meet(answer), *said)


COUNTED = {
    "400 that may be asked again": http(error("try me"), 400, x_should_retry="true"),
    "408": http(error("timeout"), 408),
    "409": http(error("conflict"), 409),
    "425": http(error("too early"), 425),
    "500": http(error("oops", kind="server_error"), 500),
    "502": http(b"<html>Bad gateway</html>", 502, content_type="text/html"),
    "503 without a time": http(b"", 503),
    "504": http(error("gateway timeout"), 504),
    "520": http(b"", 520),
    "an error object in a 200": http(error("the engine fell over"), 200),
    "an empty 200": http(b""),
    "a page in a 200": http(b"<html>Welcome</html>", content_type="text/html"),
    "no JSON in a 200": http(b'{"choices": [{"mess'),
    "no choices in a 200": http(completion(choices=[])),
}


@pytest.mark.parametrize("name", COUNTED)
async def test_errors_that_pass(name):
    """What may succeed later is asked again after a pause in which other rows are asked, and counted as a retry."""
    check_again(await meet(COUNTED[name]), times=1)


@pytest.mark.parametrize("answer", ["closed", "reset", "cut"])
async def test_connections_that_are_lost(answer):
    """A connection that is closed or reset without an answer, or within it, is asked again, and counted."""

    async def lose(peer, _):
        if answer == "cut":
            await peer.send(http(completion()[:40], length=400))
        peer.reset() if answer == "reset" else peer.close()

    check_again(await meet(lose), times=1)


async def test_a_timeout():
    """An answer that does not come in time is asked again, counted, and told as perhaps paid for nothing."""

    async def never(peer, _):
        await peer.wait_until_gone()

    met = await meet(never, timeout=1.0)
    check_again(met, times=1)
    assert met.summary.bill.attempts_for_nothing == 1


async def test_retries_that_are_used_up():
    """After --max-retries the row fails with the last error, and the others have been answered meanwhile."""
    met = await meet(http(error("oops"), 500), times=99, max_retries=2)
    assert met.asked.count(BAD) == 3
    assert (met.summary.status, met.summary.failed, met.summary.succeeded) == (3, 1, ROWS - 1)
    assert "HTTP 500" in met.rows[BAD - 1]["error"]


THE_PACE = {
    "429 of the rate": http(error("Rate limit reached", kind="requests", code="rate_limit_exceeded"), 429, **SOON),
    "429 slow_down": http(error("slow down", code="slow_down"), 429, **SOON),
    "503 with a time": http(error("overloaded"), 503, **SOON),
    "503 server_is_overloaded": http(error("overloaded", code="server_is_overloaded"), 503, **SOON),
    "529": http(error("Overloaded", kind="overloaded_error"), 529, **SOON),
}


@pytest.mark.parametrize("name", THE_PACE)
async def test_errors_of_the_pace(name):
    """A refusal for now holds all starts until the time it names, however often, and costs no retry."""
    check_paced(await meet(THE_PACE[name], times=2, max_retries=0), times=2)


BILLING = (
    "insufficient_quota",
    "credit_balance_exhausted",
    "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded",
    "organization_usage_limit_exceeded",
    "enforced_spend_limit_reached",
)
THE_JOB = {
    "401": (http(error("Incorrect API key provided: sk-secret", code="invalid_api_key"), 401), "key"),
    "402": (http(error("Insufficient Balance"), 402), "quota"),
    "402 billing_error": (http(error("pay first", kind="billing_error"), 402), "quota"),
    **{f"429 {code}": (http(error("no more", code=code), 429), "quota") for code in BILLING},
    "429 by type": (http(error("no more", kind="insufficient_quota"), 429), "quota"),
    "404 of the model": (http(error("The model `m` does not exist", code="model_not_found"), 404), "model"),
    "404 of the path": (http(error("Unknown request URL: POST /v1/chat/completions"), 404), "model"),
    "a wait that is too long": (http(error("later", code="rate_limit_exceeded"), 429, retry_after=3600), "wait"),
    "503 with a wait that is too long": (http(error("later"), 503, retry_after=3600), "wait"),
}


@pytest.mark.parametrize("name", THE_JOB)
async def test_errors_of_the_job(name):
    """What no row would survive stops the job: its row stays pending, what was answered is kept, exit 1."""
    answer, reason = THE_JOB[name]
    check_stops(await meet(answer), reason)


async def test_a_403_before_any_answer_stops_the_job():
    """Where nothing was answered yet a 403 speaks of the key: no row fails, the job stops."""
    write_table()
    async with ScriptedServer([http(error("not for you"), 403)]) as server:
        job = resolve({"base_url": server.url, "model": "m", "concurrency": 1}, input="t.csv", environ={})
        summary = await run_job(job, observer=Observer(), switch=Switch())
    assert (summary.status, summary.stop_reason, summary.failed, summary.pending) == (1, "key", 0, ROWS)
    assert len(server.received) == 1
