"""HTTP/1.1 on a socket: bytes come in, whole requests go to the app, its answer goes out as bytes.

What comes in: connections. What goes out: one `Exchange` for each request, given to a plain function, which answers
at once or later, whole or piece by piece. This room knows no path, no JSON and no chat completion.

Why not aiohttp.web: the other side of the wire must not share a parser with the client, whose aiohttp it would be, and
must never be the bottleneck of what it measures. Measured with a trivial handler and the same client, both on uvloop:
17 us of CPU a request against 55 us, 50,000 requests/s against 17,000. The whole simulator takes about 60 us.

Accepted: a client that half-closes its side (`shutdown(SHUT_WR)`) counts as gone, because a dead client looks the
same; requests that are pipelined are answered one after the other; trailers of a chunked body are read and forgotten.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from batchchat.serve.head import BadHttp, Head, Request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

# How much a client may send ahead while its last request is being answered.
MAX_AHEAD = 1 << 20
JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"
LINGER = "hh" if sys.platform == "win32" else "ii"
REASONS = {status.value: status.phrase for status in HTTPStatus} | {529: "Site Is Overloaded"}


class Exchange:
    """One request and its answer. Either `send`, or `begin`, `write`... and `end`, or `abort`.

    Attributes:
        request: what was asked.
        began: True once a byte of the answer was written.
        over: True once the answer is out, or the client has gone: whatever is written then is dropped.
        settled: called once, with True when the last byte was written to a live connection, else with False.
    """

    __slots__ = ("_chunked", "_connection", "_ends_by_close", "began", "over", "request", "settled")

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request = request
        self.began = False
        self.over = False
        self.settled: Callable[[bool], None] | None = None
        self._connection = connection
        self._chunked = False
        self._ends_by_close = False

    def send(self, status: int, body: bytes, *, headers: str = "", kind: str = JSON) -> None:
        """The whole answer at once. `headers` are lines that end in CRLF."""
        if self.over:
            return
        head = f"{self._start_line(status, kind)}{headers}content-length: {len(body)}\r\n\r\n"
        nothing = self.request.method == "HEAD" or status in {204, 304}
        self._put(head.encode("latin-1") + (b"" if nothing else body))
        self._connection.finish(self, whole=True, close=False)

    def begin(self, status: int, *, headers: str = "", kind: str = EVENT_STREAM, length: int | None = None) -> None:
        """The head of an answer that comes in pieces: of a length that is told, else chunked.

        A client of HTTP/1.0 knows no chunks: for it the body ends with the connection.
        """
        if self.over:
            return
        framing = "" if length is None else f"content-length: {length}\r\n"
        self._chunked = length is None and self.request.version != "HTTP/1.0"
        self._ends_by_close = length is None and not self._chunked
        if self._chunked:
            framing = "transfer-encoding: chunked\r\n"
        self._put(f"{self._start_line(status, kind)}{headers}{framing}\r\n".encode("latin-1"))

    def write(self, *pieces: bytes) -> None:
        """Pieces of the body, each a chunk of its own where there are chunks."""
        if self.over:
            return
        if self._chunked:
            self._put(b"".join([b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]))
        else:
            self._put(b"".join(pieces))

    def end(self, *, whole: bool = True) -> None:
        """The end of a body that was begun; not `whole` ends the connection where more was promised."""
        if self.over:
            return
        if whole and self._chunked:
            self._put(b"0\r\n\r\n")
        self._connection.finish(self, whole=whole, close=not whole or self._ends_by_close)

    def abort(self) -> None:
        """Resets the connection (RST), whatever was written."""
        if not self.over:
            self._connection.reset()

    def _start_line(self, status: int, kind: str) -> str:
        closing = "" if self._connection.stays_open(self.request) else "connection: close\r\n"
        return (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\ndate: {http_date()}\r\n"
            f"content-type: {kind}\r\n{closing}"
        )

    def _put(self, data: bytes) -> None:
        self.began = True
        self._connection.put(data)


@dataclass(slots=True, kw_only=True)
class Listener:
    """What all connections of one server share.

    Attributes:
        app: answers an exchange.
        refuse: the body of an error that is no exchange yet: status and message to bytes.
        keep_alive: seconds after which an idle connection is closed, 0 for never.
        replies_per_connection: after so many answers a connection is closed without a word, 0 for never.
        accepted: connections so far.
        accepted_before: how many of them came before the counts were last zeroed.
        open: connections now.
    """

    app: Callable[[Exchange], None]
    refuse: Callable[[int, str], bytes]
    keep_alive: float = 0.0
    replies_per_connection: int = 0
    accepted: int = 0
    accepted_before: int = 0
    open: set[Connection] = field(default_factory=set)

    async def listen(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[asyncio.AbstractServer, int]:
        """Starts to listen; gives the server and the port that it got."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Connection(self, loop), host, port, backlog=4096, ssl=tls)
        return server, int(server.sockets[0].getsockname()[1])

    def drop_all(self) -> None:
        """Closes every connection at once."""
        for connection in list(self.open):
            connection.reset()


