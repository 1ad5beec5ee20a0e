"""What happens while a job runs, and who is told.

The rooms report facts to one `Observer`; who shows them (a progress line, a notebook, a log) is the observer's matter.
Calls come from the event loop's thread, must not block and must not raise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchchat.errors import RequestError
    from batchchat.records import Outcome


class Waits(Protocol):
    """What a job waits for, as far as a progress line tells it."""

    @property
    def short(self) -> str:
        """A phrase; empty where there is nothing to tell."""

    @property
    def share(self) -> float:
        """The part of the time for which it was waited for."""


class Observer:
    """Everything that can be told of a running job. As it stands it shows nothing: override what is of interest."""

    def planned(self, *, rows: int | None, reused: int, pending: int | None) -> None:
        """Before the first request: rows of the table, rows that are answered already, rows to send."""

    def sending(self, *, in_flight: Callable[[], int], bound: Callable[[], Waits | None]) -> None:
        """Before the first request: how many are in flight and what rows wait for, to be asked for at any time."""

    def started(self) -> None:
        """A row's first request is on its way."""

    def settled(self, outcome: Outcome) -> None:
        """A row was answered or has failed."""

    def retrying(self, error: RequestError, *, attempt: int, delay: float) -> None:
        """Attempt number `attempt` failed and is made again after `delay` seconds."""

    def throttled(self, error: RequestError, *, delay: float) -> None:
        """All starts wait for `delay` seconds, since the endpoint asked for it."""

    def paused(self, reason: str) -> None:
        """The endpoint is down: nothing is sent but a probe now and then. An empty reason: it is back."""

    def answered(self, answer: Mapping[str, Any]) -> None:
        """A row with its prompt and answer: of a trial every one that was sent, of a new job the first few.

        Its keys: row, prompt, completion, before (what an earlier setting answered), the other result columns,
        cost_usd.
        """

    def committed(self, count: int) -> None:
        """`count` more outcomes are durable."""

    def publishing(self, done: int, total: int | None) -> None:
        """The output is being written: rows done of total."""

    def note(self, message: str) -> None:
        """A sentence for the person, once."""
