"""Event streams: put together as they come, and never kept when they were cut."""

from __future__ import annotations

import contextlib
import itertools
import json

import pytest
from fakes import delta, sse
from hypothesis import given
from hypothesis import strategies as st

from batchchat.errors import (
    ContentRefused,
    JobStopped,
    QuotaExhausted,
    RateLimited,
    RequestError,
    ServerError,
    UnreadableReply,
)
from batchchat.records import RateLimits, Usage
from batchchat.wire import NO_CHOICES, EventStream, parse_reply

HEADERS = {"content-type": "text/event-stream"}
USAGE = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}}


def read(*parts, choices=1, headers=HEADERS, hide=()):
    stream = EventStream(headers, choices=choices, hide=hide)
    for part in parts:
        stream.feed(part)
    return stream.finish()


def fault(*parts, **more):
    with pytest.raises((RequestError, JobStopped)) as caught:
        read(*parts, **more)
    return caught.value


def test_an_ordinary_stream():
    """Deltas become the content; finish reason, usage, model and id are read, and nothing raw is kept."""
    stream = EventStream(HEADERS)
    stream.feed(sse(delta("", role="assistant"), delta("hel"), delta("lo"), delta(finish="stop"), USAGE))
    found = stream.finish(latency=2.0, first_token=0.5)
    assert (found.contents, found.finish_reasons, found.message) == (("hello",), ("stop",), None)
    assert found.usage == Usage(prompt_tokens=3, completion_tokens=2, total_tokens=5)
    assert (found.model, found.request_id, found.latency, found.first_token) == ("fake", "c", 2.0, 0.5)


def test_a_stream_and_a_whole_reply_are_read_alike():
    """The same answer gives the same completion, streamed or not."""
    whole = {
        "id": "c",
        "model": "fake",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "length"}],
        "usage": USAGE["usage"],
    }
    streamed = read(sse(delta("hel", role="assistant"), delta("lo", finish="length"), USAGE))
    assert streamed == parse_reply(json.dumps(whole).encode(), {})


def test_headers_of_a_stream_are_kept():
    """Limits and the request's id come with the head."""
    headers = {**HEADERS, "x-request-id": "r", "x-ratelimit-remaining-tokens": "7"}
    found = read(sse(delta("a", finish="stop")), headers=headers)
    assert (found.request_id, found.limits) == ("r", RateLimits(tokens_remaining=7))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_may_end_in_three_ways(end):
    """LF, CRLF and CR end a line."""
    assert read(sse(delta("a"), delta("b", finish="stop"), end=end)).contents == ("ab",)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_stream_may_be_split_after_every_byte(end):
    """Lines, line ends and characters of several bytes may be cut anywhere."""
    whole = b"\xef\xbb\xbf: hi" + end.encode() + sse(delta("é😀"), delta("ß", finish="stop"), USAGE, end=end)
    found = read(*(whole[at : at + 1] for at in range(len(whole))))
    assert (found.contents, found.usage.total_tokens) == (("é😀ß",), 5)


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 4])
def test_a_byte_order_mark_may_stand_first(cut):
    """It is no part of the first line, wherever it is cut; it stands first only."""
    whole = b"\xef\xbb\xbf" + sse(delta("a"), delta("b", finish="stop"))
    assert read(whole[:cut], whole[cut:]).contents == ("ab",)
    assert read(sse(delta("a")), b"\xef\xbb\xbf").contents == ("a",)
    assert isinstance(fault(b"\xef\xbb"), UnreadableReply)


def test_a_line_end_may_be_cut_in_two():
    """CR and LF of one line end may come apart, and a lone CR ends a line as well."""
    text = json.dumps(delta("a", finish="stop")).encode()
    assert read(b"data: " + text + b"\r", b"\n\r", b"\n").contents == ("a",)
    assert read(b"data: " + text + b"\r", b"\r").contents == ("a",)
    assert read(b"data: " + text + b"\r", b"", b"\n", b"\n").contents == ("a",)


def test_comments_and_unknown_fields_are_ignored():
    """Keep-alives are comments; `event`, `id` and `retry` say nothing here; a space after the colon is optional."""
    first, last = json.dumps(delta("a")), json.dumps(delta("b", finish="stop"))
    text = f": keep-alive\n\n:\nevent: message\nid: 1\nretry: 5\ndata:{first}\n\n\n\nother\ndata: {last}\n\n"
    assert read(text.encode()).contents == ("ab",)


