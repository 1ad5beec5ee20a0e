"""Rate limits as servers keep them: requests and tokens a minute, in a bucket, a sliding or a fixed window.

What comes in: the time and the size of a request. What goes out: a `Verdict`, how long it would have to wait, and the
headers that say how much is left. Plain synchronous code; the clock is an argument.

Another client on the same quota is a steady drain: it takes its share whenever it is there to be taken.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Protocol

# Floats: a bucket refilled for exactly the time it asked for must not be a hair short.
CLOSE = 1e-9


class Window(Protocol):
    """One limit.

    Attributes:
        limit: the largest amount that it ever lets in.
        capacity: what can be taken at once when nothing is used.
    """

    limit: float
    capacity: float

    def wait(self, now: float, amount: float) -> float:
        """Seconds until the amount would fit; 0 where it does."""

    def take(self, now: float, amount: float) -> None:
        """Counts the amount, whether it fits or not."""

    def used(self, now: float) -> float:
        """What is not to be had now, of the capacity."""

    def reset(self, now: float) -> float:
        """Seconds until everything is free again."""


class Bucket:
    """A bucket that refills steadily. It holds a burst; a larger amount needs it full, and leaves it in debt."""

    def __init__(self, limit: float, *, period: float, burst: float, others: float = 0.0) -> None:
        self.limit = limit
        self._rate = limit / period * (1 - others)
        self.capacity = max(1.0, burst)
        self._level = self.capacity
        self._at: float | None = None

    def _refill(self, now: float) -> None:
        if self._at is not None:
            self._level = min(self.capacity, self._level + (now - self._at) * self._rate)
        self._at = now

    def wait(self, now: float, amount: float) -> float:
        """See `Window`."""
        self._refill(now)
        short = min(amount, self.capacity) - self._level
        return short / self._rate if short > CLOSE else 0.0

    def take(self, now: float, amount: float) -> None:
        """See `Window`."""
        self._refill(now)
        self._level -= amount

    def used(self, now: float) -> float:
        """See `Window`."""
        self._refill(now)
        return self.capacity - self._level

    def reset(self, now: float) -> float:
        """See `Window`."""
        return self.used(now) / self._rate


class Sliding:
    """At most the limit in any stretch of one period."""

    def __init__(self, limit: float, *, period: float, others: float = 0.0) -> None:
        self.limit = self.capacity = limit
        self._period = period
        self._free = limit * (1 - others)
        self._taken: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def _forget(self, now: float) -> None:
        while self._taken and self._taken[0][0] <= now - self._period + CLOSE:
            self._sum -= self._taken.popleft()[1]

    def wait(self, now: float, amount: float) -> float:
        """See `Window`."""
        self._forget(now)
        short = self._sum + amount - self._free
        if short <= CLOSE or not self._taken:
            return 0.0
        for at, taken in self._taken:
            short -= taken
            if short <= CLOSE:
                return at + self._period - now
        return self._taken[-1][0] + self._period - now

    def take(self, now: float, amount: float) -> None:
        """See `Window`."""
        self._forget(now)
        self._taken.append((now, amount))
        self._sum += amount

    def used(self, now: float) -> float:
        """See `Window`."""
        self._forget(now)
        return self._sum + self.capacity - self._free

    def reset(self, now: float) -> float:
        """See `Window`."""
        self._forget(now)
        return max(0.0, self._taken[-1][0] + self._period - now) if self._taken else 0.0


class Fixed:
    """At most the limit between two ticks of the clock. What others take, they take steadily through the window."""

    def __init__(self, limit: float, *, period: float, others: float = 0.0) -> None:
        self.limit = self.capacity = limit
        self._period = period
        self._free = limit * (1 - others)
        self._window = -1
        self._used = 0.0

    def _turn(self, now: float) -> None:
        window = int(now // self._period)
        if window != self._window:
            self._window, self._used = window, 0.0

    def wait(self, now: float, amount: float) -> float:
        """See `Window`."""
        self._turn(now)
        return self.reset(now) if self._used and self._used + amount - self._free > CLOSE else 0.0

    def take(self, now: float, amount: float) -> None:
        """See `Window`."""
        self._turn(now)
        self._used += amount

    def used(self, now: float) -> float:
        """See `Window`."""
        self._turn(now)
        elapsed = (now - self._window * self._period) / self._period
        return self._used + (self.capacity - self._free) * elapsed

    def reset(self, now: float) -> float:
        """See `Window`."""
        return (now // self._period + 1) * self._period - now


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a request is let in.

    Attributes:
        wait: seconds that it would have to wait; 0 where it is let in.
        kind: `requests` or `tokens`, the limit that holds it back.
        never: it is larger than the whole limit: waiting does not help.
        headers: lines that end in CRLF.
    """

    wait: float = 0.0
    kind: str = "requests"
    never: bool = False
    headers: str = ""


