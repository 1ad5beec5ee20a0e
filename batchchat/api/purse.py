"""The budget of a run: what each request can cost at most is reserved, durably, before it is sent.

The arithmetic is `cost.budget`'s; here stand the waiting for it and the ledger's way into the checkpoint. A ledger goes
with every group of outcomes; where a request waits for one, it is written at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from decimal import Decimal
from typing import TYPE_CHECKING

from batchchat.cost.budget import Budget, bound
from batchchat.errors import BadRow, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchchat.cost.budget import Ledger, Ticket
    from batchchat.cost.prices import Price
    from batchchat.records import ChatRequest, Completion


class Purse:
    """A budget that the client can wait for.

    Args:
        limit: US dollars.
        spent: what was spent before, since the job last finished; an open block of a killed run included.
        price: of this job's model.
        write: makes a ledger durable.
        outlook: how many rows are left, None where nobody knows.
    """

    def __init__(
        self,
        *,
        limit: Decimal,
        spent: Decimal,
        price: Price,
        write: Callable[[Ledger], Awaitable[None]],
        outlook: Callable[[], int | None],
    ) -> None:
        self.budget = Budget(limit, spent=spent)
        self._price = price
        self._write = write
        self._outlook = outlook
        self._writer: asyncio.Task[None] | None = None

    async def reserve(self, request: ChatRequest) -> Ticket:
        """Wait until the most that the request can cost is reserved.

        Raises:
            BudgetReached: it does not fit any more.
            BadRow: this request has no bound.
        """
        try:
            ticket = self.budget.ask(bound(request, self._price))
        except UsageError as error:  # of one row (a picture, say): the job's own were checked before
            raise BadRow(str(error)) from error
        if ticket.granted:
            return ticket
        woken = asyncio.get_running_loop().create_future()
        ticket.wake = lambda: None if woken.done() else woken.set_result(None)
        self._look()
        try:
            await woken
        except asyncio.CancelledError:
            self.budget.withdraw(ticket)
            raise
        if ticket.refused is not None:
            raise self.budget.reached(ticket.bound, rows_left=self._outlook())
        return ticket

    def settle(self, ticket: Ticket, completion: Completion | None, *, billed: bool) -> None:
        """An attempt ended: with an answer, without one but perhaps billed, or not billed."""
        if completion is not None:
            self.budget.settle(ticket, self._price.cost(completion.usage))
        else:
            self.budget.settle(ticket, None if billed else Decimal(0))
        self._look()

    def _look(self) -> None:
        """Write a ledger where something waits for it; give up where nothing can help what waits."""
        if self.budget.stuck:
            self.budget.give_up()
        elif self.budget.commit_needed and self._writer is None:
            self._writer = asyncio.ensure_future(self._write_ledger())

    async def _write_ledger(self) -> None:
        ledger = self.budget.ledger()
        try:
            await self._write(ledger)
            self.budget.committed(ledger)
        finally:
            self._writer = None
        self._look()

    async def close(self) -> None:
        """Wait for a ledger that is being written."""
        if self._writer is not None:
            with contextlib.suppress(Exception):  # what could not be written counts as the last one that was
                await self._writer