def test_an_event_may_have_several_data_lines():
    """They are one JSON text with line breaks."""
    lines = json.dumps(delta("a", finish="stop"), indent=1).splitlines()
    text = "".join(f"data: {line}\n" for line in lines) + "\n"
    assert read(text.encode()).contents == ("a",)


def test_data_without_a_colon_is_an_empty_line():
    """The standard says so; white space in JSON does not matter."""
    assert read(b"data\ndata: " + json.dumps(delta("a", finish="stop")).encode() + b"\n\n").contents == ("a",)


def test_interleaved_choices():
    """Deltas of several choices come in any order."""
    found = read(
        sse(delta("b1", index=1), delta("a1"), delta("b2", index=1, finish="length"), delta("a2", finish="stop")),
        choices=2,
    )
    assert (found.contents, found.finish_reasons) == (("a1a2", "b1b2"), ("stop", "length"))


def test_the_first_chunk_may_have_no_choices():
    """Azure begins with its prompt filter's findings."""
    assert read(sse({"choices": [], "prompt_filter_results": []}, delta("a", finish="stop"))).contents == ("a",)


def test_chunks_without_choices_are_ignored():
    """A chunk may say nothing."""
    assert read(sse({}, {"choices": None}, delta("a", finish="stop"))).contents == ("a",)


def test_the_last_usage_counts():
    """Some servers count in every chunk."""
    chunks = [{**delta("a", finish="stop"), "usage": {"total_tokens": 1}}, {**delta(), "usage": None}, USAGE]
    assert read(sse(*chunks)).usage.total_tokens == 5


def test_tool_calls_are_put_together():
    """Calls come in parts, by their index; ids, types and names are said once, or again and again."""

    def part(index, arguments, **more):
        call = {"index": index, **more, "function": {"arguments": arguments, **({"name": "f"} if more else {})}}
        return delta(tool_calls=[call])

    found = read(
        sse(
            part(0, "", id="c0", type="function"),
            part(1, '{"b"', id="c1", type="function"),
            part(0, '{"a":'),
            part(0, "1}", id="c0", type="function"),
            part(1, ":2}"),
            delta(finish="tool_calls"),
        )
    )
    assert (found.contents, found.finish_reasons) == ((None,), ("tool_calls",))
    calls = json.loads(found.message)[0]["message"]["tool_calls"]
    assert calls == [
        {"index": 0, "id": "c0", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"index": 1, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"b":2}'}},
    ]


def test_several_parts_of_calls_in_one_chunk():
    """Parts of the same call in the first chunk belong together, too."""
    parts = [{"index": 0, "id": "x", "function": {"arguments": "{"}}, {"index": 0, "function": {"arguments": "}"}}]
    found = read(sse(delta(tool_calls=parts, finish="tool_calls")))
    assert json.loads(found.message)[0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_a_function_call_is_put_together():
    """The deprecated form of a tool call."""
    found = read(
        sse(
            delta(function_call={"name": "f", "arguments": "{"}),
            delta(function_call={"arguments": "}"}, finish="function_call"),
        )
    )
    assert json.loads(found.message)[0]["message"]["function_call"] == {"name": "f", "arguments": "{}"}


def test_log_probabilities_and_reasoning_are_put_together():
    """Lists grow, texts are joined, findings are filled, numbers are replaced."""

    def said(token, **more):
        chunk = delta(token, reasoning_content=token.upper(), **more)
        chunk["choices"][0] |= {"logprobs": {"content": [{"token": token}]}, "filter": {token: 1}, "count": len(token)}
        return chunk

    found = json.loads(read(sse(said("a"), said("bb", finish="stop"))).message)[0]
    assert found["message"] == {"content": "abb", "reasoning_content": "ABB"}
    assert found["logprobs"] == {"content": [{"token": "a"}, {"token": "bb"}]}
    assert (found["filter"], found["count"]) == ({"a": 1, "bb": 1}, 2)


def test_a_value_that_changes_its_type_is_replaced():
    """A filter's finding may be null, then an object, then a text."""
    first, second = delta("a", odd=[1]), delta("b", odd={"x": 1}, finish="stop")
    assert json.loads(read(sse(first, second)).message)[0]["message"]["odd"] == {"x": 1}


def test_a_refusal_in_a_stream():
    """It is put together, and is the row's error."""
    error = fault(sse(delta(refusal="I "), delta(refusal="can't.", finish="stop"), USAGE))
    assert isinstance(error, ContentRefused)
    assert (error.message, error.completion.usage.total_tokens) == ("I can't.", 5)


def test_a_filtered_stream():
    """A stream of which the filter left nothing is the row's error."""
    assert isinstance(fault(sse(delta("", finish="content_filter"))), ContentRefused)


def test_whole_messages_in_a_stream():
    """Some servers send the whole message in one event."""
    chunk = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    assert read(sse(chunk)).contents == ("a",)


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [sse(done=False)],
        [sse(delta("a"), done=False)],
        [sse(delta("a", finish="stop"), delta("b", index=1), done=False)],
        [b": ping\n\n"],
        [sse(delta("a"), done=False) + b"data: [DONE"],
        [sse(delta("a"), done=False) + b'data: {"choices":[{"delta":{},"finish_rea'],
    ],
)
def test_a_cut_stream_is_never_kept(parts):
    """Without [DONE] and without a finish reason for each choice the answer was cut, and may have been billed."""
    error = fault(*parts)
    assert type(error) is UnreadableReply
    assert (error.billed, error.code) == (True, None)
    assert "cut" in error.message


