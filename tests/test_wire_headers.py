"""What the headers of an answer say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from batchchat.records import RateLimits
from batchchat.wire import rate_limits, request_id, retry_after
from batchchat.wire.headers import duration

NOW = 1_800_000_000.0
DATE = "Mon, 23 Nov 2026 01:00:00 GMT"
DATE_UNIX = 1795395600.0


def headers(**named):
    return CIMultiDict({name.replace("_", "-"): value for name, value in named.items()})


def limits(*, more=(), **named):
    return rate_limits(CIMultiDict([*dict(more).items(), *headers(**named).items()]), now=NOW)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("12ms", 0.012),
        ("6m0s", 360),
        ("1m30s", 90),
        ("7m12s", 432),
        ("1h2.5s", 3602.5),
        ("2d", 172800),
        ("350us", 0.00035),
        ("350µs", 0.00035),
        ("10ns", 1e-8),
        (" 20MS ", 0.02),
        ("30", 30),
        ("0.25", 0.25),
        ("1e2", 100),
        ("", None),
        ("soon", None),
        ("5 apples", None),
        ("1e999", None),
        ("s", None),
    ],
)
def test_a_duration_is_read_as_go_writes_it(text, seconds):
    """Go durations, plain seconds and fractions are seconds; anything else is none."""
    assert duration(text) == (seconds if seconds is None else pytest.approx(seconds))


def test_openais_headers():
    """Limits, what remains and the time to full, of requests and of tokens."""
    found = rate_limits(
        CIMultiDict(
            {
                "x-ratelimit-limit-requests": "10000",
                "x-ratelimit-remaining-requests": "9999",
                "x-ratelimit-reset-requests": "6ms",
                "X-RateLimit-Limit-Tokens": "2,000,000",
                "X-Ratelimit-Remaining-Tokens": "1999987.5",
                "x-ratelimit-reset-tokens": "6m0s",
            }
        )
    )
    assert found == RateLimits(
        requests_limit=10000,
        requests_remaining=9999,
        requests_reset=0.006,
        tokens_limit=2e6,
        tokens_remaining=1999987.5,
        tokens_reset=360,
    )


def test_headers_may_be_missing():
    """Without them nothing is known; with some, those are known."""
    assert rate_limits({}) is None
    assert rate_limits({"content-type": "x", "x-ratelimit-whatever": "1"}) is None
    assert limits(x_ratelimit_remaining_tokens="5") == RateLimits(tokens_remaining=5)
    assert limits(x_ratelimit_limit_requests="many") is None


@pytest.mark.parametrize(
    ("more", "limit"),
    [
        ({"x-ratelimit-limit-project-tokens": "900", "x-ratelimit-remaining-project-tokens": "10"}, 900),
        ({"x-ratelimit-limit-project-tokens": "900", "x-ratelimit-remaining-project-tokens": "800"}, 1000),
        ({"x-ratelimit-limit-tokens_usage_based": "500", "x-ratelimit-remaining-tokens_usage_based": "10"}, 500),
        ({"x-ratelimit-limit-project-tokens": "0", "x-ratelimit-remaining-project-tokens": "0"}, 1000),
    ],
)
def test_of_several_counts_the_one_with_the_least_left_is_taken_whole(more, limit):
    """A project's own limit, or the one by usage, counts where it binds first; a limit of nothing is no limit."""
    found = limits(x_ratelimit_limit_tokens="1000", x_ratelimit_remaining_tokens="600", more=more)
    assert found.tokens_limit == limit


def test_requests_of_a_project_are_counted_too():
    """`-project-requests` was seen in the wild."""
    assert limits(more={"x-ratelimit-remaining-project-requests": "3"}).requests_remaining == 3


@pytest.mark.parametrize("name", ["X-RATELIMIT-REMAINING-TOKENS", "X-RateLimit-Remaining-Tokens"])
def test_names_of_headers_in_any_case(name):
    """HTTP does not tell them apart."""
    assert rate_limits({name: "3"}) == RateLimits(tokens_remaining=3)


def test_headers_without_a_kind_count_requests():
    """Gateways say `X-RateLimit-Limit` and mean requests; their reset is a Unix time in milliseconds."""
    found = limits(x_ratelimit_limit="20", x_ratelimit_remaining="0", x_ratelimit_reset=str(int(NOW + 60) * 1000))
    assert found == RateLimits(requests_limit=20, requests_remaining=0, requests_reset=60)


