"""The arithmetic of pacing, with a clock that only the test moves."""

from __future__ import annotations

import collections
import itertools
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchchat import errors, events
from batchchat.limiter import Bound, waits
from batchchat.limiter.admission import FOREVER, Admission
from batchchat.limiter.completions import Completions
from batchchat.limiter.pace import Pace
from batchchat.limiter.quota import MINUTE, Quota
from batchchat.limiter.window import Window
from batchchat.records import RateLimits


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Watcher(events.Observer):
    def __init__(self):
        self.told = []

    def throttled(self, error, *, delay):
        self.told.append(("throttled", round(delay, 3)))

    def paused(self, reason):
        self.told.append(("paused", reason))

    def note(self, message):
        self.told.append(("note", message))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watcher():
    return Watcher()


@pytest.fixture
def make(clock, watcher):
    def admission(concurrency=8, **settings):
        settings = {"max_retry_after": 600.0, "max_outage": 600.0, **settings}
        return Admission(concurrency=concurrency, clock=clock, observer=watcher, rng=random.Random(1), **settings)

    return admission


def free(admission, tokens=1):
    """Whether a request may start now."""
    return admission.ask(admission.clock(), tokens) <= admission.clock()


def start(admission, tokens=1, *, front=False):
    assert free(admission, tokens)
    return admission.start(admission.clock(), tokens, front=front)


def wait(clock, admission, tokens=1):
    """Moves the clock to where a request may start; gives how long that took."""
    begun = clock.now
    while not free(admission, tokens):
        clock.now = admission.ask(clock.now, tokens)
    return clock.now - begun


def run(clock, admission, seconds, tokens=lambda: 1, used=None, latency=1.0):
    """Starts whatever may start and answers after `latency`: gives the moments and tokens of the starts."""
    until = clock.now + seconds
    starts, ends = [], []
    while True:
        amount = tokens()
        while (at := admission.ask(clock.now, amount)) > clock.now:
            end = min((when for when, *_ in ends), default=FOREVER)
            clock.now = min(at, end, until)
            if clock.now >= until:
                return starts
            for each in [each for each in ends if each[0] <= clock.now]:
                ends.remove(each)
                each[1].settle(tokens_used=each[2], limits=None, latency=latency)
        actual = used(amount) if used else amount
        starts.append((clock.now, actual))
        estimate = admission.completions.recall(amount)
        lease = admission.start(clock.now, amount, prompt=estimate and estimate[0])
        ends.append((clock.now + latency, lease, actual))


def most_within(starts, span):
    """The most that any window of this length saw, each window closed at its later end only."""
    most = total = first = 0
    for moment, amount in starts:
        total += amount
        while starts[first][0] <= moment - span:
            total -= starts[first][1]
            first += 1
        most = max(most, total)
    return most


def share_beyond(starts, span, limit):
    """The share of starts that a server with a sliding window would refuse, if it knew the tokens beforehand."""
    kept, total, refused = collections.deque(), 0, 0
    for moment, amount in starts:
        while kept and kept[0][0] <= moment - span:
            total -= kept.popleft()[1]
        if total + amount > limit:
            refused += 1
            continue
        kept.append((moment, amount))
        total += amount
    return refused / len(starts)


# Pace and window


def test_pace_starts_nearly_empty():
    """The first start is free, the second waits its turn: no burst at the beginning of a job."""
    pace = Pace(10.0)
    assert pace.ready_at(1) == float("-inf")
    pace.take(100.0, 1)
    assert pace.ready_at(1) == pytest.approx(100.1)


def test_pace_saves_up_a_fifth_of_a_second():
    """After an idle time at most 0.2 seconds of the allowance start at once."""
    pace = Pace(100.0)
    pace.take(0.0, 1)
    burst = 0
    while pace.ready_at(1) <= 10.0:
        pace.take(10.0, 1)
        burst += 1
    assert burst == 20


def test_pace_lets_a_large_amount_go_and_makes_the_next_wait_for_it():
    """An amount beyond the burst is not turned away: it is paid off by those after it."""
    pace = Pace(100.0)
    pace.take(0.0, 1000)
    assert pace.ready_at(1) == pytest.approx(10.0, abs=0.25)


