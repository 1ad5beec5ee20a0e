"""The bodies of requests, and their keys."""

from __future__ import annotations

import datetime as dt
import json
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchchat.errors import BadRow
from batchchat.records import ChatRequest, Dialect
from batchchat.wire import encode, for_endpoint, make_request, request_key
from batchchat.wire.body import RequestShape

GOLDEN = Path(__file__).parent / "data" / "keys.json"
MESSAGES = [{"role": "user", "content": "hi"}]

# Every field of a request that the API documents, with a value that it takes.
FIELDS = {
    "audio": {"format": "wav", "voice": "alloy"},
    "frequency_penalty": -2.0,
    "function_call": "auto",
    "functions": [{"name": "f", "parameters": {"type": "object", "properties": {}}}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 16,
    "max_tokens": 16,
    "metadata": {"run": "1"},
    "modalities": ["text", "audio"],
    "moderation": {"model": "omni", "policy": {"input": {"mode": "score"}, "output": {"mode": "block"}}},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": "hello"},
    "presence_penalty": 2,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "minimal",
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "s", "schema": {"z": 1, "a": 2}, "strict": True},
    },
    "safety_identifier": "s",
    "seed": 2**63 - 1,
    "service_tier": "flex",
    "stop": ["\n", "END"],
    "store": False,
    "temperature": 0.0,
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}, {"type": "custom", "custom": {}}],
    "top_logprobs": 20,
    "top_p": 0.1,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {"search_context_size": "low"},
}


def ask(**fields):
    return {"model": "m", "messages": MESSAGES, **fields}


def golden():
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", golden(), ids=lambda case: case["name"])
def test_a_key_never_changes(case):
    """The same request has the same bytes and the same key as when the golden file was written: nobody pays again."""
    body = encode(case["fields"])
    assert body.decode() == case["body"]
    assert request_key(body).hex() == case["key"]


def test_the_golden_file_has_every_field():
    """Each documented field is in the golden file, so that an upgrade cannot change how one is written."""
    seen = {name for case in golden() for name in case["fields"]}
    assert seen >= {"model", "messages", *FIELDS}


@pytest.mark.parametrize("name", FIELDS)
def test_each_field_is_sent_as_it_was_set(name):
    """A field of the request arrives with the value that it was given."""
    assert json.loads(encode(ask(**{name: FIELDS[name]})))[name] == FIELDS[name]


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_not_set_is_not_sent(name):
    """None means not set: the endpoint's own default holds."""
    assert encode(ask(**{name: None})) == encode(ask())


def test_model_and_messages_stand_first_and_the_rest_in_order():
    """The order in which fields are given does not matter."""
    one = encode({"top_p": 1, "messages": MESSAGES, "n": 2, "model": "m"})
    assert one == encode({"n": 2, "model": "m", "top_p": 1, "messages": MESSAGES})
    assert list(json.loads(one)) == ["model", "messages", "n", "top_p"]


def test_names_within_a_field_keep_their_order():
    """A model fills a schema's properties in their order, so another order is another request."""
    first = encode(ask(response_format={"b": 1, "a": 2}))
    assert first.endswith(b'"response_format":{"b":1,"a":2}}')
    assert first != encode(ask(response_format={"a": 2, "b": 1}))


@pytest.mark.parametrize("name", ["stream", "stream_options"])
def test_how_an_answer_travels_is_not_part_of_the_request(name):
    """A row that was asked without a stream is found again with one."""
    assert encode(ask(**{name: True})) == encode(ask())


def test_unknown_fields_are_sent():
    """Fields of other servers go through."""
    assert json.loads(encode(ask(top_k=5, provider={"order": ["x"]})))["provider"] == {"order": ["x"]}


