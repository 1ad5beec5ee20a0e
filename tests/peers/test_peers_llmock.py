"""batchchat against LLMock, which grades clients: its verdict must have nothing to say."""

from __future__ import annotations

import pytest
from peers.job import assert_whole, run_job
from peers.places import command_of
from peers.programs import asked, free_port, listening

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]


def llmock(*options):
    port = free_port()
    command = [command_of("llmock", "llmock"), "serve", "--port", port, "--log-level", "warning", *options]
    return listening(command, port=port, ready="/health")


def assert_nothing_found(address, *, faults):
    """The verdict has no finding, and there was something to find."""
    verdict = asked(f"{address}/_llmock/verdict")
    assert verdict["findings"] == []
    assert verdict["passed"]
    assert verdict["faults_injected"] >= faults


# 429s and 500s are tried apart: after refusals the pace spaces retries evenly, which LLMock takes for no backoff.
@pytest.mark.parametrize(("rates", "rows"), [(("429=0.1",), 30), (("500=0.15", "503=0.05"), 100)])
def test_errors_are_handled_without_a_finding(tmp_path, rates, rows):
    """Under 429s, or 500s and 503s, every row is answered, no wait is cut short and no retry comes too soon."""
    with llmock(*(word for rate in rates for word in ("--error-rate", rate))) as address:
        ran = run_job(tmp_path, f"{address}/v1", "-c", "8", "--max-retries", "8", rows=rows)
        assert_whole(ran, rows)
        assert_nothing_found(address, faults=0)


def test_broken_streams_are_handled_without_a_finding(tmp_path):
    """Streams that are cut, end early, stall or hold what is no JSON are asked again, and never taken for whole."""
    kinds = ("disconnect", "truncate", "stall", "malformed")
    faults = [{"type": "stream_fault", "kind": kind, "after_chunks": 2, "times": 3} for kind in kinds]
    faults[2]["stall_seconds"] = 20
    # Chunk by chunk, so that the server sees whether we read on after one that was spoilt.
    with llmock("--stream-chunk-delay-ms", "20") as address:
        asked(f"{address}/_llmock/scenario", {"behaviors": faults})
        ran = run_job(tmp_path, f"{address}/v1", "--stream", "--timeout", "1.5", "--max-retries", "8", rows=40)
        assert_whole(ran, 40)
        assert_nothing_found(address, faults=12)


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
