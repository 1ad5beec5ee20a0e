"""Two jobs, or two settings of one job, row by row: where they agree, what each cost, and who was right.

Rows are matched by their numbers. Where the columns that both prompts read differ, the tables differ at that row, and
it is not compared. Answers are compared as labels: without white space around them, quotes, a full stop or capitals,
and of a JSON object with one value by that value.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from batchchat.api.kept.find import find_checkpoint, resume_job, shown_chain
from batchchat.api.look.answers import View
from batchchat.api.money.price import find_price, total_cost
from batchchat.checkpoint import read_journal, settled_rows
from batchchat.dataset import open_dataset
from batchchat.errors import Misspelt, UsageError
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from decimal import Decimal
    from pathlib import Path

    from batchchat.api.look.answers import RowAnswer
    from batchchat.checkpoint import Journal
    from batchchat.dataset import FileDataset
    from batchchat.job import Job

_SIDE = re.compile(r"(.+)@(\d+)")
_LONGEST_PROMPT = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two. `cost_usd` is that of all its answers, None where the price is not known."""

    name: str
    model: str
    settings: int
    answered: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A row that they answer differently; `gold` is what people said, where that was asked for."""

    row: int
    inputs: dict[str, Any]
    a: Any
    b: Any
    gold: Any = None


@dataclass(slots=True, kw_only=True)
class Right:
    """How often each agrees with people, over the rows that both answered."""

    column: str
    a: int = 0
    b: int = 0
    both: int = 0
    neither: int = 0


@dataclass(slots=True, kw_only=True)
class Comparison:
    """What was found.

    Attributes:
        both: rows that both answered; agree: of these, those with the same label.
        only_a, only_b: rows that one of them answered alone.
        unlike: rows whose text differs between the two tables.
        changed: the first rows that they answer differently.
    """

    a: Side
    b: Side
    both: int = 0
    agree: int = 0
    only_a: int = 0
    only_b: int = 0
    unlike: int = 0
    changed: list[Changed] = field(default_factory=list)
    right: Right | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same, JSON-able: money as numbers."""
        facts = asdict(self)
        for side in (facts["a"], facts["b"]):
            side["cost_usd"] = None if side["cost_usd"] is None else float(side["cost_usd"])
        return facts


def compare_jobs(a: str, b: str | None = None, *, gold: str | None = None, count: int = 10) -> Comparison:
    """Compare two jobs, or two settings of one.

    Args:
        a: a job, or `JOB@N` for its settings number N.
        b: the other; None: the settings of the job `a` that were used last, against those before them.
        gold: a column of the table that says what is right.
        count: so many differing rows are kept.

    Raises:
        UsageError: there is no such job, settings or column, or both are the same.
    """
    sides = [_taken_apart(name) for name in (a, b) if name is not None]
    if b is None:
        sides = [sides[0], (sides[0][0], None)] if sides[0][1] is not None else _last_two(a)
    with contextlib.ExitStack() as stack:
        one, other = (stack.enter_context(_Opened(target, number, gold)) for target, number in sides)
        if (one.path, one.chain) == (other.path, other.chain):
            raise UsageError(f"{one.name} and {other.name} are the same answers")
        found = Comparison(a=one.side(), b=other.side(), right=None if gold is None else Right(column=gold))
        with contextlib.closing(one.answers()) as left, contextlib.closing(other.answers()) as right:
            for first, second in _pairs(left, right):
                _compare(found, first, second, gold, count)
        return found


def label(answer: Any) -> str:
    """An answer as a label: what is compared."""
    if isinstance(answer, list):
        return "\n".join(label(one) for one in answer)
    text = "" if answer is None else str(answer).strip()
    if text.startswith("{"):
        with contextlib.suppress(ValueError):
            values = list(json.loads(text).values())
            text = str(values[0]) if len(values) == 1 else text
    return text.strip().strip("\"'.").casefold()