def test_a_stream_with_fewer_choices_than_asked_for_was_cut():
    """Two of three choices are not the answer, unless the server says that it is done."""
    chunks = sse(delta("a", finish="stop"), delta("b", index=1, finish="stop"), done=False)
    assert isinstance(fault(chunks, choices=3), UnreadableReply)
    assert read(chunks, b"data: [DONE]\n\n", choices=3).contents == ("a", "b")
    assert read(chunks, choices=2).contents == ("a", "b")


def test_finish_reasons_end_a_stream_as_well_as_done():
    """Servers that never say [DONE] are understood."""
    assert read(sse(delta("a"), delta(finish="stop"), done=False)).contents == ("a",)


def test_done_ends_a_stream_without_finish_reasons():
    """Servers that never say why they ended are understood."""
    found = read(sse(delta("a")))
    assert (found.contents, found.finish_reasons) == (("a",), (None,))


@pytest.mark.parametrize("last", [b"data: [DONE]", b"data:[DONE]\n", b"data: [DONE] \r\n"])
def test_the_last_blank_line_may_be_missing(last):
    """A server that closes right after [DONE] has said everything."""
    assert read(sse(delta("a"), done=False), last).contents == ("a",)


def test_the_last_event_may_lack_its_blank_line():
    """What is whole counts."""
    assert read(sse(delta("a"), delta(finish="stop"), done=False).rstrip()).contents == ("a",)


def test_what_follows_done_is_ignored():
    """Nothing after the end matters."""
    assert read(sse(delta("a", finish="stop")), b"data: {nonsense\n\n", b"data: nonsense").contents == ("a",)


def test_done_without_choices_is_told_from_a_cut_stream():
    """It was whole, so that it is retried once only."""
    error = fault(sse(USAGE))
    assert (type(error), error.code, error.billed) == (UnreadableReply, NO_CHOICES, True)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ({"message": "overloaded", "type": "overloaded_error"}, RateLimited),
        ({"message": "oops", "type": "server_error"}, ServerError),
        ({"message": "quota", "code": "insufficient_quota"}, QuotaExhausted),
        ({"message": "who knows"}, UnreadableReply),
        ("who knows", UnreadableReply),
    ],
)
def test_an_error_in_mid_stream_ends_it(said, kind):
    """It is judged by what it says, and may have been billed."""
    stream = EventStream(HEADERS)
    stream.feed(sse(delta("a"), done=False))
    with pytest.raises(kind) as caught:
        stream.feed(sse({"error": said}, done=False))
    assert getattr(caught.value, "billed", True)


def test_an_error_before_the_first_token_was_not_billed():
    """An endpoint that refuses at once has done no work."""
    assert not fault(sse({"error": {"message": "slow", "code": 429}}, done=False)).billed
    assert not fault(sse(delta("", role="assistant"), {"error": {"code": 429}}, done=False)).billed


