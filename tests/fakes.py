"""A raw TCP server that answers as it is told, byte by byte: what well-behaved servers never do."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass, field
from http import HTTPStatus


def completion(content="hello", **more):
    """The JSON of a whole reply with one choice."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    reply = {"id": "chatcmpl-1", "object": "chat.completion", "model": "fake", "choices": [choice], "usage": usage}
    return json.dumps({**reply, **more}).encode()


def error(message="no", *, kind=None, code=None, param=None):
    """The JSON of the API's error object."""
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()


def delta(content=None, *, index=0, finish=None, **more):
    """One chunk of a stream."""
    said = {} if content is None else {"content": content}
    return {
        "id": "c",
        "model": "fake",
        "choices": [{"index": index, "delta": {**said, **more}, "finish_reason": finish}],
    }


def sse(*chunks, end="\n", done=True):
    """An event stream of these chunks (dicts, or texts as they are)."""
    texts = [chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False) for chunk in chunks]
    return "".join(f"data: {text}{end}{end}" for text in [*texts, *(["[DONE]"] if done else [])]).encode()


def http(body=b"", status=200, *, content_type="application/json", length=None, **headers):
    """A whole HTTP answer; `length` says another Content-Length than the body has. `retry_after` is `retry-after`."""
    reason = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Whatever"
    lines = [f"HTTP/1.1 {status} {reason}", f"content-type: {content_type}"]
    lines += [f"content-length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked_head(status=200, content_type="text/event-stream", **headers):
    """The head of an answer that comes in chunks."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} OK\r\ncontent-type: {content_type}\r\n{more}transfer-encoding: chunked\r\n\r\n".encode()


def chunk(data):
    """One chunk of the HTTP transfer coding; of no data, the last."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def chunked(*parts, status=200, content_type="text/event-stream", **headers):
    """A whole answer in chunks."""
    return chunked_head(status, content_type, **headers) + b"".join(chunk(part) for part in [*parts, b""])


@dataclass
class Received:
    """One request as it came; `connection` counts from 0."""

    method: str
    target: str
    headers: dict
    body: bytes
    connection: int

    @property
    def json(self):
        return json.loads(self.body)


@dataclass
class Peer:
    """The other end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    def close(self):
        self.writer.close()

    def reset(self):
        """Close with a reset instead of a farewell."""
        opened = self.writer.get_extra_info("socket")
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def wait_until_gone(self):
        """Return when the client has closed the connection."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(1 << 16):
                pass


@dataclass
class ScriptedServer:
    """Answers each request by the next item of its script, and the rest by the last one.

    An item is bytes to send, None to close the connection unanswered, or an async function of the `Peer` and the
    `Received` request. Use it as an async context manager.
    """

    script: list
    tls: object = None
    host: str = "127.0.0.1"
    received: list = field(default_factory=list)
    connections: int = 0
    _tasks: set = field(default_factory=set)

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, self.host, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        name = f"[{self.host}]" if ":" in self.host else self.host
        self.origin = f"{'https' if self.tls else 'http'}://{name}:{self.port}"
        self.url = f"{self.origin}/v1"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        number, self.connections = self.connections, self.connections + 1
        try:
            while (request := await self._read(reader, number)) is not None:
                self.received.append(request)
                item = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                peer = Peer(reader, writer)
                if item is None:
                    break
                await (peer.send(item) if isinstance(item, bytes) else item(peer, request))
                if writer.is_closing():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    @staticmethod
    async def _read(reader, number):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}
        method, target, _ = first.split(" ", 2)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Received(method, target, headers, body, number)


async def free_port():
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
