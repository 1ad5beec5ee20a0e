"""`estimate`: what a call of `run` would take, as a frozen result. Nothing is sent, unless a sample is asked for."""

from __future__ import annotations

import html
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

from batchchat.api import estimate_job
from batchchat.cli import bill
from batchchat.cli.counting import counting
from batchchat.cost.interval import Range
from batchchat.python.call import in_its_words, make_call
from batchchat.python.display import shown
from batchchat.python.entry import waited_for
from batchchat.python.wording import in_python

if TYPE_CHECKING:
    from decimal import Decimal
    from os import PathLike

    import pandas as pd
    import pyarrow as pa

    from batchchat.api import Estimated, Summary
    from batchchat.python.call import Call
    from batchchat.python.options import Options, Path

__all__ = ["Estimate", "Range", "estimate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a job will take. A `Range` has `low`, `expected` and `high`; None is what nobody knows.

    Attributes:
        rows: of the table, as far as they are meant.
        answered: of these the checkpoint has an answer to so many already, and `paid_usd` is what that cost.
        to_send: rows that a run would send; what follows is of them alone.
        unsendable: rows that make no request: a blank prompt, say.
        prompt_tokens, completion_tokens: in all.
        cost_usd: US dollars, as Decimal; None in it where the price is not known.
        seconds: under the limits that are known, and `bound_by` the one that decides: rpm, tpm, concurrency or None.
        model, host: who would be asked. price: with its date and source, None where nobody knows it.
        checkpoint: path of the answers that are there, or would be.
        prompt_basis: how prompts were counted: exact, calibrated by what was billed, or estimated.
        learned_from: how many answers the lengths of completions were learned from.
        notes: what the numbers are worth, in sentences.
    """

    rows: int
    answered: int
    to_send: int
    unsendable: int
    prompt_tokens: Range[int]
    completion_tokens: Range[int]
    cost_usd: Range[Decimal]
    seconds: Range[float]
    bound_by: str | None
    paid_usd: Decimal | None
    model: str
    host: str
    price: str | None
    checkpoint: str
    prompt_basis: str
    learned_from: int
    notes: tuple[str, ...]
    _found: Estimated

    def as_dict(self) -> dict[str, Any]:
        """The same as `batchchat estimate --json`: JSON-able, money as a number."""
        return self._found.as_dict()

    def __str__(self) -> str:
        """As `batchchat estimate` prints it."""
        return in_python(bill.estimated(self._found))

    def __repr__(self) -> str:
        """In a line."""
        expected = self.cost_usd.expected
        cost = "unknown" if expected is None else f"{expected} USD"
        return f"<batchchat.Estimate: {self.to_send} of {self.rows} rows to send, expected cost {cost}>"

    def _repr_html_(self) -> str:
        """In a notebook."""
        return f"<pre>{html.escape(str(self))}</pre>"


def estimate(
    data: str | PathLike[str] | pd.DataFrame | pa.Table,
    *,
    prompt: str | None = None,
    model: str | None = None,
    output: Path | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    **options: Unpack[Options],
) -> Estimate:
    """What `batchchat.run` with the same arguments would take: rows, tokens, US dollars and seconds, each as a range.

    Nothing is sent and no key is needed, unless `sample=N` is said: then N rows drawn at random are sent, their answers
    are kept for the run (they are not paid for twice), and what they teach of the lengths of answers makes a range that
    holds the bill in about 90 of 100 jobs.

    Args:
        data: a `pandas.DataFrame`, a `pyarrow.Table`, or the path of a table or of a job file.
        prompt: Jinja2 template, as of `run`.
        model: which would be asked; `run` may find the only one that is served, this has to be told.
        output: as of `run`; nothing is written.
        checkpoint: where answers are kept, as of `run`: what is there already would not be sent.
        progress: whether to show how far the sample is.
        **options: the options of `run`.

    Returns:
        An `Estimate`. Printed, it is the table of `batchchat estimate`.

    Raises:
        UsageError: what `run` would refuse, or no model was named; nothing was sent.
        JobStopped: the sample was stopped; its answers are kept in `checkpoint`.

    Example:
        >>> import batchchat
        >>> found = batchchat.estimate(reviews, prompt="Positive? {{ review }}", model="gpt-4.1-mini", max_tokens=5)
        >>> found.cost_usd.expected
    """
    with in_its_words():
        said = {"prompt": prompt, "model": model, "output": output, "checkpoint": checkpoint, **options}
        call = make_call(data, said, estimates=True)
        sample = None if call.job.rows.sample is None else _sampled(call, progress=progress)
        with counting(sys.stderr, quiet=not progress) as counted:
            return _of(estimate_job(call.job, sample=sample, progress=counted, data=call.data))


def _sampled(call: Call, *, progress: bool) -> Summary:
    """The sample, sent as a trial is.

    Raises:
        JobStopped: it was stopped.
    """
    with shown(progress=progress) as screen:
        summary = waited_for(call, screen)
        screen.end(summary)
    if summary.reason is not None:
        call.result(summary)  # raises it, as of a run
    return summary


def _of(found: Estimated) -> Estimate:
    bill_of_it = found.estimate
    return Estimate(
        rows=found.rows,
        answered=found.answered,
        to_send=found.to_send,
        unsendable=found.unsendable,
        prompt_tokens=bill_of_it.prompt_tokens,
        completion_tokens=bill_of_it.completion_tokens,
        cost_usd=bill_of_it.cost_usd,
        seconds=bill_of_it.seconds,
        bound_by=bill_of_it.bound_by,
        paid_usd=found.paid_usd,
        model=found.model,
        host=found.host,
        price=None if bill_of_it.price is None else str(bill_of_it.price),
        checkpoint=found.checkpoint,
        prompt_basis=bill_of_it.prompt_basis,
        learned_from=found.learned.rows,
        notes=tuple(in_python(note) for note in found.notes),
        _found=found,
    )