@pytest.mark.parametrize(
    ("text", "sent"),
    [("a\ud83db", "a\ufffdb"), ("\udc00", "\ufffd"), ("\ud83d\ude00", "😀"), ("\ud83d\ud83d\ude00", "\ufffd😀")],
)
def test_a_lone_surrogate_is_sent_as_the_replacement_character(text, sent):
    """Half a character cannot be said in UTF-8; two halves that meet are one character."""
    messages = [{"role": "user", "content": text}]
    assert json.loads(encode({"model": text, "messages": messages, "metadata": {text: [text]}})) == {
        "model": sent,
        "messages": [{"role": "user", "content": sent}],
        "metadata": {sent: [sent]},
    }


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**64, str(2**64)),
        (-(2**70), str(-(2**70))),
        (Decimal("0.70"), "0.7"),
        (Decimal(5), "5"),
        (Decimal(2**63 - 1), "9223372036854775807"),
        (Decimal(2**63), "9.223372036854776e+18"),
        (["é", 1 << 70], '["é",1180591620717411303424]'),
        (Decimal("5.00"), "5"),
        (Decimal("NaN"), "null"),
        (Decimal("1.5e30"), "1.5e+30"),
        (np.int64(7), "7"),
        (np.float64(0.5), "0.5"),
        (np.array([1, 2]), "[1,2]"),
        (np.bool_(True), "true"),
        ((1, 2), "[1,2]"),
        ({1: 2, 50256: -100}, '{"1":2,"50256":-100}'),
        ([float("nan"), float("inf")], "[null,null]"),
        (dt.date(2026, 1, 2), '"2026-01-02"'),
        (dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), '"2026-01-02T03:04:00+00:00"'),
        (True, "true"),
        ("é\n\x00", '"é\\n\\u0000"'),
    ],
)
def test_what_tables_hold_is_written_as_json(value, written):
    """Numbers, dates and arrays of tables are written as a person would write them, alone or beside broken text."""
    assert encode({"x": value}).decode() == '{"x":' + written + "}"
    beside = json.loads(encode({"x": value, "y": "\ud800"}))
    assert beside == {"x": json.loads(written), "y": "\ufffd"}


def test_a_missing_number_is_not_sent():
    """Pandas says "missing" with NaN; it is not set, and null would be refused."""
    assert encode(ask(temperature=float("nan"), top_p=np.float64("nan"))) == encode(ask())


@pytest.mark.parametrize("value", [b"bytes", object(), {"deep": [{1j}]}, complex(1, 2)])
def test_what_json_cannot_say_is_the_rows_fault(value):
    """The error names the field and the type, and is the row's: nothing was sent."""
    with pytest.raises(BadRow, match="'odd' makes no request: a value of type"):
        encode(ask(odd=value))


def test_what_is_nested_without_end_is_the_rows_fault():
    """A value that contains itself is an error like others."""
    value = []
    value.append(value)
    with pytest.raises(BadRow, match="nested too deeply"):
        encode(ask(odd=value))


def test_deep_but_finite_nesting_is_sent():
    """More levels than the fast encoder knows are still sent."""
    value = 1
    for _ in range(300):
        value = [value]
    assert encode(ask(deep=value)).count(b"[") == 301


@pytest.mark.parametrize(
    ("fields", "choices", "limit"),
    [
        ({}, 1, None),
        ({"n": 3, "max_tokens": 5}, 3, 5),
        ({"max_completion_tokens": 7, "max_tokens": 5}, 1, 7),
        ({"n": np.int64(2), "max_tokens": 5.0}, 2, 5),
        ({"n": 0, "max_tokens": 0}, 1, 0),
        ({"n": "2", "max_tokens": "many"}, 1, None),
        ({"max_tokens": 5.5}, 1, None),
        ({"max_tokens": float("nan")}, 1, None),
    ],
)
def test_a_request_knows_its_choices_and_its_limit(fields, choices, limit):
    """What the budget and the reply's reading need is taken from the fields."""
    request = make_request(ask(**fields))
    assert (request.choices, request.completion_limit) == (choices, limit)
    assert request.key == request_key(request.body)
    assert len(request.key) == 16


def test_without_a_stream_the_body_is_sent_as_it_is():
    """The canonical body is what is sent."""
    request = make_request(ask(n=2))
    assert for_endpoint(request, stream=False, dialect=Dialect()) is request.body


