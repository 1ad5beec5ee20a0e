"""Refusals: whether a limit makes them, or chance.

A gateway under load, a flaky proxy and a server made for tests refuse some requests whatever the rate. Pausing all rows
for one of those, and going slower ever after, would turn a job of minutes into one of hours; not pausing for those of a
limit would be a storm. One refusal tells nothing; how they lie among the requests does.

A limit that is used up refuses what comes next as well: refusals in a row, hardly anything let in between. So long as
that was not seen, a refusal that asks for no wait worth the name is its own row's affair. Where too many come all the
same, a trial decides: for some dozens of requests at half the rate. A limit would let them all in; chance refuses the
same share of them as before. A refusal that asks for seconds, or shows that nothing remains, is of a limit; and so are
all of them once one was found, until they go on one by one however far the rate has fallen.

What is decided stays open: where refusals by chance begin to come in a row, or more of them than they were, it is a
limit, or another trial.

The sequence of requests is all the evidence: number k is held for let in when one of a later number was refused before
it. Answers cost nothing here, and what a refusal costs does not depend on how many requests there were.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from batchchat.limiter.pace import Pace

SHORT = 2.0
"""Seconds: refusals that ask for a longer wait are of a limit."""
GUESS = 0.3
"""The share of refusals by chance that is reckoned with before any was measured."""
LEAST = 0.05
"""A share of refusals up to which there is nothing to be gained by asking why, where they ask for no wait."""
SURE_AT_FIRST, SURE = 8.0, 12.0
"""Log of the odds from which refusals in a row are a limit's: eight of them at first, and against a measured chance."""
LATEST = 32
FEW, ENOUGH, MANY = 6, 12, 32
"""Refusals from which a share is measured: where each costs a pause, where it costs its row only, and where it was
measured before."""
SETTLING = 0.5
"""Seconds over which a rate is measured at least."""
EXPECTED = 5.0
LARGEST_TRIAL = 300
LONGEST_TRIAL = 30.0
LOOK = 0.5
"""A trial takes as many requests as chance would refuse so many of (but not more than these requests and seconds), and
waits for the last refusals to come back."""
CONFIRMED = 3
MORE = 1.5
"""By chance the share stays what it was: with so many times as much it is tried again."""
TRIED_AGAIN = 1000
MOST = 0.6
"""A larger share of refusals is never held for chance."""
SOON = 10
CUTS, SOON_CUTS = 12, 7
"""A rate that is right lets dozens of requests in between two refusals. Where so many of the last cuts came after so
few requests, the rate is not what the refusals depend on."""
BELIEVED = 200

State = Literal["open", "trial", "chance", "limit"]


@dataclass(slots=True, kw_only=True)
class _Stretch:
    """Where the share of refusals is measured: since when, from which number, and what was counted since.

    `answers` is how many there had been; `paused` the seconds for which refusals asked.
    """

    began: float
    first: int
    answers: int
    refused: int = 0
    paused: float = 0.0


@dataclass(slots=True, kw_only=True)
class _Trial:
    """Half the rate for a while.

    Attributes:
        share: of requests that were refused before.
        before: how many these were.
        size: how many requests it takes.
        until: when it ends at the latest.
        first: the number of its first request.
        over_at: when its last refusal should have come back.
        refused: how many of its requests were refused.
    """

    share: float
    before: int
    size: int
    until: float
    first: int | None = None
    over_at: float | None = None
    refused: int = 0