def test_pace_keeps_what_is_owed_when_it_changes():
    """Half the pace makes what is still owed take twice as long."""
    pace = Pace(100.0)
    pace.take(0.0, 1000)
    before = pace.ready_at(100) - 0.0
    pace.change(0.0, 50.0)
    assert pace.ready_at(100) == pytest.approx(2 * before, abs=0.2)


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 400)), min_size=1, max_size=200),
    st.integers(300, 1000),
)
def test_window_never_holds_more_than_its_limit(steps, limit):
    """Whatever is taken when the window says so, no span of real time ever sees more than the limit."""
    window, now, starts = Window(limit, 60.0, now=0.0), 0.0, []
    for pause, wish in steps:
        amount = min(wish, limit)
        now += pause
        while (at := window.ready_at(now, amount)) > now:
            now = at
        window.take(now, amount)
        starts.append((now, amount))
    assert most_within(starts, 60.0) <= limit


def test_window_lets_go_soon_after_its_span():
    """What has left the span is free again at most one bin later."""
    window = Window(2, 60.0, now=0.0)
    window.take(0.0, 1)
    window.take(30.0, 1)
    assert 60.0 <= window.ready_at(30.0, 1) <= 60.2


def test_window_takes_what_is_larger_than_itself_when_it_is_empty():
    """An amount that never fits waits for the window to be empty, not for ever."""
    window = Window(100, 60.0, now=0.0)
    window.take(0.0, 10)
    at = window.ready_at(1.0, 500)
    assert 60.0 <= at < 61.0
    assert window.ready_at(at, 500) == at


def test_window_forgets_what_was_refunded():
    """Settling an amount downwards makes room at once; settling what has left changes nothing."""
    window = Window(100, 60.0, now=0.0)
    window.take(0.0, 100)
    window.settle(1.0, 0.0, -40)
    assert window.ready_at(1.0, 40) == 1.0
    window.settle(200.0, 0.0, -60)
    assert window.total == pytest.approx(0.0)


# Limits that were told


@pytest.mark.parametrize("rpm", [1, 7, 60, 600, 3000])
def test_told_requests_are_never_passed_and_nearly_reached(clock, make, rpm):
    """In no minute more requests than told, and over ten minutes at least 98 % of them."""
    admission = make(concurrency=1000, rpm=rpm)
    starts = run(clock, admission, 600.0)
    assert most_within(starts, MINUTE) <= rpm
    elapsed = starts[-1][0] - starts[0][0]
    assert (len(starts) - 1) / elapsed * 60 >= 0.98 * rpm


def test_told_requests_are_even(clock, make):
    """A second of a minute's limit sees a second's share and the burst, since servers count by the second too."""
    starts = run(clock, make(concurrency=1000, rpm=3000), 30.0)
    assert most_within(starts, 1.0) <= 50 + 10


def test_told_tokens_are_reached_by_what_was_used(clock, make):
    """Heavy-tailed completions: at least 95 % of the limit is used, and hardly a start finds it passed."""
    rng, tpm = random.Random(3), 400_000
    admission = make(concurrency=1000, tpm=tpm)
    spent = []

    def used(reserved):
        spent.append(max(20, int(rng.lognormvariate(5.8, 0.9))) + 400)
        return spent[-1]

    starts = run(clock, admission, 900.0, tokens=lambda: admission.completions.estimate(400, 4096), used=used)
    warm = [each for each in starts if each[0] > starts[0][0] + 120]
    assert sum(amount for _, amount in warm) / (warm[-1][0] - warm[0][0]) * 60 >= 0.95 * tpm
    assert share_beyond(starts, MINUTE, tpm) <= 0.005


def test_a_large_request_does_not_starve(clock, make):
    """A request of half the budget is admitted in its turn although small ones ask all the time."""
    admission = make(concurrency=1000, tpm=6000)
    sizes = itertools.cycle([100, 100, 3000, 100, 100])
    starts = run(clock, admission, 240.0, tokens=lambda: next(sizes))
    assert [amount for _, amount in starts][:8] == [100, 100, 3000, 100, 100, 100, 100, 3000]


