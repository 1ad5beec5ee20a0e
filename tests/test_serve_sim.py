"""The simulator: what it says, its limits, its faults, and its counts."""

from __future__ import annotations

import http.client
import json
import math
import socket
import statistics
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchchat.errors import UsageError
from batchchat.serve import Simulator
from batchchat.serve.sim.ask import Ask
from batchchat.serve.sim.example import example
from batchchat.serve.sim.limits import Bucket, Fixed, Limits, Sliding, go_duration, window
from batchchat.serve.sim.rules import Marks, drawn, known, without_marks
from batchchat.serve.sim.settings import Settings
from batchchat.serve.sim.words import answer, tokens_of


def body(prompt="hello", **more):
    return {"model": "sim", "messages": [{"role": "user", "content": prompt}]} | more


def call(sim, prompt="hello", **more):
    """Status, headers and text of one completion; the exception where none comes."""
    port = urlsplit(sim.base_url).port
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/v1/chat/completions", json.dumps(body(prompt, **more)))
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read().decode()


def said(sim, prompt="hello", **more):
    """The first choice of one completion."""
    status, _, text = call(sim, prompt, **more)
    assert status == 200, text
    return json.loads(text)["choices"][0]


def events(text, end="\n"):
    """The data of an event stream."""
    return [line.removeprefix("data: ") for line in text.split(end) if line.startswith("data: ")]


def joined(text):
    """What each choice of a stream says, and why it ends."""
    says, ends = {}, {}
    for event in events(text):
        if event == "[DONE]":
            break
        for choice in json.loads(event)["choices"]:
            says[choice["index"]] = says.get(choice["index"], "") + (choice["delta"].get("content") or "")
            ends[choice["index"]] = choice["finish_reason"] or ends.get(choice["index"])
    return says, ends


def page(sim, path, given=None):
    data = None if given is None else json.dumps(given).encode()
    with urllib.request.urlopen(sim.origin + path, data) as reply:
        return json.load(reply)


def settled(sim):
    """Stats, once nothing is in flight any more: a client may be gone before the server knows it."""
    for _ in range(500):
        stats = sim.stats()
        if not stats["in_flight"]:
            return stats
        time.sleep(0.01)
    raise AssertionError(stats)


def whole(stats):
    """Every request is counted in exactly one place."""
    ends = ("answered", "partial", "spoilt", "dropped", "gone", "in_flight")
    return stats["received"] == sum(stats[name] for name in ends) + sum(stats["refused"].values())


# What it says


def test_completion_is_a_function_of_the_request_and_the_seed(simulator):
    """The same request says the same, another request or another seed says something else."""
    sim = simulator()
    first = said(sim)
    assert said(sim) == first
    assert said(sim, "other") != first
    assert said(sim, temperature=1) != first
    sim.reset(seed=1)
    assert said(sim) != first


def test_every_answer_can_be_told_by_its_first_word():
    """The first word is a hash of the request: a thousand prompts give a thousand of them."""
    first = {answer(Ask.of(body(f"row {k}"), 0), Settings()).choices[0].tokens[0] for k in range(1000)}
    assert len(first) == 1000


def test_delivery_does_not_change_the_hash():
    """Streaming, the order of keys and bookkeeping fields are not part of what is said."""
    plain = Ask.of(body(), 0)
    other = Ask.of({"stream": True, "user": "u", "store": True} | dict(reversed(body().items())), 0)
    assert plain.digest == other.digest


def test_stream_says_what_the_whole_answer_says(simulator):
    """A stream of two choices, interleaved, joins to the same texts and ends as the whole answer."""
    sim = simulator()
    plain = json.loads(call(sim, n=2)[2])
    _, headers, text = call(sim, n=2, stream=True, stream_options={"include_usage": True})
    says, ends = joined(text)
    assert headers["content-type"].startswith("text/event-stream")
    assert says == {k: choice["message"]["content"] for k, choice in enumerate(plain["choices"])}
    assert says[0] != says[1]
    assert ends == {0: "stop", 1: "stop"}
    last, done = events(text)[-2:]
    assert json.loads(last)["choices"] == []
    assert json.loads(last)["usage"] == plain["usage"]
    assert done == "[DONE]"


def test_stream_tells_no_usage_unasked(simulator):
    """Without include_usage no chunk has a usage."""
    assert '"usage"' not in call(simulator(), stream=True)[2]


def test_azure_streams_begin_with_a_chunk_without_choices(simulator):
    """Under Azure's path the first chunk has no choices."""
    sim = simulator()
    url = f"{sim.origin}/openai/deployments/d/chat/completions?api-version=2024-10-21"
    data = json.dumps({"messages": body()["messages"], "stream": True}).encode()
    with urllib.request.urlopen(url, data) as reply:
        first = events(reply.read().decode())[0]
    assert json.loads(first)["choices"] == []


