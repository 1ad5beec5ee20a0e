"""The limits that an endpoint shows in its headers, requests and tokens together.

In come the headers of answers and of refusals; nothing is limited before the first of them. Headers without a time of
reset say too little to pace by: then refusals teach the rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.limiter.headers import Headers
from batchchat.limiter.sight import Sight

if TYPE_CHECKING:
    from batchchat.limiter.lease import Lease
    from batchchat.limiter.quota import Unit
    from batchchat.records import RateLimits


@dataclass(frozen=True, slots=True)
class Marks:
    """Where our own counts stood when a request had started: spent in all, and used within a sliding window."""

    requests: float
    requests_used: float | None
    tokens: float
    tokens_used: float | None


class Shown:
    """What headers limit. Before headers were seen it limits nothing and costs nothing."""

    __slots__ = ("_by_answers", "_by_none", "requests", "seen", "tokens")

    def __init__(self) -> None:
        self.seen = False
        self._by_answers = False  # whether any answer showed limits
        self._by_none = False  # whether any answer showed none
        self.requests = Headers("requests")
        self.tokens = Headers("tokens")

    def ready_at(self, now: float, tokens: float) -> tuple[float, Unit]:
        """The earliest moment at which a request may start, and which of its units says so."""
        by_requests = self.requests.ready_at(now, 1)
        by_tokens = self.tokens.ready_at(now, tokens)
        return (by_tokens, "tokens") if by_tokens > by_requests else (by_requests, "requests")

    def take(self, now: float, lease: Lease) -> None:
        """A request starts."""
        requests, tokens = self.requests, self.tokens
        requests.take(now, 1)
        tokens.take(now, lease.tokens)
        lease.marks = Marks(requests.spent, requests.used, tokens.spent, tokens.used)

    def hold(self, now: float) -> None:
        """What was saved up is lost: after a pause it goes on evenly."""
        self.requests.hold(now)
        self.tokens.hold(now)

    def settle(self, now: float, started: float, difference: float) -> None:
        """A request used more or fewer tokens than were reserved."""
        self.tokens.settle(now, started, difference)

    def answered(self, now: float, lease: Lease, limits: RateLimits | None) -> None:
        """The answer to this request, with the headers that it had."""
        if limits is not None:
            self._by_answers = True
            self.learn(now, lease, limits)
        elif not self._by_none:
            self._by_none = True
            if self.seen and not self._by_answers:  # what refusals said before the first answer
                self.seen = False
                self.requests, self.tokens = Headers("requests"), Headers("tokens")

    def believed(self, limits: RateLimits | None) -> RateLimits | None:
        """What the headers of a refusal say; nothing where answers show no limits.

        Servers that show limits with refusals only say the same each time (nothing remains, for minutes), whatever
        they let in a moment later.
        """
        return limits if self._by_answers or not self._by_none else None

    def spent(self, limits: RateLimits | None) -> bool:
        """Whether a refusal shows that a quota which answers show as well is used up."""
        if limits is None or not self._by_answers:
            return False
        return any(left is not None and left < 1 for left in (limits.requests_remaining, limits.tokens_remaining))

    def learn(self, now: float, lease: Lease, limits: RateLimits) -> None:
        """The headers of the answer to this request, or of its refusal."""
        self.seen = True
        marks = lease.marks
        if marks is None:
            marks = Marks(self.requests.spent, None, self.tokens.spent, None)
        if limits.requests_limit and limits.requests_remaining is not None and limits.requests_reset is not None:
            self.requests.learn(
                now,
                Sight(
                    at=lease.started,
                    limit=limits.requests_limit,
                    remaining=limits.requests_remaining,
                    reset=limits.requests_reset,
                    spent=marks.requests,
                    used=marks.requests_used,
                ),
            )
        if limits.tokens_limit and limits.tokens_remaining is not None and limits.tokens_reset is not None:
            self.tokens.learn(
                now,
                Sight(
                    at=lease.started,
                    limit=limits.tokens_limit,
                    remaining=limits.tokens_remaining,
                    reset=limits.tokens_reset,
                    spent=marks.tokens,
                    used=marks.tokens_used,
                ),
            )