def test_an_event_named_error_is_one():
    """Some servers name the event instead of wrapping the object."""
    with pytest.raises(ServerError, match="oops"):
        read(b'event: error\ndata: {"message":"oops","type":"server_error"}\n\n')


def test_the_name_of_an_event_ends_with_it():
    """An event after a named comment is an ordinary one."""
    assert read(b"event: error\n\n", sse(delta("a", finish="stop"))).contents == ("a",)


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", '"x"', "3", "{", '{"choices":[1]}', '{"choices":[{"delta":"x"}]}', "<html><title>x</title>"],
)
def test_an_event_that_cannot_be_read(text):
    """The answer is unreadable, and may have been billed."""
    error = fault(sse(delta("a"), text))
    assert type(error) is UnreadableReply
    assert error.billed


@pytest.mark.parametrize("index", [-1, "x", None, True, 2**70])
def test_odd_indexes(index):
    """An index that is no number is the first choice's."""
    assert read(sse(delta("a", index=index, finish="stop"))).contents == ("a",)


def test_a_chunk_without_an_index_is_the_first_choices():
    """Servers with one choice may leave it out."""
    bare = {"choices": [{"delta": {"content": "b"}, "finish_reason": "stop"}]}
    assert read(sse(delta("a"), bare)).contents == ("ab",)


def test_half_a_character_waits_for_its_other_half():
    """Servers that cut text by UTF-16 units split a character over two events."""
    text = sse('{"choices":[{"delta":{"content":"a\\ud83d"}}]}', '{"choices":[{"delta":{"content":"\\ude00b"}}]}')
    assert read(text).contents == ("a😀b",)


def test_a_lone_surrogate_becomes_the_replacement_character():
    """What has no other half cannot be said in UTF-8."""
    chunk = '{"choices":[{"delta":{"content":"a\\ud83d","x":["\\udc00"]},"finish_reason":"stop"}],"model":"\\ud83d"}'
    found = read(sse(chunk))
    assert (found.contents, found.model) == (("a\ufffd",), "\ufffd")
    found.message.encode()


def test_bytes_that_are_no_text_become_the_replacement_character():
    """What was paid for is kept."""
    text = sse(delta("a?b", finish="stop")).replace(b"?", b"\xff")
    assert read(text).contents == ("a\ufffdb",)


def test_no_message_shows_a_key():
    """An endpoint that echoes the key in mid-stream is not quoted with it."""
    for text in ("key k-1", '{"error":{"message":"bad key k-1"}}'):
        assert "k-1" not in str(fault(sse(text), hide=("k-1",)))


def test_it_can_be_seen_whether_a_stream_goes_on():
    """Comments are no chunks; a role or an empty delta is no content; content, refusals and calls are."""
    stream = EventStream(HEADERS)
    stream.feed(b": ping\n\n" + sse(delta("", role="assistant"), {"choices": []}, done=False))
    assert (stream.chunks, stream.speaking, stream.done, stream.is_whole()) == (2, False, False, False)
    stream.feed(sse(delta("a"), done=False))
    assert (stream.chunks, stream.speaking) == (3, True)
    stream.feed(sse(delta(finish="stop"), done=False))
    assert (stream.done, stream.is_whole()) == (False, True)
    stream.feed(b"data: [DONE]\n\n")
    assert (stream.chunks, stream.done, stream.is_whole()) == (4, True, True)


@pytest.mark.parametrize(
    "more",
    [
        {"refusal": "no"},
        {"tool_calls": [{"index": 0}]},
        {"function_call": {"name": "f"}},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
    ],
)
def test_the_first_token_may_be_other_than_content(more):
    """A refusal, a call or reasoning is the model speaking."""
    stream = EventStream(HEADERS)
    stream.feed(sse(delta(**more), done=False))
    assert stream.speaking


WHOLE = b"\xef\xbb\xbf" + sse(
    {"choices": [], "prompt_filter_results": []},
    delta("", role="assistant"),
    delta("é😀", index=1),
    delta("one\r\n"),
    delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]),
    '{"choices":[{"index":0,"delta":{"content":"\\ud83d"}}]}',
    '{"choices":[{"index":0,"delta":{"content":"\\ude00"},"finish_reason":"stop"}]}',
    delta(tool_calls=[{"index": 0, "function": {"arguments": "}"}}], index=1, finish="length"),
    USAGE,
    end="\r\n",
)
EXPECTED = read(WHOLE, choices=2)


