"""Streams of any shape, split at any byte, and replies with anything wrong in them.

`EXAMPLES=20000 make pytest ARGS="tests/test_wire_fuzz.py --timeout 3600"` tries more than every run does.
"""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchchat.errors import ContentRefused, UnreadableReply
from batchchat.wire import EventStream, parse_reply

HEADERS = {"content-type": "text/event-stream"}
ENDS = ["\n", "\r\n", "\r"]
PIECES = st.text(st.characters(codec="utf-8"), max_size=8) | st.sampled_from(["\n", "\r\n", "😀", "\u2028", "data: x"])


@dataclass(frozen=True, kw_only=True)
class Told:
    """A stream, and what it says: of each choice its content, its calls' arguments and its finish reason."""

    body: bytes
    contents: tuple
    arguments: tuple
    reasons: tuple
    tokens: int | None


@st.composite
def choices_of_streams(draw):
    """For each choice its deltas in their order, the last with its finish reason."""
    found = []
    for index in range(draw(st.integers(1, 3))):
        texts = draw(st.lists(PIECES, max_size=5))
        calls = draw(st.lists(PIECES, max_size=3))
        deltas = [{"content": text} for text in texts]
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": text}}]} for text in calls]
        if calls:
            deltas.insert(0, {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f"}}]})
        chunks = [{"index": index, "delta": delta, "finish_reason": None} for delta in [{"role": "assistant"}, *deltas]]
        reason = draw(st.sampled_from(["stop", "length", "tool_calls"]))
        if draw(st.booleans()):
            chunks[-1]["finish_reason"] = reason
        else:
            chunks.append({"index": index, "delta": {}, "finish_reason": reason})
        found.append((chunks, texts, calls, reason))
    return found


@st.composite
def streams(draw):
    """A whole stream: choices interleaved, line ends, comments and other fields as the standard allows them."""
    choices = draw(choices_of_streams())
    queues = [list(chunks) for chunks, *_ in choices]
    events = [{"choices": []}] if draw(st.booleans()) else []
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        events.append({"id": "c", "model": "m", "choices": [queue.pop(0)]})
    tokens = draw(st.none() | st.integers(0, 1 << 40))
    if tokens is not None:
        events.append({"choices": [], "usage": {"completion_tokens": tokens}})
    lines = [draw(st.sampled_from(["\ufeff", ""]))]
    for event in events:
        lines += draw(lines_of(event))
    lines += ["data: [DONE]", "\n\n"] if draw(st.booleans()) else []
    return Told(
        body="".join(lines).encode(),
        contents=tuple("".join(texts) for _, texts, _, _ in choices),
        arguments=tuple("".join(calls) if calls else None for _, _, calls, _ in choices),
        reasons=tuple(reason for *_, reason in choices),
        tokens=tokens,
    )


@st.composite
def lines_of(draw, event):
    """The lines of one event, with their ends; its data may take several."""
    end = draw(st.sampled_from(ENDS))
    text = json.dumps(event, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
    data = [f"data:{draw(st.sampled_from([' ', '']))}{line}{end}" for line in text.split("\n")]
    noise = st.sampled_from([": keep-alive", ":", "id: 7", "retry: 3000", "nonsense", f": {end}"])
    return [f"{line}{end}" for line in draw(st.lists(noise, max_size=2))] + data + [end]


def read(*parts, choices):
    stream = EventStream(HEADERS, choices=choices)
    for part in parts:
        stream.feed(part)
    return stream.finish()


def arguments_of(found):
    """What the calls of each choice were given, by the raw message."""
    if found.message is None:
        return (None,) * len(found.contents)
    calls = [choice["message"].get("tool_calls") for choice in json.loads(found.message)]
    return tuple(call[0]["function"].get("arguments", "") if call else None for call in calls)


def parts_of(body, cuts):
    ends = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(ends)]


@given(streams(), st.lists(st.integers(0, 1 << 20), max_size=40))
def test_a_stream_says_the_same_however_it_is_split(told, cuts):
    """Whole and cut at random: the contents, calls, reasons and tokens are those that were sent."""
    count = len(told.contents)
    for parts in ([told.body], parts_of(told.body, cuts)):
        found = read(*parts, choices=count)
        assert arguments_of(found) == told.arguments
        said = tuple(content or "" for content in found.contents)
        assert said == told.contents
        assert found.finish_reasons == told.reasons
        assert found.usage.completion_tokens == told.tokens


@given(streams(), st.integers(0, 1 << 20))
def test_a_stream_that_is_cut_is_unreadable_or_whole(told, cut):
    """It is kept only where nothing but the count of tokens is missing."""
    count = len(told.contents)
    try:
        found = read(told.body[: cut % len(told.body)], choices=count)
    except UnreadableReply:
        return
    assert arguments_of(found) == told.arguments
    assert tuple(content or "" for content in found.contents) == told.contents
    assert found.finish_reasons == told.reasons
    assert found.usage.completion_tokens in {told.tokens, None}


FUNCTION = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REPLY = {
    "id": "c",
    "object": "chat.completion",
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "héllo 😀", "refusal": None, "tool_calls": [FUNCTION]},
            "finish_reason": "stop",
            "logprobs": {"content": [{"token": "h", "logprob": -1.5, "bytes": [104]}]},
        },
        {"index": 1, "message": {"role": "assistant", "content": [{"type": "text", "text": "b"}]}},
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
    "error": None,
}
EVENTS = [
    {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": "hé"}}]},
    {"choices": [{"index": 1, "delta": {"content": "b", "tool_calls": [{**FUNCTION, "index": 0}]}}]},
    {"choices": [{"index": 0, "delta": {"content": "llo 😀"}, "finish_reason": "stop", "logprobs": {"content": [1]}}]},
    {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
    {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}, "error": None},
]
# Short texts: none is by chance the code of an error that stands for more than an answer that cannot be read.
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
) | st.sampled_from([1 << 64, -(1 << 70), 1e308, [[]] * 3, "x" * 5000])


