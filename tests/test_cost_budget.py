"""The budget: bounds that hold, a limit that is never passed, and waiting that ends."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchchat.cost.budget import Budget, bound, token_bound
from batchchat.cost.prices import price_for
from batchchat.errors import BudgetReached, UsageError
from batchchat.records import ChatRequest, Usage

PRICE = price_for("any", told="input=1,output=10")


def request(content="Good", *, limit=100, choices=1, **fields):
    body = {"messages": [{"role": "user", "content": content}], "model": "m", **fields}
    text = json.dumps(body, separators=(",", ":")).encode()
    return ChatRequest(body=text, key=b"", choices=choices, completion_limit=limit)


def test_a_bound_is_prompt_by_bytes_and_completion_by_its_limit_times_n():
    """Bytes and an allowance at the input price, max_tokens for each choice at the output price."""
    one = request(limit=100, choices=3)
    assert bound(one, PRICE) == (Decimal(len(one.body) + 128) + 10 * 300) / 1_000_000
    assert token_bound(one) == len(one.body) + 128 + 300


def test_without_max_tokens_the_context_window_bounds_and_without_that_nothing():
    """A known window is the most that a model can answer; else the error names --max-tokens."""
    known = price_for("gpt-4o-mini")
    assert bound(request(limit=None), known) >= known.context_window * Decimal("0.6") / 1_000_000
    with pytest.raises(UsageError, match="--max-tokens"):
        bound(request(limit=None), PRICE)
    with pytest.raises(UsageError, match="--max-tokens-total"):
        token_bound(request(limit=None))


@pytest.mark.parametrize(
    "kind", [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "input_audio"}, {"type": "file", "file": {}}]
)
def test_pictures_sound_and_files_have_no_bound(kind):
    """Their tokens follow from no length that is known here."""
    with pytest.raises(UsageError, match=kind["type"]):
        bound(request([{"type": "text", "text": "What is it?"}, kind]), PRICE)


@pytest.mark.parametrize("field", ["web_search_options", "audio", "prediction", "plugins"])
def test_fields_that_are_billed_apart_have_no_bound(field):
    """What costs money beside tokens cannot be reserved for."""
    with pytest.raises(UsageError, match=field):
        bound(request(**{field: {}}), PRICE)


def test_a_text_that_only_speaks_of_pictures_has_its_bound():
    """Quoted words in a prompt are words."""
    assert bound(request('Is "image_url" or "file" or "audio" a word? file'), PRICE) > 0
    assert bound(request([{"type": "text", "text": "file"}, {"type": "text", "text": "audio"}]), PRICE) > 0
    assert bound(request("file", user="audio"), PRICE) > 0


def test_a_tier_that_the_account_chooses_has_no_fixed_price():
    """`service_tier: auto` may be billed at the priority price."""
    with pytest.raises(UsageError, match="service_tier"):
        bound(request(), price_for("gpt-5", service_tier="auto"))


def test_a_free_model_needs_no_bound():
    """The embedded model costs nothing, so nothing has to be bounded."""
    assert bound(request(limit=None), price_for("local")) == 0
    assert Budget(Decimal(0)).ask(Decimal(0)).granted


def opened(limit, **settings):
    """A budget whose first block is durable."""
    budget = Budget(Decimal(limit), **settings)
    budget.committed(budget.ledger())
    return budget


def test_nothing_is_granted_before_its_block_is_durable():
    """The first request waits for the first commit, the next ones use the same block."""
    budget, woken = Budget(Decimal(100)), []
    first = budget.ask(Decimal("0.1"))
    first.wake = lambda: woken.append(first)
    assert not first.granted
    assert budget.commit_needed
    ledger = budget.ledger()
    assert not first.granted
    assert not budget.commit_needed
    budget.committed(ledger)
    assert first.granted
    assert woken == [first]
    assert budget.ask(Decimal("0.1")).granted


def test_a_settled_request_gives_back_what_it_did_not_cost():
    """Of a bound of 6 only the 1 that it cost is gone; without a known cost all of it is."""
    budget = opened(10)
    tickets = []
    for actual in (Decimal(1), None):
        ticket = budget.ask(Decimal(6))
        while not ticket.granted:
            budget.committed(budget.ledger())
        tickets.append(ticket)
        budget.settle(ticket, actual)
    assert budget.spent == 7
    assert budget.in_flight == 0
    with pytest.raises(ValueError, match="once"):
        budget.settle(tickets[0], Decimal(1))


def test_a_huge_bound_holds_up_nobody_and_gets_its_turn():
    """Small requests pass a waiting huge one; when they are settled, it goes."""
    budget = opened(10)
    small = budget.ask(Decimal("0.01"))
    huge = budget.ask(Decimal("9.995"))
    budget.committed(budget.ledger())
    assert small.granted
    assert not huge.granted
    more = [budget.ask(Decimal("0.01")) for _ in range(3)]
    budget.committed(budget.ledger())
    assert all(ticket.granted for ticket in more)
    assert not budget.stuck
    for ticket in (small, *more):
        budget.settle(ticket, Decimal("0.001"))
    budget.committed(budget.ledger())
    assert huge.granted


def test_when_nothing_fits_and_nothing_is_in_flight_the_job_is_told():
    """The error says what is spent, what the next request could cost, and the option to raise."""
    budget = opened(1, spent=Decimal("0.99"))
    last = budget.ask(Decimal("0.005"))
    budget.committed(budget.ledger())
    waiting = budget.ask(Decimal("0.02"))
    assert not budget.commit_needed
    assert not budget.stuck
    budget.settle(last, Decimal("0.004"))
    assert budget.stuck
    budget.give_up()
    assert isinstance(waiting.refused, BudgetReached)
    assert str(waiting.refused) == (
        "the budget of $1.00 is reached: $0.99 are spent, and the next request can cost up to $0.02. "
        "Go on with a higher --max-cost."
    )
    assert "1,000 rows are left, about $4.00 by the mean so far" in str(budget.reached(Decimal("0.02"), rows_left=1000))
    assert not budget.stuck


def test_a_budget_of_tokens_speaks_of_tokens():
    """--max-tokens-total is the same without prices."""
    budget = opened(1000, unit="tokens")
    budget.ask(Decimal(2000))
    budget.give_up()
    assert "1,000 tokens" in str(budget.reached(Decimal(2000)))
    assert "--max-tokens-total" in str(budget.reached(Decimal(2000)))


def test_a_cancelled_request_gives_its_place_back():
    """Whoever no longer waits, or was granted and did not send, costs nothing."""
    budget = opened(10)
    held, waiting = budget.ask(Decimal(5)), budget.ask(Decimal(8))
    budget.committed(budget.ledger())
    assert held.granted
    budget.withdraw(waiting)
    budget.withdraw(held)
    assert budget.spent == budget.in_flight == 0
    assert not budget.commit_needed


def test_an_endpoint_that_bills_more_than_the_most_is_reserved_for_from_then_on():
    """One overrun stretches all later bounds as far, however many were in flight."""
    budget = opened(100)
    tickets = [budget.ask(Decimal("0.1")) for _ in range(3)]
    for ticket in tickets:
        budget.settle(ticket, Decimal("0.2"))
    assert budget.overruns == 3
    assert budget.spent == Decimal("0.6")
    assert budget.ask(Decimal("0.1")).bound == Decimal("0.2")


def test_a_clean_end_writes_what_was_spent_and_nothing_reserved():
    """What is still in flight then counts as spent."""
    budget = opened(100)
    budget.settle(budget.ask(Decimal("0.5")), Decimal("0.25"))
    budget.ask(Decimal("0.5"))
    assert (budget.final().spent, budget.final().reserved) == (Decimal("0.75"), 0)


def test_a_smaller_ledger_binds_from_the_moment_it_is_taken():
    """It may reach the disk at any time, so nothing is granted any more that only the larger one before it allowed."""
    budget = Budget(Decimal(100))
    large = budget.ask(Decimal(50))
    budget.committed(budget.ledger())
    budget.settle(large, Decimal(1))
    budget.committed(budget.ledger())
    assert budget.ask(Decimal(5)).granted
    budget.committed(budget.ledger())
    assert budget.ledger().ceiling < 10
    assert not budget.ask(Decimal(5)).granted


def test_equal_ledgers_are_told_apart():
    """Two commits of the same numbers are two commits: the second one's end ends both."""
    budget = Budget(Decimal(100))
    first, second = budget.ledger(), budget.ledger()
    assert first == second
    budget.committed(second)
    assert budget.ask(Decimal("0.5")).granted
    assert not budget.commit_needed