def test_max_tokens_cuts_to_the_token(simulator):
    """max_tokens and max_completion_tokens leave so many tokens, finish_reason length, and usage says so."""
    sim = simulator()
    reply = json.loads(call(sim, max_tokens=3)[2])
    assert reply["choices"][0]["finish_reason"] == "length"
    assert len(reply["choices"][0]["message"]["content"].split()) == 3
    assert reply["usage"]["completion_tokens"] == 3
    assert json.loads(call(sim, max_completion_tokens=5)[2])["usage"]["completion_tokens"] == 5
    assert said(sim, max_tokens=16)["finish_reason"] == "stop"


def test_stop_ends_before_the_text(simulator):
    """The answer ends before the earliest of the stops, with finish_reason stop."""
    sim = simulator()
    ask = Ask.of(body(stop=["zzz", " area"]), 0)
    full = answer(Ask.of(body(), 0), Settings())
    assert ask.digest != Ask.of(body(), 0).digest
    free = said(sim, stop=["zzz"])["message"]["content"]
    assert len(free.split()) == len(full.choices[0].tokens)
    cut = said(sim, stop=[" ", "zzz"])
    assert cut["finish_reason"] == "stop"
    assert " " not in cut["message"]["content"]
    assert said(sim, stop=" ")["message"]["content"] != ""


def test_lengths_are_as_told(simulator):
    """`tokens` is the length; with a sigma lengths are spread around it; a mark in the prompt says another."""
    assert len(said(simulator(tokens=70))["message"]["content"].split()) == 70
    spread = Settings(tokens=100, tokens_sigma=0.5)
    lengths = [len(answer(Ask.of(body(f"row {k}"), 0), spread).choices[0].tokens) for k in range(500)]
    assert 90 < statistics.median(lengths) < 110
    assert 0.4 < statistics.stdev(math.log(length) for length in lengths) < 0.6
    assert len(said(simulator(), "@@tokens=5")["message"]["content"].split()) == 5


def test_logprobs_cover_every_token(simulator):
    """The logprobs have one entry for each token, with as many alternatives as were asked for; streams too."""
    sim = simulator()
    choice = said(sim, logprobs=True, top_logprobs=2, max_tokens=4)
    content = choice["logprobs"]["content"]
    assert "".join(entry["token"] for entry in content) == choice["message"]["content"]
    assert all(len(entry["top_logprobs"]) == 2 and entry["logprob"] < 0 for entry in content)
    assert bytes(content[0]["bytes"]).decode() == content[0]["token"]
    streamed = [json.loads(event) for event in events(call(sim, logprobs=True, max_tokens=4, stream=True)[2])[:-1]]
    tokens = [chunk["choices"][0]["logprobs"] for chunk in streamed]
    assert [len(entry["content"]) for entry in tokens if entry] == [1, 1, 1, 1]


def schema(inner):
    return {"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": inner}}


def test_json_schema_is_answered_with_valid_json(simulator):
    """A schema with an enum, numbers, a list, a null and a reference is answered with JSON that fits it."""
    inner = {
        "type": "object",
        "properties": {
            "label": {"enum": ["good", "bad"]},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "share": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 2},
            "note": {"type": ["string", "null"]},
            "sure": {"type": "boolean"},
            "kind": {"const": "review"},
            "either": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["label"],
        "$defs": {"tag": {"type": "string", "maxLength": 3}},
    }
    sim = simulator()
    made = [json.loads(said(sim, f"row {k}", response_format=schema(inner))["message"]["content"]) for k in range(20)]
    assert {one["label"] for one in made} == {"good", "bad"}
    for one in made:
        assert one.keys() == inner["properties"].keys()
        assert 1 <= one["score"] <= 5
        assert 0 < one["share"] < 1
        assert len(one["tags"]) == 2
        assert all(len(tag) <= 3 for tag in one["tags"])
        assert one["kind"] == "review"
    assert json.loads(said(sim, response_format={"type": "json_object"})["message"]["content"])


@pytest.mark.parametrize(
    ("inner", "fits"),
    [
        ({}, lambda value: isinstance(value, str)),
        ({"type": "null"}, lambda value: value is None),
        ({"type": "string", "minLength": 40}, lambda value: len(value) >= 40),
        ({"type": "string", "format": "date"}, lambda value: value == "2024-05-17"),
        ({"type": "integer", "multipleOf": 7, "minimum": 50, "maximum": 60}, lambda value: value == 56),
        ({"type": "integer", "maximum": -3}, lambda value: value <= -3),
        ({"type": "number", "minimum": 0.5, "maximum": 0.5}, lambda value: value == 0.5),
        ({"type": "array", "maxItems": 0}, lambda value: value == []),
        ({"type": "array", "prefixItems": [{"const": 1}, {"const": 2}]}, lambda value: value[:2] == [1, 2]),
        ({"allOf": [{"type": "object", "properties": {"a": {"const": 1}}}]}, lambda value: value == {"a": 1}),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, lambda value: isinstance(value, str)),
        ({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}, bool),
        (True, lambda value: value == "any"),
    ],
)
def test_examples_fit_their_schema(inner, fits):
    """Each word of a schema that structured outputs use is kept, and schemas that go in circles end."""
    for number in range(4):
        assert fits(example(inner, lambda of, number=number: number % of))