def test_a_stream_asks_for_usage():
    """With a stream, the body says so and asks for usage, and the key stays."""
    request = make_request(ask(n=2))
    sent = json.loads(for_endpoint(request, stream=True, dialect=Dialect()))
    assert sent == {**ask(n=2), "stream": True, "stream_options": {"include_usage": True}}


def test_a_dialect_without_stream_options_is_spared_them():
    """Old Azure versions refuse `stream_options`."""
    sent = json.loads(for_endpoint(make_request(ask()), stream=True, dialect=Dialect(stream_options=False)))
    assert sent == {**ask(), "stream": True}


def test_an_empty_request_still_makes_json():
    """Splicing into an empty object leaves no stray comma."""
    request = ChatRequest(body=b"{}", key=b"")
    assert json.loads(for_endpoint(request, stream=True, dialect=Dialect(stream_options=False))) == {"stream": True}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: not name.startswith("stream")), json_values, max_size=5))
def test_any_json_comes_through(fields):
    """Whatever JSON is asked for is what is sent, but for what is not set."""
    sent = json.loads(encode(fields))
    assert sent == {name: value for name, value in fields.items() if value is not None}


@given(st.text(alphabet=st.characters()), st.integers())
def test_broken_text_never_stops_a_request(text, number):
    """Any text of Python, broken or not, and any integer becomes valid UTF-8."""
    body = encode({"model": "m", "messages": [{"content": text}], "seed": number})
    assert json.loads(body)["messages"][0]["content"] == text.encode("utf-16-le", "surrogatepass").decode(
        "utf-16-le", "replace"
    )
    assert json.loads(body)["seed"] == number


def test_a_number_too_long_to_write_is_the_rows_fault():
    """Python refuses to write integers of thousands of digits; that is an error of ours, too."""
    number = 10 ** (sys.get_int_max_str_digits() + 1)
    with pytest.raises(BadRow):
        encode(ask(seed=number))


def test_the_fast_and_the_slow_way_agree():
    """A request that needs the slow encoder for one field writes the others alike."""
    slow = orjson.loads(encode(ask(**FIELDS, odd="\ud800")))
    assert slow == {**orjson.loads(encode(ask(**FIELDS))), "odd": "\ufffd"}


@pytest.mark.parametrize(
    "case", [case for case in golden() if "broken" not in case["name"]], ids=lambda case: case["name"]
)
def test_the_requests_of_a_job_are_the_same_as_any(case):
    """What is encoded once for all rows has the same bytes and the same key: a golden key is a golden key."""
    fields = dict(case["fields"])
    messages, model = fields["messages"], fields["model"]
    for given_too in ({}, {"messages": "other", "model": "other", "stream": True}):
        shape = RequestShape(model=model, parameters={**fields, **given_too})
        assert shape.request(messages) == make_request(fields)


def test_a_job_without_parameters():
    """Nothing follows the messages."""
    assert RequestShape(model="m", parameters={}).request(MESSAGES) == make_request(ask())
    assert RequestShape(model="m", parameters={"n": None}).request(MESSAGES) == make_request(ask())


@given(
    st.text(),
    st.dictionaries(st.text(min_size=1).filter(lambda n: not n.startswith("stream")), json_values, max_size=3),
)
def test_any_jobs_requests_are_the_same_as_any(model, parameters):
    """Whatever the parameters and the text."""
    fields = {"model": model, **parameters, "messages": [{"role": "user", "content": model}]}
    fields["model"] = model
    assert RequestShape(model=model, parameters=parameters).request(fields["messages"]) == make_request(fields)


def test_messages_that_json_cannot_say_are_the_rows_fault():
    """The error is the row's, with the field's name; one in the parameters is found before the first row."""
    with pytest.raises(BadRow, match="'messages' makes no request: a value of type bytes"):
        RequestShape(model="m", parameters={}).request([{"content": b"x"}])
    with pytest.raises(BadRow, match="'odd' makes no request"):
        RequestShape(model="m", parameters={"odd": b"x"})
