"""The server's wire: HTTP/1.1 over real sockets, the routes, and what a request may be."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from contextlib import closing
from itertools import pairwise
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchchat.serve.head import MAX_BODY, BadHttp, Head
from batchchat.serve.refusal import Refusal
from batchchat.serve.request import parse

HELLO = {"model": "sim", "messages": [{"role": "user", "content": "hello"}]}


def call(sim, method="POST", path="/v1/chat/completions", body=HELLO, **headers):
    """Status, headers and parsed body of one request on a connection of its own."""
    raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(sim.base_url).port, timeout=10)) as connection:
        connection.request(method, path, raw, {name.replace("_", "-"): value for name, value in headers.items()})
        reply = connection.getresponse()
        text = reply.read()
        return reply.status, reply.headers, json.loads(text) if text else None


def raw(sim, data, *, pieces=1):
    """What the server sends back to these bytes until it closes or is silent."""
    with closing(socket.create_connection(("127.0.0.1", urlsplit(sim.base_url).port), timeout=5)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = -(-len(data) // pieces) or 1
        for at in range(0, len(data), step):
            sock.sendall(data[at : at + step])
        got = b""
        while piece := sock.recv(1 << 16):
            got += piece
        return got


def post(body=b"", *headers, path="/v1/chat/completions", version="HTTP/1.1", length=True):
    """The bytes of a request."""
    lines = [f"POST {path} {version}", "host: x", *headers]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


CLOSE = "connection: close"
BODY = json.dumps(HELLO).encode()


# Routes


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/v1/chat/completions?api-version=1"])
def test_completes_under_both_paths(simulator, path):
    """A bare request gets a whole chat completion, with /v1 and without."""
    status, headers, reply = call(simulator(), path=path)
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert reply["object"] == "chat.completion"
    assert reply["choices"][0]["message"]["role"] == "assistant"
    assert reply["choices"][0]["finish_reason"] == "stop"
    usage = reply["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_azure_path_names_the_model(simulator):
    """Under Azure's path the deployment is the model, and the body needs none."""
    body = {"messages": HELLO["messages"]}
    status, _, reply = call(simulator(), path="/openai/deployments/mine/chat/completions?api-version=1", body=body)
    assert (status, reply["model"]) == (200, "mine")


def test_lists_exactly_one_model(simulator):
    """The list of models has one entry, so that a client can take it without being told."""
    sim = simulator()
    status, _, reply = call(sim, "GET", "/v1/models", None)
    assert (status, [model["id"] for model in reply["data"]]) == (200, ["sim"])
    assert call(sim, "GET", "/v1/models/sim", None)[2]["id"] == "sim"


def test_unknown_model_is_refused_where_the_models_are_told(simulator):
    """With a list of models another name gets 404 model_not_found, in the list and in a completion."""
    sim = simulator(models="one,two")
    assert call(sim, body=HELLO | {"model": "two"})[0] == 200
    status, _, reply = call(sim)
    assert (status, reply["error"]["code"]) == (404, "model_not_found")
    assert call(sim, "GET", "/v1/models/three", None)[0] == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/v1/embeddings", 404),
        ("POST", "/v1/x/chat/completions", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/sim/nothing", 404),
    ],
)
def test_unknown_paths_get_an_error_object(simulator, method, path, status):
    """A path or a method that there is none of gets OpenAI's error object."""
    got, _, reply = call(simulator(), method, path, None)
    assert got == status
    assert reply["error"].keys() == {"message", "type", "param", "code"}
    assert reply["error"]["type"] == "invalid_request_error"


def test_key_is_wanted_where_it_is_told(simulator):
    """A missing key gets 401; any key does where one is wanted, only the right one where it is known."""
    sim = simulator(want_key=True)
    assert call(sim)[0] == 401
    assert call(sim, authorization="Basic eDp5")[0] == 401
    assert call(sim, authorization="Bearer any")[0] == 200
    assert call(sim, api_key="any")[0] == 200
    assert call(sim, "GET", "/v1/models", None)[0] == 401
    sim.reset(key="right")
    status, _, reply = call(sim, authorization="Bearer wrong")
    assert (status, reply["error"]["code"]) == (401, "invalid_api_key")
    assert "wrong" not in reply["error"]["message"]
    assert call(sim, authorization="Bearer right")[0] == 200


# What a request may be


def refusal(body):
    with pytest.raises(Refusal) as caught:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode())
    return caught.value


