"""batchchat against AIMock, whose journal tells what was asked and how it was answered."""

from __future__ import annotations

import json
from collections import defaultdict

import pytest
from peers.job import assert_whole, run_job
from peers.places import node_folder
from peers.programs import asked, free_port, listening

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1800)]

ANSWER = "Nobody knows for sure."


def aimock(folder, **chaos):
    fixtures = folder / "fixtures.json"
    response = {"content": ANSWER}
    fixtures.write_text(json.dumps({"fixtures": [{"match": {"userMessage": "number"}, "response": response}]}))
    port = free_port()
    words = [word for name, rate in chaos.items() for word in (f"--chaos-{name}", rate)]
    command = [node_folder() / "node_modules" / ".bin" / "llmock", "-p", port, "-f", fixtures, *words]
    return listening([*command, "--journal-max", "0", "--log-level", "warn"], port=port, ready="/v1/models")


def answers_in(address):
    """By what was asked, what became of each request, in their order: a name of a fault, or 200."""
    found = defaultdict(list)
    for entry in asked(f"{address}/__aimock/journal?path=/chat/completions"):
        response = entry["response"]
        question = entry["body"]["messages"][-1]["content"]
        found[question].append(response.get("chaosAction") or response["status"])
    return found


def assert_asked_once(address, rows):
    """No row was asked again after a whole, readable answer, and every row has one."""
    answers = answers_in(address)
    assert len(answers) == rows
    assert {question: became for question, became in answers.items() if became.index(200) != len(became) - 1} == {}
    return [became for answered in answers.values() for became in answered]


@pytest.mark.parametrize("stream", ["--no-stream", "--stream"])
def test_a_thousand_rows_through_faults(tmp_path, stream):
    """With 5 % drops, 5 % malformed bodies and 1 % destroyed connections all is answered, and none is asked twice."""
    with aimock(tmp_path, drop=0.05, malformed=0.05, disconnect=0.01) as address:
        ran = run_job(tmp_path, f"{address}/v1", stream, "--max-retries", "8", rows=1000)
        assert_whole(ran, 1000)
        became = assert_asked_once(address, 1000)
        assert {row["completion"] for row in ran.rows} == {ANSWER}
        assert min(became.count(fault) for fault in ("drop", "malformed", "disconnect")) >= 1
        assert len(became) == ran.summary["requests"]


@pytest.mark.parametrize("stream", ["--no-stream", "--stream"])
def test_a_thousand_rows_through_faults_and_refusals(tmp_path, stream):
    """With 5 % drops, 5 % malformed bodies and 10 % refused by 429 all is answered, and none is asked twice."""
    with aimock(tmp_path, drop=0.05, malformed=0.05, ratelimit=0.1) as address:
        ran = run_job(tmp_path, f"{address}/v1", stream, "--max-retries", "8", rows=1000)
        assert_whole(ran, 1000)
        became = assert_asked_once(address, 1000)
        assert {row["completion"] for row in ran.rows} == {ANSWER}
        assert all(
            became.count(fault) >= least for fault, least in (("drop", 20), ("malformed", 20), ("rateLimit", 50))
        )
        assert len(became) == ran.summary["requests"]


def test_connections_that_are_destroyed(tmp_path):
    """With a tenth of the connections destroyed every row is answered, and none is asked for twice."""
    with aimock(tmp_path, disconnect=0.1) as address:
        ran = run_job(tmp_path, f"{address}/v1", "--max-retries", "8", rows=300)
        assert_whole(ran, 300)
        became = assert_asked_once(address, 300)
        assert became.count("disconnect") >= 10