def test_a_request_beyond_the_whole_budget_goes_alone_and_is_said(clock, make, watcher):
    """It waits until nothing of the minute is in use, then goes; the person is told once."""
    admission = make(tpm=1000)
    start(admission, 500).settle(tokens_used=500, limits=None, latency=1.0)
    assert 55.0 < wait(clock, admission, 5000) < 65.0
    assert [kind for kind, _ in watcher.told] == ["note"]
    start(admission, 5000)
    assert admission.ask(clock.now, 1) - clock.now > 50


def test_a_day_is_used_up_as_fast_as_the_minute_allows(clock, make, watcher):
    """200 a day are sent now, and the next ones tomorrow; the person is told of the long wait."""
    admission = make(concurrency=1000, rpd=200)
    starts = run(clock, admission, 3600.0)
    assert len(starts) == 200
    assert 23 * 3600 < admission.ask(clock.now, 1) - clock.now < 25 * 3600
    assert admission.known.duration(20_000) == pytest.approx(99 * 86400)
    assert "used up for now" in watcher.told[0][1]


def test_nothing_is_taken_where_one_limit_says_no(clock, make):
    """A request that waits for tokens takes no request and no slot meanwhile."""
    admission = make(rpm=600, tpm=6000)
    start(admission, 6000)
    for _ in range(5):
        assert not free(admission, 100)
    assert admission.pool.in_flight == 1
    assert admission._requests[0].used == 1


def test_tokens_are_settled_by_usage(clock, make):
    """A reservation of 4,000 that used 100 leaves the rest to the others."""
    admission = make(tpm=6000)
    lease = start(admission, 4000)
    clock.now += 2
    assert not free(admission, 100)
    lease.settle(tokens_used=100, limits=None, latency=1.0)
    assert free(admission, 100)


def test_hold_back_leaves_at_least_half():
    """However uncertain what is in flight is, half of the limit stays usable."""
    quota = Quota("tokens", 1000, MINUTE, now=0.0)
    quota.take(0.0, 1)
    quota.hold_back(1e9)
    assert quota.ready_at(10.0, 400) <= 10.0


# What completions take


def test_estimate_begins_with_the_most_and_learns_the_mean():
    """Before the first answer the whole max_tokens is reserved, later what the job really takes."""
    completions = Completions()
    assert completions.estimate(100, 4096) == 4196
    for _ in range(300):
        completions.learn(50)
    assert completions.estimate(100, 4096) == pytest.approx(150, abs=2)
    assert completions.estimate(100, 20) == 120


def test_estimate_without_a_bound_is_finite():
    """No max_tokens and no answer yet: a round guess, not nothing and not everything."""
    assert 100 < Completions().estimate(100, None) < 5000


def test_learning_measures_against_what_was_reserved(clock, make):
    """A prompt counted 100 too low shows up in the completions, so that the next reservation is right."""
    admission = make(tpm=1_000_000)
    for _ in range(200):
        tokens = admission.completions.estimate(300, 1000)
        wait(clock, admission, tokens)
        lease = admission.start(clock.now, tokens, prompt=300)
        lease.settle(tokens_used=400 + 50, limits=None, latency=1.0)
    assert admission.completions.estimate(300, 1000) == pytest.approx(450, abs=5)


# Slots


def test_slots_bound_what_is_in_flight(make):
    """No more than `concurrency` are in flight; one that comes back makes room."""
    admission = make(concurrency=2)
    first, _ = start(admission), start(admission)
    assert admission.ask(1000.0, 1) == FOREVER
    first.released()
    assert free(admission)


def test_many_slots_open_within_a_second(clock, make):
    """4,096 slots open within a second, the first at once, 256 within an eighth of one."""
    for size, seconds in ((4096, 1.0), (256, 0.13), (16, 0.0)):
        admission, begun = make(concurrency=size), clock.now
        for _ in range(size):
            wait(clock, admission)
            start(admission)
        assert clock.now - begun <= seconds + 1e-6


def test_a_lease_ends_once(make):
    """A second end of the same lease changes nothing."""
    admission = make()
    lease = start(admission)
    lease.settle(tokens_used=None, limits=None, latency=1.0)
    lease.released()
    lease.failed(errors.ServerError("late", status=500))
    assert admission.pool.in_flight == 0


# Refusals


def refusal(after=None, limits=None, status=429):
    return errors.RateLimited("slow down", status=status, retry_after=after, limits=limits)


