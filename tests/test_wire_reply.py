"""Whole replies: what they say, and what is made of those that say nothing."""

from __future__ import annotations

import contextlib
import json

import pytest
from fakes import completion
from hypothesis import given
from hypothesis import strategies as st

from batchchat.errors import (
    BadRequest,
    ContentRefused,
    ContextTooLong,
    Forbidden,
    JobStopped,
    KeyRefused,
    ModelMissing,
    QuotaExhausted,
    RateLimited,
    RequestError,
    RequestTooLarge,
    ServerError,
    UnreadableReply,
)
from batchchat.records import RateLimits, Usage
from batchchat.wire import NO_CHOICES, parse_models, parse_reply

HEADERS = {"content-type": "application/json"}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def choice(content="hello", *, index=0, finish="stop", **message):
    return {"index": index, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}


def read(*choices, **more):
    return parse_reply(json.dumps({"id": "c1", "model": "m", "choices": list(choices), **more}).encode(), HEADERS)


def fault(body, headers=HEADERS, **more):
    with pytest.raises((RequestError, JobStopped)) as caught:
        parse_reply(body if isinstance(body, bytes) else json.dumps(body).encode(), headers, **more)
    return caught.value


def test_an_ordinary_reply():
    """Content, finish reason, usage, model and id are read, and nothing raw is kept."""
    found = parse_reply(completion("hi"), HEADERS, latency=1.5)
    assert (found.contents, found.finish_reasons, found.message) == (("hi",), ("stop",), None)
    assert found.usage == Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    assert (found.model, found.request_id, found.latency, found.first_token) == ("fake", "chatcmpl-1", 1.5, None)
    assert found.limits is None


def test_headers_of_an_answer_are_kept():
    """The endpoint's id of the request and its limits come from the headers."""
    headers = {**HEADERS, "x-request-id": "req_1", "x-ratelimit-remaining-requests": "4"}
    found = parse_reply(completion(), headers)
    assert (found.request_id, found.limits) == ("req_1", RateLimits(requests_remaining=4))


def test_several_choices_stand_by_their_index():
    """Choices may come in any order."""
    found = read(choice("b", index=1, finish="length"), choice("a", index=0), choice("c", index=2))
    assert found.contents == ("a", "b", "c")
    assert found.finish_reasons == ("stop", "length", "stop")
    assert found.message is None


def test_choices_without_an_index_keep_their_order():
    """An index that is missing, or is no number, changes nothing."""
    one, two = choice("a"), choice("b", index="x")
    del one["index"]
    assert read(one, two).contents == ("a", "b")


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "content_filter", "function_call", "eos", None])
def test_a_finish_reason_is_kept_as_it_came(finish):
    """Also one that nobody knows, and none."""
    assert read(choice(finish=finish)).finish_reasons == (finish,)


def test_a_finish_reason_that_is_no_text_is_none():
    """A number is no finish reason."""
    assert read(choice(finish=7)).finish_reasons == (None,)


@pytest.mark.parametrize(
    ("usage", "read_as"),
    [
        (None, Usage()),
        ({}, Usage()),
        ([1], Usage()),
        ({"prompt_tokens": 4}, Usage(prompt_tokens=4)),
        ({"completion_tokens": 4.0, "total_tokens": "9"}, Usage(completion_tokens=4)),
        ({"prompt_tokens": -1, "completion_tokens": 2.5, "total_tokens": True}, Usage()),
        ({"prompt_tokens": 2**63, "total_tokens": 2**63 - 1}, Usage(total_tokens=2**63 - 1)),
        (
            {
                "prompt_tokens": 9,
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 3, "accepted_prediction_tokens": 1},
            },
            Usage(prompt_tokens=9, cached_tokens=5, cache_write_tokens=2, reasoning_tokens=3),
        ),
        ({"prompt_tokens_details": None, "completion_tokens_details": "x"}, Usage()),
        ({"prompt_cache_hit_tokens": 6}, Usage(cached_tokens=6)),
    ],
)
def test_usage_is_read_as_far_as_it_goes(usage, read_as):
    """A number that is missing or is none is unknown, never 0; details are parts, and are not added."""
    assert read(choice(), usage=usage).usage == read_as