def test_anthropics_headers():
    """A reset is a date; it is measured against the answer's own clock."""
    found = rate_limits(
        headers(
            date=DATE,
            anthropic_ratelimit_requests_limit="50",
            anthropic_ratelimit_requests_remaining="49",
            anthropic_ratelimit_requests_reset="2026-11-23T01:00:30Z",
            anthropic_ratelimit_input_tokens_limit="1000",
            anthropic_ratelimit_output_tokens_limit="10",
        ),
        now=NOW,
    )
    assert found == RateLimits(requests_limit=50, requests_remaining=49, requests_reset=30, tokens_limit=1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (str(NOW + 5), 5),
        ("2026-11-23T00:00:00Z", 0),
        ("2026-11-23T00:00:00", 0),
        ("-3", 0),
        ("later", None),
    ],
)
def test_a_reset_may_be_a_moment(text, seconds):
    """Unix times and dates count from the answer, and never backwards."""
    found = limits(x_ratelimit_limit_tokens="9", x_ratelimit_reset_tokens=text)
    assert found.tokens_reset == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("-1", None), ("1e18", None), ("inf", None), ("nan", None), ("100, 100;w=60", 100), (" 12 ", 12), ("1,500", 1500)],
)
def test_a_count_that_means_no_limit_is_none(text, count):
    """-1 and absurd numbers say that there is no limit; a list's first number counts."""
    found = limits(x_ratelimit_limit_tokens=text, x_ratelimit_remaining_requests="1")
    assert found.tokens_limit == count


@pytest.mark.parametrize(
    ("named", "seconds"),
    [
        ({}, None),
        ({"retry_after": "2"}, 2),
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "-4"}, 0),
        ({"retry_after": "1m5s"}, 65),
        ({"retry_after_ms": "250"}, 0.25),
        ({"retry_after_ms": "250", "retry_after": "9"}, 0.25),
        ({"retry_after_ms": "x", "retry_after": "9"}, 9),
        ({"retry_after": "nan"}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": ""}, None),
        ({"retry_after": "Mon, 23 Nov 2026 01:00:20 GMT", "date": DATE}, 20),
        ({"retry_after": "Monday, 23-Nov-26 01:00:20 GMT", "date": DATE}, 20),
        ({"retry_after": "Mon Nov 23 01:00:20 2026", "date": DATE}, 20),
        ({"retry_after": "Mon, 23 Nov 2026 00:00:00 GMT", "date": DATE}, 0),
        ({"retry_after": "Mon, 99 Nov 2026 00:00:00 GMT"}, None),
    ],
)
def test_how_long_to_wait(named, seconds):
    """Milliseconds first, then seconds, then a date, which is measured against the answer's own clock."""
    assert retry_after(headers(**named), NOW) == seconds


def test_without_a_date_of_its_own_our_clock_serves():
    """A wrong clock here matters only where the answer does not tell its time."""
    asked = headers(retry_after="Mon, 23 Nov 2026 01:00:20 GMT")
    assert retry_after(asked, DATE_UNIX + 5) == 15
    assert retry_after(headers(retry_after="Tue, 01 Jan 2030 00:00:00 GMT", date="Tue, 01 Jan 2030 00:00:00 GMT")) == 0


def test_the_id_of_a_request():
    """The endpoint's id is found under the names that are about."""
    assert request_id(headers(x_request_id="a", apim_request_id="b")) == "a"
    assert request_id(headers(apim_request_id="b")) == "b"
    assert request_id(headers(request_id="c")) == "c"
    assert request_id({}) is None


@given(st.text(), st.text(), st.text())
def test_nonsense_is_ignored(limit, reset, wait):
    """Whatever stands in a header, nothing is raised, and no time is negative."""
    found = rate_limits({"x-ratelimit-limit-tokens": limit, "x-ratelimit-reset-tokens": reset, "date": wait})
    assert found is None or found.tokens_reset is None or found.tokens_reset >= 0
    assert (retry_after({"retry-after": wait, "retry-after-ms": limit}) or 0) >= 0


def test_of_anthropics_counts_the_one_with_the_least_left_is_taken_whole():
    """All tokens and the input's are two counts, whichever header comes last."""
    both = [
        ("anthropic-ratelimit-tokens-limit", "100"),
        ("anthropic-ratelimit-tokens-remaining", "5"),
        ("anthropic-ratelimit-input-tokens-limit", "200"),
        ("anthropic-ratelimit-input-tokens-remaining", "150"),
    ]
    for order in (both, both[::-1]):
        assert limits(more=order) == RateLimits(tokens_limit=100, tokens_remaining=5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (f"{NOW * 1000 + 2500:.0f}", 2.5),
        (f"{NOW + 2.5}", 2.5),
        ("2027-01-15T08:00:04Z", 4),
        ("2027-01-15T10:00:04+02:00", 4),
        ("2027-01-15T08:00:04", 4),
    ],
)
def test_a_reset_may_name_its_zone_or_have_fractions(text, seconds):
    """Seconds or milliseconds since 1970, or a date with or without its offset."""
    found = limits(x_ratelimit_limit_requests="9", x_ratelimit_reset_requests=text)
    assert found.requests_reset == pytest.approx(seconds, abs=0.01)


@pytest.mark.parametrize("name", ["date", "Date"])
def test_the_answers_own_date_is_found_in_plain_mappings_too(name):
    """Its name may be in either case."""
    said = {name: DATE, "retry-after": "Mon, 23 Nov 2026 01:00:07 GMT"}
    assert retry_after(said, now=NOW) == 7


def test_a_date_may_have_an_offset():
    """RFC 5322 allows other zones than GMT."""
    said = headers(date=DATE, retry_after="Sun, 22 Nov 2026 20:00:09 -0500")
    assert retry_after(said, now=NOW) == 9
