"""batchchat against the gateway LiteLLM, whose model is mocked."""

from __future__ import annotations

import json

import pytest
from peers.job import assert_whole, run_job
from peers.places import command_of
from peers.programs import free_port, listening

pytestmark = [pytest.mark.peer, pytest.mark.timeout(300)]

ANSWER = "It is what the gateway says."
KEY = "sk-test-gateway"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    """A running proxy that wants a key; its base URL."""
    config = tmp_path_factory.mktemp("litellm") / "config.yaml"
    model = {"model_name": "mocked", "litellm_params": {"model": "openai/mocked", "mock_response": ANSWER}}
    config.write_text(json.dumps({"model_list": [model], "general_settings": {"master_key": KEY}}))
    port = free_port()
    command = [command_of("litellm", "litellm"), "--config", config, "--host", "127.0.0.1", "--port", port]
    told = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_TELEMETRY": "False"}
    with listening(command, port=port, ready="/health/liveliness", **told) as address:
        yield f"{address}/v1"


@pytest.mark.parametrize("stream", ["--no-stream", "--stream"])
def test_rows_are_answered_through_the_gateway(tmp_path, gateway, stream):
    """Each row has the gateway's answer and its count of tokens."""
    ran = run_job(tmp_path, gateway, stream, rows=50, OPENAI_API_KEY=KEY)
    assert_whole(ran, 50)
    assert {row["completion"] for row in ran.rows} == {ANSWER}
    assert all(int(row["total_tokens"]) > 0 for row in ran.rows)


def test_the_only_model_is_found(tmp_path, gateway):
    """Without a model's name the gateway is asked which it has."""
    ran = run_job(tmp_path, gateway, rows=3, model=None, OPENAI_API_KEY=KEY)
    assert_whole(ran, 3)


def test_a_wrong_key_stops_the_job(tmp_path, gateway):
    """A key that the gateway refuses (with 400, where it has no database of keys) stops the job; no row is marked."""
    ran = run_job(tmp_path, gateway, "-c", "2", rows=50, OPENAI_API_KEY="sk-test-wrong")
    assert ran.status == 1
    assert ran.summary["stop_reason"] in {"key", "hopeless"}
    assert (ran.summary["failed"], ran.summary["pending"]) == (0, 50)


def test_a_model_that_it_does_not_have_stops_the_job(tmp_path, gateway):
    """A model that the gateway does not route stops the job."""
    ran = run_job(tmp_path, gateway, "-c", "2", rows=50, model="moked", OPENAI_API_KEY=KEY)
    assert ran.status == 1
    assert ran.summary["stop_reason"] == "model"
    assert ran.summary["requests"] <= 2