@given(st.lists(st.integers(0, len(WHOLE)), max_size=30))
def test_splitting_a_stream_anywhere_changes_nothing(cuts):
    """However the network cuts a stream, the completion is the same."""
    ends = [0, *sorted(cuts), len(WHOLE)]
    assert read(*(WHOLE[start:end] for start, end in itertools.pairwise(ends)), choices=2) == EXPECTED


def test_what_the_split_stream_says():
    """The stream of the property test is read as it was meant."""
    assert EXPECTED.contents == ("one\r\n😀", "é😀")
    assert EXPECTED.finish_reasons == ("stop", "length")
    assert EXPECTED.usage.total_tokens == 5


def test_every_truncation_is_unreadable_or_whole():
    """Cut anywhere, a stream is kept only where each choice was finished; then it says the same."""
    for length in range(len(WHOLE)):
        try:
            found = read(WHOLE[:length], choices=2)
        except UnreadableReply:
            continue
        assert found.contents == EXPECTED.contents
        assert found.finish_reasons == EXPECTED.finish_reasons


@given(st.data())
def test_mutated_streams_raise_nothing_else(data):
    """Whatever bytes are changed, it is a completion or an error of ours."""
    body = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    cut = data.draw(st.integers(0, len(body)))
    try:
        found = read(bytes(body[:cut]), bytes(body[cut:]), choices=2)
    except (RequestError, JobStopped) as error:
        str(error).encode()
    else:
        "".join(filter(None, [*found.contents, *found.finish_reasons, found.message])).encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["content", "refusal", "tool_calls", "index", "delta", "message", "finish_reason", "error", "role"]
)
odd_objects = st.dictionaries(NAMES, json_values | st.dictionaries(NAMES, json_values, max_size=4), max_size=5)


@given(st.lists(st.fixed_dictionaries({"choices": st.lists(odd_objects | json_values, max_size=3)}), max_size=4))
def test_odd_types_raise_nothing_else(chunks):
    """Events of the right names and the wrong types are a completion or an error of ours."""
    with contextlib.suppress(RequestError, JobStopped):
        read(sse(*chunks))


def test_more_choices_than_were_asked_for_are_an_answer():
    """The stream is whole when each choice that came has ended."""
    found = read(sse(delta("a", finish="stop"), delta("b", index=1, finish="stop"), done=False))
    assert found.contents == ("a", "b")


def test_an_index_that_is_no_number_is_the_first():
    """Text of one choice stays together."""
    assert read(sse(delta("a", index="x"), delta("b", finish="stop"))).contents == ("ab",)


def test_a_null_takes_nothing_back():
    """Servers say null for what did not change."""
    later = {"choices": [{"index": 0, "delta": {"role": None, "content": "b"}, "finish_reason": None}]}
    found = read(sse(delta("a", finish="stop"), later, done=False))
    assert (found.contents, found.finish_reasons) == (("ab",), ("stop",))


@pytest.mark.parametrize("line", ["id: error", "retry: error", ": error", "error: error", "data-x: error"])
def test_only_the_field_event_names_an_event(line):
    """Other fields and comments may hold any word."""
    assert read(f"{line}\n".encode() + sse(delta("a", finish="stop"))).contents == ("a",)


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_an_event_is_read_as_soon_as_its_blank_line_is_there(end):
    """Byte by byte, and no later: a second event is not waited for."""
    stream = EventStream(HEADERS)
    for number in (1, 2):
        for byte in sse(delta("a"), end=end, done=False):
            stream.feed(bytes([byte]))
        assert stream.chunks == number


def test_a_bom_is_one_at_the_very_beginning_only():
    """Later it makes another field of its line."""
    bom = b"\xef\xbb\xbf"
    stray = bom + sse(delta("x"), done=False)
    parts = (bom, sse(delta("a"), done=False), stray, sse(delta("b", finish="stop")))
    assert read(*parts).contents == ("ab",)
    assert read(b"".join(parts)).contents == ("ab",)
