"""What is done about an error, and by which schedule."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchchat import defaults
from batchchat.errors import (
    BadRequest,
    BadRow,
    ConnectionLost,
    ContentRefused,
    ContextTooLong,
    EndpointDown,
    Forbidden,
    KeyRefused,
    ModelMissing,
    QuotaExhausted,
    RateLimited,
    RequestTimeout,
    RequestTooLarge,
    ServerError,
    UnreadableReply,
    UsageError,
    WaitTooLong,
)
from batchchat.retry import RetryPolicy, decide, wait_too_long
from batchchat.wire import NO_CHOICES


class Time:
    """A clock that only sleeping moves."""

    def __init__(self):
        self.now = 100.0
        self.slept = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


class Attempts:
    """Fails as it is told to, then answers."""

    def __init__(self, *errors, answer="answer"):
        self.errors = list(errors)
        self.answer = answer
        self.made = 0

    async def __call__(self):
        self.made += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.answer


class Listener:
    """Remembers what it was told."""

    def __init__(self):
        self.told = []

    def __call__(self, error, *, attempt, delay):
        self.told.append((type(error), attempt, delay))


def policy(time=None, *, chance=0.0, **settings):
    time = time or Time()
    return RetryPolicy(clock=time, sleep=time.sleep, chance=lambda: chance, **settings)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionLost("x"), "again"),
        (RequestTimeout("x"), "again"),
        (UnreadableReply("x"), "again"),
        (ServerError("x", status=500), "again"),
        (ServerError("x", status=408), "again"),
        (RateLimited("x", status=429), "pace"),
        (BadRequest("x", status=400), "row"),
        (ContextTooLong("x"), "row"),
        (ContentRefused("x"), "row"),
        (RequestTooLarge("x", status=429), "row"),
        (Forbidden("x", status=403), "row"),
        (BadRow("x"), "row"),
        (KeyRefused("x"), "stop"),
        (QuotaExhausted("x"), "stop"),
        (ModelMissing("x"), "stop"),
        (EndpointDown("x"), "stop"),
        (UsageError("x"), "stop"),
        (ValueError("x"), "stop"),
    ],
)
def test_each_error_has_one_decision(error, kind):
    """Retried, paced, the row's, or the job's end."""
    assert decide(error).kind == kind
    assert decide(error).not_before == 0


def test_a_decision_says_how_long_to_wait():
    """What the endpoint asked for; never less than nothing."""
    assert decide(RateLimited("x", retry_after=7)).not_before == 7
    assert decide(ServerError("x", retry_after=1.5)).not_before == 1.5
    assert decide(ServerError("x", retry_after=-3)).not_before == 0
    assert decide(BadRequest("x", retry_after=9)).not_before == 0


@pytest.mark.parametrize("kind", [RateLimited, ServerError])
def test_a_wait_beyond_the_longest_stops_the_job(kind):
    """The longest wait itself is still waited for; a row's own error is no wait."""
    longest = defaults.MAX_RETRY_AFTER
    assert decide(kind("x", retry_after=longest)).kind != "stop"
    found = decide(kind("x", retry_after=longest + 1))
    assert (found.kind, found.not_before) == ("stop", longest + 1)
    assert decide(kind("x", retry_after=11), max_retry_after=10).kind == "stop"
    assert decide(BadRequest("x", retry_after=longest + 1)).kind == "row"


def test_a_wait_that_is_too_long_says_when_to_come_back():
    """The message has the wait, the moment, the option, and what was said."""
    now = dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC)
    found = wait_too_long(RateLimited("daily limit", status=429, retry_after=7200), max_retry_after=600, now=now)
    assert isinstance(found, WaitTooLong)
    assert "7200 s, until 2026-01-02 05:04" in str(found)
    assert "--max-retry-after 600" in str(found)
    assert str(found).endswith("rate_limit: daily limit (HTTP 429)")
    assert "until" in str(wait_too_long(RateLimited("x", retry_after=1e300), max_retry_after=1))