def places_in(value, place=()):
    """The way to every value inside of a value, and to itself."""
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from places_in(inner, (*place, name))


@st.composite
def spoilt_values(draw, value):
    """JSON with something in it replaced, left out or repeated, one to three times."""
    value = json.loads(json.dumps(value))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(places_in(value))))
        if not place:
            continue
        *way, last = place
        around = value
        for name in way:
            around = around[name]
        how = draw(st.sampled_from(["replace", "leave out", "repeat"]))
        if how == "replace":
            around[last] = copy.deepcopy(draw(anything))  # it may be spoilt in its turn
        elif how == "leave out":
            del around[last]
        elif isinstance(around, list):
            around.append(copy.deepcopy(around[last]))
    return value


@st.composite
def spoilt_bytes(draw, body):
    """Bytes with some of them changed, left out or repeated, and perhaps an end that is missing."""
    body = bytearray(body)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(len(body) - 1, 0)))
        length = draw(st.integers(0, 20))
        new = draw(
            st.binary(max_size=4) | st.sampled_from([b"[" * 2000, b'{"":' * 2000, bytes(body[at : at + length])])
        )
        body[at : at + length] = new
    return bytes(body[: len(body) - draw(st.integers(0, len(body)))]) if draw(st.booleans()) else bytes(body)


def assert_writable(found):
    """A completion that was read can be kept: its texts are UTF-8, its counts fit, its raw message is JSON."""
    for text in (*found.contents, *found.finish_reasons, found.message, found.model, found.request_id):
        (text or "").encode()
    if found.message is not None:
        json.loads(found.message)
    for count in (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens):
        assert count is None or 0 <= count < 1 << 63
    assert len(found.contents) == len(found.finish_reasons) >= 1


def check(read_it):
    """It can be read, or is unreadable; a refusal is one that the reply itself may say. Nothing else is raised."""
    error = None
    try:
        found = read_it()
    except UnreadableReply as unreadable:
        error, found = unreadable, None
    except ContentRefused as refused:
        error, found = refused, refused.completion
    assert error is None or 0 < len(str(error).encode()) < 3000
    if found is not None:
        assert_writable(found)


@given(spoilt_values(REPLY))
def test_a_reply_with_a_wrong_value_is_unreadable_or_read(reply):
    """Whatever is missing, repeated or of another type."""
    check(lambda: parse_reply(json.dumps(reply).encode(), HEADERS))


@given(spoilt_bytes(json.dumps(REPLY, ensure_ascii=False).encode()))
def test_a_reply_with_wrong_bytes_is_unreadable_or_read(body):
    """Whatever was lost or changed on the way."""
    check(lambda: parse_reply(body, HEADERS))


def sent(events):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


@given(spoilt_values(EVENTS), st.lists(st.integers(0, 1 << 20), max_size=5))
def test_a_stream_with_a_wrong_value_is_unreadable_or_read(events, cuts):
    """Whatever is missing, repeated or of another type, in any event."""
    check(lambda: read(*parts_of(sent(events), cuts), choices=2))


@given(spoilt_bytes(sent(EVENTS)), st.lists(st.integers(0, 1 << 20), max_size=5))
def test_a_stream_with_wrong_bytes_is_unreadable_or_read(body, cuts):
    """Whatever was lost or changed on the way."""
    check(lambda: read(*parts_of(body, cuts), choices=2))


@pytest.mark.parametrize("depth", [100, 1000, 5000, 100_000])
def test_nesting_without_an_end(depth):
    """A reply that is nested deeper than anything can read is unreadable, or read without what is so deep."""
    for inner in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth, "[" * depth):
        body = json.dumps(REPLY).replace('"stop"', inner).encode()
        check(lambda body=body: parse_reply(body, HEADERS))
        check(lambda body=body: read(b"data: " + body + b"\n\ndata: [DONE]\n\n", choices=2))