class _Opened(contextlib.AbstractContextManager["_Opened"]):
    """One side: its checkpoint, its settings and its table."""

    def __init__(self, target: str, number: int | None, gold: str | None) -> None:
        self.path: Path = find_checkpoint(target)
        self.job: Job = resume_job(str(self.path), {}, need_key=False)
        self.name = target if number is None else f"{target}@{number}"
        self._gold = gold
        self.journal: Journal = read_journal(self.path)
        try:
            self.chain = shown_chain(self.journal) if number is None else _known(self.journal, target, number)
            self.dataset: FileDataset = open_dataset(
                self.job.input, delimiter=self.job.text.delimiter, encoding=self.job.text.encoding
            )
            _check_gold(gold, self.dataset.columns)
        except BaseException:
            self.journal.close()
            raise

    def __exit__(self, *_: object) -> None:
        self.journal.close()

    def answers(self) -> Generator[RowAnswer]:
        """The rows that it answered, in order."""
        view = View(self.journal, self.chain, self.dataset, also=() if self._gold is None else (self._gold,))
        with contextlib.closing(settled_rows(self.journal, self.chain)) as rows:
            for answer in view.answers(rows):
                if answer.settled and answer.results["error"] is None:
                    yield answer

    def side(self) -> Side:
        """What it is, and what it took."""
        model = str(self.journal.settings(self.chain[0])["model"])
        last = max(self.journal.last_row(number) for number in self.chain)
        counts = self.journal.counts(self.chain, None)
        return Side(
            name=self.name,
            model=model,
            settings=self.chain[0],
            answered=counts.answered,
            failed=counts.failed,
            prompt_tokens=counts.prompt_tokens,
            completion_tokens=counts.completion_tokens,
            cost_usd=total_cost(self.journal, self.chain, last, find_price(self.job, model)),
        )


def _check_gold(gold: str | None, columns: Sequence[str]) -> None:
    if gold is not None and gold not in columns:
        meant = nearest(gold, columns)
        message = f"--gold {gold}: there is no such column{did_you_mean(meant)} (the table has: {', '.join(columns)})"
        raise Misspelt(message, wrong=gold, meant=meant)


def _taken_apart(name: str) -> tuple[str, int | None]:
    match = _SIDE.fullmatch(name)
    return (name, None) if match is None else (match[1], int(match[2]))


def _last_two(target: str) -> list[tuple[str, int | None]]:
    """The settings that were used last but one, and last."""
    journal = read_journal(find_checkpoint(target))
    try:
        tried = [run["settings"] for run in reversed(journal.runs()) if run["settings"] is not None]
    finally:
        journal.close()
    numbers = list(dict.fromkeys(tried))
    if len(numbers) < 2:
        raise UsageError(f"{target} has answers of one setting only: name another job to compare it with")
    return [(target, numbers[1]), (target, numbers[0])]


def _known(journal: Journal, target: str, number: int) -> tuple[int, ...]:
    tried = sorted({run["settings"] for run in journal.runs() if run["settings"] is not None})
    if number in tried:
        return (number,)
    lines = [f"{target}@{one}  {_in_a_line(journal, one)}" for one in tried]
    raise UsageError("\n  ".join([f"{target} has no settings {number}; it has", *lines]))


def _in_a_line(journal: Journal, number: int) -> str:
    body = journal.settings(number)
    prompt = " ".join(str(body.get("prompt.template") or body.get("prompt.column") or "").split())
    cut = prompt if len(prompt) <= _LONGEST_PROMPT else prompt[: _LONGEST_PROMPT - 1] + "…"
    return f"{body['model']}, {journal.counts_of(number).answered:,} answers: {cut}"


def _pairs(
    left: Iterator[RowAnswer], right: Iterator[RowAnswer]
) -> Iterator[tuple[RowAnswer | None, RowAnswer | None]]:
    """Answers of the same row together; None where one side has none."""
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if b is None or (a is not None and a.row < b.row):
            yield a, None
            a = next(left, None)
        elif a is None or b.row < a.row:
            yield None, b
            b = next(right, None)
        else:
            yield a, b
            a, b = next(left, None), next(right, None)


def _compare(found: Comparison, a: RowAnswer | None, b: RowAnswer | None, gold: str | None, count: int) -> None:
    if a is None or b is None:
        found.only_a += b is None
        found.only_b += a is None
        return
    if _differ(a, b):
        found.unlike += 1
        return
    found.both += 1
    one, other = a.results["completion"], b.results["completion"]
    said, also = label(one), label(other)
    found.agree += said == also
    truth = None if gold is None else a.inputs[gold]
    if found.right is not None:
        _score(found.right, said == label(truth), also == label(truth))
    if said != also and len(found.changed) < count:
        inputs = {name: value for name, value in a.inputs.items() if name != gold}
        found.changed.append(Changed(row=a.row, inputs=inputs, a=one, b=other, gold=truth))


def _differ(a: RowAnswer, b: RowAnswer) -> bool:
    shared: Sequence[str] = [name for name in a.inputs if name in b.inputs]
    return any(a.inputs[name] != b.inputs[name] and str(a.inputs[name]) != str(b.inputs[name]) for name in shared)


def _score(right: Right, a: bool, b: bool) -> None:
    right.a += a
    right.b += b
    right.both += a and b
    right.neither += not a and not b
