"""The direct way to an endpoint: the same on the wire as aiohttp's session, and only where that is meant."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import aiohttp
import pytest
from fakes import ScriptedServer, completion, error, http

from batchchat.errors import ConnectionLost
from batchchat.records import Endpoint, Secret
from batchchat.transport import Transport, direct, session
from batchchat.wire import make_request

REQUEST = make_request({"model": "m", "messages": [{"role": "user", "content": "hi"}]})


def transport(url, *, environment=None, **endpoint):
    record = Endpoint(base_url=url, key=Secret("sk-1"), **endpoint)
    return Transport(record, connections=8, timeout=10, stream=False, environment=environment or {})


@pytest.fixture
def asked(monkeypatch):
    """How many requests went the direct way."""
    count = []
    ask = direct.Direct.ask

    async def counted(self, body):
        count.append(body)
        return await ask(self, body)

    monkeypatch.setattr(direct.Direct, "ask", counted)
    return count


async def received(url_of=lambda server: server.url, **settings):
    """The request as a server gets it."""
    async with ScriptedServer([http(completion("ok"))]) as server:
        async with transport(url_of(server), **settings) as opened:
            await opened.send(REQUEST)
        return server.received[0], server.port


@pytest.mark.parametrize(
    "settings", [{}, {"headers": {"X-Team": "a b", "Accept": "application/json"}}, {"api_version": "2024-10-21"}]
)
async def test_the_same_request(monkeypatch, asked, settings):
    """Target, headers and body are those that the session would send."""
    one, port = await received(**settings)
    monkeypatch.setattr(session, "open_direct", lambda *_, **__: None)
    other, other_port = await received(**settings)
    assert len(asked) == 1
    assert (one.method, one.target, one.body) == (other.method, other.target, other.body)
    expected = {**other.headers, "host": other.headers["host"].replace(str(other_port), str(port))}
    assert one.headers == expected


async def test_connections_are_kept(asked):
    """One request after the other uses one connection; a server that wants to close it gets another."""
    closing = http(completion("c"), connection="close")
    async with ScriptedServer([http(completion("a")), closing, http(completion("b"))]) as server:
        async with transport(server.url) as opened:
            texts = [(await opened.send(REQUEST)).contents[0] for _ in range(3)]
        assert texts == ["a", "c", "b"]
        assert [one.connection for one in server.received] == [0, 0, 1]
    assert len(asked) == 3


async def test_a_connection_that_was_idle_for_long_is_not_used(asked, monkeypatch):
    """A server may have forgotten it, and the request would be lost: it is closed, and another one opened."""
    monkeypatch.setattr(direct, "IDLE_SECONDS", 0.05)
    async with ScriptedServer([http(completion("a"))]) as server, transport(server.url) as opened:
        for _ in range(2):
            await opened.send(REQUEST)
            await asyncio.sleep(0.1)
        assert [one.connection for one in server.received] == [0, 1]
    assert len(asked) == 2


async def test_connections_beyond_need_are_closed(asked, monkeypatch):
    """After a burst, those that one request after the other leaves idle do not stay open."""
    monkeypatch.setattr(direct, "IDLE_SECONDS", 0.2)

    async def slowly(peer, _):
        await asyncio.sleep(0.1)
        await peer.send(http(completion("a")))

    async with ScriptedServer([slowly]) as server, transport(server.url) as opened:
        await asyncio.gather(*(opened.send(REQUEST) for _ in range(8)))
        before = len(server._tasks)
        for _ in range(4):
            await opened.send(REQUEST)
        await asyncio.sleep(0.05)
        assert (before, len(server._tasks)) == (8, 1)


async def test_a_renewed_key_is_sent(asked):
    """The head of a request is made anew when the key is."""

    async def renewed():
        return Secret("sk-2")

    record = Endpoint(base_url="", key=Secret("sk-1"))
    async with ScriptedServer([http(error("old"), 401), http(completion("ok"))]) as server:
        record = replace(record, base_url=server.url)
        async with Transport(
            record, connections=1, timeout=10, stream=False, renew_key=renewed, environment={}
        ) as opened:
            await opened.send(REQUEST)
        assert [one.headers["authorization"] for one in server.received] == ["Bearer sk-1", "Bearer sk-2"]
    assert len(asked) == 2


async def test_what_nobody_asked_for_answers_nothing(asked):
    """Bytes that a server sends on an idle connection are not taken for the next request's answer."""

    async def and_more(peer, _):
        await peer.send(http(completion("first")))
        await asyncio.sleep(0.05)
        await peer.send(http(completion("nobody's")))

    async with ScriptedServer([and_more, http(completion("second"))]) as server, transport(server.url) as opened:
        first = await opened.send(REQUEST)
        await asyncio.sleep(0.2)
        second = await opened.send(REQUEST)
    assert (first.contents[0], second.contents[0]) == ("first", "second")
    assert len(asked) == 2


async def test_interim_answers(asked):
    """An answer that says "wait" is not the answer."""
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    script = [b"HTTP/1.1 102 Processing\r\n\r\n" + hints + http(completion("ok"))]
    async with ScriptedServer(script) as server, transport(server.url) as opened:
        assert (await opened.send(REQUEST)).contents == ("ok",)
    assert len(asked) == 1


async def test_a_server_that_ends_each_connection_at_once():
    """It is a lost connection, not another attempt."""
    accepted = []

    async def end(_, writer):
        accepted.append(1)
        writer.close()

    server = await asyncio.start_server(end, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with transport(f"http://127.0.0.1:{port}/v1") as opened:
        with pytest.raises(ConnectionLost):
            await opened.send(REQUEST)
    server.close()
    assert len(accepted) == 1


async def test_a_request_of_ones_own_is_seen(mocked, asked):
    """Who replaces the session's request, as aioresponses does, gets every request."""
    mocked.post("http://host.test/v1/chat/completions", body=completion("mocked"))
    async with transport("http://host.test/v1") as opened:
        assert (await opened.send(REQUEST)).contents == ("mocked",)
    assert not asked


async def test_odd_headers_are_the_sessions(asked):
    """A header beyond plain text is left to aiohttp, which knows how to write it."""
    one, _ = await received(headers={"X-Odd": "é"})
    assert one.headers["x-odd"].encode("latin-1").decode() == "é"
    assert not asked


async def test_an_aiohttp_of_another_make(monkeypatch, asked):
    """Where aiohttp lacks what is needed, the session is asked."""
    monkeypatch.setattr(direct, "_NEEDED", ((aiohttp.BaseConnector.connect, {"of_the_future"}),))
    await received()
    assert not asked


async def test_this_aiohttp_fits(asked):
    """The aiohttp that is installed takes direct requests: or else nobody would see that it got slow."""
    await received()
    assert len(asked) == 1
