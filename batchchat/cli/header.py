"""What is told before the first request, and the question whether to send it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.cli import amount, stream
from batchchat.cli.place import short
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.api import Plan
    from batchchat.job import Job

_DAY = 86400.0
_WORTH_SAYING = 4 * 3600.0
_LIMITS = {
    "concurrency": "{:,.0f} at once",
    "rpm": "{:,g} requests/min",
    "tpm": "{:,g} tokens/min",
    "rpd": "{:,g} requests/day",
    "tpd": "{:,g} tokens/day",
    "max_cost": "at most {:,.2f} USD",
}


def lines(plan: Plan) -> str:
    """Rows, where they go and with which key, the limits, the cost."""
    return "\n".join(_lines(plan))


def _lines(plan: Plan) -> Iterator[str]:
    yield f"{short(plan.input)}: {_rows(plan)}"
    if plan.to_send == 0:
        return
    key = f"with the key in {plan.key}" if plan.key else "without a key"
    where = plan.host if plan.host == "this machine" else f"{plan.host} {key}"
    yield f"to {where}, model {plan.model or 'as the endpoint says'}"
    told = [words.format(plan.limits[name]) for name, words in _LIMITS.items() if name in plan.limits]
    told += _stretched(plan)
    told += _cost(plan)
    if told:
        yield ", ".join(told)


def _stretched(plan: Plan) -> Iterator[str]:
    """How long a limit of requests alone makes the job, where that is more than a few hours."""
    rows, daily, minutely = plan.to_send or 0, plan.limits.get("rpd"), plan.limits.get("rpm")
    seconds = max(
        (rows - daily) * _DAY / daily if daily else 0.0,  # the first day's allowance is spent at once
        rows * 60 / minutely if minutely else 0.0,
    )
    if seconds >= _WORTH_SAYING:
        yield f"about {amount.duration(seconds)} at this limit"


def _cost(plan: Plan) -> Iterator[str]:
    cost = plan.cost
    if cost is None or cost.high == 0:
        return
    if cost.expected is not None:
        between = ""
        if cost.low is not None and cost.high is not None and cost.low != cost.high:
            between = f" ({amount.money(cost.low)} to {amount.money(cost.high)})"
        yield f"expected cost {amount.money(cost.expected)}{between}"
    elif cost.low is not None:
        yield f"cost {amount.money(cost.low)} for the prompts alone (estimate --sample 50 tells more)"


def _rows(plan: Plan) -> str:
    what = "a trial of " if plan.trial else ""
    if plan.rows is None:
        return "rows are counted as they are read"
    send = "nothing to send" if plan.to_send == 0 else f"{plan.to_send:,} to send"
    left = [f"{plan.reused:,} answered before"] if plan.reused else []
    left += [f"{plan.skipped:,} skipped"] if plan.skipped else []
    before = f" ({', '.join(left)})" if left else ""
    return f"{what}{amount.counted(plan.rows, 'row', 'rows')}, {send}{before}"


def confirm(plan: Plan, job: Job) -> None:
    """Ask, at a terminal, before much money is spent that nothing bounds.

    Raises:
        UsageError: the answer was no.
    """
    cost = likely(plan)
    if cost <= defaults.ASK_ABOVE_USD or not may_ask(job):
        return
    stream.tell(f"This will cost about {amount.money(cost)} or more; --max-cost USD would be a bound.")
    if not stream.agreed("Send it?"):
        raise UsageError("nothing was sent")


def likely(plan: Plan) -> Decimal:
    """What is expected, or the least that is known; 0 where nothing is."""
    known = () if plan.cost is None else (plan.cost.expected, plan.cost.low)
    return next((cost for cost in known if cost is not None), Decimal(0))


def may_ask(job: Job) -> bool:
    """Whether somebody is there to be asked, and has not answered already."""
    return not job.policy.yes and job.money.max_cost is None and stream.at_terminal()
