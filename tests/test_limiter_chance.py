"""Refusals by chance, told from those of a limit: they delay their own rows, and nobody else."""

from __future__ import annotations

import random
import statistics

import pytest
from pacing_servers import Bucket, Chancy, Crowd, Server
from pacing_simulation import play
from pacing_situations import plain

from batchchat.api import execute
from batchchat.events import Observer
from batchchat.job import resolve

SHARES = (0.02, 0.1, 0.3)


def undisturbed(*, latency, concurrency=64):
    return play(Server(), plain(1, median=latency), 10.0, concurrency=concurrency).throughput()


def job(share, *, latency=0.5, seconds=20.0, asks=None, seed=1, **how):
    server = Chancy(share, rng=random.Random(seed), asks=asks)
    return play(server, plain(1, median=latency), seconds, seed=seed, **{"concurrency": 64, **how})


@pytest.mark.parametrize("latency", [0.05, 0.5])
@pytest.mark.parametrize("asks", [None, 0.0])
@pytest.mark.parametrize("share", SHARES)
def test_a_refusal_by_chance_delays_its_row_only(share, asks, latency):
    """A share of bare 429s, whatever the rate, costs hardly more than that share of the throughput, and no pause.

    The median of some seeds: three in ten now and then look like a limit at first, eight in a row.
    """
    records = [job(share, asks=asks, latency=latency, seconds=10.0, seed=seed) for seed in (1, 2, 3)]
    throughput = statistics.median(record.throughput() for record in records)
    assert throughput >= 0.9 * (1 - share) * undisturbed(latency=latency)
    assert statistics.median(record.pauses for record in records) == 0


@pytest.mark.parametrize("share", SHARES)
def test_chance_that_asks_for_a_second_is_seen_through_within_seconds(share):
    """Each wait of a second is kept by all until a trial has shown that it depends on nothing; then by its row only."""
    record = job(share, asks=1.0, seconds=60.0)
    late = [moment for moment, _ in record.admitted if moment > 20.0]
    assert len(late) / 40.0 >= 0.85 * (1 - share) * undisturbed(latency=0.5)
    assert record.pauses <= 60


@pytest.mark.parametrize("share", SHARES)
def test_a_learned_pool_grows_in_spite_of_chance(share):
    """Refusals by chance keep nobody from finding how many in flight are best."""
    record = job(share, concurrency=None, latency=2.0)
    assert record.sizes[-1][1] >= 64


def test_a_limit_that_comes_after_chance_is_found():
    """Chance was seen through, then a limit comes up: the refusals in a row tell it."""

    class Later(Chancy):
        def arrive(self, now, row):
            if now < 60.0:
                return super().arrive(now, row)
            self.share = 0.0
            return limited.arrive(now, row)

    limited = Server(requests=Bucket(600, holds=1.0), retry_after=None)
    record = play(Later(0.1, rng=random.Random(1)), plain(1), 660.0, concurrency=64)
    late = [moment for moment, _ in record.admitted if moment > 120.0]
    refused = [moment for moment, _ in record.refused if moment > 60.0]
    assert len(late) / (late[-1] - late[0]) * 60 >= 0.85 * 600
    assert len(refused) <= 0.05 * len(late)


def test_chance_is_found_after_a_limit_that_is_gone():
    """A server that refused everything for half a second, and refuses one in ten ever after, is not crawled before."""

    class Overloaded(Chancy):
        def arrive(self, now, row):
            before, self.share = self.share, 1.0 if 3.0 < now < 3.5 else self.share
            reply = super().arrive(now, row)
            self.share = before
            return reply

    record = play(Overloaded(0.1, rng=random.Random(1)), plain(1), 120.0, concurrency=64)
    late = [moment for moment, _ in record.admitted if moment > 80.0]
    assert len(late) / 40.0 >= 0.8 * undisturbed(latency=0.5)


def test_too_many_at_once_are_no_chance():
    """A server that refuses what is more than 32 at once, with a word or without, is not asked with 64 for ever."""
    record = play(Crowd(32, retry_after=None), plain(1, median=1.0), 600.0, concurrency=64)
    assert record.share_refused <= 0.03


def test_a_limit_a_little_below_the_rate_is_no_chance():
    """Refusals that would stop at half the rate are a limit's, however few they are."""
    record = play(Server(requests=Bucket(6000, holds=1.0), retry_after=None), plain(1), 300.0, concurrency=64)
    assert record.used("requests", 6000) >= 0.80
    assert record.share_refused <= 0.05


class Pauses(Observer):
    """Counts the pauses of all."""

    def __init__(self):
        self.count = 0

    def throttled(self, error, *, delay):
        del error, delay
        self.count += 1


@pytest.mark.parametrize(("asks", "most"), [("none", 2), ("seconds", 40)])
def test_a_thousand_rows_with_one_in_ten_refused(tmp_path, simulator, asks, most):
    """Over a socket: some hundred refusals make all rows wait next to never, and every row gets its answer."""
    sim = simulator(faults={"429": 0.1}, retry_after=asks, latency=0.02)
    (tmp_path / "rows.csv").write_text("prompt\n" + "".join(f"row {number}\n" for number in range(1000)))
    options = {"base_url": sim.base_url, "model": "sim", "concurrency": 64, "output": str(tmp_path / "out.csv")}
    pauses = Pauses()
    summary = execute(resolve(options, input=str(tmp_path / "rows.csv"), environ={}), observer=pauses)
    assert (summary.succeeded, summary.failed) == (1000, 0)
    assert summary.requests >= 1050
    assert pauses.count <= most