def test_unknown_role_is_refused_in_openai_s_words(simulator):
    """The error object of an unknown role has the shape, the message and the path of the real one."""
    status, _, reply = call(simulator(), body=HELLO | {"messages": [{"role": "doctor", "content": "x"}]})
    assert status == 400
    assert reply["error"]["message"].startswith("'doctor' is not one of ['system', 'assistant', 'user'")
    assert reply["error"]["message"].endswith(" - 'messages.0.role'")
    assert reply["error"] | {"message": ""} == {
        "message": "",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("temperature", 2.1, "greater than the maximum of 2"),
        ("temperature", -0.1, "less than the minimum of 0"),
        ("temperature", "hot", "not of type 'number'"),
        ("temperature", True, "not of type 'number'"),
        ("top_p", 1.5, "greater than the maximum of 1"),
        ("n", 0, "less than the minimum of 1"),
        ("n", 129, "greater than the maximum of 128"),
        ("n", 1.0, "not of type 'integer'"),
        ("stop", ["a", "b", "c", "d", "e"], "too long"),
        ("stop", [1], "not of type 'string' - 'stop.0'"),
        ("stop", 1, "not of type"),
        ("max_tokens", 0, "less than the minimum of 1"),
        ("max_tokens", "many", "not of type 'integer'"),
        ("max_completion_tokens", 1.5, "not of type 'integer'"),
        ("presence_penalty", 2.5, "greater"),
        ("frequency_penalty", -3, "less"),
        ("logit_bias", {"50256": 101}, "greater than the maximum of 100 - 'logit_bias.50256'"),
        ("logit_bias", {"word": 1}, "is no token id"),
        ("logit_bias", [1], "not of type 'object'"),
        ("logprobs", 1, "not of type 'boolean'"),
        ("top_logprobs", 21, "greater than the maximum of 20"),
        ("top_logprobs", 3, "only allowed when 'logprobs'"),
        ("seed", 2**63, "greater"),
        ("seed", 1.5, "not of type 'integer'"),
        ("stream", "yes", "not of type 'boolean'"),
        ("stream_options", {"include_usage": True}, "only allowed when 'stream'"),
        ("response_format", {"type": "yaml"}, "is not one of"),
        ("response_format", "json", "not of type 'object'"),
        ("response_format", {"type": "json_schema"}, "'json_schema' is a required property"),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a b"}}, "does not match"),
        ("metadata", {"k": 1}, "not of type 'string'"),
        ("metadata", {str(k): "v" for k in range(17)}, "too many properties"),
        ("reasoning_effort", "huge", "is not one of"),
        ("service_tier", "gold", "is not one of"),
        ("user", 7, "not of type 'string'"),
        ("tools", [], "too short"),
        ("tools", [{"type": "function"}], "'function' is a required property"),
        ("tools", [{"type": "function", "function": {"name": "no spaces"}}], "does not match"),
        ("tool_choice", "required", "only allowed when 'tools'"),
        ("tool_choice", "perhaps", "is not one of"),
        ("messages", [], "too short"),
        ("messages", "hello", "not of type 'array'"),
        ("messages", ["hello"], "not of type 'object' - 'messages.0'"),
        ("messages", [{"content": "x"}], "'role' is a required property - 'messages.0'"),
        ("messages", [{"role": "user"}], "'content' is a required property"),
        ("messages", [{"role": "user", "content": None}], "is not of type"),
        ("messages", [{"role": "user", "content": []}], "too short"),
        ("messages", [{"role": "user", "content": [{"type": "video"}]}], "'messages.0.content.0.type'"),
        ("messages", [{"role": "user", "content": [{"type": "text"}]}], "'text' is a required property"),
        ("messages", [{"role": "assistant"}], "'content' is a required property"),
        ("messages", [{"role": "tool", "content": "x"}], "'tool_call_id' is a required property"),
        ("model", "", "too short"),
        ("model", None, "not of type 'string'"),
    ],
)
def test_refuses_what_is_out_of_type_or_range(name, value, what):
    """A field of a wrong type or out of its range is 400, with the value, the reason and the path."""
    fault = refusal(HELLO | {name: value})
    assert fault.status == 400
    assert what in fault.message
    assert name in fault.message


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff\xfe", b'{"model": NaN}', b'"x"', b"[" * 100_000])
def test_refuses_what_is_no_json_object(body):
    """A body that is no JSON object in UTF-8 is 400, however it is spoilt."""
    assert refusal(body).status == 400


def test_missing_fields_are_named():
    """A request without model or messages is told which."""
    assert refusal({"messages": HELLO["messages"]}).message == "'model' is a required property"
    assert refusal({"model": "sim"}).message == "'messages' is a required property"


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 2, "top_p": 0, "n": 2, "stop": "x", "max_tokens": 5, "seed": -1, "user": "u"},
        {"temperature": None, "stop": None, "tools": None, "stream_options": None, "response_format": None},
        {"logit_bias": {"50256": -100}, "logprobs": True, "top_logprobs": 0, "metadata": {"a": "b"}},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "tool_choice": "auto"},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
        {"messages": [{"role": "developer", "content": "x"}, {"role": "user", "content": "y", "name": "n"}]},
        {"messages": [{"role": "assistant", "content": None, "refusal": "no"}]},
        {"top_k": 5, "min_p": 0.1, "provider": {"order": ["a"]}},
    ],
)
def test_takes_what_is_allowed(more):
    """Every classic field at its bounds, nulls, content parts and fields of other servers pass."""
    assert parse(json.dumps(HELLO | more).encode())["model"] == "sim"


