"""The budgets of a run: what each request can cost at most is reserved, durably, before it is sent.

The arithmetic is `cost.budget`'s; here stand the waiting for it and the ledgers' way into the checkpoint. Ledgers go
with every group of outcomes; where a request waits for one, they are written at once.

A request waits for one budget after the other, always in the same order: so two requests never wait for what the other
holds. Where nothing that waits fits any more there is a short grace before all of it is refused: a smaller row may be
on its way from the table.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

from batchchat.errors import BadRow, JobStopped, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from batchchat.cost.budget import Budget, Ledger, Ticket
    from batchchat.records import ChatRequest, Completion

GRACE = 0.2
"""Seconds that smaller rows have to come before those that wait are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One budget and how requests count against it.

    Attributes:
        name: of its ledger in the checkpoint's header.
        budget: the arithmetic.
        bound: the most that a request can cost; a UsageError where there is no such bound.
        cost: what an answer cost, None where the API did not say.
    """

    name: str
    budget: Budget
    bound: Callable[[ChatRequest], Decimal]
    cost: Callable[[Completion], Decimal | None]


Ledgers: TypeAlias = "Mapping[str, Ledger]"


class Purse:
    """Budgets that the client can wait for.

    Args:
        accounts: one or several.
        write: makes ledgers durable, by the names of their accounts.
        outlook: how many rows are left, None where nobody knows.
    """

    def __init__(
        self,
        accounts: Sequence[Account],
        *,
        write: Callable[[Ledgers], Awaitable[None]],
        outlook: Callable[[], int | None],
    ) -> None:
        self._accounts = tuple(accounts)
        self._write = write
        self._outlook = outlook
        self._writer: asyncio.Task[None] | None = None
        self._woken: set[asyncio.Future[None]] = set()
        self._grace: asyncio.TimerHandle | None = None

    async def reserve(self, request: ChatRequest) -> list[Ticket]:
        """Wait until the most that the request can cost is reserved.

        Raises:
            BudgetReached: it does not fit any more.
            StorageFull: what would be reserved cannot be written.
            BadRow: this request has no bound.
        """
        try:
            bounds = [account.bound(request) for account in self._accounts]
        except UsageError as error:  # of one row (a picture, say): the job's own were checked before
            raise BadRow(str(error)) from error
        tickets: list[Ticket] = []
        try:
            for account, most in zip(self._accounts, bounds, strict=True):
                tickets.append(await self._reserve(account.budget, most))
        except BaseException:
            for account, ticket in zip(self._accounts, tickets, strict=False):
                account.budget.withdraw(ticket)
            self._look()
            raise
        return tickets

    def settle(self, tickets: Sequence[Ticket], completion: Completion | None, *, billed: bool) -> None:
        """An attempt ended: with an answer, without one but perhaps billed, or not billed."""
        for account, ticket in zip(self._accounts, tickets, strict=True):
            if completion is not None:
                account.budget.settle(ticket, account.cost(completion))
            else:
                account.budget.settle(ticket, None if billed else Decimal(0))
        self._look()

    def ledgers(self) -> Ledgers:
        """What is to be made durable now, by account; `committed` is to be told when it is."""
        return {account.name: account.budget.ledger() for account in self._accounts}

    def committed(self, ledgers: Ledgers) -> None:
        """These ledgers are durable."""
        for account in self._accounts:
            account.budget.committed(ledgers[account.name])
        self._look()

    def final(self) -> Ledgers:
        """What a clean end writes."""
        return {account.name: account.budget.final() for account in self._accounts}

    async def close(self) -> None:
        """Wait for ledgers that are being written."""
        if self._grace is not None:
            self._grace.cancel()
        if self._writer is not None:
            with contextlib.suppress(Exception):  # what could not be written counts as the last one that was
                await self._writer

    async def _reserve(self, budget: Budget, most: Decimal) -> Ticket:
        ticket = budget.ask(most)
        if ticket.granted:
            return ticket
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ticket.wake = lambda: None if woken.done() else woken.set_result(None)
        self._woken.add(woken)
        self._look()
        try:
            await woken
        except BaseException:  # cancelled, or the checkpoint cannot be written
            budget.withdraw(ticket)
            raise
        finally:
            self._woken.discard(woken)
        if ticket.refused is not None:
            raise budget.reached(ticket.bound, rows_left=self._outlook())
        return ticket

    def _look(self) -> None:
        """Write ledgers where something waits for them; begin to give up where nothing can help what waits."""
        budgets = [account.budget for account in self._accounts]
        if any(budget.stuck for budget in budgets) and self._grace is None:
            self._grace = asyncio.get_running_loop().call_later(GRACE, self._give_up)
        if any(budget.commit_needed for budget in budgets) and self._writer is None:
            self._writer = asyncio.ensure_future(self._write_ledgers())

    def _give_up(self) -> None:
        """Refuse what is still stuck after the grace."""
        self._grace = None
        for account in self._accounts:
            if account.budget.stuck:
                account.budget.give_up()

    async def _write_ledgers(self) -> None:
        ledgers = self.ledgers()
        try:
            await self._write(ledgers)
        except JobStopped as stopped:  # nothing can be reserved any more: who waits for it is told why
            for woken in self._woken:
                if not woken.done():
                    woken.set_exception(stopped)
            return
        finally:
            self._writer = None
        self.committed(ledgers)
