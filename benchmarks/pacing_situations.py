"""The situations that pacing is measured in, each against several models of servers, with what must be reached.

    SITUATIONS          the rows of the table in docs/pacing.md
    measure(...)        one run of one of them: quota used, share refused (and latency, for servers that queue)
    median(...)         the median of several seeds

"Used" is what was let in over what the limit allows, from the first to the last start, less what another client took.
It may exceed 100 %: a bucket begins full, and fifteen minutes can touch sixteen windows. For a server that queues it is
the throughput over the best that any fixed number in flight reaches.
"""

from __future__ import annotations

import functools
import random
import statistics
from dataclasses import dataclass, field

from pacing_servers import Batch, Bucket, Fixed, Others, Queue, Row, Server, Sliding
from pacing_simulation import play, play_workers

SECONDS = 900.0
RPM = 600
TPM = 400_000
MODELS = {"bucket": Bucket, "sliding": Sliding, "fixed": Fixed}
QUEUES = {
    "24 slots": (24, lambda: Queue(24)),
    "64 slots": (64, lambda: Queue(64)),
    "batch of 64": (64, lambda: Batch(64)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """One row of the table.

    Attributes:
        name: as the table has it.
        servers: by name, a function of a seed that makes one.
        rows: a function of a seed that makes the job.
        unit, limit: what is limited, a minute; no limit for servers that queue.
        told: what batchchat is told.
        used, refused: what must be reached: the least part of the quota, the largest share of refusals.
        slower: for servers that queue, the most by which the latency may exceed that of the best.
    """

    name: str
    servers: dict
    rows: object
    unit: str = "requests"
    limit: float = RPM
    told: dict = field(default_factory=dict)
    used: float
    refused: float
    slower: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a run came to: shares of 1; latency over that of the best."""

    used: float
    refused: float
    slower: float | None = None


def plain(seed, *, median=0.5, sigma=0.5):
    """Rows of one size with an uneven latency."""
    rng = random.Random(seed + 1000)
    while True:
        yield Row(latency=median * rng.lognormvariate(0, sigma))


def heavy(seed):
    """Prompts and completions with heavy tails; the client's count of a prompt is off by up to a fifth."""
    rng = random.Random(seed + 2000)
    while True:
        prompt = max(10, int(rng.lognormvariate(5.5, 0.8)))
        completion = min(1000, max(1, int(rng.lognormvariate(5.0, 1.0))))
        yield Row(
            prompt=prompt,
            guess=int(prompt * rng.uniform(0.8, 1.2)),
            completion=completion,
            most=1000,
            latency=0.3 + completion * 0.01,
        )


def _limited(limit=RPM, *, models=MODELS, **how):
    return {name: functools.partial(_server, model, limit, how) for name, model in models.items()}


def _server(model, limit, how, seed):
    del seed
    return Server(requests=model(limit), **how)


def _by_tokens(model, seed):
    del seed
    return Server(tokens=model(TPM))


def _shared(model, seed):
    others = Others(RPM / 60 / 2, rng=random.Random(seed + 3000))
    return Server(requests=model(RPM), headers=True, others=others)


def _quick_bucket(limit):
    return Bucket(limit, holds=1.0)


def _quick_bucket_of_a_minute(limit):
    return Bucket(limit, holds=1.0, minute=True)


WITH_QUICK = {**MODELS, "bucket of a second": _quick_bucket}

SITUATIONS = (
    Situation(
        name="RPM told",
        servers=_limited(),
        rows=plain,
        told={"concurrency": 64, "rpm": RPM},
        used=0.98,
        refused=0.001,
    ),
    Situation(
        name="TPM told, heavy-tailed prompts and completions",
        servers={name: functools.partial(_by_tokens, model) for name, model in MODELS.items()},
        rows=heavy,
        unit="tokens",
        limit=TPM,
        told={"concurrency": 256, "tpm": TPM},
        used=0.95,
        refused=0.005,
    ),
    Situation(
        name="told nothing, headers sent",
        servers=_limited(models={**WITH_QUICK, "the same, shown as a minute": _quick_bucket_of_a_minute}, headers=True),
        rows=plain,
        used=0.95,
        refused=0.01,
    ),
    Situation(
        name="told nothing, 429 with Retry-After only",
        servers=_limited(models=WITH_QUICK, retry_after="seconds"),
        rows=plain,
        used=0.88,
        refused=0.03,
    ),
    Situation(
        name="told nothing, 429 without anything",
        servers=_limited(models=WITH_QUICK, retry_after=None),
        rows=plain,
        used=0.80,
        refused=0.05,
    ),
    Situation(
        name="another client takes half of the quota",
        servers={name: functools.partial(_shared, model) for name, model in WITH_QUICK.items()},
        rows=plain,
        used=0.90,
        refused=0.03,
    ),
    Situation(
        name="queueing server, unknown best concurrency",
        servers={name: (lambda _, make=make: make()) for name, (_, make) in QUEUES.items()},
        rows=functools.partial(plain, median=1.0),
        limit=0.0,
        used=0.92,
        refused=0.0,
        slower=2.0,
    ),
)


def measure(situation, server, seed, *, how="batchchat", seconds=SECONDS):
    """One run.

    Args:
        situation: which.
        server: its name.
        seed: of latencies, sizes, ways and others.
        how: "batchchat"; "fixed" for 64 workers without pacing; "client" for 64 that retry as the official client does.
        seconds: of simulated time.
    """
    model = situation.servers[server](seed)
    rows = situation.rows(seed)
    if how == "batchchat":
        record = play(model, rows, seconds, seed=seed, **situation.told)
    else:
        record = play_workers(model, rows, seconds, seed=seed, polite=how == "client")
    if situation.slower is None:
        return Result(used=record.used(situation.unit, situation.limit), refused=record.share_refused)
    throughput, latency = best(server)
    return Result(
        used=record.throughput() / throughput,
        refused=record.share_refused,
        slower=statistics.fmean(each for _, each in record.latencies) / latency,
    )


@functools.cache
def best(server):
    """The best throughput of a queueing server over fixed numbers in flight, and the latency at the least of them."""
    size, make = QUEUES[server]
    found = []
    for concurrency in (size // 2, size, size * 5 // 4, size * 3 // 2, size * 2):
        record = play(make(), plain(1, median=1.0), SECONDS / 3, concurrency=concurrency)
        latency = statistics.fmean(each for moment, each in record.latencies if moment > 30)
        found.append((record.throughput(since=30), latency))
    most = max(throughput for throughput, _ in found)
    return most, next(latency for throughput, latency in found if throughput >= 0.98 * most)


def median(situation, server, seeds, *, how="batchchat", seconds=SECONDS):
    """The median of each figure over the seeds."""
    results = [measure(situation, server, seed, how=how, seconds=seconds) for seed in seeds]
    return Result(
        used=statistics.median(each.used for each in results),
        refused=statistics.median(each.refused for each in results),
        slower=None if situation.slower is None else statistics.median(each.slower for each in results),
    )