def test_tools_are_called_when_they_must_be(simulator):
    """Tools are accepted; a required or named one is called with arguments that fit its parameters."""
    tool = {"name": "find", "parameters": {"type": "object", "properties": {"q": {"enum": ["x"]}}}}
    sim, tools = simulator(), [{"type": "function", "function": tool}]
    assert said(sim, tools=tools)["finish_reason"] == "stop"
    for choice in ("required", {"type": "function", "function": {"name": "find"}}):
        called = said(sim, tools=tools, tool_choice=choice)
        assert called["finish_reason"] == "tool_calls"
        assert called["message"]["content"] is None
        function = called["message"]["tool_calls"][0]["function"]
        assert (function["name"], json.loads(function["arguments"])) == ("find", {"q": "x"})
    text = call(sim, tools=tools, tool_choice="required", stream=True)[2]
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events(text)[:-1]]
    pieces = [delta["tool_calls"][0]["function"].get("arguments", "") for delta in deltas if "tool_calls" in delta]
    assert json.loads("".join(pieces)) == {"q": "x"}


@pytest.mark.parametrize(
    "prompt", ["plain", "日本語 и русский", "nul \x00 and \u202eright", "lone \ud800 surrogate", "😀"]
)
def test_echo_gives_the_prompt_back(simulator, prompt):
    """`@@echo`, and the setting, say the prompt as it came, in an answer and in a stream."""
    sim = simulator()
    assert said(sim, f"{prompt} @@echo")["message"]["content"] == prompt
    assert joined(call(sim, f"{prompt} @@echo", stream=True)[2])[0] == {0: prompt}
    sim.reset(text="echo", line_end="crlf", stream_split=3)
    assert joined(call(sim, prompt, stream=True)[2].replace("\r\n", "\n"))[0] == {0: prompt}


@given(st.text())
def test_tokens_are_the_text(text):
    """Cutting a text into tokens loses nothing."""
    assert "".join(tokens_of(text)) == text


