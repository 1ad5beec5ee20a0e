"""Our own door in front of the embedded model: requests are checked here, and llama.cpp's ways made OpenAI's.

What comes in: valid requests from the routes. What goes out: the same to llama.cpp, and its answer back, streams as
they come. A client that leaves ends its generation. Errors get OpenAI's type and code (a prompt that does not fit is
`context_length_exceeded`, as everywhere).

Measured on a busy machine: it adds 2 ms to a request, and the shortest takes the model 35.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from batchchat.serve.http import JSON
from batchchat.serve.refusal import Refusal

if TYPE_CHECKING:
    from batchchat.serve.http import Exchange

LONGEST_LINE = 64 << 20
CODES = {"exceed_context_size_error": "context_length_exceeded"}


class Relay:
    """A backend of the routes.

    Args:
        base_url: of the server behind, ending in /v1.

    Attributes:
        tasks: requests on their way.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._host = parts.hostname or ""
        self._port = parts.port or 80
        self._path = f"{parts.path}/chat/completions"
        self.tasks: set[asyncio.Task[None]] = set()

    def visit(self, exchange: Exchange) -> _Passage:
        """See `routes.Backend`."""
        return _Passage(self, exchange)

    def page(self, exchange: Exchange) -> bool:
        """See `routes.Backend`: it has none."""
        del exchange
        return False

    def pass_on(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        """Asks the server behind."""
        task = asyncio.get_running_loop().create_task(self._pass_on(exchange, asked))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

        def settled(whole: bool) -> None:
            if not whole:
                task.cancel()  # closes the connection behind, which ends the generation

        exchange.settled = settled

    async def _pass_on(self, exchange: Exchange, asked: dict[str, Any]) -> None:
        writer = None
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port, limit=LONGEST_LINE)
            body = json.dumps(asked).encode()
            writer.write(
                f"POST {self._path} HTTP/1.1\r\nhost: {self._host}:{self._port}\r\nconnection: close\r\n"
                f"content-type: {JSON}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await _answer(exchange, reader)
        except (OSError, EOFError, ValueError) as error:
            if exchange.began:
                exchange.end(whole=False)
            else:
                refusal = Refusal(503, f"The embedded model does not answer: {error or type(error).__name__}")
                exchange.send(503, refusal.body())
        finally:
            if writer is not None:
                writer.close()


class _Passage:
    """One request on its way to the server behind."""

    def __init__(self, relay: Relay, exchange: Exchange) -> None:
        self._relay = relay
        self._exchange = exchange

    def refused(self, refusal: Refusal) -> None:
        """See `routes.Visit`: nobody counts here."""

    def complete(self, asked: dict[str, Any]) -> None:
        """See `routes.Visit`."""
        self._relay.pass_on(self._exchange, asked)


async def _answer(exchange: Exchange, reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    kind, own = headers.get("content-type", JSON), f"x-request-id: req_{uuid4().hex}\r\n"
    if headers.get("transfer-encoding", "").lower() == "chunked":
        exchange.begin(status, kind=kind, headers=f"{own}cache-control: no-cache\r\n")
        while size := int((await reader.readline()).split(b";")[0], 16):
            exchange.write(await reader.readexactly(size))
            await reader.readexactly(2)
        exchange.end()
        return
    length = headers.get("content-length")
    body = await (reader.readexactly(int(length)) if length is not None else reader.read())
    exchange.send(status, as_openai(status, body) if status >= 400 else body, headers=own, kind=kind)


def as_openai(status: int, body: bytes) -> bytes:
    """llama.cpp's error object, with a number as its code, as OpenAI's."""
    try:
        error = json.loads(body)["error"]
        message, kind = str(error["message"]), error.get("type")
    except (ValueError, KeyError, TypeError, AttributeError):
        return Refusal(status, body.decode("utf-8", "replace")[:500] or "The embedded model failed").body()
    code = CODES.get(str(kind))
    return Refusal(status, message, code=code, param="messages" if code else None).body()
