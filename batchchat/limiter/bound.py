"""What a job is bound by, as far as pacing sees it: what made the requests wait, for how long, and what to change."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Binding = Literal["nothing", "requests", "tokens", "concurrency", "server", "refusals", "outage", "disk", "client"]
Source = Literal["told", "shown", "learned"]

MEANING: dict[Binding, str] = {
    "nothing": "rows come more slowly than they could be sent",
    "requests": "the limit of requests",
    "tokens": "the limit of tokens",
    "concurrency": "the requests in flight",
    "server": "the server's own speed: more in flight would only wait longer there",
    "refusals": "pauses after refusals (429)",
    "outage": "the endpoint, which did not answer",
    "disk": "the disk that the checkpoint is on",
    "client": "this machine's processor",
}
ADVICE: dict[Binding, str] = {
    "nothing": "the table is read, or its rows are rendered, more slowly than the endpoint answers",
    "requests": "ask the endpoint for a higher limit",
    "tokens": "ask the endpoint for a higher limit, or send less: shorter prompts, a lower --max-tokens",
    "concurrency": "a higher -c would be faster, if the server has room",
    "server": "a larger server, a smaller model or shorter answers would be faster",
    "refusals": "something else may be spending the same quota",
    "outage": "see whether the endpoint is well",
    "disk": "--checkpoint on a faster disk would help",
    "client": "half of the table in each of two processes would be faster",
}
SHORT: dict[Binding, str] = {
    "requests": "the limit of requests",
    "tokens": "the limit of tokens",
    "concurrency": "the requests in flight",
    "server": "the server's speed",
    "refusals": "refusals",
}
SLOW_DISK = 0.3
BUSY = 0.8
SAID: dict[Source, str] = {"told": "as told", "shown": "as its headers show", "learned": "as its refusals have taught"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a job waits for.

    Attributes:
        kind: what requests waited for most of the time.
        share: part of the time, 0 to 1, for which that held.
        shares: the same of every kind; they add up to 1.
        detail: a phrase with the number, empty where there is none: `600 requests a minute, as told`.
        meaning: what it is, a phrase.
        advice: what to change, a phrase.
    """

    kind: Binding
    share: float
    shares: Mapping[Binding, float]
    detail: str
    meaning: str
    advice: str

    @property
    def short(self) -> str:
        """The meaning as a progress line has it; empty where there is nothing to tell, or it is told there already."""
        return SHORT.get(self.kind, "")

    def with_us(self, *, disk: float, processor: float) -> Bound:
        """The same, where it was us who were slow: the parts of the time for which commits were behind, and we busy."""
        if self.kind != "nothing":
            return self
        kind: Binding = "disk" if disk >= SLOW_DISK else "client" if processor >= BUSY else "nothing"
        shares = {kind if name == "nothing" else name: share for name, share in self.shares.items()}
        return replace(self, kind=kind, shares=shares, meaning=MEANING[kind], advice=ADVICE[kind])

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        if self.kind == "nothing":
            return f"not bound by the endpoint: {self.meaning}; {self.advice}"
        return f"bound by {self.meaning}{detail}; {self.advice}"


def rate(unit: str, per_second: float, source: Source) -> str:
    """A rate as people say it: `600 requests a minute, as told`."""
    per_minute = per_second * 60
    if per_minute >= 1:
        return f"{per_minute:,.0f} {unit} a minute, {SAID[source]}"
    return f"{per_minute * 60 * 24:,.0f} {unit} a day, {SAID[source]}"


class Tally:
    """Adds up for how long what was waited for."""

    __slots__ = ("_seconds", "_since", "_start", "kind")

    def __init__(self, now: float) -> None:
        self._start = now
        self._since = now
        self.kind: Binding = "nothing"
        self._seconds: dict[Binding, float] = {}

    def waits_for(self, now: float, kind: Binding) -> None:
        """From now on requests wait for this."""
        if kind != self.kind:
            self._seconds[self.kind] = self._seconds.get(self.kind, 0.0) + now - self._since
            self._since = now
            self.kind = kind

    def bound(
        self, now: float, *, slots: Literal["concurrency", "server"], full: float, detail: Mapping[Binding, str]
    ) -> Bound:
        """What was waited for until now.

        Args:
            now: the moment.
            slots: what a full pool means.
            full: the part of the time, while nobody waited for anything else, for which the pool was full.
            detail: phrases with numbers.
        """
        seconds = dict(self._seconds)
        seconds[self.kind] = seconds.get(self.kind, 0.0) + now - self._since
        free = seconds.pop("nothing", 0.0)
        seconds[slots] = free * full
        seconds["nothing"] = free - seconds[slots]
        elapsed = max(now - self._start, 1e-9)
        shares: dict[Binding, float] = {kind: value / elapsed for kind, value in seconds.items() if value > 0}
        nothing: Binding = "nothing"
        kind = max(shares, key=lambda each: shares[each], default=nothing)
        return Bound(
            kind=kind,
            share=shares.get(kind, 1.0),
            shares=shares,
            detail=detail.get(kind, ""),
            meaning=MEANING[kind],
            advice=ADVICE[kind],
        )