def test_parts_and_names_are_counted():
    """Text parts are joined to the prompt, an image costs 85 tokens, a name one."""
    parts = [{"type": "text", "text": "four"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    ask = Ask.of({"model": "m", "messages": [{"role": "user", "content": parts, "name": "n"}]}, 0)
    assert (ask.prompt, ask.prompt_tokens) == ("four", 3 + 3 + 1 + 85 + 1)


# Latency


def test_latency_is_drawn_from_the_request():
    """A lognormal latency has its median and spread over many prompts, and is the same for the same prompt."""
    times = [Ask.of(body(f"row {k}"), 0).spread("latency", 0.5, 0.6) for k in range(1000)]
    assert 0.45 < statistics.median(times) < 0.55
    assert 0.55 < statistics.stdev(math.log(one) for one in times) < 0.65
    assert Ask.of(body("row 7"), 0).spread("latency", 0.5, 0.6) == times[7]
    assert Ask.of(body(), 0).spread("latency", 0.5, 0) == 0.5


def test_latency_is_waited_for(simulator):
    """An answer does not come before its latency, by setting or by mark."""
    for sim, prompt in ((simulator(latency=0.1), "x"), (simulator(), "@@latency=0.1")):
        begin = time.monotonic()
        said(sim, prompt)
        assert time.monotonic() - begin >= 0.1


def test_slots_bound_what_is_served_at_once(simulator):
    """With two slots, six requests of 0.05 s take three rounds, and all are answered."""
    sim = simulator(slots=2, latency=0.05)
    begin = time.monotonic()
    with ThreadPoolExecutor(6) as pool:
        assert all(choice for choice in pool.map(lambda k: said(sim, str(k)), range(6)))
    assert time.monotonic() - begin >= 0.15
    assert settled(sim)["answered"] == 6


def test_a_full_queue_refuses(simulator):
    """With one slot and no queue the second request gets 429 without being told when to come back."""
    sim = simulator(slots=1, queue=0)
    with closing(connection(sim)) as first:
        first.request("POST", "/v1/chat/completions", json.dumps(body("@@latency=30")))
        while not sim.stats()["in_flight"]:
            time.sleep(0.01)
        status, headers, text = call(sim)
    assert (status, json.loads(text)["error"]["code"]) == (429, "concurrency_limit_exceeded")
    assert "retry-after" not in headers


def test_a_client_that_leaves_gives_its_slot_back(simulator):
    """A request whose client leaves while it waits or is served does not hold a slot."""
    sim = simulator(slots=1)
    for prompt in ("@@latency=30 a", "@@latency=30 b"):
        with pytest.raises(TimeoutError), closing(connection(sim, timeout=0.1)) as leaving:
            leaving.request("POST", "/v1/chat/completions", json.dumps(body(prompt)))
            leaving.getresponse()
    assert said(sim)["finish_reason"] == "stop"
    stats = settled(sim)
    assert (stats["gone"], stats["answered"]) == (2, 1)


def connection(sim, *, timeout=10):
    return http.client.HTTPConnection("127.0.0.1", urlsplit(sim.base_url).port, timeout=timeout)


# Limits, with a clock of their own


def admitted(limit, seconds, every=0.001):
    """How many requests of one a limit lets in when it is asked all the time."""
    count = 0
    for tick in range(int(seconds / every)):
        if not limit.wait(tick * every, 1):
            limit.take(tick * every, 1)
            count += 1
    return count


def test_a_bucket_lets_its_rate_in():
    """A bucket of 600 a minute with a burst of one second lets in ten at once, then ten a second."""
    bucket = Bucket(600, period=60, burst=10)
    assert [bucket.wait(0, 1) or bucket.take(0, 1) for _ in range(11)][:10] == [None] * 10
    assert bucket.wait(0, 1) == pytest.approx(0.1)
    assert bucket.used(0) == bucket.capacity == 10
    assert bucket.reset(0) == pytest.approx(1)
    assert bucket.wait(0.1, 1) == 0
    assert admitted(Bucket(600, period=60, burst=10), 60) == pytest.approx(610, abs=1)


def test_a_bucket_lets_a_large_request_in_when_it_is_full():
    """An amount above the burst waits for a full bucket and leaves it in debt."""
    bucket = Bucket(600, period=60, burst=10)
    assert bucket.wait(0, 50) == 0
    bucket.take(0, 50)
    assert bucket.wait(0, 1) == pytest.approx(4.1)


def test_a_sliding_window_holds_in_every_stretch():
    """A sliding window of 10 in 60 seconds opens when the oldest request is 60 seconds old."""
    sliding = Sliding(10, period=60)
    for second in range(10):
        assert sliding.wait(second, 1) == 0
        sliding.take(second, 1)
    assert sliding.wait(10, 1) == pytest.approx(50)
    assert sliding.wait(10, 3) == pytest.approx(52)
    assert (sliding.used(10), sliding.reset(10)) == (10, pytest.approx(59))
    assert sliding.wait(60, 1) == 0
    assert admitted(Sliding(10, period=1), 10) == pytest.approx(100, abs=1)


def test_a_fixed_window_opens_on_the_minute():
    """A fixed window lets its limit in at once, and again when the clock's minute turns."""
    fixed = Fixed(10, period=60)
    for _ in range(10):
        assert fixed.wait(50, 1) == 0
        fixed.take(50, 1)
    assert fixed.wait(50, 1) == pytest.approx(10)
    assert (fixed.used(50), fixed.wait(60, 1)) == (10, 0)


@pytest.mark.parametrize("kind", ["bucket", "sliding", "fixed"])
def test_others_take_their_share(kind):
    """With another client that takes half, about half of the limit is let in."""
    limit = window(kind, 600, period=1, burst_seconds=0.1, others=0.5)
    assert admitted(limit, 20) == pytest.approx(100, rel=0.15)


def test_requests_and_tokens_are_taken_together_or_not_at_all():
    """What does not fit into the tokens counts nothing in the requests."""
    limits = Limits(Sliding(10, period=60), Sliding(100, period=60))
    assert limits.admit(0, 90).wait == 0
    verdict = limits.admit(0, 20)
    assert (verdict.wait, verdict.kind) == (60, "tokens")
    assert "x-ratelimit-remaining-requests: 9\r\n" in verdict.headers
    assert "x-ratelimit-remaining-tokens: 10\r\n" in verdict.headers
    assert limits.admit(0, 101).never


def test_refused_requests_count_where_they_do():
    """With `count_refused` a refused request costs one of the requests."""
    limits = Limits(Sliding(2, period=60), Sliding(100, period=60), count_refused=True)
    for tokens in (90, 90):
        limits.admit(0, tokens)
    assert limits.admit(0, 1).kind == "requests"


def test_headers_can_lie_or_be_silent():
    """Lying headers say ten times as much; silent ones nothing; a minute's are those of a bucket of a minute."""
    bucket = Bucket(600, period=60, burst=10)
    minute = Limits(bucket, None, headers="minute", minute=(600, 0)).admit(0, 0).headers
    assert "limit-requests: 600\r\nx-ratelimit-remaining-requests: 599\r\n" in minute
    assert "reset-requests: 100ms\r\n" in minute
    lying = Limits(Sliding(10, period=60), None, headers="lying").admit(0, 0).headers
    assert "x-ratelimit-limit-requests: 100\r\n" in lying
    assert Limits(Sliding(10, period=60), None, headers="none").admit(0, 0).headers == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.012, "12ms"), (0.9999, "1000ms"), (1, "1s"), (1.5, "1.5s"), (59.9999, "1m0s"), (90, "1m30s"),
     (360, "6m0s"), (3600, "1h0m0s"), (86400.25, "24h0m0.25s")],
)  # fmt: skip
def test_durations_are_go_s(seconds, text):
    """Resets are written as Go writes durations."""
    assert go_duration(seconds) == text


