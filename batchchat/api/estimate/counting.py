"""The prompts of the rows that a run would send, counted: all of them where that takes seconds, else a random part.

How long it takes is tried on the first rows. Where all would take too long, the table is read again from its beginning
and of every row a coin is thrown, so that the part is drawn from the whole table and its error can be told.

Accepted: how large a part is depends on the speed of the machine, so two estimates of a huge table differ a little, by
what they say that they may be off.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchchat.api.input.rows import count_rows
from batchchat.cost.tally import PromptTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchchat.api.kept.pending import Part, Pending
    from batchchat.cost.tokens import TokenCounter
    from batchchat.dataset import Dataset
    from batchchat.records import ChatRequest

# Seconds: for a look at the speed, for all rows at most, and for a part of them.
PROBE, ALL, PART = 2.0, 60.0, 20.0
_FEWEST = 1000
_STEP = 256


@dataclass(slots=True, kw_only=True)
class Counted:
    """What was found.

    Attributes:
        rows: of the table, as far as they are meant.
        to_send: rows that a run would send.
        unsendable: rows that make no request: a blank prompt, say.
        open: rows that the checkpoint does not settle; drawn: so many of them were counted.
        tallies: by the name of the tokenizer, the prompts' lengths.
        share: which part of the open rows was counted.
        whole: False where the rest of the table was not looked at.
        bounded, unbounded: requests with a limit on their answers, and without; limits: the sum of those limits.
        chain: the settings whose answers count.
        changed: whether a run would be refused, since the job began with other settings.
    """

    rows: int = 0
    to_send: int = 0
    unsendable: int = 0
    open: int = 0
    drawn: int = 0
    tallies: Mapping[str, PromptTally] = field(default_factory=dict)
    share: float = 1.0
    whole: bool = True
    bounded: int = 0
    unbounded: int = 0
    limits: int = 0
    chain: tuple[int, ...] = ()
    changed: bool = False

    def add(self, request: ChatRequest) -> None:
        """Note the limit on a request's answer."""
        if request.completion_limit is None:
            self.unbounded += 1
        else:
            self.bounded += 1
            self.limits += request.completion_limit

    @property
    def completion_limit(self) -> float | None:
        """The mean of the limits on answers, None where some request has none."""
        return None if self.unbounded or not self.bounded else self.limits / self.bounded

    @property
    def answered(self) -> int:
        """Rows that the checkpoint settles."""
        return self.rows - self.to_send - self.unsendable


class Counting:
    """Counts what is pending.

    Args:
        dataset: the table.
        open_pending: opens what is pending, from the beginning.
        counters: by the name of the tokenizer.
        progress: is told how many rows were looked at, of how many (None: not known).
        clock: seconds.
    """

    def __init__(
        self,
        dataset: Dataset,
        open_pending: Callable[[], Pending],
        counters: Mapping[str, TokenCounter],
        *,
        progress: Callable[[int, int | None], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._dataset = dataset
        self._open = open_pending
        self._counters = counters
        self._progress = progress
        self._clock = clock

    def all(self, rows: int | None) -> Counted:
        """Every row, or a random part of them where that would take minutes.

        Args:
            rows: how many are meant, None where only reading all of the table tells.
        """
        begun = self._clock()
        counted = self._count(rows, give_up=lambda counted: self._too_slow(begun, counted, rows))
        if counted.whole:
            return counted
        taken = self._clock() - begun
        rows = count_rows(self._dataset) if rows is None else rows
        share = PART / (taken * rows / counted.rows)
        return self._count(rows, share=min(1.0, max(share, _FEWEST / rows)))

    def first(self, seconds: float, rows: int | None) -> Counted:
        """The first open rows, for so many seconds: quick, and only as good as they are like the others.

        Where the first are answered it is looked for others for as long again.
        """
        begun = self._clock()

        def enough(counted: Counted) -> bool:
            taken = self._clock() - begun
            return taken >= seconds and (counted.to_send >= _FEWEST or taken >= 2 * seconds)

        return self._count(rows, give_up=enough)

    def _too_slow(self, begun: float, counted: Counted, rows: int | None) -> bool:
        taken = self._clock() - begun
        if taken < PROBE:
            return False
        return taken * rows / counted.rows > ALL if rows is not None else taken > ALL

    def _count(
        self, rows: int | None, *, share: float = 1.0, give_up: Callable[[Counted], bool] = lambda _: False
    ) -> Counted:
        draw = random.Random("a part of the rows")  # noqa: S311 - no secret
        tallies = {name: PromptTally() for name in self._counters}
        counted = Counted(tallies=tallies, share=share)
        with self._open() as pending:
            counted.chain, counted.changed = pending.chain, pending.changed
            for part, some, last in _steps(pending):
                chosen = some if share >= 1 else [row for row in some if draw.random() < share]
                counted.open += len(some)
                counted.drawn += len(chosen)
                bodies = []
                for task in pending.tasks(part, chosen, claim=share >= 1):
                    if task.request is None:
                        counted.unsendable += 1
                    else:
                        bodies.append(task.request.body)
                        counted.add(task.request)
                for name, counter in self._counters.items():
                    tallies[name].add(counter.count_bodies(bodies))
                counted.to_send += len(bodies)
                if last:
                    counted.rows += part.size
                    self._progress(counted.rows, rows)
                    if give_up(counted):
                        counted.whole = rows is not None and counted.rows >= rows
                        break
        _scale(counted, share)
        return counted


def _steps(pending: Pending) -> Iterator[tuple[Part, Sequence[int], bool]]:
    """The open rows in small steps, so that few bodies are held at once; whether a step is the last of its part."""
    for part in pending.parts():
        steps = [part.open[at : at + _STEP] for at in range(0, len(part.open), _STEP)] or [()]
        for nth, some in enumerate(steps, 1):
            yield part, some, nth == len(steps)


def _scale(counted: Counted, share: float) -> None:
    """Of a part, what it stands for: how many rows are open is known, what becomes of them is that of the part."""
    if share >= 1 or not counted.drawn:
        return
    counted.to_send = round(counted.to_send * counted.open / counted.drawn)
    counted.unsendable = min(round(counted.unsendable * counted.open / counted.drawn), counted.rows - counted.to_send)
    for tally in counted.tallies.values():
        tally.stand_for(counted.to_send)
