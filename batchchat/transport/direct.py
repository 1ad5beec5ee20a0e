"""Direct: one POST after the other to one address, on connections that aiohttp made.

Its connector opens and secures them, and its protocol writes and parses, both as they are. What is
left out is its session, request and response, which serve every case of HTTP and build their headers, contexts and
tasks anew each time: 40 of the 60 microseconds that a request costs (docs/performance.md).

`connect`, `set_response_params` and `read` stand in no manual. Where an aiohttp lacks them, where a proxy, a login in
the address or an odd header is to be served, and where a test has put its own request into the session (aioresponses
does), `open_direct` gives None, and the session is asked as ever.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yarl import URL

_NEEDED = (
    (aiohttp.BaseConnector.connect, {"req", "traces", "timeout"}),
    (ResponseHandler.set_response_params, {"read_until_eof", "max_field_size", "max_headers"}),
)
MAX_HEADER_BYTES = 64 << 10  # of one header, policies and cookies of gateways included: the answer was paid for
MAX_HEADERS = 1000
IDLE_SECONDS = 15.0  # that a connection is kept without a request
_ODD = re.compile(r"[^\t\x20-\x7e]")  # in a header: the session says what it thinks of it


class Answer:
    """The head of an answer, and its body as a stream; the part of `aiohttp.ClientResponse` that is used here.

    When the body was read to its end, the connection is kept for the next request.
    """

    __slots__ = ("_connection", "_direct", "content", "headers", "status", "url")

    def __init__(self, direct: Direct, connection: Any, message: Any, content: aiohttp.StreamReader) -> None:
        self._direct = direct
        self._connection = connection
        self.url = direct.url
        self.status: int = message.code
        self.headers: Mapping[str, str] = message.headers
        self.content = content
        content.on_eof(self._ended)

    def close(self) -> None:
        """Read no more: the connection is closed, if it was not given back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _ended(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if 300 <= self.status < 400:
            connection.release()  # to the pool: where a redirect leads, the session asks
        else:
            self._direct.keep(connection)


class Direct:
    """POST requests to one address with one set of headers; made by `open_direct`."""

    def __init__(self, session: aiohttp.ClientSession, request: aiohttp.ClientRequest, head: bytes) -> None:
        assert session.connector is not None
        self.url = request.url
        self._connector = session.connector
        self._timeout = session.timeout
        self._request = request
        self._head = head
        self._kept: deque[tuple[Any, float]] = deque()  # connections without a request, and since when
        self._closed = False

    async def ask(self, body: bytes) -> Answer:
        """Send a body; the answer as soon as its head is there.

        Raises:
            aiohttp.ClientError, OSError, aiohttp.http_exceptions.HttpProcessingError: the network's faults.
        """
        connection = await self._connect()
        try:
            protocol: Any = connection.protocol
            protocol.set_response_params(read_until_eof=True, max_field_size=MAX_HEADER_BYTES, max_headers=MAX_HEADERS)
            protocol.transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
            message, content = await protocol.read()
            while message.code < 200 and message.code != 101:  # interim: the answer is still to come
                message, content = await protocol.read()
        except BaseException:
            connection.close()
            raise
        return Answer(self, connection, message, content)

    def keep(self, connection: Any) -> None:
        """Keep a connection for a while, the latest to be used first: what is too many gets old, and is closed."""
        if self._closed or not _is_clean(connection):
            connection.release()  # the pool closes what cannot be used again
            return
        now = time.monotonic()
        self._kept.append((connection, now))
        while now - self._kept[0][1] > IDLE_SECONDS:
            self._kept.popleft()[0].close()

    def close(self) -> None:
        """Keep nothing more: what is kept goes to the pool."""
        self._closed = True
        while self._kept:
            self._kept.pop()[0].release()

    async def _connect(self) -> Any:
        """A connection on which nothing stands that was not asked for: it would be taken for this request's answer."""
        while self._kept:
            connection, since = self._kept.pop()
            if _is_clean(connection) and time.monotonic() - since <= IDLE_SECONDS:
                return connection
            connection.close()
        try:
            connection = await self._connector.connect(self._request, traces=[], timeout=self._timeout)
        except TimeoutError as error:
            raise aiohttp.ConnectionTimeoutError(str(self.url)) from error
        if connection.closed:
            connection.close()
            raise aiohttp.ServerDisconnectedError
        return connection


def open_direct(session: aiohttp.ClientSession, url: URL, *, proxied: bool) -> Direct | None:
    """The direct way to an address with the session's headers and connections, if there is one."""
    if proxied or url.user is not None or not _fits() or not _is_own(session):
        return None
    loop = asyncio.get_running_loop()
    request = aiohttp.ClientRequest("POST", url, headers=session.headers, loop=loop, session=session)
    headers = {name: value for name, value in request.headers.items() if name.lower() != "content-length"}
    if any(_ODD.search(text) for pair in headers.items() for text in pair):
        return None
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return Direct(session, request, "\r\n".join([*lines, "Content-Length: "]).encode("ascii"))


def _is_clean(connection: Any) -> bool:
    """Whether a connection is open, and nothing was left or came on it unasked."""
    return not connection.closed and not connection.protocol.should_close


def _fits() -> bool:
    """Whether this aiohttp has what is needed of it."""
    return all(names <= set(inspect.signature(function).parameters) for function, names in _NEEDED)


def _is_own(session: aiohttp.ClientSession) -> bool:
    """Whether the session's requests are made by aiohttp itself."""
    code = getattr(session._request, "__code__", None)  # noqa: SLF001 - it is looked at, not called
    return code is not None and code.co_filename == aiohttp.client.__file__