class Connection(asyncio.Protocol):
    """One client. Requests are taken one after the other; bytes that come meanwhile wait in a buffer."""

    def __init__(self, listener: Listener, loop: asyncio.AbstractEventLoop) -> None:
        self._listener = listener
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._head: Head | None = None
        self._exchange: Exchange | None = None
        self._flushing: tuple[Exchange, bool] | None = None
        self._taking = False
        self._paused = False
        self._deaf = False
        self._replies = 0
        self._active = 0.0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self._transport = cast(asyncio.Transport, transport)
        # Every byte that the socket did not take at once is waited for: `settled` must not be told too early.
        self._transport.set_write_buffer_limits(high=0)
        self._listener.accepted += 1
        self._listener.open.add(self)
        self._active = time.monotonic()
        if self._listener.keep_alive:
            self._loop.call_later(self._listener.keep_alive, self._close_if_idle)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deaf:
            return
        self._buffer += data
        if self._exchange is None:
            self._take()
        elif len(self._buffer) > MAX_AHEAD and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The socket took everything."""
        if self._flushing is not None:
            exchange, close = self._flushing
            self._flushing = None
            self._settle(exchange, whole=True, close=close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went, or was sent away."""
        del exc  # asyncio names it; why the client went changes nothing
        self._transport = None
        self._listener.open.discard(self)
        self._buffer.clear()
        exchange, self._exchange, self._flushing = self._exchange, None, None
        if exchange is not None and not exchange.over:
            exchange.over = True
            _tell(exchange, whole=False)

    # the exchange's side

    def stays_open(self, request: Request) -> bool:
        """Whether another request may follow on this connection, as far as the client is told."""
        return request.keep_alive

    def put(self, data: bytes) -> None:
        """Bytes to the client."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self, exchange: Exchange, *, whole: bool, close: bool) -> None:
        """The last byte was handed over; whether it went out is known when the socket has taken it."""
        self._replies += 1
        limit = self._listener.replies_per_connection
        close = close or not exchange.request.keep_alive or bool(limit and self._replies >= limit)
        transport = self._transport
        if transport is None or (transport.is_closing() and not close):
            self._settle(exchange, whole=False, close=True)
        elif whole and transport.get_write_buffer_size():
            self._flushing = (exchange, close)
        else:
            self._settle(exchange, whole=whole and not transport.is_closing(), close=close)

    def reset(self) -> None:
        """Closes with RST, so that the client finds the connection reset, not ended."""
        transport = self._transport
        if transport is None:
            return
        raw = transport.get_extra_info("socket")
        if raw is not None:
            # Through a duplicate: the loop's own socket object gives no way to its options everywhere.
            with socket.fromfd(raw.fileno(), raw.family, socket.SOCK_STREAM) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(LINGER, 1, 0))
        transport.abort()

    # taking requests

    def _take(self) -> None:
        if self._taking:
            return
        self._taking = True
        try:
            while self._exchange is None and self._transport is not None and not self._transport.is_closing():
                request = self._next_request()
                if request is None:
                    break
                self._active = time.monotonic()
                self._exchange = exchange = Exchange(request, self)
                self._answer(exchange)
        except BadHttp as bad:
            self._refuse(bad)
        finally:
            self._taking = False

    def _answer(self, exchange: Exchange) -> None:
        try:
            self._listener.app(exchange)
        except Exception as error:  # a fault of ours must not hang the client
            self._loop.call_exception_handler({"message": "the app failed on a request", "exception": error})
            if exchange.began:
                exchange.abort()
            else:
                exchange.send(500, self._listener.refuse(500, "The server had an error while processing your request"))

    def _next_request(self) -> Request | None:
        head = self._head
        if head is None:
            head = self._head = Head.take(self._buffer)
            if head is None:
                return None
        body = head.body_from(self._buffer)
        if body is None:
            if head.expects and self._transport is not None:
                head.expects = False
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return None
        self._head = None
        return head.request(body)

    def _refuse(self, bad: BadHttp) -> None:
        if self._transport is None:
            return
        body = self._listener.refuse(bad.status, str(bad))
        self._transport.write(
            f"HTTP/1.1 {bad.status} {REASONS[bad.status]}\r\ndate: {http_date()}\r\ncontent-type: {JSON}\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode("latin-1")
            + body
        )
        self._buffer.clear()
        self._linger()

    def _linger(self) -> None:
        """Closes once the answer can have been read: closing with unread bytes would reset it away."""
        transport = self._transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        self._deaf = True
        self._loop.call_later(1.0, transport.close)

    # the end of an answer

    def _settle(self, exchange: Exchange, *, whole: bool, close: bool) -> None:
        self._exchange = None
        exchange.over = True
        self._active = time.monotonic()
        _tell(exchange, whole=whole)
        transport = self._transport
        if transport is None:
            return
        if close:
            transport.close()
            return
        if self._paused:
            self._paused = False
            transport.resume_reading()
        if self._buffer:
            self._take()

    def _close_if_idle(self) -> None:
        transport = self._transport
        if transport is None:
            return
        left = self._active + self._listener.keep_alive - time.monotonic()
        if self._exchange is not None:
            left = self._listener.keep_alive
        if left <= 0:
            transport.close()
        else:
            self._loop.call_later(left, self._close_if_idle)


def _tell(exchange: Exchange, *, whole: bool) -> None:
    settled, exchange.settled = exchange.settled, None
    if settled is not None:
        settled(whole)


def http_date() -> str:
    """Now, as HTTP writes it."""
    return _date_of(int(time.time()))


@lru_cache(maxsize=2)
def _date_of(second: int) -> str:
    return formatdate(second, usegmt=True)