# Limits, over the wire


def test_limit_of_requests_is_kept_and_told(simulator):
    """The request above the limit gets 429 with the kind, the headers and Retry-After."""
    sim = simulator(rpm=60, window="sliding")
    for left in range(59, -1, -1):
        status, headers, _ = call(sim)
        assert (status, headers["x-ratelimit-remaining-requests"]) == (200, str(left))
    status, headers, text = call(sim)
    error = json.loads(text)["error"]
    assert (status, error["type"], error["code"]) == (429, "requests", "rate_limit_exceeded")
    assert headers["x-ratelimit-limit-requests"] == "60"
    assert 0 < int(headers["retry-after"]) <= 60
    assert headers["x-ratelimit-reset-requests"].endswith("s")
    assert settled(sim)["admitted"] == 60


@pytest.mark.parametrize("how", ["seconds", "ms", "date", "none"])
def test_retry_after_comes_as_told(simulator, how):
    """Retry-After comes in seconds, with milliseconds beside it, as a date, or not at all."""
    sim = simulator(rpm=1, window="sliding", retry_after=how)
    call(sim)
    headers = call(sim)[1]
    expected = {"seconds": {"retry-after"}, "ms": {"retry-after", "retry-after-ms"}, "date": {"retry-after"}}
    assert {name.lower() for name in headers if "retry" in name.lower()} == expected.get(how, set())
    if how == "date":
        assert parsedate_to_datetime(headers["retry-after"]).timestamp() > time.time()


def test_tokens_count_as_they_are_used_or_asked_for(simulator):
    """A request counts its prompt and completion, or its prompt and max_tokens, as told."""
    sim = simulator(tpm=600, window="sliding")
    assert call(sim, max_tokens=100)[1]["x-ratelimit-remaining-tokens"] == str(600 - 8 - 16)
    sim.reset(tpm_counts="asked")
    assert call(sim, max_tokens=100)[1]["x-ratelimit-remaining-tokens"] == str(600 - 8 - 100)
    status, headers, text = call(sim, max_tokens=1000)
    assert (status, "Request too large" in text, headers.get("retry-after")) == (429, True, None)


def test_context_window_is_kept(simulator):
    """A prompt above `context` gets 400 context_length_exceeded."""
    status, _, text = call(simulator(context=20), "x" * 100)
    assert (status, json.loads(text)["error"]["code"]) == (400, "context_length_exceeded")


# Marks


@pytest.mark.parametrize(
    ("mark", "status", "kind", "code"),
    [
        ("400", 400, "invalid_request_error", None),
        ("401", 401, "invalid_request_error", "invalid_api_key"),
        ("402", 402, "billing_error", None),
        ("429", 429, "requests", "rate_limit_exceeded"),
        ("503", 503, "server_error", "server_is_overloaded"),
        ("529", 529, "overloaded_error", None),
        ("quota", 429, "insufficient_quota", "insufficient_quota"),
        ("too-large", 429, "tokens", "rate_limit_exceeded"),
        ("context", 400, "invalid_request_error", "context_length_exceeded"),
        ("filter-400", 400, "invalid_request_error", "content_filter"),
        ("model", 404, "invalid_request_error", "model_not_found"),
    ],
)
def test_marks_give_errors(simulator, mark, status, kind, code):
    """A prompt with a mark gets that error each time it comes."""
    sim = simulator()
    for _ in range(2):
        got, _, text = call(sim, f"please @@{mark} now")
        error = json.loads(text)["error"]
        assert (got, error["type"], error["code"]) == (status, kind, code)
    assert settled(sim)["refused"] == {str(status): 2}


def test_only_errors_that_pass_ask_to_wait(simulator):
    """Retry-After stands with 429, 503 and 529, as long as the prompt says; not with a spent quota."""
    sim = simulator()
    assert call(sim, "@@429 @@retry-after=7")[1]["retry-after"] == "7"
    assert call(sim, "@@503")[1]["retry-after"] == "1"
    assert "retry-after" not in call(sim, "@@quota")[1]
    assert "retry-after" not in call(sim, "@@500")[1]


def test_marks_change_what_is_said(simulator):
    """Refusal, filter, length, empty, null, tool, no usage and no choices come as the API has them."""
    sim = simulator()
    refused = said(sim, "@@refuse")["message"]
    assert refused["content"] is None
    assert refused["refusal"]
    assert said(sim, "@@filter")["finish_reason"] == "content_filter"
    assert said(sim, "@@length")["finish_reason"] == "length"
    assert said(sim, "@@empty")["message"]["content"] == ""
    assert said(sim, "@@null")["message"]["content"] is None
    assert said(sim, "@@tool")["message"]["tool_calls"][0]["function"]["name"] == "look_up"
    assert "usage" not in json.loads(call(sim, "@@no-usage")[2])
    assert json.loads(call(sim, "@@no-choices")[2])["choices"] == []
    assert "refusal" in call(sim, "@@refuse", stream=True)[2]
    assert events(call(sim, "@@no-choices", stream=True)[2]) == ["[DONE]"]


