"""How a completion goes out: as one body or as an event stream, whole, or broken on purpose.

What comes in: an exchange, a reply, and the name of the rule that spoils it. What goes out: bytes on the exchange, now
or by and by. It does not know why an answer is spoilt, nor who counts it.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from batchchat.serve.http import EVENT_STREAM, JSON
from batchchat.serve.refusal import Refusal
from batchchat.serve.reply import DONE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.serve.http import Exchange
    from batchchat.serve.reply import Reply
    from batchchat.serve.sim.settings import Settings

LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}
# A reset right behind the bytes could overtake them in the loop's buffers.
BEFORE_RESET = 0.01
HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"
# What becomes of an exchange under a rule, as the tally has it; a rule that is not here is answered.
FATES = {
    "html": "refused",
    "blank": "spoilt",
    "malformed": "spoilt",
    "error-200": "spoilt",
    "no-choices": "spoilt",
    "drop": "dropped",
    "drop-mid": "partial",
    "cut": "partial",
    "stall": "gone",
    "stall-mid": "partial",
    "error-mid": "partial",
    "unfinished": "partial",
}


class Delivery:
    """Sends one reply on one exchange."""

    def __init__(self, exchange: Exchange, settings: Settings, *, headers: str, rule: str | None) -> None:
        self._exchange = exchange
        self._settings = settings
        self._headers = headers
        self._rule = rule
        self._squeeze = _compressor(settings.compress, exchange)
        if self._squeeze is not None:
            self._headers += f"content-encoding: {settings.compress}\r\n"

    def body(self, reply: Reply, *, status: int = 200) -> None:
        """As one object."""
        body = reply.body()
        if self._rule == "malformed":
            body = body[: len(body) * 2 // 3]
        elif self._rule == "unfinished":
            body = body.replace(b'"finish_reason":"stop"', b'"finish_reason":null')
        elif self._rule in {"error-200", "error-mid"}:
            body = Refusal(500, "The server had an error while processing your request.").body()
        self.raw(body, status=status)

    def raw(self, body: bytes, *, status: int = 200, kind: str = JSON) -> None:
        """A body that is given."""
        exchange = self._exchange
        if self._rule == "html":
            exchange.send(502, HTML, headers=self._headers, kind="text/html")
            return
        if self._rule == "blank":
            body = b""
        if self._squeeze is not None:
            body = self._squeeze.compress(body) + self._squeeze.flush()
        if self._rule in {"cut", "drop-mid", "stall-mid"}:
            exchange.begin(status, headers=self._headers, kind=kind, length=len(body))
            exchange.write(body[: len(body) // 2])
            self._break_off()
        else:
            exchange.send(status, body, headers=self._headers, kind=kind)

    async def stream(self, reply: Reply, *, include_usage: bool, opening: bool) -> None:
        """As an event stream."""
        exchange, settings = self._exchange, self._settings
        exchange.begin(200, headers=self._headers + "cache-control: no-cache\r\n", kind=EVENT_STREAM)
        events = list(self._events(reply, include_usage=include_usage, opening=opening))
        if settings.stream_split:
            whole, step = b"".join(events), settings.stream_split
            events = [whole[at : at + step] for at in range(0, len(whole), step)]
        if settings.chunk_delay or settings.stream_split:
            for event in events:
                exchange.write(event)
                await asyncio.sleep(settings.chunk_delay)
        else:
            exchange.write(*events)
        if self._rule in {"cut", "drop-mid", "stall-mid"}:
            self._break_off()
        else:
            exchange.end()

    def _break_off(self) -> None:
        exchange = self._exchange
        if self._rule == "cut":
            exchange.end(whole=False)
        elif self._rule == "drop-mid":
            asyncio.get_running_loop().call_later(BEFORE_RESET, exchange.abort)
        elif self._settings.stall:
            asyncio.get_running_loop().call_later(self._settings.stall, exchange.abort)

    def _events(self, reply: Reply, *, include_usage: bool, opening: bool) -> Iterator[bytes]:
        """The events, as far as the rule lets them go out."""
        end = LINE_ENDS[self._settings.line_end]
        chunks = list(reply.chunks(include_usage=include_usage, opening=opening)) if self._rule != "blank" else []
        if self._rule in {"cut", "drop-mid", "stall-mid", "error-mid", "malformed"}:
            chunks = chunks[: len(chunks) // 2]
        elif self._rule == "unfinished":
            chunks = [chunk for chunk in chunks if b'"finish_reason":null' in chunk]
        if self._rule in {"error-mid", "error-200"}:
            error = Refusal(500, "The server had an error while processing your request.").body()
            chunks = [*(chunks if self._rule == "error-mid" else ()), error.replace(b"\n", b"")]
        elif self._rule == "malformed":
            chunks += [b'{"id":"chatcmpl-', DONE]
        elif self._rule not in {"cut", "drop-mid", "stall-mid", "unfinished", "blank"}:
            chunks.append(DONE)
        for chunk in chunks:
            event = b"data: " + chunk + end + end
            yield self._squeezed(b": keep-alive" + end + end + event if self._settings.comments else event)
        if self._squeeze is not None:
            yield self._squeeze.flush()

    def _squeezed(self, event: bytes) -> bytes:
        if self._squeeze is None:
            return event
        return self._squeeze.compress(event) + self._squeeze.flush(zlib.Z_SYNC_FLUSH)


def _compressor(wanted: str, exchange: Exchange) -> zlib._Compress | None:
    """What compresses the answer, where it is wanted and the client takes it."""
    if wanted == "none" or wanted not in exchange.request.headers.get("accept-encoding", ""):
        return None
    return zlib.compressobj(wbits=31 if wanted == "gzip" else 15)