@pytest.mark.parametrize("name", ["tool_calls", "function_call"])
def test_tool_calls_are_an_answer_without_content(name):
    """The content is null, and the calls are kept."""
    calls = [CALL] if name == "tool_calls" else CALL["function"]
    found = read(choice(None, finish=name, **{name: calls}))
    assert found.contents == (None,)
    assert json.loads(found.message)[0]["message"][name] == calls


def test_tool_calls_beside_content():
    """Both are kept."""
    found = read(choice("I look it up", tool_calls=[CALL]))
    assert found.contents == ("I look it up",)
    assert "call_1" in found.message


def test_a_refusal_is_the_rows_error_and_keeps_what_was_paid_for():
    """The refusal is the message; usage and finish reason stay."""
    error = fault({"choices": [choice(None, refusal="I can't.")], "usage": {"total_tokens": 3}})
    assert isinstance(error, ContentRefused)
    assert (error.message, error.type, error.completion.usage.total_tokens) == ("I can't.", "refusal", 3)
    assert error.completion.contents == (None,)
    assert error.completion.finish_reasons == ("stop",)
    assert "I can't." in error.completion.message


@pytest.mark.parametrize("content", [None, ""])
def test_a_content_filter_that_left_nothing_is_the_rows_error(content):
    """An answer of which the filter left nothing."""
    error = fault({"choices": [choice(content, finish="content_filter")]})
    assert isinstance(error, ContentRefused)
    assert error.completion.finish_reasons == ("content_filter",)
    assert str(error) == "content_filter: the content filter left nothing of the answer (HTTP 200)"


def test_content_that_a_filter_cut_is_an_answer():
    """The finish reason tells that it was cut."""
    found = read(choice("as far as", finish="content_filter"))
    assert (found.contents, found.finish_reasons) == (("as far as",), ("content_filter",))


def test_with_several_choices_one_with_content_is_enough():
    """The row fails only where no choice has content."""
    found = read(choice(None, refusal="no"), choice("yes", index=1))
    assert found.contents == (None, "yes")
    assert "refusal" in found.message


def test_with_several_choices_all_refused_it_fails():
    """No choice has content."""
    error = fault({"choices": [choice(None, refusal="no"), choice("", index=1, finish="content_filter")]})
    assert isinstance(error, ContentRefused)
    assert error.completion.contents == (None, None)


def test_a_refusal_beside_tool_calls_is_an_answer():
    """Tool calls are what was asked for."""
    assert read(choice(None, refusal="no"), choice(None, index=1, tool_calls=[CALL])).contents == (None, None)


@pytest.mark.parametrize("content", [None, "", []])
def test_empty_content_is_an_empty_string(content):
    """Nothing was refused; the model said nothing."""
    assert read(choice(content)).contents == ("",)


def test_a_message_without_content_is_an_empty_string():
    """A reasoning model that ran out of tokens says nothing: the finish reason tells."""
    body = choice(finish="length", reasoning_content="hm")
    del body["message"]["content"]
    found = read(body)
    assert (found.contents, found.finish_reasons) == (("",), ("length",))
    assert "reasoning_content" in found.message


def test_content_in_parts_is_joined():
    """Some servers answer with parts; the raw message keeps them."""
    found = read(choice([{"type": "text", "text": "a"}, {"type": "thinking"}, "x", {"text": 3}, {"text": "b"}]))
    assert found.contents == ("ab",)
    assert "thinking" in found.message


@pytest.mark.parametrize(
    "more",
    [
        {"logprobs": {"content": [{"token": "a", "logprob": -9999}]}},
        {"content_filter_results": {"hate": {"filtered": False}}},
    ],
)
def test_what_a_choice_says_beside_is_kept(more):
    """Log probabilities and a filter's findings are in the raw message."""
    assert json.loads(read({**choice(), **more}).message)[0] == {**choice(), **more}


