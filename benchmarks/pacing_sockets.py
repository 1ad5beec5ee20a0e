"""The situations of pacing over sockets, in real time, against `python -m batchchat.serve --model sim`.

    await measure(scene, how)      one run of a scene, about a minute: "batchchat", "fixed" or "client"

batchchat runs as people run it: the command, on a CSV file. The others are 64 workers on a bare aiohttp session:
without pacing (a refused row waits a second), or with the retries of the official client. What was let in and refused
is the simulator's own count. Windows are six seconds long instead of sixty, so that a minute has ten of them; those of
tokens are twenty, since a window must hold many requests for their sizes to even out.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import itertools
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

SECONDS = 62.0
RPM = 1200
TPM = 600_000
WINDOW = 6.0
HEAVY_WINDOW = 20.0
WORKERS = 64
SLOTS = 24
LATENCY = 0.5
MEAN_OVER_MEDIAN = 1.133  # of a lognormal with sigma 0.5
TOKENS_OF_A_HEAVY_ROW = 575  # measured with the rows below
SERVERS = {
    "bucket of a second": {"window": "bucket", "burst-seconds": 1},
    "bucket": {"window": "bucket", "burst-seconds": WINDOW},
    "sliding": {"window": "sliding", "window-seconds": WINDOW},
    "fixed": {"window": "fixed", "window-seconds": WINDOW},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A row of the table over sockets: the simulator's settings, batchchat's options, and what is counted."""

    name: str
    server: str
    settings: dict
    options: list = field(default_factory=list)
    unit: str = "requests"
    limit: float = RPM
    heavy: bool = False
    seconds: float = SECONDS

    @property
    def rows(self):
        if self.server == "queue":
            return int(SLOTS / LATENCY * self.seconds)
        return int(self.limit / 60 * self.seconds / (TOKENS_OF_A_HEAVY_ROW if self.heavy else 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Shares of 1, and for a queue the latency over that of the server alone."""

    used: float
    refused: float
    slower: float | None = None


def scenes():
    """Every situation against every way of counting."""
    base = {"latency": LATENCY, "latency-sigma": 0.5}
    silent = {**base, "rpm": RPM, "headers": "none"}
    quiet = {"retry-after": "none"}
    for server, how in SERVERS.items():
        if server != "bucket of a second":
            yield Scene(
                name="RPM told", server=server, settings={**silent, **how}, options=["-c", WORKERS, "--rpm", RPM]
            )
            yield Scene(
                name="TPM told, heavy-tailed prompts and completions",
                server=server,
                unit="tokens",
                limit=TPM,
                settings={
                    **base,
                    "tpm": TPM,
                    "headers": "none",
                    "tokens": 150,
                    "tokens-sigma": 1.0,
                    "window": server,
                    "window-seconds": HEAVY_WINDOW,
                    "burst-seconds": HEAVY_WINDOW,
                },
                options=["-c", 256, "--tpm", TPM, "--max-tokens", 2000],
                heavy=True,
                seconds=10 * HEAVY_WINDOW + 5,
            )
        yield Scene(name="told nothing, headers sent", server=server, settings={**base, "rpm": RPM, **how})
        yield Scene(name="told nothing, 429 with Retry-After only", server=server, settings={**silent, **how})
        yield Scene(name="told nothing, 429 without anything", server=server, settings={**silent, **quiet, **how})
        yield Scene(
            name="another client takes half of the quota",
            server=server,
            limit=RPM / 2,
            settings={**base, "rpm": RPM, "others": 0.5, **how},
        )
    yield Scene(
        name="queueing server, unknown best concurrency", server="queue", limit=0.0, settings={**base, "slots": SLOTS}
    )


async def measure(scene, how, *, seed=1):
    """One run of a scene."""
    async with _serve({**scene.settings, "seed": seed}) as url, aiohttp.ClientSession() as session:
        seen = []
        watching = asyncio.create_task(_watch(session, url, seen))
        try:
            if how == "batchchat":
                await _batchchat(scene, url, seed)
            else:
                await _pool(scene, url, seed, polite=how == "client")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        async with session.get(f"{url}/sim/stats") as reply:
            stats = await reply.json()
    refused = sum(stats["refused"].values())
    if scene.server == "queue":
        return _queued(seen, refused)
    seconds = max(stats["admitted_seconds"], 1e-9)
    share = refused / max(1, refused + stats["admitted"])
    amount = stats["admitted_tokens"] if scene.unit == "tokens" else stats["admitted"]
    return Result(used=amount / (scene.limit / 60 * seconds), refused=share)


@contextlib.asynccontextmanager
async def _serve(settings):
    options = [text for name, value in settings.items() for text in (f"--{name}", str(value))]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "batchchat.serve",
        "--model",
        "sim",
        "--port",
        "0",
        *options,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        line = await process.stdout.readline()
        yield line.decode().split()[-1].removesuffix("/v1").rstrip("/")
    finally:
        process.terminate()
        await process.wait()


async def _watch(session, url, seen):
    """Looks twice a second at the moment, what was answered, and what is in flight."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(0.5)
        async with session.get(f"{url}/sim/stats") as reply:
            stats = await reply.json()
        seen.append((loop.time(), stats["answered"], stats["in_flight"]))


def _queued(seen, refused):
    """The throughput while it was busy over what the slots can do, and the latency by Little's law."""
    busy = [each for each in seen if each[2] >= SLOTS / 4]
    (begun, before, _), (ended, after, _) = busy[0], busy[-1]
    throughput = (after - before) / (ended - begun)
    alone = LATENCY * MEAN_OVER_MEDIAN
    latency = sum(in_flight for *_, in_flight in busy) / len(busy) / throughput
    return Result(used=throughput * alone / SLOTS, refused=refused / max(1, refused + after), slower=latency / alone)


async def _batchchat(scene, url, seed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["prompt"])
            writer.writerows([prompt] for prompt in itertools.islice(_prompts(scene, seed), scene.rows))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "batchchat",
            "run",
            path,
            "-m",
            "sim",
            "--base-url",
            f"{url}/v1",
            "--quiet",
            *map(str, scene.options),
            stdin=asyncio.subprocess.DEVNULL,
        )
        try:
            if await process.wait():
                raise RuntimeError(f"batchchat ended with exit status {process.returncode} in {scene}")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def _prompts(scene, seed):
    rng = random.Random(seed)
    for number in itertools.count():
        length = min(20_000, int(4 * rng.lognormvariate(5.5, 0.8))) if scene.heavy else 200
        yield f"{number} " + "word " * (length // 5)


async def _pool(scene, url, seed, *, polite):
    prompts, rng = _prompts(scene, seed), random.Random(seed)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        workers = [asyncio.create_task(_worker(session, url, prompts, rng, polite)) for _ in range(WORKERS)]
        await asyncio.sleep(scene.seconds)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


async def _worker(session, url, prompts, rng, polite):
    for prompt in prompts:
        body = {"model": "sim", "messages": [{"role": "user", "content": prompt}], "max_tokens": 2000}
        for attempt in itertools.count():
            async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
                await reply.read()
            if reply.status == 200 or (polite and attempt == 2):
                break
            await asyncio.sleep(_delay(reply, attempt, rng) if polite else 1.0)


def _delay(reply, attempt, rng):
    told = float(reply.headers.get("retry-after", 0))
    return told if 0 < told <= 120 else min(0.5 * 2**attempt, 8.0) * (1 - 0.25 * rng.random())