@dataclass
class World:
    """Runs of one job: what the endpoint has truly charged, and what is on disk."""

    limit: Decimal
    charged: Decimal = Decimal(0)
    on_disk: Decimal = Decimal(0)
    budget: Budget = field(init=False)
    open: list = field(default_factory=list)
    ledgers: list = field(default_factory=list)
    written: int = 0
    sent: list = field(default_factory=list)

    def __post_init__(self):
        self.start()

    def start(self):
        self.budget = Budget(self.limit, spent=self.on_disk)
        self.open, self.ledgers, self.written = [], [], 0

    def take(self, step, value):
        granted = [ticket for ticket in self.open if ticket.granted]
        waiting = [ticket for ticket in self.open if not ticket.granted]
        if step == "ask":
            self.open.append(self.budget.ask(value))
        elif step == "settle" and granted:
            self.settle(granted[0], (granted[0].bound * Decimal(repr(value))).quantize(Decimal("0.001")))
        elif step == "unknown" and granted:
            self.settle(granted[0], None)
        elif step == "withdraw":
            for ticket in waiting[:value]:
                self.open.remove(ticket)
                self.budget.withdraw(ticket)
        elif step == "commit":
            self.ledger()
            while self.written < len(self.ledgers):
                self.write()
            self.report()
        elif step in {"ledger", "write", "report", "start"}:
            getattr(self, step)()

    def ledger(self):
        self.ledgers.append(self.budget.ledger())

    def send(self):
        """A granted ticket is sent: from now on the endpoint may charge all of its bound, answered or not."""
        for ticket in self.open:
            if ticket.granted and ticket not in self.sent:
                self.sent.append(ticket)
                self.charged += ticket.bound

    def settle(self, ticket, actual):
        self.open.remove(ticket)
        if actual is not None:
            self.charged -= ticket.bound - actual
        self.budget.settle(ticket, actual)

    def write(self):
        """The next ledger reaches the disk; the budget does not know it yet."""
        if self.written < len(self.ledgers):
            self.on_disk = self.ledgers[self.written].ceiling
            self.written += 1

    def report(self):
        """The budget is told of the last ledger that reached the disk."""
        if self.written:
            self.budget.committed(self.ledgers[self.written - 1])
            del self.ledgers[: self.written]
            self.written = 0


