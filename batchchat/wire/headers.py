"""The headers of an answer: what they say of limits, of waiting and of the request's id.

Headers may be missing and name no window, and a reset is the time until a bucket is full, not a time to wait: what
follows from that is the limiter's business. Where several counts of the same kind are given (an organisation's, a
project's, by usage), the one that has the least left is taken, whole: its limit and reset belong together.

Times that name a date are measured against the answer's own `Date`, so that a wrong clock here does not matter.
"""

from __future__ import annotations

import math
import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING

from batchchat.records import RateLimits

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_DURATION = re.compile(f"(?:{_PART.pattern})+")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.IGNORECASE)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+")
_OPENAI = re.compile(r"x-ratelimit-(limit|remaining|reset)(?:-(?:(project)-)?(requests|tokens)(_usage_based)?)?")
_ANTHROPIC = re.compile(r"anthropic-ratelimit-(?:(input)-)?(requests|tokens)-(limit|remaining|reset)")
_IDS = ("x-request-id", "request-id", "apim-request-id", "x-ms-request-id")
_EPOCH = 1e9
_EPOCH_MS = 1e12
_NO_LIMIT = 1e15


def request_id(headers: Mapping[str, str]) -> str | None:
    """The endpoint's id of the request, for its support."""
    for name in _IDS:
        found = headers.get(name)
        if found:
            return found
    return None


def rate_limits(headers: Mapping[str, str], *, now: float | None = None) -> RateLimits | None:
    """What the rate-limit headers say; None where there are none. `now` is Unix time, used without a `Date` header."""
    scopes: dict[tuple[str, str], dict[str, float]] = {}  # by kind (requests, tokens) and whose count it is
    for name, text in headers.items():
        place = _place(name) if "atelimit-" in name or "ATELIMIT-" in name or "ateLimit-" in name else None
        if place is not None:
            part, kind, whose = place
            value = _reset(text, headers, now) if part == "reset" else _count(text)
            if value is not None:
                scopes.setdefault((kind, whose), {})[part] = value
    if not scopes:
        return None
    requests, tokens = _tightest(scopes, "requests"), _tightest(scopes, "tokens")
    return RateLimits(
        requests_limit=requests.get("limit"),
        requests_remaining=requests.get("remaining"),
        requests_reset=requests.get("reset"),
        tokens_limit=tokens.get("limit"),
        tokens_remaining=tokens.get("remaining"),
        tokens_reset=tokens.get("reset"),
    )


@lru_cache(maxsize=256)
def _place(name: str) -> tuple[str, str, str] | None:
    """What a header's name says: the part (limit, remaining, reset), of what kind, and whose count it is."""
    name = name.lower()
    if match := _OPENAI.fullmatch(name):
        return match[1], match[3] or "requests", (match[2] or "") + (match[4] or "")
    if match := _ANTHROPIC.fullmatch(name):
        return match[3], match[2], match[1] or ""
    return None


def _tightest(scopes: Mapping[tuple[str, str], dict[str, float]], kind: str) -> dict[str, float]:
    """The count of this kind that has the least left, leaving out those that say "a limit of nothing"."""
    counts = [count for (of, _), count in scopes.items() if of == kind and count.get("limit") != 0]
    return counts[0] if len(counts) == 1 else min(counts, key=_room, default={})


def _room(count: Mapping[str, float]) -> tuple[float, float]:
    return (count.get("remaining", math.inf), count.get("limit", math.inf))


def _count(text: str) -> float | None:
    """A limit or what remains of it: at least 0; `-1` and absurdly large ones mean that there is none."""
    try:
        value = float(text)
    except ValueError:
        text = text.strip()
        match = _NUMBER.match(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
        if match is None:
            return None
        value = float(match[0])
    return value if 0 <= value < _NO_LIMIT else None


def _reset(text: str, headers: Mapping[str, str], now: float | None) -> float | None:
    """Seconds from the answer: a Go duration, plain seconds, a Unix time in seconds or milliseconds, or RFC 3339."""
    seconds = duration(text)
    if seconds is not None:
        if seconds >= _EPOCH:
            seconds = (seconds / 1000 if seconds >= _EPOCH_MS else seconds) - _date(headers, now)
        return max(0.0, seconds)
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - _date(headers, now))


def duration(text: str) -> float | None:
    """Seconds in `6m0s`, `12ms`, `1h2.5s` or `30`; None where it is no duration."""
    text = text.strip().lower()
    if _DURATION.fullmatch(text):
        return sum(float(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
    if _NUMBER.fullmatch(text):
        value = float(text)
        return value if math.isfinite(value) else None
    return None


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that the endpoint asks to wait: `retry-after-ms`, else `retry-after` as seconds or as a date.

    Args:
        headers: of the answer; names in any case where the mapping ignores it, else in lower case.
        now: Unix time of the answer, used where it has no `Date`.
    """
    asked = _seconds(headers.get("retry-after-ms"))
    if asked is not None:
        return asked / 1000
    text = headers.get("retry-after")
    if text is None:
        return None
    asked = _seconds(text)
    if asked is not None:
        return asked
    until = _http_date(text)
    return None if until is None else max(0.0, until - _date(headers, now))


def _seconds(text: str | None) -> float | None:
    value = duration(text) if text else None
    return max(0.0, value) if value is not None else None


def _date(headers: Mapping[str, str], now: float | None) -> float:
    """Unix time at which the answer was made, by the endpoint's clock where it tells."""
    at = _http_date(headers.get("date") or headers.get("Date") or "")
    if at is not None:
        return at
    return time.time() if now is None else now


def _http_date(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
