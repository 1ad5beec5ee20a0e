"""Whole jobs in simulated time against models of servers: what issue by issue cannot be seen in a single module.

The situations and what must be reached in them stand in benchmarks/pacing_situations.py, and in docs/pacing.md.
"""

from __future__ import annotations

import random

import pytest
from pacing_servers import Bucket, Crowd, Fixed, Others, Queue, Row, Server, Sliding
from pacing_simulation import play
from pacing_situations import SITUATIONS, heavy, median, plain

SEEDS = (1, 2, 3)
ROWS = [(situation, server) for situation in SITUATIONS for server in situation.servers]


@pytest.mark.parametrize(("situation", "server"), ROWS, ids=lambda each: getattr(each, "name", each))
def test_the_quota_is_used_and_hardly_collided_with(situation, server):
    """Each row of the table in docs/pacing.md, as the median of three seeds over eleven minutes."""
    result = median(situation, server, SEEDS, seconds=660.0)
    assert result.used >= situation.used
    assert result.refused <= situation.refused
    if situation.slower is not None:
        assert result.slower <= situation.slower


@pytest.mark.parametrize("model", [Bucket, Sliding, Fixed])
@pytest.mark.parametrize("rpm", [7, 60, 3000])
def test_told_requests_never_meet_a_refusal(model, rpm):
    """Where the told limit is the server's, no way of counting minutes finds one request too many."""
    for seed in SEEDS:
        record = play(Server(requests=model(rpm)), plain(seed), 660.0, seed=seed, concurrency=128, rpm=rpm)
        assert not record.refused
        assert record.used("requests", rpm) >= 0.98 - 1 / rpm / 10


@pytest.mark.parametrize("jitter", [0.001, 0.1])
def test_told_requests_stand_a_long_way(jitter):
    """The way to the server may take much longer for one request than for another."""
    record = play(Server(requests=Sliding(600)), plain(1), 660.0, concurrency=64, rpm=600, way=0.2, jitter=jitter)
    assert len(record.refused) <= 1


def test_a_pause_saves_up_no_burst():
    """Where a window of one second is as long as what we pace by, one refusal does not lead to one after the other."""
    for seed in SEEDS:
        server = Server(requests=Sliding(1200, period=1.0), retry_after="seconds")
        record = play(server, plain(seed), 62.0, seed=seed, concurrency=64, rpm=1200, way=0.002, jitter=0.002)
        assert record.used("requests", 1200) >= 0.80
        assert len(record.refused) <= 12


def test_requests_and_tokens_are_kept_together():
    """With both told, the one that binds is used up and neither is passed."""
    server = Server(requests=Sliding(6000), tokens=Sliding(300_000))
    record = play(server, heavy(1), 660.0, concurrency=256, rpm=6000, tpm=300_000)
    assert record.used("tokens", 300_000) >= 0.95
    assert record.share_refused <= 0.005


def test_a_token_limit_alone_is_learned_from_refusals():
    """A limit of tokens that is neither told nor shown is found as a rate of requests."""
    record = play(Server(tokens=Bucket(400_000, holds=10.0), retry_after=None), heavy(1), 900.0)
    assert record.used("tokens", 400_000) >= 0.80
    assert record.share_refused <= 0.05


def test_tokens_are_steered_by_headers():
    """Told nothing, the token headers alone are enough."""
    record = play(Server(tokens=Sliding(400_000), headers=True), heavy(1), 900.0)
    assert record.used("tokens", 400_000) >= 0.90
    assert record.share_refused <= 0.01


def test_a_server_that_counts_what_was_asked_for_is_believed():
    """It counts prompt plus max_tokens; its headers show that less remains than we think."""
    server = Server(tokens=Bucket(400_000), headers=True, counts="asked")
    record = play(server, heavy(1), 900.0, concurrency=256, tpm=400_000)
    assert record.share_refused <= 0.02


@pytest.mark.parametrize("model", [Bucket, Sliding, Fixed])
def test_a_limit_a_day_in_the_headers_is_spent_and_then_kept(model):
    """200 a day: neither 200 a minute nor one every seven minutes, but 200 soon, and then what comes back."""
    limit = model(200 / 1440, holds=86400.0) if model is Bucket else model(200 / 1440, period=86400.0)
    limit.limit, limit.offset = 200, -1000.0
    record = play(Server(requests=limit, headers=True), plain(1), 7200.0)
    moments = [moment for moment, _ in record.admitted]
    assert 195 <= len([moment for moment in moments if moment < 1200]) <= 205
    assert len(record.refused) <= 3
    if model is Bucket:
        assert len([moment for moment in moments if moment > 1200]) >= 10


@pytest.mark.parametrize("lie", [10.0, 1000.0])
def test_headers_that_lie_are_corrected_by_refusals(lie):
    """They say ten times as much as there is: then the 429s teach the rate."""
    record = play(Server(requests=Bucket(600, holds=1.0), headers=True, lie=lie), plain(1), 900.0)
    assert record.used("requests", 600) >= 0.85
    assert record.share_refused <= 0.03


def test_refused_requests_that_count_do_not_lead_into_a_spiral():
    """Where a refusal costs quota too, what is left is still used."""
    record = play(Server(requests=Bucket(600, holds=1.0), count_refused=True), plain(1), 900.0)
    assert record.used("requests", 600) >= 0.80
    assert record.share_refused <= 0.05


