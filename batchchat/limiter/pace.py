"""An even pace: amounts per second, with a burst of one request or a fifth of a second.

In come the amounts that are started; out comes the earliest moment of the next. It is the leaky bucket as a meter:
one number, the moment `due` at which everything taken so far would be paid off at this pace. An amount larger than the
burst is not turned away: it starts when what went before is paid, and is paid off by those who wait after it. So
nothing starves, and in any stretch of time no more than the pace allows, the burst and one request are taken.

The first start is free and the second waits its turn: a minute's limit is often enforced by the second, so an untouched
allowance is never spent in one go.
"""

from __future__ import annotations

from batchchat import defaults

LATENESS = 0.020
"""A timer fires late by milliseconds; a pace that forgave none of it would lose a percent of a limit at 5 a second."""


class Pace:
    """Amounts per second; the clock is the caller's."""

    __slots__ = ("_burst", "_due", "_per_unit", "per_second")

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self._per_unit = 1.0 / per_second
        self._due: float | None = None
        self._burst = defaults.BURST_SECONDS

    def ready_at(self, amount: float) -> float:
        """The earliest moment at which this amount may start; minus infinity where nothing was taken yet."""
        due = self._due
        if due is None:
            return float("-inf")
        return due - _slack(self._burst, amount * self._per_unit)

    def take(self, now: float, amount: float) -> None:
        """The amount starts now, whether or not its moment has come."""
        cost = amount * self._per_unit
        due = self._due
        if due is None:
            due = now + _slack(self._burst, cost)
        self._due = max(due, now) + cost

    def settle(self, difference: float) -> None:
        """An amount that was taken turned out larger (positive) or smaller (negative)."""
        if self._due is not None:
            self._due += difference * self._per_unit

    def change(self, now: float, per_second: float) -> None:
        """From now on another pace; what is owed is still owed, in amounts, and the burst is that of the new pace."""
        per_unit = 1.0 / per_second
        if self._due is not None:
            ahead = self._due - now - _slack(self._burst, self._per_unit)
            if ahead > 0:
                ahead *= per_unit / self._per_unit
            self._due = now + max(_slack(self._burst, per_unit) + ahead, 0.0)
        self._per_unit, self.per_second = per_unit, per_second

    def calm(self) -> None:
        """From now on without a burst: a start that was late is not made up for by several at once."""
        self._burst = 0.0

    def hold(self, until: float) -> None:
        """Nothing is saved up before this moment: after a pause the pace starts evenly, not with a burst."""
        slack = _slack(self._burst, self._per_unit)
        if self._due is None or self._due < until + slack:
            self._due = until + slack


def _slack(burst: float, cost: float) -> float:
    """Seconds by which a start of this cost may be ahead of an even pace: the burst, less the start itself."""
    slack = burst - cost
    least = LATENESS if cost > 10 * LATENESS else cost / 10
    return max(slack, least)