def refuse_for_ever(clock, admission, status):
    for _ in range(50):
        wait(clock, admission)
        start(admission).refused(refusal(after=5.0, status=status))


def test_retry_after_holds_everybody(clock, make, watcher):
    """After a refusal nothing starts before the time asked for."""
    admission = make()
    lease = start(admission)
    lease.refused(refusal(after=20.0))
    assert admission.ask(clock.now, 1) == clock.now + 20.0
    clock.now += 19.999
    assert not free(admission)
    clock.now += 0.002
    assert free(admission)
    assert watcher.told == [("throttled", 20.0)]


def test_late_refusals_belong_to_the_same_episode(clock, make, watcher):
    """Requests that started before the pause and are refused during it pause nobody a second time."""
    admission = make(concurrency=16)
    leases = [start(admission) for _ in range(16)]
    while not watcher.told:
        leases.pop(0).refused(refusal())
    until = admission.freeze.until
    clock.now += 0.2
    assert leases
    for lease in leases:
        lease.refused(refusal())
    assert admission.freeze.until == until
    assert len(watcher.told) == 1


def test_a_later_retry_after_is_kept_too(clock, make):
    """Nothing is sent before any of the times that were asked for, also by late refusals."""
    admission = make()
    first, second = start(admission), start(admission)
    first.refused(refusal(after=1.0))
    clock.now += 0.5
    second.refused(refusal(after=3.0))
    assert admission.freeze.until == clock.now + 3.0


def test_pauses_without_retry_after_double(clock, make, watcher):
    """Where no time is asked for, each refused attempt after a pause doubles it, up to half a minute."""
    admission = make()
    for _ in range(9):
        wait(clock, admission)
        start(admission).refused(refusal())
    pauses = [delay for _, delay in watcher.told]
    assert 0.5 <= pauses[0] <= 0.625
    assert 1.0 <= pauses[1] <= 1.25
    assert 30.0 <= pauses[-1] <= 37.5


def test_a_pause_of_our_own_is_never_longer_than_the_reset(clock, make, watcher):
    """The headers say when the quota is whole again: no need to wait longer."""
    admission = make()
    start(admission).refused(refusal(limits=RateLimits(requests_remaining=0, requests_reset=0.3)))
    assert watcher.told == [("throttled", 0.3)]


def test_one_goes_first_after_a_pause(clock, make):
    """The first request after a pause goes alone; the others follow when it was not refused at once."""
    admission = make()
    for lease in [start(admission) for _ in range(8)]:
        lease.refused(refusal(after=5.0))
    clock.now += 5.0
    start(admission)
    assert not free(admission)
    assert clock.now < admission.ask(clock.now, 1) <= clock.now + 2.0


def test_an_answer_ends_the_look_ahead(clock, make):
    """When the first one is answered, the others need not wait any longer."""
    admission = make()
    start(admission).refused(refusal(after=5.0))
    clock.now += 5.0
    lease = start(admission)
    clock.now += 0.01
    lease.settle(tokens_used=10, limits=None, latency=0.01)
    assert admission.freeze.until <= clock.now


def test_a_wait_beyond_patience_stops_the_job(clock, make):
    """The refusal says so, and so does everything after it: how long, until when, and which option."""
    admission = make()
    lease = start(admission)
    with pytest.raises(errors.WaitTooLong, match=r"2 h.*--max-retry-after \(10 min\).*come back at \d"):
        lease.refused(refusal(after=7200.0))
    with pytest.raises(errors.WaitTooLong):
        admission.ask(clock.now, 1)
    assert admission.pool.in_flight == 0


def test_refusing_everything_for_ever_stops_the_job(clock, make):
    """An endpoint that refuses every request for longer than --max-outage is not waited for."""
    admission = make(max_outage=60.0)
    with pytest.raises(errors.WaitTooLong, match="refused every request"):
        refuse_for_ever(clock, admission, 429)


def test_an_overloaded_endpoint_that_never_recovers_is_down(clock, make):
    """503 with Retry-After for longer than --max-outage is an outage."""
    admission = make(max_outage=60.0)
    with pytest.raises(errors.EndpointDown):
        refuse_for_ever(clock, admission, 503)


