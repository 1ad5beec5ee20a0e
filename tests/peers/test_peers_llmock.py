"""batchchat against LLMock, which grades clients: its verdict must have nothing to say."""

from __future__ import annotations

import json
import urllib.request

import pytest
from peers.job import assert_whole, run_job
from peers.places import command_of
from peers.programs import asked, free_port, listening

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]


def llmock(*options):
    port = free_port()
    command = [command_of("llmock", "llmock"), "serve", "--port", port, "--log-level", "warning", *options]
    return listening(command, port=port, ready="/health")


def found_by(address):
    """What the verdict finds, but for one mistake of its own.

    A stream with a spoilt chunk that the server had sent to its end before we hung up passes for an answer, and the
    request that follows for a call of its own: `malformed_chunk_ignored`, though the journal has the retry.
    """
    verdict = asked(f"{address}/_llmock/verdict")
    journal = {entry["seq"]: entry for entry in asked(f"{address}/_llmock/requests")["requests"]}
    answered = {entry["fingerprint"]: number for number, entry in journal.items() if entry["fault"] is None}

    def was_asked_again(finding):
        number = finding["requests"][-1]
        return finding["code"] == "malformed_chunk_ignored" and answered[journal[number]["fingerprint"]] > number

    return [finding for finding in verdict["findings"] if not was_asked_again(finding)], verdict["faults_injected"]


def assert_nothing_found(address, *, faults):
    """The verdict has no finding, and there was something to find."""
    findings, injected = found_by(address)
    assert findings == []
    assert injected >= faults


@pytest.mark.parametrize(
    ("rates", "rows"),
    [(("429=0.1",), 60), (("500=0.15", "503=0.05"), 100), (("429=0.1", "500=0.1", "503=0.05"), 60)],
    ids=["429", "500 and 503", "429, 500 and 503"],
)
def test_errors_are_handled_without_a_finding(tmp_path, rates, rows):
    """Under 429s, 500s and 503s every row is answered, no wait is cut short and no retry comes too soon."""
    with llmock(*(word for rate in rates for word in ("--error-rate", rate))) as address:
        ran = run_job(tmp_path, f"{address}/v1", "-c", "8", "--max-retries", "8", rows=rows)
        assert_whole(ran, rows)
        assert_nothing_found(address, faults=1)


KINDS = ("disconnect", "truncate", "stall", "malformed")


def test_broken_streams_are_handled_without_a_finding(tmp_path):
    """Streams that are cut, end early, stall or hold what is no JSON are asked again, and never taken for whole."""
    faults = [{"type": "stream_fault", "kind": kind, "after_chunks": 2, "times": 3} for kind in KINDS]
    faults[2]["stall_seconds"] = 20
    # Chunk by chunk, so that the server sees whether we read on after one that was spoilt.
    with llmock("--stream-chunk-delay-ms", "20") as address:
        asked(f"{address}/_llmock/scenario", {"behaviors": faults})
        ran = run_job(tmp_path, f"{address}/v1", "--stream", "--timeout", "1.5", "--max-retries", "8", rows=40)
        assert_whole(ran, 40)
        assert_nothing_found(address, faults=12)


@pytest.mark.parametrize("pace", [(), ("--stream-chunk-delay-ms", "10")], ids=["at once", "chunk by chunk"])
def test_streams_that_break_at_random(tmp_path, pace):
    """With a quarter of the streams broken somewhere, errors between them, every row has the whole answer."""
    rates = ("disconnect=0.05", "truncate=0.08", "malformed=0.08", "stall=0.02")
    words = [word for rate in rates for word in ("--stream-fault", rate)]
    # An echo is longer than the six chunks among which LLMock breaks a stream: each is cut before its finish reason.
    words += ["--response-style", "echo", "--stream-stall-seconds", "20", "--error-rate", "500=0.05"]
    with llmock(*words, *pace) as address:
        options = ("--stream", "--timeout", "1.5", "--max-retries", "8", "-c", "16")
        ran = run_job(tmp_path, f"{address}/v1", *options, rows=150)
        assert_whole(ran, 150)
        assert all(row["completion"] == f"Hello! You said: {row['prompt']}" for row in ran.rows)
        assert_nothing_found(address, faults=20)


def test_a_stream_that_is_cut_after_its_finish_reason_is_whole(tmp_path):
    """Nothing of the answer is missing: it is kept, not paid for twice; LLMock does not look, and says it was cut."""
    with llmock() as address:
        streamed = {"model": "mocked", "messages": [{"role": "user", "content": "What is number 0?"}], "stream": True}
        chunks = sent_by(f"{address}/v1/chat/completions", streamed)
        assert json.loads(chunks[-2])["choices"][0]["finish_reason"] == "stop"
        for cut, requests in ((len(chunks) - 1, 1), (len(chunks) - 2, 2)):  # after the finish reason, and before it
            fault = {"type": "stream_fault", "kind": "truncate", "after_chunks": cut}
            asked(f"{address}/_llmock/scenario", {"behaviors": [fault]})
            folder = tmp_path / str(cut)
            folder.mkdir()
            ran = run_job(folder, f"{address}/v1", "--stream", rows=1)
            assert_whole(ran, 1)
            assert ran.rows[0]["completion"] == "".join(said(chunk) for chunk in chunks[:-1])
            assert (ran.rows[0]["finish_reason"], ran.summary["requests"]) == ("stop", requests)


def sent_by(address, body):
    """The data of each event that an address answers."""
    request = urllib.request.Request(
        address, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return [line.removeprefix("data: ") for line in reply.read().decode().splitlines() if line]


def said(chunk):
    return json.loads(chunk)["choices"][0]["delta"].get("content") or ""


@pytest.mark.parametrize(
    "behaviours",
    [
        [{"type": "fail", "status": 429, "retry_after": 2}, {"type": "fail", "status": 529, "retry_after": 1}],
        [{"type": "fail", "status": 500, "times": 3}],
    ],
)
def test_waits_are_kept(tmp_path, behaviours):
    """What a 429 or a 529 asks for is waited for; where nobody asks, the pauses grow."""
    with llmock() as address:
        asked(f"{address}/_llmock/scenario", {"behaviors": behaviours})
        ran = run_job(tmp_path, f"{address}/v1", "-c", "1", rows=5)
        assert_whole(ran, 5)
        assert_nothing_found(address, faults=2)


def test_what_cannot_succeed_is_not_asked_again(tmp_path):
    """A row that is refused with 400 or 422 is that row's error, after one request."""
    refused = [{"type": "fail", "status": status} for status in (400, 422)]
    with llmock() as address:
        asked(f"{address}/_llmock/scenario", {"behaviors": refused})
        ran = run_job(tmp_path, f"{address}/v1", "-c", "1", rows=10)
        assert ran.status == 3
        assert (ran.summary["succeeded"], ran.summary["failed"], ran.summary["requests"]) == (8, 2, 10)
        assert_nothing_found(address, faults=2)