def test_a_quota_that_becomes_free_is_found():
    """Another client leaves after five minutes: ten minutes later its part is used as well."""
    others = Others(5.0, rng=random.Random(4), on=300.0, off=1e9)
    server = Server(requests=Bucket(600, holds=10.0), others=others)
    record = play(server, plain(1), 1200.0)
    late = [moment for moment, _ in record.admitted if moment > 900]
    assert len(late) / (late[-1] - late[0]) * 60 >= 0.9 * 600


def test_a_lower_limit_is_accepted():
    """A limit that falls to a third in the middle of a job costs a few refusals, not the job."""
    limit = Bucket(1800, holds=1.0)

    class Falling(Server):
        def arrive(self, now, row):
            if now > 300 and limit.rate == 30.0:
                limit.limit, limit.rate, limit.size = 600, 10.0, 10.0
            return super().arrive(now, row)

    record = play(Falling(requests=limit), plain(1), 900.0)
    late = [moment for moment, _ in record.admitted if moment > 400]
    assert len(late) / (late[-1] - late[0]) * 60 >= 0.85 * 600
    assert record.share_refused <= 0.03


def test_no_more_than_a_few_are_refused_where_too_many_at_once_are():
    """A server that refuses what is more than 32 at once is kept busy with few refusals."""
    record = play(Crowd(32), plain(1, median=1.0), 600.0)
    best = play(Crowd(32), plain(1, median=1.0), 200.0, concurrency=32).throughput(since=10.0)
    assert record.throughput() >= 0.65 * best
    assert record.share_refused <= 0.03


def test_a_given_concurrency_is_kept_where_the_server_queues():
    """Who gives -c 64 gets 64, however slow that makes each answer."""
    record = play(Queue(8), plain(1), 120.0, concurrency=64)
    assert {size for _, size in record.sizes} == {64}


def test_a_given_concurrency_is_the_ceiling_and_is_returned_to():
    """Refusals lower the pool for a while; it comes back to what was given and never goes beyond."""

    class Grudging(Crowd):
        def arrive(self, now, row):
            self.most = 16 if now < 30 else 1000
            return super().arrive(now, row)

    server = Grudging(16)
    record = play(server, plain(1), 600.0, concurrency=48)
    sizes = [size for _, size in record.sizes]
    assert min(sizes) < 48
    assert max(sizes) == 48
    assert sizes[-1] == 48


def test_without_any_limit_it_grows_as_long_as_that_helps():
    """A server that only has latency, with a heavy tail, is given hundreds in flight within a few minutes."""
    record = play(Server(), plain(1, median=1.0, sigma=1.0), 120.0)
    assert record.sizes[-1][1] >= 512
    assert not record.refused


def test_a_pool_that_is_not_used_does_not_grow():
    """A rate that holds requests back leaves the pool as it is: it is not what they wait for."""
    record = play(Server(), plain(1), 300.0, rpm=60)
    assert record.sizes[-1][1] == 16


def test_nothing_is_sent_before_retry_after_and_then_not_all_at_once():
    """After a pause of 20 seconds the first starts come one by one, the first of them not a moment early."""
    refused_at = []

    class Once(Server):
        def arrive(self, now, row):
            if now > 10 and not refused_at:
                refused_at.append(now)
            if refused_at and now < refused_at[0] + 20.0:
                reply = super().arrive(now, row)
                return type(reply)(after=0.02, admitted=False, retry_after=refused_at[0] + 20.0 - now)
            return super().arrive(now, row)

    record = play(Once(), plain(1), 60.0, concurrency=64)
    over = refused_at[0] + 20.0
    late_refusals = [moment for moment, _ in record.refused if moment > refused_at[0] + 0.5]
    assert not late_refusals
    assert len([moment for moment, _ in record.admitted if over <= moment < over + 0.15]) <= 3


def test_explain_names_the_headers_and_the_server():
    """The bound of a job says where its number comes from."""
    shown = play(Server(requests=Bucket(600), headers=True), plain(1), 300.0).bound
    assert shown.kind == "requests"
    assert "headers" in str(shown)
    learned = play(Server(requests=Bucket(600, holds=1.0)), plain(1), 300.0).bound
    assert "refusals have taught" in str(learned)
    queueing = play(Queue(24), plain(1, median=1.0), 300.0).bound
    assert queueing.kind == "server"
    given = play(Server(), plain(1), 60.0, concurrency=8).bound
    assert given.kind == "concurrency"
    assert "-c" in given.advice


def test_simulation_is_deterministic():
    """The same seed gives the same job, to the last arrival."""
    one, other = (play(Server(requests=Bucket(600)), plain(1), 60.0, seed=5) for _ in range(2))
    assert one.admitted == other.admitted
    assert one.refused == other.refused


def test_one_large_row_among_many_is_sent_in_its_turn():
    """A row of three quarters of the minute's tokens is not overtaken for ever, nor refused."""
    rows = [Row(prompt=100, guess=100, completion=50, most=60)] * 200
    rows.insert(50, Row(prompt=7_400, guess=7_400, completion=50, most=60))
    server = Server(tokens=Sliding(10_000))
    record = play(server, iter(rows * 3), 240.0, concurrency=32, tpm=10_000)
    assert max(amount for _, amount in record.admitted[:60]) == 7_450