def test_what_was_worked_on_may_be_billed_whatever_became_of_it(simulator):
    """Whole answers, with usage or without, cut ones and spoilt ones are billable; refused and dropped ones are not."""
    sim = simulator(tokens=5)
    for mark in ("", "@@no-usage", "@@malformed", "@@400", "@@no-choices"):
        call(sim, f"hello {mark}")
    for mark in ("@@cut", "@@drop", "@@drop-mid"):
        with pytest.raises((ConnectionError, http.client.IncompleteRead)):
            call(sim, f"hello {mark}")
    stats = settled(sim)
    assert stats["answered"] + stats["spoilt"] + stats["partial"] == 6
    assert stats["billable_completion_tokens"] == 6 * 5
    assert stats["completion_tokens"] == 5
    assert stats["billable_prompt_tokens"] > stats["prompt_tokens"]


@pytest.mark.parametrize(("mark", "error"), [("drop", ConnectionResetError), ("cut", http.client.IncompleteRead)])
def test_marks_break_the_connection(simulator, mark, error):
    """A dropped connection is reset before the answer, a cut one ends before its content-length."""
    sim = simulator()
    with pytest.raises(error):
        call(sim, f"@@{mark}")
    assert whole(settled(sim))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mark", ["drop-mid", "cut", "stall-mid"])
def test_answers_break_in_the_middle(simulator, mark, stream):
    """A half of the answer comes, then a reset, an end, or nothing; it counts as partial."""
    sim = simulator(stall=0.1)
    with closing(connection(sim)) as asking:
        asking.request("POST", "/v1/chat/completions", json.dumps(body(f"@@{mark}", stream=stream)))
        reply = asking.getresponse()
        assert reply.status == 200
        with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
            reply.read()
    stats = settled(sim)
    assert (stats["partial"], whole(stats)) == (1, True)


def test_bodies_are_spoilt(simulator):
    """Malformed JSON, an error object in a 200, nothing at all and a page of HTML come when asked for."""
    sim = simulator()
    assert call(sim, "@@malformed")[0] == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(call(sim, "@@malformed")[2])
    assert json.loads(call(sim, "@@error-200")[2])["error"]["type"] == "server_error"
    assert call(sim, "@@blank")[2] == ""
    status, headers, text = call(sim, "@@html")
    assert (status, headers["content-type"], "<h1>" in text) == (502, "text/html", True)
    stats = settled(sim)
    assert (stats["spoilt"], stats["refused"]) == (4, {"502": 1})


def test_streams_are_spoilt(simulator):
    """A stream has an error object in its middle, bad JSON in it, or ends without saying so."""
    sim = simulator()
    assert json.loads(events(call(sim, "@@error-mid", stream=True)[2])[-1])["error"]
    assert "[DONE]" not in call(sim, "@@unfinished", stream=True)[2]
    assert joined(call(sim, "@@unfinished", stream=True)[2])[1] == {0: None}
    with pytest.raises(json.JSONDecodeError):
        json.loads(events(call(sim, "@@malformed", stream=True)[2])[-2])


def test_a_stall_lasts_until_the_client_leaves(simulator):
    """A stalled request sends nothing; the client that gives up is counted as gone."""
    sim = simulator()
    with pytest.raises(TimeoutError), closing(connection(sim, timeout=0.1)) as waiting:
        waiting.request("POST", "/v1/chat/completions", json.dumps(body("@@stall")))
        waiting.getresponse()
    assert settled(sim)["gone"] == 1


def test_marks_have_their_turns(simulator):
    """`*` limits a mark to so many times; the next mark follows, then the usual answer."""
    sim = simulator()
    prompt = "@@503*2 @@429*1 Paris"
    assert [call(sim, prompt)[0] for _ in range(5)] == [503, 503, 429, 200, 200]


@pytest.mark.parametrize("text", ["mail@@example.org", "@@nonsense", "@@200", "a@b", "@@"])
def test_other_texts_are_no_marks(text):
    """An at sign in a text is no mark unless a rule has the name behind it."""
    marks = Marks.of(text)
    assert marks is None or marks.rule(1) is None


def test_marks_are_taken_out_of_an_echo():
    """An echo has no marks in it."""
    assert without_marks("a @@echo b") == "a  b"


# Faults by share


