"""Answers that are shown as they come: every one of a trial, the first few of a new job.

A bad prompt is seen for cents. A trial stands beside what an earlier setting made of the same rows. What is shown was
committed before: it is read from the checkpoint again.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.api.look.answers import View
from batchchat.errors import UsageError
from batchchat.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from decimal import Decimal

    from batchchat.api.input.columns import Reader
    from batchchat.api.kept.session import Session
    from batchchat.cost.prices import Price
    from batchchat.dataset import Dataset
    from batchchat.records import Outcome, Task

_COUNTED = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")
_READ = ("row", *_COUNTED)


class Preview:
    """Makes what is shown of a row: its prompt, its answer, and the answer that it had before.

    Attributes:
        pending: how many rows of the trial had no outcome when all were asked for.

    Args:
        session: the checkpoint of the run.
        dataset: the table.
        reader: of the result columns.
        price: of the model.
        rows: the rows of a trial, None for a full run.
    """

    def __init__(
        self, session: Session, dataset: Dataset, reader: Reader, price: Price | None, rows: Sequence[int] | None
    ) -> None:
        self._session = session
        self._reader = reader
        self._price = price
        self._rows = rows
        self._tasks: dict[int, Task] = {}
        self._before = {} if rows is None else _before(session, dataset, rows)
        # Of a job that goes on, the prompt was seen.
        seen = session.journal.counts_of(session.chain[0]).answered
        self._left = len(rows) if rows is not None else max(0, defaults.FIRST_SHOWN - seen)
        self.pending = 0

    def fed(self, tasks: Iterable[Task]) -> None:
        """Remember what is asked, as long as it may be shown."""
        if self._rows is not None or (self._left and not self._tasks):
            self._tasks.update((task.row, task) for task in tasks)

    def committed(self, outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
        """Those of the outcomes that are to be shown, of a full run the first ones."""
        shown = []
        for outcome in outcomes:
            if self._left and outcome.row in self._tasks:
                self._left -= 1
                shown.append(self._of(outcome.row))
        if not self._left and self._rows is None:
            self._tasks.clear()
        return shown

    def all(self) -> list[dict[str, Any]]:
        """Every row of the trial, in order; those without an outcome are nulls, and counted in `pending`."""
        self.pending = 0
        return [self._of(row) for row in self._rows or ()]

    def _of(self, row: int) -> dict[str, Any]:
        columns = self._reader.read(row, 1, also=_READ)
        facts = {name: values[0] for name, values in columns.items()}
        settled = facts["row"] is not None
        self.pending += not settled
        return {
            "row": row,
            "prompt": _prompt(self._tasks.get(row)),
            "completion": facts["completion"],
            "before": self._before.get(row),
            **{name: facts[name] for name in self._reader.names if name != "completion"},
            "cost_usd": self._cost(facts) if settled else None,
        }

    def _cost(self, facts: dict[str, Any]) -> float | None:
        if self._price is None:
            return None
        usage = Usage(**{name: facts[name] for name in _COUNTED})
        cost: Decimal | None = self._price.cost(usage)
        return None if cost is None else float(cost)


def _prompt(task: Task | None) -> str | None:
    """What the row asks: the text of its last message, with a word in place of each image, sound or file."""
    if task is None or task.request is None:
        return None
    content = json.loads(task.request.body)["messages"][-1].get("content")
    return " ".join(map(_said, content)) if isinstance(content, list) else content


def _said(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else part
    if kind == "text" and "text" in part:
        return str(part["text"])
    return f"[{str(kind).removeprefix('input_').removesuffix('_url')}]"


def _before(session: Session, dataset: Dataset, rows: Sequence[int]) -> dict[int, Any]:
    """By row, what the last other settings answered that answered it at all."""
    journal = session.journal
    tried = [run["settings"] for run in reversed(journal.runs()) if run["settings"] is not None]
    found: dict[int, Any] = {}
    for number in dict.fromkeys(tried):
        if number == session.chain[0]:
            continue
        missing = [row for row in rows if row not in found and journal.stored(number, row, 1)]
        # A table that lacks a column now cannot say whether these answers are of its rows.
        with contextlib.suppress(UsageError):
            for answer in View(journal, (number,), dataset).answers(iter(missing)):
                if answer.settled and answer.results["error"] is None:
                    found[answer.row] = answer.results["completion"]
    return found