async def test_an_answer_at_once_takes_one_attempt():
    """Nothing is slept, nobody is told."""
    time, attempts, listener = Time(), Attempts(), Listener()
    assert await policy(time).run(attempts, on_retry=listener) == "answer"
    assert (attempts.made, time.slept, listener.told) == (1, [], [])


async def test_failures_are_made_again_ever_later():
    """Half a second, doubled each time; each is told with its number."""
    time, listener = Time(), Listener()
    attempts = Attempts(*(ServerError("x") for _ in range(4)))
    assert await policy(time).run(attempts, on_retry=listener) == "answer"
    assert attempts.made == 5
    assert time.slept == [0.5, 1, 2, 4]
    assert listener.told == [(ServerError, n + 1, delay) for n, delay in enumerate([0.5, 1, 2, 4])]


async def test_nobody_needs_to_listen():
    """`on_retry` may be left out."""
    assert await policy().run(Attempts(ConnectionLost("x"))) == "answer"


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_retries_are_used_up(retries):
    """The last failure is raised, as it came."""
    errors = [ServerError(str(n)) for n in range(retries + 2)]
    attempts = Attempts(*errors)
    with pytest.raises(ServerError) as caught:
        await policy(max_retries=retries).run(attempts)
    assert caught.value is errors[retries]
    assert attempts.made == retries + 1


@pytest.mark.parametrize("first", [(), (ServerError("x"),), (RateLimited("x"),)])
@pytest.mark.parametrize("kind", [BadRequest, KeyRefused, ValueError])
async def test_what_is_not_retried_is_raised_at_once(first, kind):
    """At first, after a retry, after a paced attempt."""
    attempts, last = Attempts(*first, kind("y"), ServerError("never")), len(first) + 1
    with pytest.raises(kind, match="y"):
        await policy().run(attempts)
    assert attempts.made == last


def test_the_schedule():
    """From the first to the longest delay, less up to a quarter by chance."""
    assert [policy().backoff(n) for n in (1, 2, 6, 7, 1000)] == [0.5, 1, 16, 30, 30]
    assert policy(chance=1.0).backoff(1) == 0.375
    assert policy(chance=1.0).backoff(99) == 0.75 * defaults.BACKOFF_LONGEST


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 600))
def test_a_delay_is_never_before_what_was_asked(failures, chance, asked):
    """Whatever chance says, Retry-After is kept, and the wait is not much longer."""
    found = policy(chance=chance)
    assert 0.375 <= found.backoff(failures) <= defaults.BACKOFF_LONGEST
    time = Time()
    attempts = Attempts(ServerError("x", retry_after=asked))
    run = policy(time, chance=chance).run(attempts)
    with pytest.raises(StopIteration):
        run.send(None)
    assert asked <= time.slept[0] <= max(0.5, asked + 0.125)


async def test_retry_after_is_waited_for():
    """The schedule goes on beside it."""
    time = Time()
    errors = [ServerError("x", retry_after=20), ServerError("x"), ServerError("x", retry_after=0.1)]
    await policy(time).run(Attempts(*errors))
    assert time.slept == [20, 1, 2]


async def test_after_the_same_retry_after_not_all_come_at_once():
    """A little is added by chance."""
    time = Time()
    await policy(time, chance=1.0).run(Attempts(ServerError("x", retry_after=20)))
    assert 20 < time.slept[0] < 21


async def test_paced_attempts_are_not_counted():
    """A hundred refusals of the rate kind use up no retry."""
    time, listener = Time(), Listener()
    refusals = [RateLimited("x", retry_after=3) for _ in range(100)]
    attempts = Attempts(*refusals, ServerError("x"), RateLimited("x"))
    assert await policy(time, max_retries=1).run(attempts, on_retry=listener) == "answer"
    assert attempts.made == 103
    assert [kind for kind, _, _ in listener.told] == [RateLimited] * 100 + [ServerError, RateLimited]
    assert min(time.slept[:100]) >= 3