def test_faults_come_at_their_shares(simulator):
    """Shares of faults are met, the same requests fail in every run, and a second try may succeed."""
    shares = {"429": 0.1, "500": 0.05, "503": 0.02}
    counts = [drawn(shares, Ask.of(body(f"row {k}"), 0).draw("fault", 1)) for k in range(4000)]
    assert counts.count("429") == pytest.approx(400, rel=0.15)
    assert counts.count("503") == pytest.approx(80, rel=0.3)
    sim, prompts = simulator(faults="500=0.5"), [f"row {k}" for k in range(40)]
    first = [call(sim, prompt)[0] for prompt in prompts]
    assert {*first} == {200, 500}
    assert [call(sim, prompt)[0] for prompt in prompts] != first
    sim.reset()
    assert [call(sim, prompt)[0] for prompt in prompts] == first


@given(st.floats(0, 1, exclude_max=True))
def test_a_draw_falls_on_one_fault_or_none(draw):
    """Shares lie behind one another; what is beyond their sum is no fault."""
    expected = "a" if draw < 0.25 else "b" if draw < 0.75 else None
    assert drawn({"a": 0.25, "b": 0.5}, draw) == expected


# Script


def test_script_comes_first(simulator):
    """Scripted replies are given in their order, before anything else, then the usual answers."""
    sim = simulator(rpm=60)
    sim.script(
        [
            {"status": 429, "headers": {"Retry-After": "3"}, "times": 2},
            {"status": 500, "body": "oops", "headers": {"content-type": "text/plain"}},
            {"body": {"choices": []}},
            {"drop": True},
            {"rule": "cut"},
            {"status": 307, "headers": {"location": "/chat/completions"}, "body": ""},
            {"headers": {"x-should-retry": "false"}},
        ]
    )
    assert [call(sim)[1]["retry-after"] for _ in range(2)] == ["3", "3"]
    status, headers, text = call(sim)
    assert (status, headers["content-type"], text) == (500, "text/plain", "oops")
    assert call(sim)[2] == '{"choices":[]}'
    with pytest.raises(ConnectionResetError):
        call(sim)
    with pytest.raises(http.client.IncompleteRead):
        call(sim)
    status, headers, _ = call(sim)
    assert (status, headers["location"]) == (307, "/chat/completions")
    status, headers, text = call(sim)
    assert (status, headers["x-should-retry"]) == (200, "false")
    assert json.loads(text)["choices"][0]["finish_reason"] == "stop"
    assert call(sim)[1]["x-ratelimit-remaining-requests"] == "0"
    assert sim.stats()["script_left"] == 0
    assert whole(settled(sim))


def test_script_over_the_wire(simulator):
    """POST /sim/script takes the same list, and refuses what is none with 400."""
    sim = simulator()
    assert page(sim, "/sim/script", [{"status": 503, "delay": 0.01}]) == {"script_left": 1}
    assert call(sim)[0] == 503
    for bad in ({}, [1], [{"state": 1}], [{"status": 5}], [{"rule": "?"}], [{"headers": {"a": "b\r\nc: d"}}]):
        with pytest.raises(urllib.error.HTTPError) as caught:
            page(sim, "/sim/script", bad)
        assert caught.value.code == 400
        caught.value.close()


# Counts


def test_counts_tell_what_became_of_each_request(simulator):
    """Each request is counted once, by how it ended, with the tokens of what was answered and by prompt."""
    sim = simulator()
    call(sim, "one")
    call(sim, "one")
    call(sim, "@@400")
    call(sim, "@@malformed")
    sim.script([{"status": 500}])
    call(sim, "two")
    with closing(connection(sim)) as asking:
        asking.request("POST", "/v1/chat/completions", b"{")
        asking.getresponse().read()
    stats = page(sim, "/sim/stats?prompts=1")
    assert stats["received"] == 6
    assert stats["answered"] == 2
    assert stats["spoilt"] == 1
    assert stats["refused"] == {"400": 2, "500": 1}
    assert (stats["prompt_tokens"], stats["completion_tokens"]) == (14, 32)
    assert stats["prompts"]["one"] == {"received": 2, "answered": 2}
    assert stats["prompts"]["two"] == {"received": 1, "answered": 0}
    assert (stats["distinct_prompts"], stats["answered_again"]) == (4, 1)
    assert whole(stats)


def test_an_answer_counts_when_its_last_byte_is_taken(simulator):
    """A large answer whose client leaves in its middle is partial, not answered."""
    sim = simulator(text="echo")
    with closing(socket.socket()) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", urlsplit(sim.base_url).port))
        data = json.dumps(body("x" * (20 << 20))).encode()
        sock.sendall(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(data) + data)
        sock.recv(1000)
        assert sim.stats()["answered"] == 0
    stats = settled(sim)
    assert (stats["partial"], stats["answered"]) == (1, 0)