class Chance:
    """What is believed of the refusals of one endpoint.

    Attributes:
        state: "open" while nothing is known, "trial" while half the rate is tried, then "chance" or "limit".
        pace: the rate of a trial, else None.
    """

    __slots__ = (
        "_again_at",
        "_answers",
        "_asked",
        "_cuts",
        "_doubted_from",
        "_doubts",
        "_latest",
        "_measured",
        "_share",
        "_stretch",
        "_trial",
        "_trials",
        "pace",
        "state",
    )

    def __init__(self) -> None:
        self.state: State = "open"
        self.pace: Pace | None = None
        self._share = GUESS  # of requests that chance refuses
        self._measured = False  # whether that is more than a guess
        self._latest: deque[int] = deque(maxlen=LATEST)  # numbers of requests that were refused
        self._answers = 0  # until the last refusal
        self._asked = 0.0  # the longest wait that was asked for by refusals that came by chance
        self._stretch: _Stretch | None = None
        self._trial: _Trial | None = None
        self._trials = 0
        self._again_at = 0  # the number of the request from which another trial is worth it
        self._cuts: deque[tuple[int, int]] = deque(maxlen=CUTS + 1)  # started and refused when a limit's rate was cut
        self._doubted_from = 0
        self._doubts = 0

    def refused(
        self, now: float, *, number: int, asked: float | None, spent: bool, answers: int, in_flight: int
    ) -> bool:
        """Request number `number` was refused: True where that is its own row's affair.

        Args:
            now: the moment of the refusal.
            number: how many requests had started before it.
            asked: seconds that it asks to wait.
            spent: whether its headers show that nothing remains.
            answers: how many requests were answered so far.
            in_flight: how many are still under way.
        """
        wait = asked or 0.0
        if self.state == "limit":
            self._asked = wait
            return False
        company = in_flight > 0 or answers > self._answers
        self._answers = answers
        if spent or wait > max(SHORT, self._asked if self._measured else 0.0):
            self._believe_in_a_limit(number)
            return False
        if self._odds(number) >= (SURE if self._measured else SURE_AT_FIRST):
            self._believe_in_a_limit(number)
            return False
        if self.state == "trial":
            self._count_in_trial(number)
        elif self._measure(now, number, wait, answers):
            self._believe_in_a_limit(number)
            return False
        if self._measured:
            return True
        self._asked = max(self._asked, wait)
        if self._stretch is not None:
            self._stretch.paused += wait
        return company and not wait

    def started(self, now: float, number: int) -> None:
        """Request number `number` starts while there is a trial."""
        if self._trial is not None and self._trial.first is None:
            self._trial.first = number  # what was in flight before set out at the full rate: it belongs to no trial
        if self.pace is not None:
            self.pace.take(now, 1)

    def ready_at(self, now: float, number: int) -> float:
        """The earliest moment at which request number `number` may start, while there is a trial."""
        trial = self._trial
        if trial is None or self.pace is None:
            return now
        tried = number - trial.first if trial.first is not None else 0
        if tried >= trial.size and trial.over_at is None:
            trial.over_at = now + LOOK
        if (trial.over_at is not None and now >= trial.over_at) or now >= trial.until:
            # Where too few were tried in the time, it is taken for what is worse.
            if trial.refused >= max(2.0, 0.3 * trial.share * tried):
                self._believe_in_chance(number, trial.refused, tried)
            else:
                self._believe_in_a_limit(number)
            return now
        return self.pace.ready_at(1)

    def cut(self, *, number: int, refused: int) -> bool:
        """A refusal cut a limit's rate after others were let in: True where it must have come by chance after all.

        Args:
            number: the refused request's.
            refused: how many were refused so far.
        """
        if number < self._doubted_from:
            return False
        self._cuts.append((number, refused))
        cuts = list(self._cuts)
        admitted = [each - others for each, others in cuts]
        if sum(later - earlier <= SOON for earlier, later in itertools.pairwise(admitted)) < SOON_CUTS:
            return False
        first, before = cuts[0]
        self._believe_in_chance(number, refused - before, max(number - first, 1))
        return True

    def _odds(self, number: int) -> float:
        """Log of the odds that the densest of the latest refusals are of a limit: a cumulative sum."""
        self._latest.append(number)
        by_limit = 1.0 - (1.0 - self._share) / 4
        for_limit = math.log(by_limit / self._share)
        let_in = math.log((1.0 - by_limit) / (1.0 - self._share))
        # Refusals come back in another order than their requests set out.
        most = odds = 0.0
        before = -1
        for each in sorted(self._latest):
            odds = max(0.0, odds + (each - before - 1) * let_in) + for_limit
            most = max(most, odds)
            before = each
        return most

    def _count_in_trial(self, number: int) -> None:
        trial = self._trial
        if trial is None or trial.first is None or number < trial.first:
            return
        trial.refused += 1
        if trial.refused >= CONFIRMED and number < trial.first + trial.size:
            self._believe_in_chance(number, trial.refused, number - trial.first + 1)

    def _measure(self, now: float, number: int, wait: float, answers: int) -> bool:
        """Counts refusals over a stretch of requests; too many lead to a trial, True: far too many for chance."""
        stretch = self._stretch
        if stretch is None:
            self._stretch = _Stretch(began=now, first=number, answers=answers)
            return False
        stretch.refused += 1
        seconds = now - stretch.began
        enough = MANY if self._measured else FEW if wait else ENOUGH
        if seconds < SETTLING or stretch.refused < enough:
            return False
        self._stretch = None
        share = stretch.refused / max(1, number - stretch.first, stretch.refused)
        if share > MOST:
            return True
        if self._measured:
            usual = share <= MORE * self._share + LEAST
            if usual and (share <= LEAST or number < self._again_at):
                return False
        elif not wait and share <= LEAST:
            return False
        # Counted by what has ended: at first many requests start at once.
        ended = answers - stretch.answers + stretch.refused
        self.state = "trial"
        self._trial = _Trial(
            share=share,
            before=stretch.refused,
            size=round(min(EXPECTED / share, LARGEST_TRIAL)),
            until=now + LONGEST_TRIAL,
        )
        self.pace = Pace(ended / max(seconds - stretch.paused, SETTLING) / 2)
        self.pace.hold(now)
        return False

    def _believe_in_chance(self, number: int, refused: int, tried: int) -> None:
        if self._trial is not None:
            # All that were counted, at the full rate and at half of it.
            refused, tried = refused + self._trial.before, tried + round(self._trial.before / self._trial.share)
        self.state, self.pace, self._trial, self._stretch = "chance", None, None, None
        self._share, self._measured = min(max(refused / max(tried, 1), LEAST), MOST), True
        self._latest.clear()
        self._cuts.clear()
        self._again_at = number + TRIED_AGAIN * 2**self._trials
        self._trials += 1

    def _believe_in_a_limit(self, number: int) -> None:
        if self._measured:
            self._doubted_from = number + BELIEVED * self._doubts
            self._doubts = 2 * self._doubts + 1
        self.state, self.pace, self._trial, self._stretch = "limit", None, None, None
        self._share, self._measured = GUESS, False
        self._latest.clear()
        self._cuts.clear()