@pytest.mark.parametrize(
    "more",
    [
        {"audio": {"id": "a", "data": "AAAA", "expires_at": 1, "transcript": "hello"}},
        {"annotations": [{"type": "url_citation", "url_citation": {"url": "https://x.example"}}]},
        {"reasoning_content": "because"},
        {"role": "tool"},
    ],
)
def test_what_a_message_says_beside_is_kept(more):
    """Audio, citations and reasoning are in the raw message."""
    assert json.loads(read(choice(**more)).message) == [choice(**more)]


def test_an_index_that_is_not_the_position_is_kept():
    """A choice that was asked for as another one's sibling says so."""
    assert json.loads(read(choice(index=5)).message)[0]["index"] == 5


def test_what_says_nothing_is_not_kept():
    """Empty fields do not cost a checkpoint its space."""
    body = {**choice(refusal=None, tool_calls=[], annotations=[], audio=None, role=None), "logprobs": None}
    assert read(body).message is None


def test_unknown_fields_are_ignored():
    """A reply may say more than anybody knows."""
    found = read(
        choice(), object="x", created="y", service_tier=3, system_fingerprint={}, metadata={}, moderation=[], z=1
    )
    assert found.contents == ("hello",)


def test_a_model_that_is_no_text_is_unknown():
    """A number is no model."""
    assert read(choice(), model=5, id=6).model is None


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (rb"a\ud83db", "a\ufffdb"),
        (rb"\ud83d\ude00", "😀"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (b"\xff\xc3", "\ufffd\ufffd"),
        (b"\xed\xa0\x80!", "\ufffd\ufffd\ufffd!"),
        (rb"\u0000", "\x00"),
    ],
)
def test_broken_characters_become_the_replacement_character(written, text):
    """What was paid for is kept, and is valid UTF-8."""
    body = b'{"choices":[{"message":{"content":"' + written + b'","x":"' + written + b'"},"finish_reason":"stop"}]}'
    found = parse_reply(body, HEADERS)
    assert found.contents == (text,)
    assert json.loads(found.message)[0]["message"]["x"] == text


def test_a_byte_order_mark_and_nan_are_tolerated():
    """Some servers write them."""
    found = parse_reply(b'\xef\xbb\xbf{"choices":[{"message":{"content":"a"},"logprobs":NaN}]}', HEADERS)
    assert found.contents == ("a",)


def test_integers_of_any_length_are_tolerated():
    """A reply may hold numbers beyond 64 bits; as tokens they are unknown."""
    body = b'{"choices":[{"message":{"content":"\\ud800"},"big":%d}],"usage":{"total_tokens":%d}}' % (2**70, 2**70)
    found = parse_reply(body, HEADERS)
    assert (found.contents, found.usage) == (("\ufffd",), Usage())
    assert json.loads(found.message)[0]["big"] == 2**70


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the answer is empty"),
        (b" \n", "the answer is empty"),
        (
            b"<html><head><title>502 Bad Gateway</title></head>x</html>",
            "the answer is a page, not JSON: 502 Bad Gateway",
        ),
        (completion()[:-20], "no JSON, or was cut"),
        (b"ok", "no JSON, or was cut"),
        (b"[]", "no chat completion"),
        (b'"hello"', "no chat completion"),
        (b"[" * 100_000, "no JSON, or was cut"),
        (b'{"choices":[{}]}', "a choice without a message"),
        (b'{"choices":[{"message":"hi"}]}', "a choice without a message"),
        (b'{"choices":[1]}', "are no objects"),
    ],
)
def test_what_cannot_be_read(body, said):
    """It may have been billed, and is worth another attempt."""
    error = fault(body)
    assert type(error) is UnreadableReply
    assert said in error.message
    assert (error.billed, error.status, error.code) == (True, 200, None)
    assert len(error.message) < 1000


