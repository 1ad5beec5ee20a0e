"""One HTTP session: what is sent, what comes back, and what redirects, keys and dialects do."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib

import pytest
from fakes import ScriptedServer, chunk, chunked, chunked_head, completion, delta, error, http, sse

from batchchat import defaults
from batchchat.errors import (
    BadRequest,
    ContentRefused,
    KeyRefused,
    ModelMissing,
    QuotaExhausted,
    RateLimited,
    RequestError,
    ServerError,
    UnreadableReply,
    UsageError,
)
from batchchat.records import Dialect, Endpoint, RateLimits, Secret
from batchchat.transport import Transport
from batchchat.wire import make_request

REQUEST = make_request({"model": "m", "messages": [{"role": "user", "content": "héllo"}], "n": 1})
URL = "http://host.test/v1"
CHAT = f"{URL}/chat/completions"
DONE = chunked(sse(delta("hello", finish="stop")))


def transport(url=URL, *, connections=8, timeout=30.0, stream=False, renew_key=None, environment=None, **endpoint):
    return Transport(
        Endpoint(base_url=url, **endpoint),
        connections=connections,
        timeout=timeout,
        stream=stream,
        renew_key=renew_key,
        environment=environment or {},
    )


async def ask(url, request=REQUEST, **settings):
    async with transport(url, **settings) as opened:
        return await opened.send(request)


async def fault(url, **settings):
    with pytest.raises((RequestError, KeyRefused, ModelMissing, QuotaExhausted)) as caught:
        await ask(url, **settings)
    return caught.value


async def test_a_request_and_its_answer(mocked):
    """The canonical body goes out, a completion comes back."""
    mocked.post(CHAT, body=completion("hi"), headers={"x-request-id": "r1", "x-ratelimit-remaining-requests": "9"})
    found = await ask(URL)
    assert (found.contents, found.request_id, found.limits) == (("hi",), "r1", RateLimits(requests_remaining=9))
    assert found.latency >= 0
    assert found.first_token is None
    ((sent,),) = mocked.requests.values()
    assert sent.kwargs["data"] == REQUEST.body
    assert sent.kwargs["allow_redirects"] is False


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, error("m"), BadRequest),
        (401, error("m"), KeyRefused),
        (402, b"", QuotaExhausted),
        (404, b"", ModelMissing),
        (429, error("m", code="insufficient_quota"), QuotaExhausted),
        (429, error("m"), RateLimited),
        (500, b"<html>", ServerError),
        (503, b"", ServerError),
        (204, b"", UnreadableReply),
        (201, b"{}", UnreadableReply),
        (303, b"", BadRequest),
        (304, b"", BadRequest),
    ],
)
async def test_each_status_is_an_error_of_ours(mocked, status, body, kind):
    """Statuses, headers and bodies go through the wire's one table."""
    mocked.post(CHAT, status=status, body=body, headers={"x-request-id": "r1"})
    found = await fault(URL)
    assert type(found) is kind
    if isinstance(found, RequestError):
        assert found.request_id == "r1"


async def test_any_2xx_with_an_answer_is_one(mocked):
    """A gateway's 201 is an answer, too."""
    mocked.post(CHAT, status=201, body=completion("hi"))
    assert (await ask(URL)).contents == ("hi",)


async def test_what_goes_over_the_wire():
    """One POST with JSON, the key, our name, and headers of the user's; the body is kept byte for byte."""
    async with ScriptedServer([http(completion())]) as server:
        await ask(server.url, key=Secret("k-1"), headers={"X-Team": "red", "X-Token": Secret("t-1")})
    (sent,) = server.received
    assert (sent.method, sent.target, sent.body) == ("POST", "/v1/chat/completions", REQUEST.body)
    assert sent.headers["authorization"] == "Bearer k-1"
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["user-agent"].startswith("batchchat")
    assert (sent.headers["x-team"], sent.headers["x-token"]) == ("red", "t-1")
    assert "gzip" in sent.headers["accept-encoding"]
    assert "cookie" not in sent.headers


