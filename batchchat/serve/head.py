"""The bytes of a request, read as HTTP/1.1 has them: request line, headers, and a body by length or by chunks.

What comes in: a growing buffer. What goes out: a `Request` once it is whole, None until then, or `BadHttp`. Plain
synchronous code without a socket; strict where leniency would let two readers see two different requests (RFC 9112:
two lengths, a length beside chunks, space before a colon).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD = 64 << 10
MAX_BODY = 100 << 20
# What is left of the current chunk, where it is no number of bytes: its size line, the trailers, or nothing comes next.
UNKNOWN, TRAILERS, ENDED = -1, -2, -3
TOO_LARGE = f"The request body is larger than the limit of {MAX_BODY >> 20} MB"


class BadHttp(Exception):
    """Bytes that are no request that could be answered; the connection is closed after the error object.

    Attributes:
        status: 400, 413, 417, 431, 501 or 505.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request, whole. Names of headers are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool
    version: str

    @property
    def parameters(self) -> dict[str, str]:
        """The query's parameters; the last one wins."""
        return dict(parse_qsl(self.query, keep_blank_values=True))


class Head:
    """The head of a request whose body may still be on its way.

    Attributes:
        expects: the client waits for `100 Continue` before it sends the body.
    """

    __slots__ = ("_body", "_chunked", "_left", "_size", "expects", "headers", "method", "target", "version")

    def __init__(self, method: str, target: str, version: str, headers: dict[str, str]) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self._body = bytearray()
        self._left = UNKNOWN
        coding = headers.get("transfer-encoding", "").lower()
        self._chunked = coding == "chunked"
        if coding and (not self._chunked or "content-length" in headers):
            raise BadHttp(501 if not self._chunked else 400, f"Transfer-Encoding {coding!r} cannot be taken here")
        self._size = _length(headers.get("content-length", "0"))
        self.expects = headers.get("expect", "").lower() == "100-continue" and version != "HTTP/1.0"

    @classmethod
    def take(cls, buffer: bytearray) -> Head | None:
        """Takes a head off the buffer; None while it is not whole."""
        while buffer.startswith(b"\r\n"):  # RFC 9112 2.2: empty lines before a request are ignored
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end < 0 and len(buffer) > MAX_HEAD):
            raise BadHttp(431, "The request's headers are too large")
        if end < 0:
            return None
        head = cls._parse(bytes(buffer[:end]))
        del buffer[: end + 4]
        return head

    @classmethod
    def _parse(cls, head: bytes) -> Head:
        lines = head.decode("latin-1").split("\r\n")
        parts = lines[0].split(" ")
        if len(parts) != 3 or not parts[0].isalpha() or not parts[2].startswith("HTTP/"):
            raise BadHttp(400, f"{lines[0][:80]!r} is no request line")
        if parts[2] not in {"HTTP/1.1", "HTTP/1.0"}:
            raise BadHttp(505, f"{parts[2][:20]!r} is not spoken here")
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                raise BadHttp(400, f"{line[:80]!r} is no header line")
            name, value = name.lower(), value.strip(" \t")
            if name in headers:
                if name == "content-length" and headers[name] != value:
                    raise BadHttp(400, "Content-Length is said twice, and not the same")
                value = value if name in {"content-length", "host"} else f"{headers[name]}, {value}"
            headers[name] = value
        return cls(parts[0], parts[1], parts[2], headers)

    def body_from(self, buffer: bytearray) -> bytes | None:
        """Takes what is there of the body; None while it is not whole."""
        if self._chunked:
            return self._dechunk(buffer)
        if self._size > MAX_BODY:
            raise BadHttp(413, TOO_LARGE)
        if len(buffer) < self._size:
            return None
        body = bytes(buffer[: self._size])
        del buffer[: self._size]
        return body

    def _dechunk(self, buffer: bytearray) -> bytes | None:
        while self._left >= 0 or self._next_chunk(buffer):
            if len(buffer) < self._left + 2:
                return None
            self._body += buffer[: self._left]
            if buffer[self._left : self._left + 2] != b"\r\n":
                raise BadHttp(400, "A chunk does not end where its size says")
            del buffer[: self._left + 2]
            self._left = UNKNOWN
        return bytes(self._body) if self._left == ENDED else None

    def _next_chunk(self, buffer: bytearray) -> bool:
        """Takes a size line, or the trailers after the last one; False where more bytes are needed, or none."""
        while self._left != ENDED:
            end = buffer.find(b"\r\n")
            if end < 0:
                if len(buffer) > MAX_HEAD:
                    raise BadHttp(400, "A line of the chunked body is too long")
                return False
            line = bytes(buffer[:end])
            del buffer[: end + 2]
            if self._left == TRAILERS:
                self._left = TRAILERS if line else ENDED
                continue
            self._left = _chunk_size(line) or TRAILERS
            if len(self._body) + self._left > MAX_BODY:
                raise BadHttp(413, TOO_LARGE)
            if self._left > 0:
                return True
        return False

    def request(self, body: bytes) -> Request:
        """The request, now that its body is there."""
        target = self.target
        if not target.startswith("/"):  # absolute form: this is how a client speaks to a proxy
            parts = urlsplit(target)
            target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        path, _, query = target.partition("?")
        wish = self.headers.get("connection", "").lower()
        return Request(
            method=self.method,
            path=unquote(path) if "%" in path else path,
            query=query,
            headers=self.headers,
            body=body,
            keep_alive="keep-alive" in wish if self.version == "HTTP/1.0" else "close" not in wish,
            version=self.version,
        )


def _length(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise BadHttp(400, f"Content-Length {text[:40]!r} is no length")
    return int(text)


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    if not digits or len(digits) > 15 or not all(c in b"0123456789abcdefABCDEF" for c in digits):
        raise BadHttp(400, f"{line[:40]!r} is no chunk size")
    return int(digits, 16)