@pytest.mark.parametrize(
    "body", [{}, {"choices": []}, {"choices": None}, {"choices": {}}, {"usage": {}, "error": None}]
)
def test_an_answer_without_choices_is_told_from_others(body):
    """It was whole, so that it is retried once only."""
    error = fault(body)
    assert type(error) is UnreadableReply
    assert (error.code, error.billed) == (NO_CHOICES, True)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"code": 429, "message": "slow"}, RateLimited),
        ({"code": "502", "message": "upstream"}, ServerError),
        ({"code": 401, "message": "key"}, KeyRefused),
        ({"code": 402, "message": "pay"}, QuotaExhausted),
        ({"code": 404, "message": "model x not found"}, ModelMissing),
        ({"code": 400, "message": "bad"}, BadRequest),
        ({"code": "invalid_api_key"}, KeyRefused),
        ({"type": "insufficient_quota"}, QuotaExhausted),
        ({"type": "invalid_request_error", "code": "context_length_exceeded"}, ContextTooLong),
        ({"type": "invalid_request_error", "code": "model_not_found"}, ModelMissing),
        ({"type": "invalid_request_error", "code": "content_filter"}, ContentRefused),
        ({"type": "invalid_request_error", "message": "bad"}, BadRequest),
        ({"type": "rate_limit_error"}, RateLimited),
        ({"code": "rate_limit_exceeded", "message": "Request too large: Limit 10, Requested 20"}, RequestTooLarge),
        ({"type": "overloaded_error"}, RateLimited),
        ({"type": "server_error", "message": "oops"}, ServerError),
        ({"message": "You exceeded your current quota, please check your plan"}, QuotaExhausted),
        ({"message": "something"}, UnreadableReply),
        ("something", UnreadableReply),
        ({"code": 200}, UnreadableReply),
        ({"code": 12345}, UnreadableReply),
        ([1], UnreadableReply),
    ],
)
def test_an_error_object_in_a_200_is_judged_by_what_it_says(said, kind):
    """Where its code stands for a known error it is that one; else it is unreadable, and worth another attempt."""
    error = fault({"error": said})
    assert type(error) is kind
    if isinstance(error, RequestError):
        assert error.status == 200
        assert error.billed is (kind in {UnreadableReply, ServerError})


def test_what_stops_the_job_from_a_200_says_so():
    """The status is the one that came."""
    assert str(fault({"error": {"code": 401, "message": "m"}})) == "the endpoint refuses the key (HTTP 200, 401): m"


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        *((word, KeyRefused) for word in ("authentication_error", "invalid_authentication", "unauthorized")),
        *((word, Forbidden) for word in ("permission_error", "permission_denied", "forbidden")),
        *((word, RateLimited) for word in ("rate_limit_exceeded", "RESOURCE_EXHAUSTED", "too_many_requests")),
        *((word, RateLimited) for word in ("server_is_overloaded", "slow_down", "engine_overloaded")),
        *((word, ServerError) for word in ("api_error", "internal_server_error", "internal_error", "unavailable")),
        *((word, ServerError) for word in ("service_unavailable", "timeout", "timeout_error", "bad_gateway")),
        *((word, BadRequest) for word in ("bad_request", "BadRequestError")),
    ],
)
def test_a_word_stands_for_a_status(word, kind):
    """Codes and types that are about, in an error object without a number."""
    assert type(fault({"error": {"code": word, "message": "m"}})) is kind
    assert type(fault({"error": {"type": word, "message": "m"}})) is kind


def test_a_choice_may_be_an_error():
    """Gateways put the provider's error into the choice."""
    error = fault({"choices": [{"error": {"code": 502, "message": "provider"}, "message": {"content": ""}}]})
    assert isinstance(error, ServerError)
    assert read({**choice("a"), "error": {"code": 502}}, choice("b", index=1)).contents == ("a", "b")


def test_a_rate_limit_in_words_says_how_long():
    """Without a header, the wording tells."""
    error = fault({"error": {"code": 429, "message": "Rate limit reached. Please try again in 1m2s."}})
    assert error.retry_after == 62


