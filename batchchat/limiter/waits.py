"""The sentences about waiting that people read: how long, and until when by their own clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from batchchat import errors

if TYPE_CHECKING:
    from batchchat.records import RateLimits


def duration(seconds: float) -> str:
    """A length of time in one or two units: `40 s`, `10 min`, `2 h 15 min`, `100 days`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{seconds / 86400:.0f} days"


def moment(seconds: float, *, now: datetime | None = None) -> str:
    """The local time that many seconds from now: `14:05`, with the date where it is not today."""
    now = now or datetime.now().astimezone()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def too_long(wait: float, longest: float) -> errors.WaitTooLong:
    """The endpoint asks for more patience than --max-retry-after allows."""
    return errors.WaitTooLong(
        f"the endpoint asks to wait {duration(wait)}, longer than --max-retry-after ({duration(longest)}); "
        f"come back at {moment(wait)}"
    )


def refused_throughout(elapsed: float, error: errors.RateLimited) -> errors.JobStopped:
    """Every request was refused for longer than --max-outage."""
    text = f"the endpoint has refused every request for {duration(elapsed)}; the last refusal: {error}"
    if error.status == 429:
        return errors.WaitTooLong(f"{text}; come back later, or see whether something else spends the quota")
    return errors.EndpointDown(text)


def no_answer(elapsed: float, error: errors.RequestError | None) -> errors.EndpointDown:
    """The endpoint has been silent for --max-outage."""
    last = f"; the last attempt: {error}" if error is not None else ""
    return errors.EndpointDown(f"the endpoint has not answered for {duration(elapsed)} (--max-outage){last}")


def quota_reset(limits: RateLimits | None) -> float | None:
    """Seconds until the quota that a refusal exhausted is whole again, where its headers say so."""
    if limits is None:
        return None
    requests = (limits.requests_remaining, limits.requests_reset)
    tokens = (limits.tokens_remaining, limits.tokens_reset)
    resets = [(left, reset) for left, reset in (requests, tokens) if left is not None and reset is not None]
    spent = [reset for left, reset in resets if left < 1]
    return max(spent or [reset for _, reset in resets], default=None)
