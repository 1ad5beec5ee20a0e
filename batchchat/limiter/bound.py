"""What a job is bound by, as far as pacing sees it: who made the requests wait, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Binding = Literal["nothing", "requests", "tokens", "concurrency", "server", "refusals", "outage"]

ADVICE: dict[Binding, str] = {
    "nothing": "no request waited for pacing: rows come more slowly than they could be sent",
    "requests": "the limit of requests; a higher --rpm or a higher tier of the endpoint would be faster",
    "tokens": "the limit of tokens; a higher --tpm, shorter prompts or a lower --max-tokens would be faster",
    "concurrency": "the requests in flight; a higher -c would be faster if the server has room",
    "server": "the server's own speed: more requests in flight only wait longer there",
    "refusals": "refusals (429): the endpoint gives less than was asked for; a lower --rpm or --tpm would avoid them",
    "outage": "the endpoint, which did not answer",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a job waits for.

    Attributes:
        kind: what requests waited for most of the time.
        share: part of the time, 0 to 1, for which that held.
        shares: the same of every kind; what is missing to 1 is "nothing".
        detail: a phrase with the number: "600 requests a minute, as told".
        advice: what it means and what to change, a phrase.
    """

    kind: Binding
    share: float
    shares: Mapping[Binding, float]
    detail: str
    advice: str

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"bound by {self.advice}{detail}"


class Tally:
    """Adds up for how long what was waited for."""

    __slots__ = ("_since", "_start", "kind", "seconds")

    def __init__(self, now: float) -> None:
        self._start = now
        self._since = now
        self.kind: Binding = "nothing"
        self.seconds: dict[Binding, float] = {}

    def waits_for(self, now: float, kind: Binding) -> None:
        """From now on requests wait for this."""
        if kind != self.kind:
            self.seconds[self.kind] = self.seconds.get(self.kind, 0.0) + now - self._since
            self._since = now
            self.kind = kind

    def bound(self, now: float, detail: Mapping[Binding, str]) -> Bound:
        """What was waited for until now."""
        seconds = dict(self.seconds)
        seconds[self.kind] = seconds.get(self.kind, 0.0) + now - self._since
        elapsed = max(now - self._start, 1e-9)
        shares = {kind: value / elapsed for kind, value in seconds.items()}
        kind = max(shares, key=lambda each: shares[each])
        return Bound(kind=kind, share=shares[kind], shares=shares, detail=detail.get(kind, ""), advice=ADVICE[kind])