cents = st.one_of(st.integers(0, 30), st.integers(0, 400)).map(lambda cents: Decimal(cents) / 100)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), cents),
        st.tuples(st.just("settle"), st.floats(0, 1)),
        st.tuples(st.just("unknown"), st.just(0)),
        st.tuples(st.just("ledger"), st.just(0)),
        st.tuples(st.just("commit"), st.just(0)),
        st.tuples(st.just("write"), st.just(0)),
        st.tuples(st.just("report"), st.just(0)),
        st.tuples(st.just("start"), st.just(0)),
        st.tuples(st.just("withdraw"), st.integers(0, 5)),
    ),
    min_size=5,
    max_size=60,
)


@settings(max_examples=500, deadline=None)
@given(limit=st.integers(1, 2000).map(lambda cents: Decimal(cents) / 100), steps=steps)
def test_no_order_of_events_passes_the_limit(limit, steps):
    """Whatever is asked, answered, lost, committed and killed, the endpoint never charges more than the limit."""
    world = World(limit)
    for step, value in steps:
        world.take(step, value)
        world.send()
        assert world.charged <= limit
        assert world.budget.spent + world.budget.in_flight <= limit
        assert world.charged <= world.on_disk


@settings(max_examples=100, deadline=None)
@given(limit=st.integers(1, 500), bounds=st.lists(st.integers(1, 120), max_size=60))
def test_whoever_waits_is_granted_or_refused(limit, bounds):
    """With commits that come and answers that arrive nobody waits for ever, and only what cannot fit is refused."""
    budget = Budget(Decimal(limit))
    tickets = [budget.ask(Decimal(bound)) for bound in bounds]
    for _ in range(10 * len(bounds) + 10):
        if budget.commit_needed:
            budget.committed(budget.ledger())
        for ticket in tickets:
            if ticket.granted and not ticket.settled:
                budget.settle(ticket, ticket.bound)
        if budget.stuck:
            budget.give_up()
    assert all(ticket.granted or ticket.refused for ticket in tickets)
    for ticket in tickets:
        if ticket.refused:
            assert ticket.bound > limit - budget.spent