def test_no_message_shows_a_key():
    """An endpoint that echoes the key is not quoted with it."""
    for body in (b"<p>sk-one-two", {"error": {"message": "bad key k-1"}}, {"choices": [choice(None, refusal="k-1")]}):
        error = fault(body, hide=("k-1", "sk-one-two"))
        assert "k-1" not in str(error)
        assert "sk-one" not in str(error)


def test_the_models_of_an_endpoint():
    """The names in their order, in the shapes that are about."""
    assert parse_models(b'{"data":[{"id":"b"},{"id":"a"},{"x":1},3]}') == ["b", "a"]
    assert parse_models(b'{"models":[{"name":"a"}]}') == ["a"]
    assert parse_models(b'["a"]') == ["a"]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"data":3}', b"<html>"])
def test_a_list_of_models_that_cannot_be_read(body):
    """It is an error of ours."""
    with pytest.raises(UnreadableReply, match="list of models"):
        parse_models(body)


FULL = json.dumps(
    {
        "id": "c",
        "model": "m",
        "choices": [
            {
                **choice("héllo 😀", tool_calls=[CALL], annotations=[{"type": "url_citation"}]),
                "logprobs": {"content": [{"t": -1}]},
            },
            choice(None, index=1, finish="content_filter", refusal="no"),
        ],
        "usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 1}},
        "error": None,
    }
).encode()


def test_every_truncation_is_unreadable():
    """A reply that was cut anywhere is never taken for a whole one."""
    for length in range(len(FULL)):
        with pytest.raises(UnreadableReply):
            parse_reply(FULL[:length], HEADERS)


@given(st.data())
def test_mutated_replies_raise_nothing_else(data):
    """Whatever bytes are changed, it is a completion or an error of ours."""
    body = bytearray(FULL)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found = parse_reply(bytes(body), HEADERS)
    except (RequestError, JobStopped) as error:
        str(error).encode()
    else:
        "".join(filter(None, [*found.contents, *found.finish_reasons, found.message, found.model])).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["content", "refusal", "tool_calls", "index", "message", "finish_reason", "error", "code", "role"]
)
odd_objects = st.dictionaries(NAMES, json_values | st.dictionaries(NAMES, json_values, max_size=4), max_size=5)


@given(st.lists(odd_objects | json_values, max_size=3), json_values, json_values)
def test_odd_types_raise_nothing_else(choices, usage, error):
    """JSON of the right names and the wrong types is a completion or an error of ours."""
    body = json.dumps({"choices": choices, "usage": usage, "error": error, "model": usage, "id": error}).encode()
    with contextlib.suppress(RequestError, JobStopped):
        parse_reply(body, HEADERS)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (1, 1),
        (0.0, 0),
        (1.0, 1),
        (70.0, 70),
        (2.0**53, 2**53),
        (2.0**53 + 2, None),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (-1, None),
        (-1.0, None),
        (0.5, None),
        (True, None),
        ("7", None),
    ],
)
def test_a_count_of_tokens_is_a_whole_number_that_fits(value, count):
    """A float that is whole is one; what is no count is null, never 0."""
    assert read(choice(), usage={"completion_tokens": value}).usage.completion_tokens == count


def test_two_choices_stand_by_their_index():
    """Also where one has an index that is no number: it is the first."""
    assert read(choice("b", index=1), choice("a", index=0)).contents == ("a", "b")
    assert read(choice("b", index=1), choice("a", index="x")).contents == ("a", "b")


def test_of_choices_that_are_errors_the_first_is_told():
    """A router that failed for each choice."""
    errors = [{"error": {"message": "busy", "code": 429}}, {"error": {"message": "broken", "code": 500}}]
    found = fault({"choices": errors})
    assert (type(found), found.message) == (RateLimited, "busy")
    assert read(choice("a"), {"error": {"message": "broken"}, **choice("", index=1)}).contents == ("a", "")


@pytest.mark.parametrize("role", ["ai", "user", "model"])
def test_a_role_that_is_not_the_usual_one_is_kept(role):
    """It stands in the raw message."""
    assert json.loads(read(choice("x", role=role)).message)[0]["message"]["role"] == role