def test_reset_zeroes_and_changes(simulator):
    """POST /sim/reset zeroes the counts and changes the settings that are named; the others stay."""
    sim = simulator(tokens=3, seed=9)
    call(sim)
    stats = page(sim, "/sim/reset", {"rpm": 60})
    assert (stats["received"], stats["connections"]) == (0, 0)
    assert (stats["settings"]["rpm"], stats["settings"]["tokens"], stats["settings"]["seed"]) == (60, 3, 9)
    assert len(said(sim)["message"]["content"].split()) == 3


def test_requests_are_kept_without_secrets(simulator):
    """The last requests can be read back with their bodies and headers, but no key."""
    sim = simulator(record=2, key="sk-secret")
    for prompt in ("one", "two", "three"):
        with closing(connection(sim)) as asking:
            headers = {"authorization": "Bearer sk-secret", "x-mine": "yes"}
            asking.request("POST", "/v1/chat/completions", json.dumps(body(prompt)), headers)
            asking.getresponse().read()
    kept = page(sim, "/sim/requests")
    assert [one["body"]["messages"][0]["content"] for one in kept] == ["two", "three"]
    assert kept[0]["headers"]["x-mine"] == "yes"
    assert "secret" not in json.dumps(kept) + json.dumps(sim.stats()) + repr(Settings(key="sk-secret"))


def test_prompts_need_not_be_kept(simulator):
    """With `prompts` off nothing is kept by prompt."""
    sim = simulator(prompts=False)
    call(sim)
    assert "prompts" not in sim.stats(prompts=True)
    assert sim.stats()["answered"] == 1


# Bytes of the answer


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["gzip", "deflate"])
def test_answers_are_compressed_for_those_who_take_it(simulator, how, stream):
    """A client that accepts it gets a compressed answer, another a plain one."""
    import zlib

    sim = simulator(compress=how)
    with closing(connection(sim)) as asking:
        data = json.dumps(body(stream=stream))
        asking.request("POST", "/v1/chat/completions", data, {"accept-encoding": "gzip, deflate"})
        reply = asking.getresponse()
        assert reply.headers["content-encoding"] == how
        text = zlib.decompress(reply.read(), 31 if how == "gzip" else 15).decode()
    assert "chatcmpl" in text
    assert "content-encoding" not in call(sim)[1]


def test_streams_come_as_servers_write_them(simulator):
    """Line ends, comments and a cut after every few bytes change nothing in what is said."""
    sim = simulator()
    plain = joined(call(sim, "é", stream=True)[2])
    for end, mark in (("lf", "\n"), ("crlf", "\r\n"), ("cr", "\r")):
        sim.reset(line_end=end, comments=True, stream_split=5)
        text = call(sim, "é", stream=True)[2]
        assert f": keep-alive{mark}" in text
        assert joined(text.replace(mark, "\n")) == plain


# Settings, and the thread


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"latencyy": 1}, "did you mean 'latency'"),
        ({"latency": -1}, "latency"),
        ({"latency": "soon"}, "latency"),
        ({"rpm": True}, "rpm"),
        ({"slots": 1.5}, "slots"),
        ({"window": "round"}, "bucket, sliding, fixed"),
        ({"faults": "500=2"}, "between 0 and 1"),
        ({"faults": "nonsense=0.1"}, "no fault 'nonsense'"),
        ({"faults": "500"}, "faults"),
        ({"others": 1}, "others"),
        ({"want_key": "perhaps"}, "want_key"),
        ({"tokens": 0}, "tokens"),
        ({"key": 5}, "key"),
    ],
)
def test_settings_are_checked(given, word):
    """An unknown setting, or a value that it cannot have, is a usage error that names it."""
    with pytest.raises(UsageError, match=word):
        Simulator(**given)


def test_settings_come_as_text_too():
    """Options are text: each is read as its type, with dashes or underscores."""
    told = {"latency-sigma": "0.5", "want_key": "true", "models": "a, b", "faults": "429=0.1,drop=0.2", "seed": "-3"}
    settings = Settings.of(told)
    assert (settings.latency_sigma, settings.want_key, settings.models, settings.seed) == (0.5, True, ("a", "b"), -3)
    assert settings.faults == {"429": 0.1, "drop": 0.2}
    assert all(known(name) for name in settings.faults)


def test_a_port_that_is_taken_is_an_error(simulator):
    """A simulator that cannot listen raises in the thread that started it."""
    sim = simulator()
    with pytest.raises(OSError, match="in use"):
        Simulator(port=urlsplit(sim.base_url).port).start()


def test_a_stopped_simulator_is_gone():
    """After its context nobody listens, and asking it for counts says so."""
    with Simulator() as sim:
        port = urlsplit(sim.base_url).port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))
    with pytest.raises(RuntimeError, match="not running"):
        sim.stats()


def test_open_connections_can_be_dropped(simulator):
    """All connections can be reset at once."""
    sim = simulator()
    with closing(connection(sim)) as open_one:
        open_one.request("GET", "/v1/models")
        open_one.getresponse().read()
        sim.drop_connections()
        with pytest.raises(ConnectionError):
            open_one.request("GET", "/v1/models")
            open_one.getresponse()