def test_strict_refuses_fields_that_are_not_openai_s(simulator):
    """With `strict` an unknown field is refused by name, as the real endpoint does."""
    sim = simulator(strict=True)
    status, _, reply = call(sim, body=HELLO | {"top_k": 5})
    assert (status, reply["error"]["message"]) == (400, "Unrecognized request argument supplied: top_k")
    assert call(sim)[0] == 200


def status_of(kind, function, *arguments):
    """The status of the error of this kind, None where there is none."""
    try:
        function(*arguments)
    except kind as error:
        return error.status
    return None


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELD_NAMES = st.sampled_from(
    ["messages", "model", "stop", "tools", "tool_choice", "response_format", "n", "logit_bias", "metadata", "stream"]
)


@given(st.dictionaries(FIELD_NAMES, JSON_VALUES))
def test_any_json_is_taken_or_refused(more):
    """Whatever JSON stands in a field, the request passes or is refused with 400; nothing else comes out."""
    assert status_of(Refusal, parse, json.dumps(HELLO | more).encode()) in {None, 400}


# HTTP


def test_connection_is_kept_for_many_requests(simulator):
    """Requests one after the other use one connection."""
    sim = simulator()
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(sim.base_url).port)) as connection:
        for _ in range(5):
            connection.request("POST", "/v1/chat/completions", BODY)
            assert connection.getresponse().read()
    assert sim.stats()["connections"] == 1


@pytest.mark.parametrize("pieces", [1, 2, 7, 200])
def test_pipelined_requests_are_answered_in_order(simulator, pieces):
    """Two requests sent at once, cut anywhere, get two answers in their order."""
    first = json.dumps(HELLO | {"max_tokens": 1}).encode()
    got = raw(simulator(), post(first) + post(BODY, CLOSE), pieces=pieces)
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert got.index(b'"length"') < got.index(b'"stop"')


def test_chunked_request_body_is_taken(simulator):
    """A body in chunks, with an extension and a trailer, is one body; the connection goes on after it."""
    parts = [b"%x;note=1\r\n%b\r\n" % (len(BODY[at : at + 9]), BODY[at : at + 9]) for at in range(0, len(BODY), 9)]
    chunked = b"".join(parts) + b"0\r\ntrailer: x\r\n\r\n"
    data = post(b"", "transfer-encoding: chunked", length=False) + chunked + post(BODY, CLOSE)
    assert raw(simulator(), data, pieces=11).count(b"HTTP/1.1 200 OK") == 2


def test_expect_is_answered_before_the_body(simulator):
    """A client that expects 100-continue gets it, then sends its body, then gets its answer."""
    sim = simulator()
    with closing(socket.create_connection(("127.0.0.1", urlsplit(sim.base_url).port), timeout=5)) as sock:
        whole = post(BODY, "expect: 100-continue", CLOSE)
        sock.sendall(whole[: -len(BODY)])
        assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(BODY)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")


def test_big_body_is_taken(simulator):
    """A prompt of 20 MB is read whole and answered."""
    body = HELLO | {"messages": [{"role": "user", "content": "x" * (20 << 20)}]}
    status, _, reply = call(simulator(), body=body)
    assert (status, reply["usage"]["prompt_tokens"]) == (200, (5 << 20) + 6)