def test_tokens_of_a_refused_request_stay_spent_unless_the_server_shows_otherwise(clock, make):
    """They are given back only where the remainder in the headers does not contain them."""
    admission = make(tpm=10_000)
    quota = admission._tokens[0]
    start(admission, 4000).refused(refusal(after=1.0))
    assert quota.used == 4000
    clock.now += 60.0
    shown = RateLimits(tokens_limit=10_000, tokens_remaining=6_000)
    start(admission, 4000).refused(refusal(after=1.0, limits=shown))
    assert quota.used == 4000


# The breaker


def dead():
    return errors.ConnectionLost("cannot connect")


def sick():
    return errors.ServerError("oops", status=500)


def probe_for_ever(clock, admission):
    for _ in range(100):
        clock.now = max(clock.now, admission.ask(clock.now, 1))
        if free(admission):
            start(admission).failed(dead())


def test_a_dead_endpoint_opens_the_breaker_and_is_probed(clock, make, watcher):
    """After a few connections that could not be had only one request at a time is sent, at growing intervals."""
    admission = make(concurrency=4)
    for _ in range(3):
        start(admission).failed(dead())
    assert admission.breaker.open
    assert not admission.answered
    gaps = []
    for _ in range(5):
        before = clock.now
        clock.now = admission.ask(clock.now, 1)
        gaps.append(clock.now - before)
        probe = start(admission)
        assert admission.ask(clock.now, 1) > clock.now + 60  # one probe at a time
        probe.failed(dead())
    assert gaps == sorted(gaps)
    assert gaps[0] < 0.5
    assert gaps[-1] > 2.0
    assert [kind for kind, _ in watcher.told] == ["paused"]


def test_an_answer_closes_the_breaker(clock, make, watcher):
    """A probe that is answered lets everybody go on, and the person is told."""
    admission = make(concurrency=4)
    for _ in range(3):
        start(admission).failed(dead())
    clock.now = admission.ask(clock.now, 1)
    start(admission).settle(tokens_used=1, limits=None, latency=0.1)
    assert not admission.breaker.open
    assert admission.answered
    assert watcher.told[-1] == ("paused", "")
    assert free(admission)


@pytest.mark.parametrize("end", ["refused", "released"])
def test_a_refusal_is_an_answer_too(clock, make, end):
    """A probe that gets 429, or 400, has shown that the endpoint lives."""
    admission = make(concurrency=4)
    for _ in range(3):
        start(admission).failed(dead())
    clock.now = admission.ask(clock.now, 1)
    probe = start(admission)
    probe.refused(refusal(after=1.0)) if end == "refused" else probe.released()
    assert not admission.breaker.open


def test_after_patience_the_job_stops(clock, make):
    """--max-outage seconds without an answer: everybody who asks is told that it is down, and the last error."""
    admission = make(concurrency=4, max_outage=60.0)
    for _ in range(3):
        start(admission).failed(dead())
    begun = clock.now
    with pytest.raises(errors.EndpointDown, match=r"60 s \(--max-outage\).*cannot connect"):
        probe_for_ever(clock, admission)
    assert clock.now - begun == pytest.approx(60.0)


def test_errors_on_everything_open_the_breaker(clock, make):
    """500 on the first attempt of one row after the other is an endpoint that is down."""
    admission = make(concurrency=1)
    for _ in range(5):
        start(admission).failed(sick())
    assert admission.breaker.open


def test_sick_rows_do_not_open_the_breaker(clock, make):
    """Rows that fail while others succeed say nothing about the endpoint."""
    admission = make(concurrency=4)
    for _ in range(100):
        for _ in range(3):
            start(admission).failed(sick())
        start(admission).settle(tokens_used=1, limits=None, latency=0.1)
    assert not admission.breaker.open


def test_the_last_row_may_fail_alone(clock, make):
    """A row that is retried in vain at the end of a job is a sick row, not a dead endpoint."""
    admission = make(concurrency=4)
    start(admission).failed(sick())
    for _ in range(20):
        start(admission, front=True).failed(sick())
    assert not admission.breaker.open


def test_slow_answers_in_flight_speak_for_the_endpoint(clock, make):
    """Quick failures beside requests that are still being worked on do not open the breaker."""
    admission = make(concurrency=20)
    for _ in range(12):
        start(admission)
    for _ in range(8):
        start(admission).failed(sick())
    assert not admission.breaker.open


