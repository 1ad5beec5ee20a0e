"""One request on its way through the simulator. It learns once how it ended, and tells the tally.

What comes in: what is found out about the request, bit by bit. What goes out: one call of the tally.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchchat.serve.http import Exchange
    from batchchat.serve.refusal import Refusal
    from batchchat.serve.reply import Reply
    from batchchat.serve.sim.ask import Ask
    from batchchat.serve.sim.script import Step
    from batchchat.serve.sim.tally import Tally


class Job:
    """One request; a visit, as the routes call it.

    Attributes:
        fate: what it counts as if its last byte goes out: answered, refused, spoilt, or dropped or partial on purpose;
            `gone` until its answer begins.
        status: of the refusal.
        ask, reply, rule, step: what it asks, what is answered, and why not as usual.
        headers: lines for its answer.
        release: gives its slot back.
        cost: prompt and completion tokens of the answer that it gets, or would have got.
    """

    __slots__ = (
        "_complete",
        "ask",
        "cost",
        "exchange",
        "fate",
        "headers",
        "release",
        "reply",
        "rule",
        "status",
        "step",
        "tally",
    )

    def __init__(
        self,
        exchange: Exchange,
        tally: Tally,
        complete: Callable[[Job, dict[str, Any]], None],
        cost: Callable[[Job], tuple[int, int]],
    ) -> None:
        self.exchange = exchange
        self.cost = cost
        self.tally = tally
        self.fate = "gone"
        self.status = 0
        self.ask: Ask | None = None
        self.reply: Reply | None = None
        self.rule: str | None = None
        self.step: Step | None = None
        self.headers = ""
        self.release: Callable[[], None] | None = None
        self._complete = complete
        tally.arrived(exchange.request)
        exchange.settled = self.settled

    def refused(self, refusal: Refusal) -> None:
        """It gets an error object."""
        self.fate, self.status = "refused", refusal.status

    def complete(self, asked: dict[str, Any]) -> None:
        """It is valid."""
        self._complete(self, asked)

    def settled(self, whole: bool) -> None:
        """The last byte is out, or the client has gone."""
        tally, fate = self.tally, self.fate
        tally.in_flight -= 1
        if self.ask is not None and fate not in {"refused", "dropped"}:
            tally.worked(*self.cost(self))
        if fate == "dropped":
            tally.dropped += 1
        elif fate == "partial" and self.exchange.began:
            tally.partial += 1
        elif not whole:
            tally.left(began=self.exchange.began)
        elif fate == "refused":
            tally.refused[self.status] += 1
        elif fate == "spoilt" or self.ask is None:
            tally.spoilt += 1
        else:
            tally.answer(self.ask.prompt, self.reply.usage if self.reply is not None else None)
        if self.release is not None:
            self.release()
