"""The least that answers a chat completion: an asyncio protocol on loopback, so that a client is what is measured.

    python benchmarks/fast_server.py [--median SECONDS --sigma 0.6] [--rpm 30000]

Out: its base URL, the first line on stdout. GET /v1/stats gives counts as JSON. What a row waits for is drawn from its
own prompt (lognormal), so that every client waits for the same; without `--median` nobody waits. With `--rpm` requests
beyond a bucket that holds a second of the limit are refused with a 429. The simulator of the
package does far more for each request: limits, faults, tokens; it is slower than the clients, and would hide them.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import time
import zlib

import orjson

TEXT = (
    "praise and blame, in this order: bright enough for the forest road, and the switch stuck when it rained. The "
    "customer names one strength that lasted a winter and two defects of which the first is a fault of the lamp and "
    "the second a matter of the cable, so neither word alone would do, and the tone stays friendly to the end."
)
REPLY = (
    b'{"id":"chatcmpl-%08x","object":"chat.completion","created":1750000000,"model":"sim","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"%08x %s","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":%d,"completion_tokens":61,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}},"service_tier":"default","system_fingerprint":"fp_fast"}'
)
REFUSED = b"429 Too Many Requests\r\nretry-after: 1"
PLACES = 1 << 32


class Counts:
    def __init__(self) -> None:
        self.requests = self.refused = self.connections = self.in_flight = self.most_in_flight = 0
        self.first = self.last = 0.0


class Bucket:
    """So many requests a minute; it holds those of a second."""

    def __init__(self, per_minute: float) -> None:
        self._rate = per_minute / 60
        self._level, self._at = self._rate, time.monotonic()

    def takes(self) -> bool:
        now = time.monotonic()
        self._level = min(self._rate, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True


class Server(asyncio.Protocol):
    """One connection."""

    def __init__(self, counts: Counts, delay, bucket: Bucket | None) -> None:
        self._counts = counts
        self._delay = delay
        self._bucket = bucket
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._counts.connections += 1

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = 0
            if (at := head.find(b"content-length:")) >= 0:
                length = int(head[at + 15 :].split(b"\r\n", 1)[0])
            whole = end + 4 + length
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        counts = self._counts
        if head.startswith(b"get /v1/stats"):
            self._send(orjson.dumps(vars(counts)))
            return
        if head.startswith(b"get"):
            self._send(b'{"object":"list","data":[{"id":"sim","object":"model"}]}')
            return
        prompt = orjson.loads(body)["messages"][-1]["content"].encode()
        counts.requests += 1
        counts.last = time.monotonic()
        counts.first = counts.first or counts.last
        if self._bucket is not None and not self._bucket.takes():
            counts.refused += 1
            self._send(b'{"error":{"message":"too many","type":"requests","code":"rate_limit_exceeded"}}', REFUSED)
            return
        reply = REPLY % (zlib.crc32(prompt), zlib.crc32(prompt), TEXT.encode(), len(prompt) // 4, len(prompt) // 4 + 61)
        counts.in_flight += 1
        counts.most_in_flight = max(counts.most_in_flight, counts.in_flight)
        if self._delay is None:
            self._finish(reply)
        else:
            self._loop.call_later(self._delay(prompt), self._finish, reply)

    def _finish(self, reply: bytes) -> None:
        self._counts.in_flight -= 1
        self._send(reply)

    def _send(self, body: bytes, status: bytes = b"200 OK") -> None:
        if not self._transport.is_closing():
            head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
            self._transport.write(head + body)


def lognormal(median: float, sigma: float):
    """Seconds that a prompt waits, the same for every client that sends it."""
    normal = statistics.NormalDist().inv_cdf

    def delay(prompt: bytes) -> float:
        # Twice: the CRC of prompts that differ in one digit alone lies on a line.
        place = (zlib.crc32(b"%08x" % zlib.crc32(prompt)) * 2654435761 + 1) % PLACES
        return median * math.exp(sigma * normal((place + 0.5) / PLACES))

    return delay


async def serve(port: int, median: float, sigma: float, rpm: float) -> None:
    counts, delay = Counts(), lognormal(median, sigma) if median else None
    bucket = Bucket(rpm) if rpm else None
    server = await asyncio.get_running_loop().create_server(
        lambda: Server(counts, delay, bucket), "127.0.0.1", port, backlog=4096
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--median", type=float, default=0.0, help="seconds that a row waits; 0: none")
    parser.add_argument("--sigma", type=float, default=0.6, help="of the logarithm")
    parser.add_argument("--rpm", type=float, default=0.0, help="requests a minute; 0: no limit")
    chosen = parser.parse_args()
    try:
        from uvloop import run
    except ImportError:  # Windows
        from asyncio import run
    run(serve(chosen.port, chosen.median, chosen.sigma, chosen.rpm))


if __name__ == "__main__":
    main()
