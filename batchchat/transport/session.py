"""Transport: one HTTP session with one endpoint.

The way of a request: `send` (a key that expired, a dialect that differs), `_exchange` (deadline, faults), `_ask` and
`_follow` (redirects), `_receive` (whole or streamed). Whatever a slow or broken peer does ends within the timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from contextvars import ContextVar
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from batchchat import defaults
from batchchat.errors import BadRequest, BatchchatError, EndpointDown, KeyRefused, UnreadableReply, UsageError
from batchchat.records import Secret
from batchchat.transport.deadlines import Deadline, Deadlines
from batchchat.transport.direct import IDLE_SECONDS, MAX_HEADER_BYTES, MAX_HEADERS, open_direct
from batchchat.transport.faults import Scene, timed_out, translate
from batchchat.transport.surroundings import allow_files, open_socket, proxy_for, trust
from batchchat.wire import EventStream, address, error_from, for_endpoint, origin, parse_models, parse_reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from batchchat.errors import JobStopped, RequestError
    from batchchat.records import ChatRequest, Completion, Endpoint
    from batchchat.transport.direct import Answer, Direct

    Response = aiohttp.ClientResponse | Answer

USER_AGENT = "batchchat"
MAX_REPLY_BYTES = 256 << 20
MAX_REDIRECTS = 5
_LARGE_BODY = 1 << 20  # above it aiohttp wants a file, so that the loop is not held up
_FOLLOWED = frozenset({301, 302, 307, 308})
_LASTING = frozenset({301, 308})
_GOODBYE = 0.5  # seconds that a server has to end a stream after it said [DONE]
_DNS_SECONDS = 60

_sending: ContextVar[Deadline] = ContextVar("sending")


class Transport:
    """Sends requests to one endpoint; use it as an async context manager.

    Args:
        endpoint: where to, with which key and headers.
        connections: how many requests may be in flight at a time, so that this process may open as many files; it
            caps nothing.
        timeout: seconds for a whole request; with `stream`, between chunks.
        stream: whether answers are asked for as event streams.
        renew_key: gives a new key after a 401, once for each key that was refused.
        environment: where proxies and certificates are told; this process's where not given.

    Attributes:
        requests: HTTP requests sent so far, those of redirects and of renewed keys included.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        connections: int,
        timeout: float,
        stream: bool,
        renew_key: Callable[[], Awaitable[Secret]] | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.requests = 0
        self._endpoint = endpoint
        self._connections = connections
        self._timeout = timeout
        self._stream = stream
        self._renew_key = renew_key
        self._environment = environment
        self._clock = clock
        self._dialect = endpoint.dialect
        self._key = endpoint.key
        self._renewing = asyncio.Lock()
        self._url = _parsed(address(endpoint))
        self._origin = origin(str(self._url))
        self._where = f"{self._url.host}:{self._url.port}"
        self._page = str(self._url.with_query(None))
        self._hide = _secrets(endpoint)
        self._proxy = proxy_for(str(self._url), environment)
        self._session: aiohttp.ClientSession
        self._direct: Direct | None = None
        self._deadlines: Deadlines

    async def __aenter__(self) -> Self:
        allow_files(self._connections)
        secure = self._url.scheme == "https" or (self._proxy or "").startswith("https:")
        connector = aiohttp.TCPConnector(
            limit=0,  # the pool limits; a cap here would hold requests back without anybody knowing
            ssl=trust(self._environment) if secure else True,
            ttl_dns_cache=_DNS_SECONDS,
            keepalive_timeout=IDLE_SECONDS,
            socket_factory=_open_noted,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=self._headers(),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=self._connect_timeout),
            proxy=self._proxy,
            max_field_size=MAX_HEADER_BYTES,
            max_headers=MAX_HEADERS,
        )
        self._deadlines = Deadlines(self._timeout, asyncio.get_running_loop())
        self._open_direct()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.close()
        if self._direct is not None:
            self._direct.close()
        await self._session.close()

    @property
    def _connect_timeout(self) -> float:
        """Well before the request's own end, so that a connection that does not come is told from such an answer."""
        return min(defaults.CONNECT_TIMEOUT, self._timeout / 2)

    async def send(self, request: ChatRequest) -> Completion:
        """The answer to one request.

        Raises:
            RequestError: this attempt failed.
            JobStopped: no attempt of any row will succeed (key, money, model, certificate).
        """
        key = self._key
        try:
            return await self._exchange(request)
        except KeyRefused:
            if not await self._has_new_key(key):
                raise
        except BadRequest as error:
            if not self._has_adapted(error):
                raise
        return await self._exchange(request)

    async def models(self) -> list[str]:
        """The names of the models that the endpoint serves, in its order.

        Raises:
            RequestError, JobStopped: it does not tell.
        """
        url = _parsed(address(self._endpoint, "/models"))
        deadline = self._begin()
        try:
            return parse_models(await self._read_good(await self._ask("GET", url, None, deadline)))
        except (Exception, asyncio.CancelledError) as fault:
            raise self._told(fault, deadline)  # noqa: B904 - it is the fault itself, or has it as its cause
        finally:
            self._deadlines.end(deadline)

    async def _exchange(self, request: ChatRequest) -> Completion:
        """One attempt; every fault as one of our errors."""
        body = for_endpoint(request, stream=self._stream, dialect=self._dialect)
        began = self._clock()
        deadline = self._begin()
        try:
            response = await self._ask("POST", self._url, body, deadline)
            return await self._receive(response, request, deadline, began)
        except (Exception, asyncio.CancelledError) as fault:
            raise self._told(fault, deadline)  # noqa: B904 - it is the fault itself, or has it as its cause
        finally:
            self._deadlines.end(deadline)

    def _begin(self) -> Deadline:
        deadline = self._deadlines.start()
        _sending.set(deadline)
        return deadline

    def _told(self, fault: BaseException, deadline: Deadline) -> BaseException:
        """What is to be raised for a fault: itself where it is ours already, or nobody's here."""
        if isinstance(fault, BatchchatError):
            return fault
        scene = Scene(
            where=self._where,
            fresh=deadline.fresh,
            answered=deadline.answered,
            timeout=self._timeout,
            connect_timeout=self._connect_timeout,
        )
        error: RequestError | JobStopped | None = None
        if isinstance(fault, asyncio.CancelledError):
            error = timed_out(fault, scene) if deadline.is_cause() else None
        elif not self._session.closed:
            error = translate(fault, scene)
        if error is None:
            return fault
        error.__cause__ = fault
        return error

    def _open_direct(self) -> None:
        """Do it again whenever the address or the headers change."""
        if self._direct is not None:
            self._direct.close()
        self._direct = open_direct(self._session, self._url, proxied=self._proxy is not None)

    async def _ask(self, method: str, url: URL, body: bytes | None, deadline: Deadline) -> Response:
        """The answer that is no redirect."""
        self.requests += 1
        direct = self._direct
        response: Response
        if direct is not None and url is direct.url and body is not None and len(body) <= _LARGE_BODY:
            response = await direct.ask(body)
        else:
            data = io.BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body
            response = await self._session.request(method, url, data=data, allow_redirects=False)
        deadline.answered = True
        if response.status in _FOLLOWED and "Location" in response.headers:
            return await self._follow(response, method, body, deadline)
        return response

    async def _follow(self, response: Response, method: str, body: bytes | None, deadline: Deadline) -> Response:
        """The answer at the end of the redirects, which are followed on this origin, with the same method and body."""
        deadline.hops += 1
        if deadline.hops > MAX_REDIRECTS:
            response.close()
            raise BadRequest(f"{self._page} redirects more than {MAX_REDIRECTS} times", status=response.status)
        target = self._target(response)
        if response.status in _LASTING and method == "POST" and deadline.hops == 1:
            self._url = target
            self._open_direct()
        await self._drop(response)
        deadline.answered = False
        return await self._ask(method, target, body, deadline)

    def _target(self, response: Response) -> URL:
        """Where a redirect leads, if it may be followed."""
        try:
            target = response.url.join(URL(response.headers["Location"]))
            elsewhere = origin(str(target)) != self._origin
        except ValueError:
            response.close()
            raise BadRequest(f"{self._page} redirects to what is no address", status=response.status) from None
        if elsewhere:
            response.close()
            raise BadRequest(
                f"{self._page} redirects to another origin ({target.scheme}://{target.host}:{target.port}), where no "
                f"key goes; if that is meant, give it as --base-url",
                status=response.status,
                type="redirect",
            )
        return target

    async def _drop(self, response: Response) -> None:
        """Read what is of no interest, so that the connection can be used again."""
        with contextlib.suppress(aiohttp.ClientError):
            await self._read(response)
        response.close()

    async def _receive(self, response: Response, request: ChatRequest, deadline: Deadline, began: float) -> Completion:
        headers = response.headers
        if response.status == 200 and headers.get("Content-Type", "").startswith("text/event-stream"):
            try:
                return await self._receive_stream(response, request, deadline, began)
            finally:
                response.close()
        body = await self._read_good(response)
        latency = self._clock() - began
        if body.startswith(b"data:"):  # an event stream by another name
            stream = EventStream(headers, choices=request.choices, hide=self._hide)
            stream.feed(body)
            return stream.finish(latency=latency)
        return parse_reply(body, headers, latency=latency, hide=self._hide)

    async def _receive_stream(
        self, response: Response, request: ChatRequest, deadline: Deadline, began: float
    ) -> Completion:
        stream = EventStream(response.headers, choices=request.choices, hide=self._hide)
        first_token = latency = None
        try:
            while not stream.done and (data := await response.content.readany()):
                chunks = stream.chunks
                stream.feed(data)
                if stream.chunks != chunks:  # comments keep the connection alive, not the request
                    self._deadlines.renew(deadline)
                if first_token is None and stream.speaking:
                    first_token = self._clock() - began
            latency = self._clock() - began
            if stream.done:
                self._deadlines.end(deadline)
                await self._say_goodbye(response)
        except (aiohttp.ClientError, OSError):
            if not stream.is_whole():
                raise
        except asyncio.CancelledError:
            # What stalls after its last choice was finished (a count of tokens that never comes) is whole.
            if not stream.is_whole() or not deadline.is_cause():
                raise
        return stream.finish(latency=latency or self._clock() - began, first_token=first_token)

    async def _say_goodbye(self, response: Response) -> None:
        """Let the server end the body, so that the connection can be used again; the answer does not depend on it."""
        if response.content.at_eof():
            return
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await response.content.readany()

    async def _read_good(self, response: Response) -> bytes:
        """The body of a 2xx; whatever else came is raised as the error that it is."""
        try:
            if 200 <= response.status < 300:
                return await self._read(response)
            raise await self._error(response)
        finally:
            if not response.content.at_eof():
                response.close()

    async def _error(self, response: Response) -> BatchchatError:
        """The error that an answer is; its status counts where its body is cut."""
        body = b""
        with contextlib.suppress(aiohttp.ClientError, UnreadableReply):
            body = await self._read(response)
        if response.status == 407 and self._proxy is not None:
            return EndpointDown(f"the proxy does not let through to {self._where}: it wants a login (HTTP 407)")
        return error_from(response.status, response.headers, body, hide=self._hide, url=self._page)

    async def _read(self, response: Response) -> bytes:
        """The whole body, up to a size that no answer has."""
        content = response.content
        first = await content.readany()
        if content.at_eof():
            return first
        blocks, size = [first], len(first)
        while block := await content.readany():
            blocks.append(block)
            size += len(block)
            if size > MAX_REPLY_BYTES:
                raise UnreadableReply(f"the answer has more than {MAX_REPLY_BYTES >> 20} MB", billed=True)
        return b"".join(blocks)

    async def _has_new_key(self, refused: Secret | None) -> bool:
        """Whether there is another key than the one that was refused; it is asked for once, whoever needs it."""
        if self._renew_key is None:
            return False
        async with self._renewing:
            if self._key == refused:
                self._key = await self._renew_key()
                self._endpoint = replace(self._endpoint, key=self._key)
                self._hide = (*self._hide, self._key.reveal())
                self._session.headers.update(self._headers())
                self._open_direct()
        return self._key != refused

    def _has_adapted(self, error: BadRequest) -> bool:
        """Whether the endpoint refused `stream_options`, which old versions do not know: from now on it is left out."""
        refused = self._stream and "stream_options" in f"{error.param} {error.message}"
        if refused and self._dialect.stream_options:
            self._dialect = replace(self._dialect, stream_options=False)
        return refused and not self._dialect.stream_options

    def _headers(self) -> dict[str, str]:
        endpoint = self._endpoint
        headers = {"User-Agent": USER_AGENT, "Content-Type": "application/json"}
        if endpoint.key is not None:
            text = endpoint.key.reveal()
            # Azure takes a key in a header of its own, but a token of its directory (a JWT) as everybody does.
            own = endpoint.azure and not text.startswith("eyJ")
            headers.update({"api-key": text} if own else {"Authorization": f"Bearer {text}"})
        for name, value in endpoint.headers.items():
            headers[name] = value.reveal() if isinstance(value, Secret) else value
        return headers


def _open_noted(address_info: Any) -> Any:
    """A socket; the request for which it is opened learns that its connection is a fresh one."""
    deadline = _sending.get(None)
    if deadline is not None:
        deadline.fresh = True
    return open_socket(address_info)


def _parsed(url: str) -> URL:
    try:
        return URL(url)
    except ValueError as error:
        raise UsageError(f"{urlsplit(url).netloc!r} is no address: {error}") from None


def _secrets(endpoint: Endpoint) -> tuple[str, ...]:
    """The texts that no message may show."""
    values = (endpoint.key, *endpoint.headers.values(), *endpoint.query.values())
    return tuple(value.reveal() for value in values if isinstance(value, Secret))
