"""What networks and servers do wrong: each ends in one of our errors, in time, and says what may have been billed."""

from __future__ import annotations

import asyncio
import errno
import inspect
import os
import shutil
import socket
import ssl
import subprocess
import time

import aiohttp
import pytest
from aiohttp import client_exceptions, http_exceptions
from fakes import ScriptedServer, chunk, chunked_head, completion, delta, error, free_port, http, sse

from batchchat.errors import (
    BadRequest,
    ConnectionLost,
    EndpointDown,
    JobStopped,
    RateLimited,
    RequestError,
    RequestTimeout,
    ServerError,
    UnreadableReply,
)
from batchchat.records import Endpoint
from batchchat.transport import Transport, session
from batchchat.transport.deadlines import Deadlines
from batchchat.transport.faults import FAULTS, Scene, translate
from batchchat.wire import make_request

REQUEST = make_request({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
SHORT = 0.3
WHOLE = sse(delta("hel"), delta("lo", finish="stop"))


@pytest.fixture(autouse=True, params=["direct", "session"])
def way(request, monkeypatch):
    """Every fault is told alike, whichever way a request takes."""
    if request.param == "session":
        monkeypatch.setattr(session, "open_direct", lambda *_, **__: None)
    return request.param


def transport(url, *, timeout=10.0, stream=False, environment=None):
    return Transport(
        Endpoint(base_url=url), connections=8, timeout=timeout, stream=stream, environment=environment or {}
    )


async def ask(url, **settings):
    async with transport(url, **settings) as opened:
        return await opened.send(REQUEST)


async def fault(script, *, url=None, **settings):
    """The error of one request to a server with this script."""
    async with ScriptedServer(script) as server:
        with pytest.raises((RequestError, JobStopped)) as caught:
            await ask(url or server.url, **settings)
    return caught.value


async def silent(peer, _):
    await peer.wait_until_gone()


def sends(data, then="wait"):
    """A script's item that sends these bytes and then waits, closes or resets."""

    async def answer(peer, _):
        await peer.send(data)
        if then == "wait":
            await peer.wait_until_gone()
        elif then == "reset":
            peer.reset()
        else:
            peer.close()

    return answer


# Every class of aiohttp has its place in the table.

CLASSES = [
    kind
    for _, kind in inspect.getmembers(client_exceptions, inspect.isclass)
    if issubclass(kind, Exception) and kind.__module__ == client_exceptions.__name__
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_class_of_aiohttp_is_translated(kind):
    """A class that aiohttp adds fails here, until somebody decided what it means."""
    assert kind.__name__ in FAULTS


@pytest.mark.parametrize(
    "kind", [OSError, ConnectionResetError, BrokenPipeError, TimeoutError, ssl.SSLError, ssl.SSLCertVerificationError,
             socket.gaierror, RuntimeError, http_exceptions.BadStatusLine, http_exceptions.TransferEncodingError]
)  # fmt: skip
def test_errors_below_aiohttp_are_translated(kind):
    """What the system, ssl and uvloop raise."""
    scene = Scene(where="h:1", fresh=True, answered=False, timeout=1, connect_timeout=1)
    fault = kind("x") if kind is not ssl.SSLCertVerificationError else kind(1, "x")
    assert isinstance(translate(fault, scene), RequestError | JobStopped)


EXPECTED = {
    ConnectionLost: "ClientConnectorError ClientConnectorDNSError ClientProxyConnectionError UnixClientConnectorError "
    "ConnectionTimeoutError ClientSSLError ClientConnectorSSLError SSLError ClientError ClientConnectionError "
    "ClientConnectionResetError ClientOSError ServerConnectionError ServerDisconnectedError UploadAbortedError OSError "
    "RuntimeError ClientHttpProxyError",
    RequestTimeout: "ServerTimeoutError SocketTimeoutError TimeoutError",
    UnreadableReply: "ClientPayloadError ClientResponseError ContentTypeError HttpProcessingError "
    "WSServerHandshakeError WSMessageTypeError",
    BadRequest: "TooManyRedirects RedirectClientError InvalidUrlRedirectClientError NonHttpUrlRedirectClientError",
    EndpointDown: "ClientConnectorCertificateError ServerFingerprintMismatch SSLCertVerificationError InvalidURL "
    "InvalidUrlClientError NonHttpUrlClientError",
}
BY_NAME = {name: kind for kind, names in EXPECTED.items() for name in names.split()}


@pytest.mark.parametrize("name", FAULTS)
def test_what_each_class_becomes(name):
    """The table, line by line; a name that nobody expects fails."""
    fault = type(name, (Exception,), {})("x")
    found = translate(fault, Scene(where="h:1", fresh=False, answered=False, timeout=1, connect_timeout=1))
    assert type(found) is BY_NAME[name]
    assert "h:1" in str(found)


def test_what_a_person_reads_about_a_connection():
    """The reason, as far as there is one."""
    scene = Scene(where="h:1", fresh=True, answered=False, timeout=7, connect_timeout=3)

    def said(name, *args, **facts):
        fault = type(name, (OSError,), {})(*args)
        for fact, value in facts.items():
            setattr(fault, fact, value)
        return str(translate(fault, scene))

    refused = OSError(errno.ECONNREFUSED, "Connection refused")
    mute = type("E", (), {"reason": "WRONG_VERSION"})()
    asyncios = OSError(errno.ECONNREFUSED, "Connect call failed ('127.0.0.1', 1)")
    unnamed = OSError("Multiple exceptions: all of them")
    assert said("ClientConnectorError", os_error=refused).endswith("no connection to h:1: Connection refused")
    assert said("ClientConnectorError", os_error=asyncios).endswith(f"h:1: {os.strerror(errno.ECONNREFUSED)}")
    assert said("ClientConnectorError", os_error=unnamed).endswith("h:1: Multiple exceptions: all of them")
    assert said("ClientConnectorError").endswith("no connection to h:1: ClientConnectorError")
    assert said("ClientSSLError", os_error=mute).endswith("no TLS connection to h:1: WRONG_VERSION")
    assert said("ClientSSLError", "odd").endswith("no TLS connection to h:1: odd")
    assert said("ClientOSError", errno.EPIPE, "Broken pipe").endswith("the connection to h:1 broke: Broken pipe")
    assert said("ServerDisconnectedError").endswith("broke: it was closed without an answer")
    assert said("ServerTimeoutError").endswith("no answer: h:1 said nothing for 7 s")
    assert said("ConnectionTimeoutError").endswith("no connection to h:1 within 3 s")
    assert said("ServerFingerprintMismatch", "no match").startswith(
        "the certificate of h:1 cannot be trusted: no match"
    )


def test_a_fault_of_ours_is_not_hidden():
    """A bug in this house is not taken for the network's."""
    scene = Scene(where="h:1", fresh=True, answered=False, timeout=1, connect_timeout=1)
    for fault in (TypeError("x"), KeyError("x"), AssertionError("x"), asyncio.CancelledError()):
        assert translate(fault, scene) is None


@pytest.mark.parametrize(
    ("fault", "fresh", "answered", "kind", "billed"),
    [
        (aiohttp.ServerDisconnectedError(), True, False, ConnectionLost, True),
        (aiohttp.ServerDisconnectedError(), False, False, ConnectionLost, False),
        (aiohttp.ServerDisconnectedError(), False, True, UnreadableReply, True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), True, False, ConnectionLost, True),
        (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), False, False, ConnectionLost, False),
        (aiohttp.ClientPayloadError("x"), False, True, UnreadableReply, True),
        (aiohttp.ServerTimeoutError(), True, False, RequestTimeout, True),
        (aiohttp.ConnectionTimeoutError(), True, False, ConnectionLost, False),
        (aiohttp.InvalidURL("x"), True, False, EndpointDown, None),
        (aiohttp.NonHttpUrlRedirectClientError("x"), True, True, BadRequest, False),
    ],
)
def test_what_may_have_been_billed(fault, fresh, answered, kind, billed):
    """A request on a fresh connection, and any answer that began; not one on a connection that was closed before."""
    scene = Scene(where="h:1", fresh=fresh, answered=answered, timeout=1, connect_timeout=1)
    found = translate(fault, scene)
    assert type(found) is kind
    assert getattr(found, "billed", None) == billed


async def test_an_unmapped_error_is_raised_as_it_is(monkeypatch):
    """So that a bug is seen."""

    async def fail(*_, **__):
        raise KeyError("bug")

    monkeypatch.setattr(aiohttp.ClientSession, "_request", fail)
    with pytest.raises(KeyError):
        await ask("http://127.0.0.1:1/v1")


# Connections that are not made.


async def test_nobody_listens():
    """It is retried, and was not billed; the message names the place."""
    port = await free_port()
    found = await fault([], url=f"http://127.0.0.1:{port}/v1")
    assert (type(found), found.billed, found.status) == (ConnectionLost, False, None)
    assert f"no connection to 127.0.0.1:{port}" in str(found)


async def test_a_name_that_does_not_resolve():
    """It is retried: networks come back."""
    found = await fault([], url="http://does-not-exist.invalid/v1")
    assert (type(found), found.billed) == (ConnectionLost, False)


async def test_a_connection_that_takes_too_long(monkeypatch):
    """Connecting has its own, shorter time; nothing was billed."""
    monkeypatch.setattr("batchchat.defaults.CONNECT_TIMEOUT", SHORT)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of those who want to be accepted
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        try:
            found = await fault([], url=f"http://127.0.0.1:{full.getsockname()[1]}/v1")
        finally:
            for one in waiting:
                one.close()
    assert (type(found), found.billed) == (ConnectionLost, False)
    assert "within 0.3 s" in str(found)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_running_out_of_files_is_retried(monkeypatch, number):
    """The message says what to do; other rows' connections will be free again."""

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(session, "open_socket", refuse)
    found = await fault([http(completion())])
    assert (type(found), found.billed) == (ConnectionLost, False)
    assert "ulimit -n" in str(found)


# Connections that break, and answers that do not end.


async def test_a_server_that_closes_without_an_answer():
    """On a fresh connection it may have worked on the request."""
    found = await fault([None])
    assert (type(found), found.billed) == (ConnectionLost, True)
    assert "closed without an answer" in str(found)


async def test_a_connection_that_is_reset():
    """The same, less politely."""
    found = await fault([sends(b"", then="reset")])
    assert (type(found), found.billed) == (ConnectionLost, True)


async def test_a_kept_connection_that_was_closed_is_not_billed():
    """The server hung up while the request was on its way: it was never worked on."""
    script = [http(completion()), None, http(completion())]
    async with ScriptedServer(script) as server, transport(server.url) as opened:
        await opened.send(REQUEST)
        with pytest.raises(ConnectionLost) as caught:
            await opened.send(REQUEST)
        assert not caught.value.billed
        await opened.send(REQUEST)


@pytest.mark.parametrize(
    "item",
    [
        sends(b"HTTP/1.1 200 OK\r\ncontent-le", then="close"),
        sends(http(completion(), length=9999), then="close"),
        sends(http(completion(), length=9999), then="reset"),
        sends(chunked_head(content_type="application/json") + chunk(completion()), then="close"),
        sends(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + completion()[:-9], then="close"),
        sends(http(b"{}", content_encoding="gzip"), then="close"),
        sends(b"SSH-2.0-OpenSSH_9.6\r\n", then="close"),
        sends(b"HTTP/1.1 two hundred\r\n\r\n", then="close"),
        sends(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", then="close"),
        sends(chunked_head() + b"zzz\r\n", then="close"),
        sends(b"\x00" * 100, then="close"),
    ],
    ids=[
        "head",
        "length",
        "length-reset",
        "chunk",
        "until-close",
        "gzip",
        "ssh",
        "status",
        "header",
        "coding",
        "zeros",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_answers_that_are_cut_or_no_http(item, stream):
    """They may have been billed, and are worth another attempt."""
    found = await fault([item], stream=stream)
    assert isinstance(found, UnreadableReply | ConnectionLost)
    assert found.billed


async def test_the_status_of_an_error_counts_where_its_body_is_cut():
    """A 429 is a 429 without its last bytes."""
    found = await fault([sends(http(error("slow"), 429, length=9999, retry_after="7"), then="close")])
    assert (type(found), found.retry_after) == (RateLimited, 7)
    found = await fault([sends(http(b"", 500, length=9), then="reset")])
    assert type(found) is ServerError


async def test_an_answer_without_an_end_is_not_read_for_ever(monkeypatch):
    """There is a size that no answer has."""
    monkeypatch.setattr(session, "MAX_REPLY_BYTES", 1 << 20)

    async def flood(peer, _):
        await peer.send(chunked_head(content_type="application/json"))
        while not peer.writer.is_closing():
            await peer.send(chunk(b"x" * (1 << 16)))

    found = await fault([flood])
    assert (type(found), found.billed) == (UnreadableReply, True)
    assert "more than 1 MB" in str(found)


# Time.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "item",
    [silent, sends(b"HTTP/1.1 200 OK\r\n"), sends(http(completion(), length=9999))],
    ids=["none", "head", "body"],
)
async def test_an_answer_that_does_not_come(item, stream):
    """It is given up after the timeout, may have been billed, and the connection is closed."""
    found = await fault([item], timeout=SHORT, stream=stream)
    assert (type(found), found.billed) == (RequestTimeout, True)
    assert "said nothing for 0.3 s" in str(found)


async def test_slow_bytes_do_not_make_more_time():
    """Without a stream the timeout is for the whole request, however alive the connection looks."""

    async def drip(peer, _):
        await peer.send(http(b"", length=9999))
        while not peer.writer.is_closing():
            await peer.send(b" ")
            await asyncio.sleep(0.01)

    found = await fault([drip], timeout=SHORT)
    assert type(found) is RequestTimeout


async def test_a_large_request_that_nobody_reads_times_out():
    """A server that does not read is noticed while the request is being written."""
    peers = []

    async def deaf(_, writer):
        peers.append(writer.transport)

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=1024)
    request = make_request({"model": "m", "messages": [{"role": "user", "content": "x" * (64 << 20)}]})
    try:
        async with transport(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=0.5) as opened:
            with pytest.raises(RequestTimeout):
                await opened.send(request)
            for peer in peers:  # what was written is not waited for
                peer.abort()
            await asyncio.sleep(0.01)
    finally:
        server.close()


async def test_a_long_stream_lives():
    """With a stream the timeout is between chunks: a long generation takes as long as it takes."""
    pieces, timeout = 8, 0.6

    async def generate(peer, _):
        await peer.send(chunked_head())
        for _ in range(pieces):
            await asyncio.sleep(timeout / 6)
            await peer.send(chunk(sse(delta("x"), done=False)))
        await peer.send(chunk(sse(delta(finish="stop"))) + chunk(b""))

    async with ScriptedServer([generate]) as server:
        found = await ask(server.url, timeout=timeout, stream=True)
    assert found.contents == ("x" * pieces,)
    assert found.latency > timeout


@pytest.mark.parametrize("ping", [b"", b": ping\n\n", b"data: "])
async def test_a_stream_that_stalls_dies(ping):
    """Comments and half events keep the connection alive, not the request."""

    async def stall(peer, _):
        await peer.send(chunked_head() + chunk(sse(delta("x"), done=False)))
        while not peer.writer.is_closing():
            if ping:
                await peer.send(chunk(ping))
            await asyncio.sleep(0.01)

    found = await fault([stall], timeout=SHORT, stream=True)
    assert (type(found), found.billed) == (RequestTimeout, True)
    assert "the answer stopped" in str(found)


@pytest.mark.parametrize("then", ["wait", "close", "reset"])
async def test_a_stream_that_is_cut_is_never_kept(then):
    """What came of it may have been billed."""
    found = await fault([sends(chunked_head() + chunk(sse(delta("x"), done=False)), then)], timeout=SHORT, stream=True)
    assert isinstance(found, UnreadableReply | RequestTimeout)
    assert found.billed


@pytest.mark.parametrize("then", ["wait", "close", "reset"])
@pytest.mark.parametrize("done", [False, True])
async def test_a_stream_that_said_all_is_kept(then, done):
    """After the last finish reason, or [DONE], nothing can spoil the answer: it was paid for."""
    said = chunked_head() + chunk(sse(delta("hello", finish="stop"), done=done))
    async with ScriptedServer([sends(said, then)]) as server:
        assert (await ask(server.url, timeout=SHORT, stream=True)).contents == ("hello",)


async def test_a_broken_end_of_a_stream_has_its_time():
    """What was whole when the connection broke took as long as it took."""
    times = iter([100.0, 101.0, 116.0, 999.0])
    said = chunked_head() + chunk(sse(delta("hello", finish="stop"), done=False))
    async with (
        ScriptedServer([sends(said, "close")]) as server,
        Transport(
            Endpoint(base_url=server.url),
            connections=1,
            timeout=30,
            stream=True,
            environment={},
            clock=lambda: next(times),
        ) as opened,
    ):
        found = await opened.send(REQUEST)
    assert (found.first_token, found.latency) == (1, 16)


async def test_a_server_that_closes_after_its_redirect():
    """What breaks after a redirect broke before the answer."""
    script = [http(b"", 307, location="/x"), None]
    async with ScriptedServer(script) as server:
        with pytest.raises(ConnectionLost):
            await ask(server.url)


async def test_a_server_that_does_not_end_its_stream_is_not_waited_for():
    """Half a second after [DONE], not the whole timeout."""
    began = time.monotonic()
    async with ScriptedServer([sends(chunked_head() + chunk(WHOLE))]) as server:
        assert (await ask(server.url, timeout=30, stream=True)).contents == ("hello",)
    assert time.monotonic() - began < 10


# Being cancelled.


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("item", [silent, sends(chunked_head() + chunk(b": x\n\n"))], ids=["none", "begun"])
async def test_a_request_may_be_cancelled(item, stream):
    """The connection is closed, and the transport goes on."""
    gone = asyncio.Event()

    async def notice(peer, received):
        await item(peer, received)
        gone.set()

    async with ScriptedServer([notice, http(completion())]) as server, transport(server.url, stream=stream) as opened:
        task = asyncio.create_task(opened.send(REQUEST))
        while not server.received:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(gone.wait(), 5)
        assert (await opened.send(REQUEST)).contents == ("hello",)


async def test_a_cancellation_at_the_deadline_is_not_taken_for_it():
    """Who cancels a request that times out at that moment is told so."""
    async with ScriptedServer([silent]) as server, transport(server.url, timeout=SHORT) as opened:
        task = asyncio.create_task(opened.send(REQUEST))
        while not server.received:
            await asyncio.sleep(0)
        (deadline,) = opened._deadlines._running
        deadline.expire()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_timeout_leaves_the_task_uncancelled():
    """The worker goes on to its next row."""

    async def work():
        with pytest.raises(RequestTimeout):
            await opened.send(REQUEST)
        assert asyncio.current_task().cancelling() == 0
        await asyncio.sleep(0)
        return "went on"

    async with ScriptedServer([silent]) as server, transport(server.url, timeout=SHORT) as opened:
        assert await asyncio.create_task(work()) == "went on"


class Timer:
    """What `call_at` of the loop below gives."""

    def __init__(self, at, call):
        self.at, self.call = at, call
        self.cancelled = False

    def cancel(self):
        self.cancelled = True


class Loop:
    """A clock with timers that are run by hand."""

    def __init__(self):
        self.now, self.timers = 0.0, []

    def time(self):
        return self.now

    def call_at(self, at, call):
        self.timers.append(Timer(at, call))
        return self.timers[-1]

    def run(self, until):
        while due := [timer for timer in self.timers if timer.at <= until and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self.timers.remove(first)
            self.now = first.at
            first.call()
        self.now = until


async def begin(deadlines):
    """A deadline whose task waits for ever."""
    started = asyncio.get_running_loop().create_future()

    async def wait():
        started.set_result(deadlines.start())
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    return await started, task


async def test_one_timer_serves_all_deadlines():
    """Each request ends at its own time, and those that ended or were renewed do not."""
    loop = Loop()
    deadlines = Deadlines(10.0, loop)
    first, one = await begin(deadlines)
    loop.now = 4
    second, two = await begin(deadlines)
    third, three = await begin(deadlines)
    fourth, four = await begin(deadlines)
    deadlines.end(third)
    assert len(loop.timers) == 1
    loop.run(until=9)
    deadlines.renew(second)
    deadlines.renew(third)
    assert not first.expired
    loop.run(until=10)
    assert first.expired
    loop.run(until=18.9)
    assert (fourth.expired, second.expired) == (True, False)
    loop.run(until=19)
    assert second.expired
    loop.run(until=100)
    assert not third.expired
    assert not loop.timers
    three.cancel()
    found = await asyncio.gather(one, two, three, four, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in found)


async def test_a_closed_transport_leaves_no_timer():
    """Nothing is run after the end."""
    loop = Loop()
    deadlines = Deadlines(10.0, loop)
    deadline, task = await begin(deadlines)
    deadlines.close()
    loop.run(until=100)
    assert not deadline.expired
    task.cancel()
    deadlines.close()


# Certificates.

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="certificates are made by the openssl command")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A folder with key.pem and cert.pem of an authority of our own, for 127.0.0.1 and localhost."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


def server_side(folder):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


@needs_openssl
async def test_a_certificate_that_cannot_be_trusted_stops_the_job(certificate):
    """The message says why, and what to do."""
    async with ScriptedServer([http(completion())], tls=server_side(certificate)) as server:
        with pytest.raises(EndpointDown, match=r"cannot be trusted: self.signed certificate") as caught:
            await ask(server.url)
    assert "SSL_CERT_FILE" in str(caught.value)


@needs_openssl
@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_an_authority_of_ones_own(certificate, variable):
    """The usual variables name it."""
    environment = {variable: str(certificate / "cert.pem")}
    async with ScriptedServer([http(completion("hi"))], tls=server_side(certificate)) as server:
        assert (await ask(server.url, environment=environment)).contents == ("hi",)


@needs_openssl
async def test_a_certificate_for_another_name(certificate):
    """It stops the job as well."""
    environment = {"SSL_CERT_FILE": str(certificate / "cert.pem")}
    async with ScriptedServer([http(completion())], tls=server_side(certificate), host="127.0.0.2") as server:
        with pytest.raises(EndpointDown, match=r"not valid for '127\.0\.0\.2'"):
            await ask(server.url, environment=environment)


async def test_a_server_that_speaks_no_tls():
    """`https://` before a plain server's address: no connection, not billed."""

    async def plain(reader, writer):
        await reader.read(1)
        writer.write(http(b"", 400))
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        with pytest.raises(ConnectionLost, match="no TLS connection") as caught:
            await ask(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert not caught.value.billed


async def test_an_answer_behind_large_headers():
    """Gateways send policies and cookies of many kilobytes, and the answer behind them was paid for."""
    more = {f"x_{number}": "v" for number in range(500)}
    async with ScriptedServer([http(completion("hi"), x_policy="p" * 40_000, **more)]) as server:
        assert (await ask(server.url)).contents == ("hi",)