class Till:
    """How a client waits for its budget: at most for a commit, or for others to settle."""

    def __init__(self, budget, commit):
        self.budget = budget
        self._commit = commit

    async def reserve(self, most):
        ticket = self.budget.ask(most)
        if ticket.granted:
            return ticket
        woken = asyncio.get_running_loop().create_future()
        ticket.wake = lambda: woken.done() or woken.set_result(None)
        self._look()
        try:
            await woken
        except asyncio.CancelledError:
            self.budget.withdraw(ticket)
            raise
        if ticket.refused:
            raise ticket.refused
        return ticket

    def settle(self, ticket, actual):
        self.budget.settle(ticket, actual)
        self._look()

    def _look(self):
        if self.budget.commit_needed:
            self._commit()
        elif self.budget.stuck:
            asyncio.get_running_loop().call_soon(lambda: self.budget.stuck and self.budget.give_up())


async def test_an_asynchronous_client_spends_up_to_the_limit_and_stops():
    """Sixteen workers, rows of 0.01 to 0.02, a limit of 1: at least 0.95 is spent, never more than 1, then all stop."""
    budget, commits, wanted = Budget(Decimal(1)), [], asyncio.Event()

    async def committer():
        while True:
            await wanted.wait()
            wanted.clear()
            ledger = budget.ledger()
            await asyncio.sleep(0)
            commits.append(ledger)
            budget.committed(ledger)

    till, rows = Till(budget, wanted.set), iter(range(10_000))
    writing = asyncio.create_task(committer())

    async def worker():
        for row in rows:
            ticket = await till.reserve(Decimal("0.02"))
            await asyncio.sleep(0)
            till.settle(ticket, Decimal("0.01") if row % 7 else None)

    results = await asyncio.gather(*(worker() for _ in range(16)), return_exceptions=True)
    writing.cancel()
    assert all(isinstance(result, BudgetReached) for result in results)
    assert Decimal("0.95") <= budget.spent <= 1
    assert len(commits) < 60


def test_the_cost_of_a_usage_never_exceeds_the_bound_of_its_request():
    """A reply within its limits costs no more than was reserved, cached and written tokens included."""
    one = request("x" * 500, limit=50, choices=2)
    price = price_for("claude-sonnet-4-5", base_url="https://api.anthropic.com/v1")
    usage = Usage(prompt_tokens=500, completion_tokens=100, cache_write_tokens=500)
    assert price.cost(usage) <= bound(one, price)