# What it is bound by


def test_explain_names_what_was_waited_for(clock, make):
    """A job that waits for its requests a minute says so, with the number and what would help."""
    admission = make(concurrency=1000, rpm=60)
    run(clock, admission, 60.0)
    bound = admission.explain()
    assert bound.kind == "requests"
    assert bound.share > 0.9
    assert "60 requests a minute" in str(bound)
    assert bound.advice


def test_explain_without_waiting(clock, make):
    """Where nobody waited, the rows come more slowly than they could be sent."""
    admission = make()
    start(admission).released()
    clock.now += 10
    assert admission.explain().kind == "nothing"


# What people read


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 s"), (90, "90 s"), (600, "10 min"), (8100, "2 h 15 min"), (7200, "2 h"), (8_640_000, "100 days")],
)
def test_durations_are_said_as_people_do(seconds, text):
    """One or two units, no decimals."""
    assert waits.duration(seconds) == text


def test_a_moment_has_a_date_where_it_is_not_today():
    """The hour alone where that is clear."""
    now = datetime(2026, 3, 1, 22, 0, tzinfo=UTC)
    assert waits.moment(3600, now=now) == "23:00"
    assert waits.moment(3 * 3600, now=now) == "2026-03-02 01:00"


def test_a_pace_that_falls_far_owes_no_more_than_was_started():
    """A pace that was far too fast at first, as headers are before they are understood, leaves no debt of seconds."""
    pace = Pace(6000.0)
    pace.hold(0.0)
    pace.change(0.01, 10.0)
    assert pace.ready_at(1) <= 0.01 + 0.11
    pace.take(0.2, 1)
    pace.change(0.2, 5.0)
    assert 0.2 < pace.ready_at(1) <= 0.2 + 0.21


# What a job is bound by


def test_the_disk_or_the_processor_is_named_where_nothing_else_was_waited_for():
    """Commits that were behind for a third of the time, or a processor that was busy, are what a job is bound by."""
    free = Bound(kind="nothing", share=0.9, shares={"nothing": 0.9, "requests": 0.1}, detail="", meaning="", advice="")
    disk, busy = free.with_us(disk=0.5, processor=0.9), free.with_us(disk=0.0, processor=0.95)
    assert (disk.kind, busy.kind, free.with_us(disk=0.0, processor=0.2).kind) == ("disk", "client", "nothing")
    assert "disk" in str(disk)
    assert "processor" in str(busy)
    assert disk.shares == {"disk": 0.9, "requests": 0.1}
    limited = Bound(kind="requests", share=0.9, shares={"requests": 0.9}, detail="", meaning="", advice="")
    assert limited.with_us(disk=0.9, processor=0.9) is limited


def test_late_answers_do_not_hide_a_dead_endpoint(clock, make):
    """What set out before the first failure tells nothing of the endpoint since: no storm of retries meanwhile."""
    admission = make(concurrency=8)
    early = [start(admission) for _ in range(4)]
    clock.now += 1.0
    failures = 0
    while not admission.breaker.open and failures < 50:
        clock.now += 0.01
        lease = start(admission)
        if early and failures % 3 == 2:
            early.pop().settle(tokens_used=1, limits=None, latency=1.0)
        lease.failed(dead())
        failures += 1
    assert admission.breaker.open
    assert failures <= 8


def test_a_told_limit_that_is_refused_on_is_kept_evenly(clock, make):
    """Late starts are made up for in a burst of 0.2 s, until a refusal shows that the limit is kept over less."""
    admission = make(concurrency=100, rpm=1200)

    def burst():
        clock.now += 5.0
        started = 0
        while free(admission):
            start(admission).settle(tokens_used=1, limits=None, latency=0.0)
            started += 1
        return started

    assert burst() == 1  # the first start is free, the second waits its turn
    assert burst() >= 3
    lease = None
    for _ in range(3):
        wait(clock, admission)
        lease = start(admission)
    lease.refused(refusal(after=1.0))
    clock.now += 5.0
    for _ in range(3):
        wait(clock, admission)
        start(admission).settle(tokens_used=1, limits=None, latency=0.0)
    assert burst() == 1
