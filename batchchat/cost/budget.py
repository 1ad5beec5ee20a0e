"""Keeping to `--max-cost` (or `--max-tokens-total`): the bound of a request in, leave to send it out.

What may be spent is written ahead. A `Ledger` (spent, reserved) is durable before any request relies on it, and
spent + reserved is its ceiling: settled + in flight never rise above the ceiling that is durable, and no ceiling is
ever above the limit. Whatever kills the process, the next run starts with the ceiling as spent, so the limit holds
across kills; a clean end writes what was really spent, with nothing reserved. A ledger reserves more than what is in
flight (an open block), so that a request seldom waits for a commit; each group commit of outcomes should carry the
ledger of that moment, which costs nothing and keeps the block small.

Everything here is plain and synchronous: no clock, no loop, no file. The way of one attempt of a request:

    ticket = budget.ask(bound(request, price))
    if not ticket.granted:                      # see below: waits for a commit, or for others to settle
        ...
    ...                                         # send it
    budget.settle(ticket, price.cost(usage))    # None where it may have been billed and nobody knows: counts in full
                                                # Decimal(0) where it was certainly not billed (refused, not connected)

A ticket that is not granted at once is granted later, by `settle` or `committed`, which call its `wake`. Whoever holds
the checkpoint looks at `budget.commit_needed`, and then (as with every group commit) writes `ledger = budget.ledger()`
and, when it is durable, says `budget.committed(ledger)`. Of the tickets that wait for room the smallest is granted
first: one request with a huge bound holds up nobody, and gets its turn when it fits. When `budget.stuck`, nothing is in
flight and nothing that waits can ever fit: `budget.give_up()` wakes all of them with `ticket.refused` set.

Accepted: the huge ones may wait until everything else is done (order is free, the limit is not); after a kill up to
an open block (1 % of the limit, or what is in flight) counts as spent though it was not.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchchat.cost.tokens import prompt_bound
from batchchat.errors import BudgetReached, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchchat.cost.prices import Price
    from batchchat.records import ChatRequest

_ZERO = Decimal(0)
# An open block is this part of the limit, or as much as was reserved since the last ledger, if that is more.
_BLOCK = Decimal("0.01")
# Fields that are billed beside tokens, or at another rate, and what people know them as.
_UNBOUNDED = {
    "web_search_options": "web searches",
    "search_parameters": "web searches",
    "plugins": "plugins",
    "audio": "spoken answers",
    "prediction": "predicted output (rejected tokens are billed too)",
    "speed": "another speed",
}
_PARTS_WITHOUT_BOUND = ("image_url", "input_audio", "file", "video_url")
_MARKS = tuple(f'"{word}"'.encode() for word in (*_UNBOUNDED, *_PARTS_WITHOUT_BOUND))


def bound(request: ChatRequest, price: Price) -> Decimal:
    """The most that a request can cost, in US dollars.

    The prompt counts by its bytes, the completion by its limit times `n`, else by the model's context window.

    Raises:
        UsageError: there is no bound: no limit and no known window, pictures, or fields that are billed apart.
    """
    if price.free:
        return _ZERO
    if not price.fixed:
        raise UsageError(
            f"--max-cost: {price.model} may be billed at another tier than the known one; "
            'set "service_tier" to "default", "flex" or "priority", or say --price'
        )
    _check_bounded(request.body)
    return price.most(prompt_bound(request.body), _completion_bound(request, price.context_window))


def token_bound(request: ChatRequest, context_window: int | None = None) -> int:
    """The most tokens that a request can use, for `--max-tokens-total`.

    Raises:
        UsageError: there is no bound.
    """
    _check_bounded(request.body, option="--max-tokens-total")
    completion = _completion_bound(request, context_window, option="--max-tokens-total")
    return prompt_bound(request.body) + completion


def _completion_bound(request: ChatRequest, window: int | None, *, option: str = "--max-cost") -> int:
    limit = request.completion_limit if request.completion_limit is not None else window
    if limit is None:
        raise UsageError(
            f"{option}: nothing bounds the length of an answer, and so its cost; set --max-tokens "
            "(or --max-completion-tokens)"
        )
    return limit * request.choices


def _check_bounded(body: bytes, *, option: str = "--max-cost") -> None:
    """Quoted words are looked for first: a request is only read where one of them stands in it."""
    if not any(mark in body for mark in _MARKS):
        return
    fields = json.loads(body)
    for field, what in _UNBOUNDED.items():
        if field in fields:
            raise UsageError(
                f'{option}: "{field}": the cost of {what} has no bound; leave it out, or go without {option}'
            )
    for message in fields.get("messages", ()):
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            _check_part(part, option)


def _check_part(part: Any, option: str) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind in _PARTS_WITHOUT_BOUND:
        raise UsageError(f'{option}: a message has a part of type "{kind}", whose tokens have no known bound')


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What the checkpoint keeps, as text of decimal numbers. After a kill both count as spent."""

    spent: Decimal
    reserved: Decimal

    @property
    def ceiling(self) -> Decimal:
        """The most that can have been spent while this ledger was the durable one."""
        return self.spent + self.reserved