def test_body_above_the_limit_is_refused_before_it_is_sent(simulator):
    """A length above 100 MB gets 413 at once, without 100 Continue."""
    data = post(b"", f"content-length: {MAX_BODY + 1}", "expect: 100-continue", length=False)
    got = raw(simulator(), data)
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b'"error"' in got


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (b"POST /v1 HTTP/3\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nspace : x\r\n\r\n", 400),
        (post(b"", "content-length: x", length=False), 400),
        (post(b"", "content-length: 1", "content-length: 2", length=False), 400),
        (post(b"", "content-length: -1", length=False), 400),
        (post(b"", "transfer-encoding: chunked"), 400),
        (post(b"", "transfer-encoding: gzip", length=False), 501),
        (post(b"xyz\r\n", "transfer-encoding: chunked", length=False), 400),
        (post(b"2\r\nabcd\r\n", "transfer-encoding: chunked", length=False), 400),
        (b"GET / HTTP/1.1\r\nlong: " + b"x" * 70_000, 431),
    ],
)
def test_what_is_no_http_is_refused_and_closed(simulator, data, status):
    """Bytes that are no proper request get their status, an error object, and the end of the connection."""
    got = raw(simulator(), data)
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in got
    assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_old_clients_are_closed_after_the_answer(simulator):
    """HTTP/1.0 gets its answer and the end; its stream has no chunks in it."""
    sim = simulator()
    assert b"connection: close" in raw(sim, post(BODY, version="HTTP/1.0"))
    got = raw(sim, post(json.dumps(HELLO | {"stream": True}).encode(), version="HTTP/1.0"))
    assert b"transfer-encoding" not in got
    assert got.endswith(b"data: [DONE]\n\n")


def test_absolute_targets_are_taken_as_a_proxy_does(simulator):
    """A target with scheme and host, as clients send it to a proxy, is served by its path."""
    got = raw(simulator(), post(BODY, CLOSE, path="http://api.example.org/v1/chat/completions?x=1"))
    assert got.startswith(b"HTTP/1.1 200 OK")


def test_head_has_no_body(simulator):
    """HEAD of the list of models gives its length and nothing after the head."""
    got = raw(simulator(), f"HEAD /v1/models HTTP/1.1\r\nhost: x\r\n{CLOSE}\r\n\r\n".encode())
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert got.endswith(b"\r\n\r\n")


def test_idle_connections_are_closed_after_keep_alive(simulator):
    """A connection that says nothing for `keep_alive` seconds is closed by the server."""
    sim = simulator(keep_alive=0.1)
    assert raw(sim, b"") == b""


def test_connection_closes_unannounced_after_so_many_replies(simulator):
    """With `replies_per_connection` the server closes without having said so, as some do."""
    got = raw(simulator(replies_per_connection=2), post(BODY) * 3)
    assert got.count(b"HTTP/1.1 200 OK") == 2
    assert b"connection: close" not in got


def test_ipv6_is_served(simulator):
    """The simulator listens on ::1 too, with brackets in its URL."""
    sim = simulator(host="::1")
    assert sim.base_url.startswith("http://[::1]:")
    with closing(http.client.HTTPConnection("::1", urlsplit(sim.base_url).port)) as connection:
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 200


def feed(data, cuts):
    """The requests that the parser makes of these bytes, cut at these places."""
    buffer, head, made = bytearray(), None, []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in pairwise(edges):
        buffer += data[start:end]
        while True:
            head = head or Head.take(buffer)
            body = head.body_from(buffer) if head else None
            if body is None:
                break
            made.append(head.request(body))
            head = None
    return made


CHUNKED = post(b"5\r\nhello\r\n1;x\r\n!\r\n0\r\nt: 1\r\n\r\n", "transfer-encoding: chunked", length=False)


@given(st.lists(st.integers(min_value=0), max_size=20))
def test_requests_do_not_depend_on_where_the_bytes_are_cut(cuts):
    """Any cut of the bytes gives the same requests."""
    data = post(b"one") + CHUNKED + b"\r\n" + post(b"")
    assert [request.body for request in feed(data, cuts)] == [b"one", b"hello!", b""]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_bad_http(noise):
    """Whatever comes, the parser makes requests of it, waits for more, or says BadHttp."""
    status = status_of(BadHttp, feed, noise + b"\r\n\r\n" + CHUNKED[:-9] + noise, [5])
    assert status in {None, 400, 413, 431, 501, 505}


async def test_many_clients_at_once(simulator):
    """A hundred connections at once are all answered, and counted."""
    sim = simulator()
    port = urlsplit(sim.base_url).port

    async def one():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(post(BODY, CLOSE))
        got = await reader.read()
        writer.close()
        await writer.wait_closed()
        return got

    replies = await asyncio.gather(*(one() for _ in range(100)))
    assert all(reply.startswith(b"HTTP/1.1 200 OK") for reply in replies)
    assert sim.stats()["answered"] == 100


async def test_requests_can_be_mocked(mocked):
    """The fixture `mocked` answers aiohttp's requests without a socket."""
    mocked.get("http://nowhere/", payload={"a": 1})
    async with aiohttp.ClientSession() as session, session.get("http://nowhere/") as reply:
        assert await reply.json() == {"a": 1}
