"""What is told before the first request, and the question whether to send it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.cli import amount, stream
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.api import Plan
    from batchchat.job import Job

_LIMITS = {
    "concurrency": "{:,.0f} at once",
    "rpm": "{:,g} requests/min",
    "tpm": "{:,g} tokens/min",
    "max_cost": "at most {:,.2f} USD",
}


def lines(plan: Plan) -> str:
    """Rows, where they go and with which key, the limits, the cost."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{plan.input}: {_rows(plan)}"
    if plan.to_send == 0:
        return
    key = f"with the key in {plan.key}" if plan.key else "without a key"
    where = plan.host if plan.host == "this machine" else f"{plan.host} {key}"
    yield f"to {where}, model {plan.model or 'as the endpoint says'}"
    told = [words.format(plan.limits[name]) for name, words in _LIMITS.items() if name in plan.limits]
    if plan.expected_cost is not None:
        told.append(f"expected cost {amount.money(plan.expected_cost)}")
    if told:
        yield ", ".join(told)


def _rows(plan: Plan) -> str:
    what = "a trial of " if plan.trial else ""
    if plan.rows is None:
        return "rows are counted as they are read"
    send = "nothing to send" if plan.to_send == 0 else f"{plan.to_send:,} to send"
    before = f" ({plan.reused:,} answered before)" if plan.reused else ""
    return f"{what}{amount.counted(plan.rows, 'row', 'rows')}, {send}{before}"


def confirm(plan: Plan, job: Job) -> None:
    """Ask, at a terminal, before much money is spent that nothing bounds.

    Raises:
        UsageError: the answer was no.
    """
    cost = plan.expected_cost
    bounded = job.policy.yes or job.money.max_cost is not None
    if cost is None or cost <= defaults.ASK_ABOVE_USD or bounded or not stream.at_terminal():
        return
    stream.tell(f"This will cost about {amount.money(cost)}; --max-cost USD would be a bound.")
    if not stream.agreed("Send it?"):
        raise UsageError("nothing was sent")
