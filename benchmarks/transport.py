"""What one request costs in this process: the transport beside a bare aiohttp loop.

    python benchmarks/transport.py [--rows 6000] [--concurrency 64] [--rounds 3]

Out: a Markdown table on stdout, CPU microseconds a request (user and system) and requests a second. The bare loop sends
JSON and parses the reply; ours makes the canonical body and its key, keeps a deadline, judges the reply and has the
retry policy. Rounds are interleaved, and the least of each is shown. The simulator runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import subprocess
import sys
import time

import aiohttp
import orjson

from batchchat.records import Endpoint, Secret
from batchchat.retry import RetryPolicy
from batchchat.transport import Transport
from batchchat.wire import make_request

TEXT = "lorem ipsum dolor " * 12


def asked(row):
    return {"model": "sim", "messages": [{"role": "user", "content": f"Label review {row}: {TEXT}"}], "max_tokens": 32}


async def workers(concurrency, work):
    began, cpu = time.perf_counter(), spent()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return spent() - cpu, time.perf_counter() - began


def spent():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def bare(url, rows, concurrency, total=None):
    numbers = iter(range(rows))
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
    limits = aiohttp.ClientTimeout(total=total)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=limits) as session:

        async def work():
            for row in numbers:
                async with session.post(f"{url}/chat/completions", data=orjson.dumps(asked(row))) as response:
                    reply = orjson.loads(await response.read())
                assert reply["choices"][0]["message"]["content"] is not None

        return await workers(concurrency, work)


async def with_timeout(url, rows, concurrency):
    return await bare(url, rows, concurrency, total=600)


async def ours(url, rows, concurrency):
    numbers, policy = iter(range(rows)), RetryPolicy()
    endpoint = Endpoint(base_url=url, key=Secret("sk-none"))
    async with Transport(endpoint, connections=concurrency, timeout=600, stream=False) as transport:

        async def work():
            for row in numbers:
                request = make_request(asked(row))
                assert (await policy.run(lambda request=request: transport.send(request))).contents[0] is not None

        return await workers(concurrency, work)


CLIENTS = {"bare aiohttp": bare, "bare aiohttp with its total timeout": with_timeout, "batchchat's transport": ours}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    o = parser.parse_args()
    try:
        from uvloop import run
    except ImportError:
        run = asyncio.run
    command = [sys.executable, "-m", "batchchat", "serve", "--model", "sim", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = server.stdout.readline().strip()
        best = {}
        for _ in range(o.rounds):
            for name, client in CLIENTS.items():
                cpu, seconds = run(client(url, o.rows, o.concurrency))
                known = best.get(name, (float("inf"), float("inf")))
                best[name] = (min(known[0], cpu), min(known[1], seconds))
    finally:
        server.terminate()
        server.wait()
    print("| client | CPU µs a request | requests/s |\n| --- | --- | --- |")
    for name, (cpu, seconds) in best.items():
        print(f"| {name} | {cpu / o.rows * 1e6:.0f} | {o.rows / seconds:.0f} |")


if __name__ == "__main__":
    main()