async def test_without_a_key_none_is_sent():
    """An endpoint without keys gets no header for one."""
    async with ScriptedServer([http(completion())]) as server:
        await ask(server.url)
    assert not {"authorization", "api-key"} & set(server.received[0].headers)


async def test_a_header_may_stand_for_the_key():
    """`--header 'Authorization: ...'` from the environment is sent as it is."""
    async with ScriptedServer([http(completion())]) as server:
        await ask(server.url, headers={"authorization": Secret("Basic x")})
    assert server.received[0].headers["authorization"] == "Basic x"


async def test_azure_has_its_own_header_and_path():
    """`api-key`, the deployment in the path, `api-version` in the query."""
    async with ScriptedServer([http(completion())]) as server:
        await ask(server.origin, azure=True, deployment="d", api_version="2024-10-21", key=Secret("k"))
    (sent,) = server.received
    assert sent.target == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert sent.headers["api-key"] == "k"
    assert "authorization" not in sent.headers


async def test_a_query_is_kept():
    """`?api-version=` stays behind the path."""
    async with ScriptedServer([http(completion())]) as server:
        await ask(f"{server.url}/?a=b", query={"c": Secret("d")})
    assert server.received[0].target == "/v1/chat/completions?a=b&c=d"


async def test_connections_are_kept():
    """Requests one after another use one connection."""
    async with ScriptedServer([http(completion())]) as server, transport(server.url) as opened:
        for _ in range(5):
            await opened.send(REQUEST)
    assert server.connections == 1
    assert opened.requests == 5


@pytest.mark.parametrize("answer", [http(error("m"), 400), http(b"", 500), DONE], ids=["400", "500", "stream"])
async def test_connections_are_kept_after_errors_and_streams(answer):
    """An answer that was read to its end leaves a connection that is as good as new."""
    async with ScriptedServer([answer]) as server, transport(server.url, stream=True) as opened:
        for _ in range(3):
            await asyncio.gather(opened.send(REQUEST), return_exceptions=True)
    assert server.connections == 1


async def test_nothing_here_caps_the_connections():
    """More requests are in flight than any default of a connector allows: the pool limits, not the transport."""
    flying, arrived, go = 0, asyncio.Event(), asyncio.Event()

    async def wait(peer, _):
        nonlocal flying
        flying += 1
        if flying == 150:
            arrived.set()
        await go.wait()
        await peer.send(http(completion()))

    async with ScriptedServer([wait]) as server, transport(server.url, connections=150, timeout=60) as opened:
        tasks = [asyncio.create_task(opened.send(REQUEST)) for _ in range(150)]
        await asyncio.wait_for(arrived.wait(), 30)
        go.set()
        assert len(await asyncio.gather(*tasks)) == 150


async def test_large_bodies_are_sent():
    """An image in a message makes bodies of megabytes."""
    request = make_request({"model": "m", "messages": [{"role": "user", "content": "x" * (3 << 20)}]})
    async with ScriptedServer([http(completion())]) as server:
        await ask(server.url, request)
    assert server.received[0].body == request.body


@pytest.mark.parametrize(
    ("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", lambda body: body)]
)
async def test_answers_may_be_compressed(name, pack):
    """As they are asked for."""
    async with ScriptedServer([http(pack(completion("hi")), content_encoding=name)]) as server:
        assert (await ask(server.url)).contents == ("hi",)


async def test_a_stream_is_asked_for_and_read():
    """With a stream, the time to the first token is known."""
    answer = chunked(*(sse(delta(part), done=False) for part in "hé"), sse(delta("!", finish="stop")))
    async with ScriptedServer([answer]) as server:
        found = await ask(server.url, stream=True)
    assert server.received[0].json["stream_options"] == {"include_usage": True}
    assert found.contents == ("hé!",)
    assert 0 <= found.first_token <= found.latency


