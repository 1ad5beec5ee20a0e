"""What is known of an endpoint's limits, wherever from: told, shown in headers, or learned from refusals.

It reads what the other modules of this room hold, and changes nothing: for the sentence that says what a job is bound
by, for an estimate of how long it takes, and for the checkpoint, where the next run finds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.limiter.bound import rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.limiter.bound import Binding, Source
    from batchchat.limiter.learned import Learned
    from batchchat.limiter.pool import Pool
    from batchchat.limiter.quota import Quota
    from batchchat.limiter.shown import Shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The limits of one endpoint: those that were told (requests, tokens), and where the others are found."""

    requests: Sequence[Quota]
    tokens: Sequence[Quota]
    shown: Shown
    learned: Learned
    pool: Pool

    def duration(self, requests: int, tokens: int = 0) -> float:
        """Seconds that so many requests and tokens take at least; 0: no limit is known."""
        times = [quota.duration(requests) for quota in self.requests]
        times += [quota.duration(tokens) for quota in self.tokens]
        times += [requests / each for each in (self.shown.requests.per_second, self.learned.rate) if each]
        times += [tokens / each for each in (self.shown.tokens.per_second,) if each]
        return max(times, default=0.0)

    def found(self) -> dict[str, float]:
        """What was not told, by the names of the options: rates a minute, and the size of a learned pool."""
        requests = [each for each in (self.shown.requests.per_second, self.learned.rate) if each]
        tokens = self.shown.tokens.per_second
        found = {"rpm": 60 * min(requests)} if requests else {}
        found |= {"tpm": 60 * tokens} if tokens else {}
        return found | ({"concurrency": float(self.pool.size)} if self.pool.learns else {})

    def details(self) -> dict[Binding, str]:
        """A phrase with the number for each kind that has one."""
        requests: list[tuple[float, Source]] = [(quota.limit / quota.span, "told") for quota in self.requests]
        tokens: list[tuple[float, Source]] = [(quota.limit / quota.span, "told") for quota in self.tokens]
        if self.shown.requests.per_second:
            requests.append((self.shown.requests.per_second, "shown"))
        if self.shown.tokens.per_second:
            tokens.append((self.shown.tokens.per_second, "shown"))
        if self.learned.rate:
            requests.append((self.learned.rate, "learned"))
        in_flight = f"{self.pool.size} in flight"
        details: dict[Binding, str] = {"concurrency": in_flight, "server": in_flight}
        if requests:
            details["requests"] = rate("requests", *min(requests))
        if tokens:
            details["tokens"] = rate("tokens", *min(tokens))
        return details