class Limits:
    """Requests and tokens together: a request is let in where it fits into both, and then counts in both.

    Args:
        requests, tokens: the windows; None for no limit.
        headers: honest (what is left now), minute (as OpenAI shows it: of a whole minute, although less is let in at
            once), lying (ten times as much), none.
        minute: requests and tokens a minute, for those headers.
        count_refused: a refused request counts in the requests.
    """

    def __init__(
        self,
        requests: Window | None,
        tokens: Window | None,
        *,
        headers: str = "honest",
        minute: tuple[float, float] = (0.0, 0.0),
        count_refused: bool = False,
    ) -> None:
        both = (("requests", requests, minute[0]), ("tokens", tokens, minute[1]))
        self._windows = [(kind, window) for kind, window, _ in both if window]
        self._shown = {kind: limit if headers == "minute" else 0.0 for kind, _, limit in both}
        self._lie = 10 if headers == "lying" else 1
        self._tell = headers != "none"
        self._count_refused = count_refused

    def admit(self, now: float, tokens: float) -> Verdict:
        """Lets a request of so many tokens in, or tells how long it has to wait."""
        wait, held, never = 0.0, "requests", False
        for kind, window in self._windows:
            amount = tokens if kind == "tokens" else 1.0
            if amount > window.limit:
                wait, held, never = math.inf, kind, True
                break
            one = window.wait(now, amount)
            if one > wait:
                wait, held = one, kind
        for kind, window in self._windows:
            if not wait or (self._count_refused and kind == "requests"):
                window.take(now, tokens if kind == "tokens" else 1.0)
        return Verdict(wait=wait, kind=held, never=never, headers=self._headers(now))

    def limit(self, kind: str) -> float:
        """How much a minute a limit allows."""
        return next(window.limit for name, window in self._windows if name == kind)

    def _headers(self, now: float) -> str:
        if not self._tell:
            return ""
        return "".join(self._lines(kind, window, now) for kind, window in self._windows)

    def _lines(self, kind: str, window: Window, now: float) -> str:
        used, shown = window.used(now), self._shown[kind]
        remaining = max(0.0, (shown or window.capacity) - used)
        return (
            f"x-ratelimit-limit-{kind}: {int((shown or window.limit) * self._lie)}\r\n"
            f"x-ratelimit-remaining-{kind}: {int(remaining * self._lie + CLOSE)}\r\n"
            f"x-ratelimit-reset-{kind}: {go_duration(window.reset(now))}\r\n"
        )


def window(kind: str, limit: float, *, period: float, burst_seconds: float, others: float) -> Window | None:
    """The window of a kind (bucket, sliding, fixed) for a limit a minute; None where there is no limit.

    Args:
        kind: which of the three.
        limit: a minute.
        period: seconds of the window; the limit is scaled to it.
        burst_seconds: what a bucket holds, as seconds of its refill.
        others: the share that other clients take.
    """
    if not limit:
        return None
    scaled = limit / 60 * period
    if kind == "sliding":
        return Sliding(scaled, period=period, others=others)
    if kind == "fixed":
        return Fixed(scaled, period=period, others=others)
    return Bucket(limit, period=60.0, burst=limit / 60 * burst_seconds, others=others)


def go_duration(seconds: float) -> str:
    """As the headers have it: `0s`, `12ms`, `1.5s`, `6m0s`, `1h0m0s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms" if seconds > CLOSE else "0s"
    whole = int(seconds)
    rest = f"{seconds - whole:.3f}".rstrip("0").removeprefix("0").rstrip(".")
    if rest.startswith("1"):  # rounded up to a whole second
        whole, rest = whole + 1, ""
    hours, minutes, left = whole // 3600, whole % 3600 // 60, whole % 60
    text = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{text}{left}{rest}s"