class Ticket:
    """One attempt's place in the budget.

    Attributes:
        bound: what is reserved for it. asked: what was said to be its most.
        granted: it may be sent. refused: it never will be.
        wake: called, once, when it is granted or refused after it had to wait.
    """

    __slots__ = ("asked", "bound", "granted", "refused", "settled", "wake")

    def __init__(self, bound: Decimal, *, asked: Decimal) -> None:
        self.bound = bound
        self.asked = asked
        self.granted = False
        self.refused: BudgetReached | None = None
        self.settled = False
        self.wake: Callable[[], None] | None = None


class Budget:
    """A limit that is never passed.

    Args:
        limit: the most that may be spent since the job last finished.
        spent: what was spent before, open blocks of killed runs included (`Ledger.ceiling`).
        unit: `USD`, or `tokens`: how messages speak.
    """

    def __init__(self, limit: Decimal, *, spent: Decimal = _ZERO, unit: str = "USD") -> None:
        self.limit = limit
        self.unit = unit
        self.spent = spent
        self.in_flight = _ZERO
        self.answered = 0
        self.overruns = 0
        self._before = spent
        self._durable = spent
        self._pending: list[Ledger] = []
        self._since_ledger = _ZERO
        self._stretch = 1
        self._open = 0
        self._waiting: list[tuple[Decimal, int, Ticket]] = []
        self._arrival = itertools.count()

    def ask(self, bound: Decimal) -> Ticket:
        """A place for a request that costs at most `bound`: granted at once, or to be waited for."""
        ticket = Ticket(bound * self._stretch, asked=bound)
        if self._fits(ticket.bound):
            self._grant(ticket)
        else:
            heapq.heappush(self._waiting, (ticket.bound, next(self._arrival), ticket))
        return ticket

    def settle(self, ticket: Ticket, actual: Decimal | None) -> None:
        """The attempt is over. `actual` is what it cost; None: it may have been billed, so it counts in full."""
        if not ticket.granted or ticket.settled:
            raise ValueError("only a granted ticket is settled, once")
        ticket.settled = True
        self._open -= 1
        self.in_flight -= ticket.bound
        self.spent += ticket.bound if actual is None else actual
        if actual:
            self.answered += 1
        if actual is not None and actual > ticket.asked:
            self._learn_overrun(actual, ticket.asked)
        self._admit()

    def withdraw(self, ticket: Ticket) -> None:
        """The attempt will not be made: whoever asked was cancelled."""
        if ticket.granted and not ticket.settled:
            self.settle(ticket, _ZERO)
        elif not ticket.granted:
            self._waiting = [entry for entry in self._waiting if entry[2] is not ticket]
            heapq.heapify(self._waiting)

    @property
    def commit_needed(self) -> bool:
        """Whether something waits that a new ledger would let go."""
        return bool(self._waiting) and not self._pending and self._room_in_limit() >= self._waiting[0][0]

    def ledger(self) -> Ledger:
        """What is to be made durable now. Until it is, no more is granted than both it and the last one allow."""
        wanted = sum((entry[0] for entry in self._waiting), _ZERO)
        block = max(self.limit * _BLOCK, self._since_ledger * 2, wanted)
        reserved = min(self.in_flight + block, max(self.limit - self.spent, self.in_flight))
        ledger = Ledger(spent=self.spent, reserved=reserved)
        self._pending.append(ledger)
        self._since_ledger = _ZERO
        return ledger

    def committed(self, ledger: Ledger) -> None:
        """That ledger is durable (and with it all that were taken before it)."""
        at = [pending is ledger for pending in self._pending].index(True)
        del self._pending[: at + 1]
        self._durable = ledger.ceiling
        self._admit()

    def final(self) -> Ledger:
        """What a clean end writes: what was spent, and what is still in flight as if it had been."""
        return Ledger(spent=self.spent + self.in_flight, reserved=_ZERO)

    @property
    def stuck(self) -> bool:
        """Whether something waits that nothing can help: nothing is in flight, and the smallest bound does not fit."""
        return bool(self._waiting) and not self._open and self._room_in_limit() < self._waiting[0][0]

    def give_up(self) -> None:
        """Refuse everything that waits."""
        waiting, self._waiting = self._waiting, []
        for _, _, ticket in sorted(waiting):
            ticket.refused = self.reached(ticket.bound)
            _wake(ticket)

    def reached(self, bound: Decimal, *, rows_left: int | None = None) -> BudgetReached:
        """The error that stops the job, with what is left and what it would cost, as far as that is known."""
        left = "" if rows_left is None else f" {rows_left:,} rows are left{self._outlook(rows_left)}."
        option = "--max-cost" if self.unit == "USD" else "--max-tokens-total"
        return BudgetReached(
            f"the budget of {self.text(self.limit)} is reached: {self.text(self.spent)} are spent, and the next "
            f"request can cost up to {self.text(bound)}.{left} Go on with a higher {option}."
        )

    def text(self, amount: Decimal) -> str:
        """An amount as people read it."""
        if self.unit != "USD":
            return f"{amount:,.0f} {self.unit}"
        return f"${amount:,.2f}" if amount >= 1 or not amount else f"${amount:.2g}".replace("E", "e")

    def _outlook(self, rows: int) -> str:
        if not self.answered:
            return ""
        mean = (self.spent - self._before) / self.answered
        return f", about {self.text(mean * rows)} by the mean so far"

    def _room_in_limit(self) -> Decimal:
        return self.limit - self.spent - self.in_flight

    def _fits(self, bound: Decimal) -> bool:
        """A ceiling that is being written may be the durable one at any moment, so the lowest of them counts."""
        ceiling = min([self._durable, *(ledger.ceiling for ledger in self._pending)])
        return self.spent + self.in_flight + bound <= min(ceiling, self.limit) or not bound

    def _grant(self, ticket: Ticket) -> None:
        ticket.granted = True
        self._open += 1
        self.in_flight += ticket.bound
        self._since_ledger += ticket.bound

    def _admit(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            ticket = heapq.heappop(self._waiting)[2]
            self._grant(ticket)
            _wake(ticket)

    def _learn_overrun(self, actual: Decimal, asked: Decimal) -> None:
        """An endpoint that bills beyond what was asked of it will do so again: later bounds are stretched as far."""
        self.overruns += 1
        if asked:
            self._stretch = max(self._stretch, math.ceil(actual / asked))


def _wake(ticket: Ticket) -> None:
    if ticket.wake is not None:
        ticket.wake()