async def test_refusals_without_a_wait_back_off():
    """An endpoint that does not say how long is not hammered."""
    time = Time()
    await policy(time).run(Attempts(*(RateLimited("x") for _ in range(9))))
    assert time.slept == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


async def test_an_hour_of_refusals_fails_no_row():
    """As long as nobody's patience ends, a row waits."""
    time = Time()
    attempts = Attempts(*(RateLimited("busy", status=503, retry_after=60) for _ in range(60)))
    assert await policy(time, max_retries=0).run(attempts) == "answer"
    assert time.now >= 3700


async def test_patience_is_asked_with_the_time_of_the_first_refusal():
    """Where it ends, the refusal is the row's error."""
    time, asked = Time(), []

    def patience(since):
        asked.append((since, time.now))
        return time.now - since < 10

    attempts = Attempts(*(RateLimited("x", retry_after=4) for _ in range(9)))
    with pytest.raises(RateLimited):
        await policy(time, patience=patience, max_retries=0).run(attempts)
    assert [since for since, _ in asked] == [100.0] * 4
    assert attempts.made == 4


async def test_a_refusal_after_another_failure_is_a_new_one():
    """A 500 in between means that the row was let in."""
    time, asked = Time(), []
    errors = [RateLimited("x", retry_after=5), ServerError("x"), RateLimited("x")]
    await policy(time, patience=lambda since: asked.append(since) or True).run(Attempts(*errors))
    assert asked[0] == 100
    assert asked[1] > 105


async def test_an_answer_without_choices_is_retried_once():
    """A 200 without choices would be paid for again and again; cut answers are retried as others are."""
    attempts = Attempts(*(UnreadableReply("x", code=NO_CHOICES) for _ in range(5)))
    with pytest.raises(UnreadableReply):
        await policy(max_retries=5).run(attempts)
    assert attempts.made == 2
    assert await policy().run(Attempts(UnreadableReply("x", code=NO_CHOICES))) == "answer"
    mixed = [UnreadableReply("x", code=NO_CHOICES), *(UnreadableReply("cut") for _ in range(4))]
    assert await policy(max_retries=5).run(Attempts(*mixed)) == "answer"
    with pytest.raises(UnreadableReply):
        await policy(max_retries=0).run(Attempts(UnreadableReply("x", code=NO_CHOICES)))


@pytest.mark.parametrize("kind", [RateLimited, ServerError])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_wait_that_is_too_long_stops_the_job(kind, before):
    """Nothing is slept for it, at first and later."""
    time = Time()
    attempts = Attempts(*(ServerError("x") for _ in range(before)), kind("come back", retry_after=601))
    with pytest.raises(WaitTooLong, match="come back") as caught:
        await policy(time, max_retries=9).run(attempts)
    assert isinstance(caught.value.__cause__, kind)
    assert (attempts.made, len(time.slept)) == (before + 1, before)


async def test_retrying_is_entered_only_after_a_failure(monkeypatch):
    """Every row would pay for it."""

    def entered(*_, **__):
        raise AssertionError("tenacity was entered")

    monkeypatch.setattr("batchchat.retry.AsyncRetrying", entered)
    assert await policy().run(Attempts()) == "answer"
    with pytest.raises(KeyRefused):
        await policy().run(Attempts(KeyRefused("x")))


async def test_requests_do_not_share_their_course():
    """Retries of one row are not counted against another."""
    shared = policy(max_retries=1)
    for _ in range(3):
        assert await shared.run(Attempts(ServerError("x"))) == "answer"


async def test_a_policy_with_its_own_clock_and_chance():
    """Without parameters it uses the defaults, real time and real chance."""
    found = RetryPolicy()
    assert (found.max_retries, found.max_retry_after) == (defaults.MAX_RETRIES, defaults.MAX_RETRY_AFTER)
    assert 0.375 <= found.backoff(1) <= 0.5
    assert found.clock() > 0
    assert await found.run(Attempts()) == "answer"