async def test_an_answer_without_a_stream_is_read_where_one_was_asked_for():
    """A server that does not stream still answers."""
    async with ScriptedServer([http(completion("hi"))]) as server:
        assert (await ask(server.url, stream=True)).contents == ("hi",)


@pytest.mark.parametrize("content_type", ["text/event-stream", "text/event-stream; charset=utf-8", "application/json"])
async def test_a_stream_is_read_where_none_was_asked_for(content_type):
    """A gateway that always streams is understood, whatever it calls it."""
    async with ScriptedServer([http(sse(delta("hi", finish="stop")), content_type=content_type)]) as server:
        assert (await ask(server.url)).contents == ("hi",)


async def test_choices_of_a_stream_are_all_waited_for():
    """With n, a stream that finished one choice of two was cut."""
    request = make_request({"model": "m", "messages": [], "n": 2})
    async with ScriptedServer([chunked(sse(delta("a", finish="stop"), done=False))]) as server:
        with pytest.raises(UnreadableReply, match="cut"):
            await ask(server.url, request, stream=True)


async def test_a_refusal_keeps_its_completion():
    """What was paid for comes with the error."""
    body = json.dumps({"choices": [{"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}]}).encode()
    async with ScriptedServer([http(body)]) as server:
        found = await fault(server.url)
    assert isinstance(found, ContentRefused)
    assert found.completion.contents == (None,)


@pytest.mark.parametrize(
    ("answer", "latency", "first_token"),
    [
        (http(completion()), 4, None),
        (http(sse(delta("a", finish="stop"))), 4, None),
        (DONE, 16, 4),
        (chunked(sse(delta("a", finish="stop"), done=False)), 16, 4),
    ],
    ids=["whole", "stream-by-another-name", "stream", "stream-without-done"],
)
async def test_times_are_seconds_from_the_start(answer, latency, first_token):
    """To the last byte, and to the first chunk that speaks."""
    times = iter([100.0, 104.0, 116.0, 999.0])
    async with ScriptedServer([answer]) as server:
        endpoint = Endpoint(base_url=server.url)
        async with Transport(
            endpoint, connections=1, timeout=30, stream=True, environment={}, clock=lambda: next(times)
        ) as opened:
            found = await opened.send(REQUEST)
    assert (found.latency, found.first_token) == (latency, first_token)


async def test_no_error_shows_the_key():
    """Not even where the endpoint echoes it."""
    for status in (400, 401, 429, 500):
        async with ScriptedServer([http(error("your key k-123 and header h-123"), status)]) as server:
            found = await fault(server.url, key=Secret("k-123"), headers={"x": Secret("h-123")})
        assert "123" not in str(found)
        assert "***" in str(found)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_on_the_same_origin_keeps_the_post(status):
    """Whatever its status says about the method: a request without its body would be another one."""
    moved = http(b"moved", status, location="/other/chat?x=1")
    async with ScriptedServer([moved, http(completion("hi"))]) as server:
        found = await ask(server.url, key=Secret("k"))
    assert found.contents == ("hi",)
    first, second = server.received
    assert (second.method, second.target, second.body) == ("POST", "/other/chat?x=1", REQUEST.body)
    assert second.headers["authorization"] == "Bearer k"
    assert first.connection == second.connection


@pytest.mark.parametrize(("status", "again"), [(301, False), (308, False), (302, True), (307, True)])
async def test_a_lasting_redirect_is_remembered(status, again):
    """Later requests go where a permanent redirect led; a temporary one is asked for each time."""
    script = [http(b"", status, location="/new"), http(completion())]
    async with ScriptedServer(script) as server, transport(server.url) as opened:
        await opened.send(REQUEST)
        await opened.send(REQUEST)
    assert [sent.target for sent in server.received] == [
        "/v1/chat/completions",
        "/new",
        "/v1/chat/completions" if again else "/new",
    ]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_key_never_leaves_its_origin(status):
    """A redirect to another host, port or scheme is the row's error, and nothing is sent there."""
    async with ScriptedServer([http(completion())]) as other:
        for target in (f"{other.origin}/v1/x", "https://127.0.0.1/x", "//elsewhere.example/x"):
            async with ScriptedServer([http(b"", status, location=target)]) as server:
                found = await fault(server.url, key=Secret("k"))
            assert type(found) is BadRequest
            assert (found.status, found.type) == (status, "redirect")
            assert "another origin" in str(found)
        assert not other.received


async def test_a_303_is_no_answer():
    """It would turn the request into another one."""
    async with ScriptedServer([http(b"", 303, location="/x")]) as server:
        assert type(await fault(server.url)) is BadRequest
    assert len(server.received) == 1


async def test_redirects_in_a_circle_end():
    """After a few hops it is the row's error."""
    async with ScriptedServer([http(b"", 307, location="/v1/chat/completions")]) as server:
        found = await fault(server.url)
    assert "redirects more than 5 times" in str(found)
    assert len(server.received) == 6


@pytest.mark.parametrize("location", ["http://[", "http://x:99999/", "http://x:y/"])
async def test_a_redirect_to_nowhere(location):
    """What is no address is the row's error."""
    async with ScriptedServer([http(b"", 307, location=location)]) as server:
        assert "no address" in str(await fault(server.url))


async def test_a_redirect_without_a_location():
    """It is an error like other statuses."""
    async with ScriptedServer([http(b"", 307)]) as server:
        assert type(await fault(server.url)) is BadRequest


async def test_a_key_that_expired_is_asked_for_again_once():
    """Whoever is refused waits for the one new key, and goes on with it."""
    asked = 0

    async def renew():
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return Secret("new")

    async def check(peer, received):
        good = received.headers["authorization"] == "Bearer new"
        await peer.send(http(completion()) if good else http(error("expired"), 401))

    async with (
        ScriptedServer([check]) as server,
        transport(server.url, key=Secret("old"), renew_key=renew) as opened,
    ):
        found = await asyncio.gather(*(opened.send(REQUEST) for _ in range(10)))
        await opened.send(REQUEST)
    assert len(found) == 10
    assert asked == 1


async def test_a_new_key_that_is_refused_too_stops_the_job():
    """The key is asked for once, and no message shows the new one either."""

    async def renew():
        return Secret("new-key-1")

    async with ScriptedServer([http(error("bad key new-key-1"), 401)]) as server:
        found = await fault(server.url, key=Secret("old"), renew_key=renew)
    assert isinstance(found, KeyRefused)
    assert "new-key-1" not in str(found)
    assert len(server.received) == 2


async def test_the_same_key_again_is_no_new_key():
    """It is not sent a second time."""

    async def renew():
        return Secret("old")

    async with ScriptedServer([http(b"", 401)]) as server:
        assert isinstance(await fault(server.url, key=Secret("old"), renew_key=renew), KeyRefused)
    assert len(server.received) == 1


async def test_stream_options_are_left_out_where_they_are_refused():
    """An old server that refuses them is asked without, from then on."""

    async def old(peer, received):
        refused = "stream_options" in received.json
        await peer.send(http(error("Unknown parameter: 'stream_options'."), 400) if refused else DONE)

    async with ScriptedServer([old]) as server, transport(server.url, stream=True) as opened:
        await asyncio.gather(*(opened.send(REQUEST) for _ in range(3)))
        before = len(server.received)
        assert (await opened.send(REQUEST)).contents == ("hello",)
    assert len(server.received) == before + 1


async def test_stream_options_may_be_refused_by_the_name_of_the_parameter():
    """The message need not name them."""

    async def old(peer, received):
        refused = "stream_options" in received.json
        await peer.send(http(error("unknown field", param="stream_options"), 400) if refused else DONE)

    async with ScriptedServer([old]) as server:
        assert (await ask(server.url, stream=True)).contents == ("hello",)


async def test_other_refusals_are_not_taken_for_it():
    """A bad request is sent once, in every dialect."""
    for dialect in (Dialect(), Dialect(stream_options=False)):
        async with ScriptedServer([http(error("bad"), 400)]) as server:
            assert type(await fault(server.url, stream=True, dialect=dialect)) is BadRequest
        assert len(server.received) == 1


async def test_stream_options_that_go_on_being_refused_are_the_rows_error():
    """It is not asked without end."""
    async with ScriptedServer([http(error("m", param="stream_options"), 400)]) as server:
        assert type(await fault(server.url, stream=True)) is BadRequest
        assert len(server.received) == 2
        assert type(await fault(server.url)) is BadRequest


async def test_a_dialect_without_stream_options():
    """What is known of an endpoint is not tried out."""
    async with ScriptedServer([DONE]) as server:
        await ask(server.url, stream=True, dialect=Dialect(stream_options=False))
    assert "stream_options" not in server.received[0].json


async def test_the_models_of_an_endpoint():
    """They are asked for beside the chat completions, with the key."""
    async with (
        ScriptedServer([http(b'{"data":[{"id":"b"},{"id":"a"}]}')]) as server,
        transport(f"{server.url}?v=1", key=Secret("k")) as opened,
    ):
        assert await opened.models() == ["b", "a"]
    (sent,) = server.received
    assert (sent.method, sent.target, sent.headers["authorization"]) == ("GET", "/v1/models?v=1", "Bearer k")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [(http(b"", 401), KeyRefused), (http(b"", 500), ServerError), (http(b"x"), UnreadableReply), (None, RequestError)],
)
async def test_models_that_are_not_told(answer, kind):
    """The same errors as everywhere."""
    async with ScriptedServer([answer]) as server, transport(server.url) as opened:
        with pytest.raises(kind):
            await opened.models()


async def test_models_behind_a_redirect():
    """A redirect of the list does not change where completions are asked for."""
    script = [http(b"", 308, location="/m"), http(b'{"data":[]}'), http(completion())]
    async with ScriptedServer(script) as server, transport(server.url) as opened:
        assert await opened.models() == []
        await opened.send(REQUEST)
    assert [sent.target for sent in server.received] == ["/v1/models", "/m", "/v1/chat/completions"]


async def test_ipv6_endpoints():
    """An address in brackets is an endpoint like others."""
    async with ScriptedServer([http(completion())], host="::1") as server:
        assert (await ask(server.url)).contents == ("hello",)


@pytest.mark.parametrize("url", ["", "host/v1", "ftp://host", "http://user:pass@host", "http://host:0"])
async def test_what_is_no_address_is_a_usage_error(url):
    """Before anything is opened."""
    with pytest.raises(UsageError):
        transport(url)


async def test_the_simulator_answers(simulator):
    """The house's own server and this client understand each other, streamed or not."""
    served = simulator()
    for stream in (False, True):
        found = await ask(served.base_url, stream=stream)
        assert found.contents[0]
        assert found.usage.total_tokens


async def test_a_large_answer_is_read():
    """Some megabytes are an answer like another, in one piece and in many."""
    text = "x" * (3 << 20)
    whole = completion(text)
    async with ScriptedServer([http(whole), chunked(whole, content_type="application/json")]) as server:
        for _ in range(2):
            assert (await ask(server.url)).contents == (text,)


@pytest.mark.parametrize("status", [299, 206])
async def test_the_last_2xx_is_an_answer_too(status):
    """Whatever a gateway means by it."""
    async with ScriptedServer([http(completion("hi"), status)]) as server:
        assert (await ask(server.url)).contents == ("hi",)


async def test_a_300_is_no_answer():
    """Even with a completion in it."""
    async with ScriptedServer([http(completion("hi"), 300)]) as server:
        assert type(await fault(server.url)) is BadRequest


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (500, ServerError), (400, BadRequest)])
async def test_an_error_is_one_whatever_its_content_type(status, kind):
    """Some servers say event stream for everything."""
    answer = http(error("no"), status, content_type="text/event-stream")
    async with ScriptedServer([answer]) as server:
        assert type(await fault(server.url, stream=True)) is kind


@pytest.mark.parametrize(("timeout", "connecting"), [(5.0, 2.5), (7.0, 3.5), (10_000.0, defaults.CONNECT_TIMEOUT)])
def test_connecting_has_half_the_time_at_most(timeout, connecting):
    """So that no connection is told from no answer."""
    assert transport(timeout=timeout)._connect_timeout == connecting


async def test_another_error_of_a_stream_takes_nothing_from_the_dialect():
    """`stream_options` is left out only where it is what was refused."""
    script = [http(error("bad temperature"), 400), DONE]
    async with ScriptedServer(script) as server, transport(server.url, stream=True) as opened:
        with pytest.raises(BadRequest):
            await opened.send(REQUEST)
        await opened.send(REQUEST)
    assert ["stream_options" in received.json for received in server.received] == [True, True]


async def test_a_lasting_redirect_behind_a_passing_one_is_not_remembered():
    """The first hop may lead elsewhere the next time."""
    script = [
        http(status=302, location="/b"),
        http(status=301, location="/c"),
        http(completion("one")),
        http(completion("two")),
    ]
    async with ScriptedServer(script) as server, transport(server.url) as opened:
        await opened.send(REQUEST)
        await opened.send(REQUEST)
    first = "/v1/chat/completions"
    assert [received.target for received in server.received] == [first, "/b", "/c", first]


async def test_times_are_measured_from_the_beginning_of_the_request():
    """Latency to the end of the answer, the first token where the first part of it came."""
    parts = [sse({"choices": []}, delta("", role="assistant"), done=False), sse(delta("a"), done=False)]
    parts += [sse(delta("b", finish="stop"))]

    async def slowly(peer, _):
        await peer.send(chunked_head())
        for part in parts:
            await peer.send(chunk(part))
            await asyncio.sleep(0.02)
        await peer.send(chunk(b""))

    class Steps:
        """A clock that goes on by ten seconds each time that it is looked at."""

        now = -7.0

        def __call__(self):
            self.now += 10.0
            return self.now

    endpoint = {"connections": 1, "timeout": 30, "environment": {}}
    async with ScriptedServer([slowly]) as server:
        opened = Transport(Endpoint(base_url=server.url), stream=True, clock=Steps(), **endpoint)
        async with opened:
            found = await opened.send(REQUEST)
        assert (found.contents, found.first_token, found.latency) == (("ab",), 10.0, 20.0)
    async with ScriptedServer([http(completion("hi"))]) as server:
        opened = Transport(Endpoint(base_url=server.url), stream=False, clock=Steps(), **endpoint)
        async with opened:
            assert (await opened.send(REQUEST)).latency == 10.0


async def test_a_connection_is_kept_where_a_stream_ends_a_moment_after_done():
    """The last chunk of the transfer may come after the last event; it is waited for, for a moment."""

    async def ends_later(peer, _):
        await peer.send(chunked_head() + chunk(sse(delta("hello", finish="stop"))))
        await asyncio.sleep(0.05)
        await peer.send(chunk(b""))

    async with ScriptedServer([ends_later]) as server, transport(server.url, stream=True) as opened:
        for _ in range(3):
            assert (await opened.send(REQUEST)).contents == ("hello",)
    assert server.connections == 1


@pytest.mark.parametrize("url", ["http://host:99999/v1", "http://[::1/v1"])
def test_an_address_that_is_none_is_a_usage_error(url):
    """It is said before anything is sent."""
    with pytest.raises(UsageError):
        transport(url)
