"""Refusals whose headers show limits that no answer ever showed: some servers send the same ones with every 429."""

from __future__ import annotations

import random

from batchchat import errors
from batchchat.limiter.admission import Admission
from batchchat.records import RateLimits

SAID = RateLimits(
    requests_limit=60,
    requests_remaining=0,
    requests_reset=1.0,
    tokens_limit=150_000,
    tokens_remaining=0,
    tokens_reset=360.0,
)


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def admitting():
    clock = Clock()
    return clock, Admission(concurrency=8, clock=clock, max_retry_after=600.0, max_outage=600.0, rng=random.Random(1))


def start(clock, admission):
    """The lease of a request that starts as soon as it may, and ends a hundredth of a second later."""
    while (at := admission.ask(clock.now, 120)) > clock.now:
        clock.now = at
    lease = admission.start(clock.now, 120)
    clock.now += 0.01
    return lease


def refusal():
    return errors.RateLimited("no", status=429, retry_after=1.0, limits=SAID)


def test_limits_that_only_refusals_show_hold_nobody_back():
    """The wait that was asked for is kept; a quota that no answer shows is not waited for (it was six minutes)."""
    clock, admission = admitting()
    began = clock.now
    for number in range(300):
        lease = start(clock, admission)
        if number % 10 == 9:
            lease.refused(refusal())
        else:
            lease.settle(tokens_used=11, limits=None, latency=0.01)
    assert clock.now - began < 120


def test_what_refusals_showed_before_the_first_answer_is_forgotten():
    """The first answer without such headers tells that those of refusals are the same each time."""
    clock, admission = admitting()
    for _ in range(3):
        start(clock, admission).refused(refusal())
    assert admission.shown.seen
    start(clock, admission).settle(tokens_used=11, limits=None, latency=0.01)
    assert not admission.shown.seen
    assert admission.shown.believed(SAID) is None


def test_refusals_are_believed_where_answers_show_limits():
    """An answer without headers now and then (from a cache) changes nothing."""
    clock, admission = admitting()
    left = RateLimits(tokens_limit=150_000, tokens_remaining=100_000, tokens_reset=120.0)
    for limits in (left, None, left, None):
        start(clock, admission).settle(tokens_used=11, limits=limits, latency=0.01)
    assert admission.shown.seen
    assert admission.shown.believed(SAID) is SAID
