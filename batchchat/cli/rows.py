"""`batchchat rows JOB`."""

from __future__ import annotations

import csv
import io
import json
import shlex
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.cli import grid, stream
from batchchat.cli.option import Option, command
from batchchat.cli.options import JOB
from batchchat.errors import Misspelt, UsageError
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.api import RowAnswer
    from batchchat.cli.option import Commands

_FORMATS = ("table", "csv", "json")
_OPTIONS = (
    Option(name="failed", kind=bool, help="Only rows that failed"),
    Option(name="row", metavar="LIST", help="These rows, all of each, as 3 or 3,17-20"),
    Option(name="sample", kind=int, help="So many rows, drawn at random"),
    Option(
        name="count",
        short="-n",
        kind=int,
        help=f"At most so many rows; at a terminal {defaults.ROWS_SHOWN} where nothing is said",
    ),
    Option(name="format", metavar="|".join(_FORMATS), default=_FORMATS[0], help="What is printed"),
)


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "rows", arguments=[JOB], options=_OPTIONS)(rows)


def rows(
    *,
    job: str,
    failed: bool,
    row: str | None,
    sample: int | None,
    count: int | None,
    format: str | None,  # noqa: A002 - the contract's own word
) -> None:
    """Show rows with their answers, also while the job runs.

    Rows that have no answer yet are left out, unless --row names them.

        batchchat rows reviews.csv --failed
    """
    from batchchat.api import job_rows

    form = _format(format)
    _check(failed=failed, row=row, sample=sample, count=count)
    short = form == "table" and stream.shown_at_terminal() and count is None and row is None and sample is None
    asked = defaults.ROWS_SHOWN + 1 if short else count
    found = job_rows(job, failed=failed, rows=_numbers(row), sample=sample, count=asked)
    first = list(islice(found, 1))
    if not first:
        stream.tell(_nothing(job, failed=failed))
    answers = chain(first, found)
    if form == "table" and row is not None:
        _tell_whole(answers)
    elif form == "table":
        shown = Counted(islice(answers, defaults.ROWS_SHOWN) if short else answers)
        _print(_table(shown))
        if next(answers, None) is not None:
            stream.tell(f"the first {shown.count} are shown; -n N shows more, --sample N others")
    else:
        _print(_csv(answers) if form == "csv" else _json(answers))
    if failed and first:
        stream.tell(f"Send them again: batchchat resume {shlex.quote(job)} --retry failed")


class Counted:
    """An iterator that counts what it gave."""

    def __init__(self, answers: Iterator[RowAnswer]) -> None:
        self._answers = answers
        self.count = 0

    def __iter__(self) -> Iterator[RowAnswer]:
        for answer in self._answers:
            self.count += 1
            yield answer


def _format(said: str | None) -> str:
    form = said or _FORMATS[0]
    if form not in _FORMATS:
        meant = nearest(form, _FORMATS)
        message = f"--format {form}: must be one of {', '.join(_FORMATS)}{did_you_mean(meant)}"
        raise Misspelt(message, wrong=form, meant=meant)
    return form


def _check(*, failed: bool, row: str | None, sample: int | None, count: int | None) -> None:
    if row is not None and (failed or sample is not None or count is not None):
        raise UsageError("--row names the rows: --failed, --sample and -n do not go with it")
    for name, number in (("--sample", sample), ("-n", count)):
        if number is not None and number < 1:
            raise UsageError(f"{name} {number}: must be at least 1")


def _numbers(said: str | None) -> tuple[range, ...] | None:
    from batchchat.job import parse_rows

    if said is None:
        return None
    try:
        return parse_rows(said)
    except ValueError as error:
        raise UsageError(f"--row {said}: {error}") from None


def _nothing(job: str, *, failed: bool) -> str:
    if failed:
        return "no row has failed"
    return f"no row has an answer yet; batchchat status {shlex.quote(job)} tells how far the job is"


def _tell_whole(answers: Iterator[RowAnswer]) -> None:
    console = stream.console()
    for nth, answer in enumerate(answers):
        if not stream.emit(("\n" if nth else "") + grid.details(answer, console)):
            return


def _table(answers: Counted) -> Iterator[str]:
    return grid.table(answers, stream.console()) if stream.shown_at_terminal() else grid.lines(answers)


def _print(texts: Iterator[str]) -> None:
    for text in texts:
        if not stream.emit(text):
            return


def _json(answers: Iterator[RowAnswer]) -> Iterator[str]:
    before = "["
    for answer in answers:
        yield f"{before}\n{json.dumps(answer.as_dict(), ensure_ascii=False, indent=2, default=str)}"
        before = ","
    yield "[]" if before == "[" else "]"


def _csv(answers: Iterator[RowAnswer]) -> Iterator[str]:
    head = False
    for answer in answers:
        facts = answer.as_dict()
        if not head:
            yield _line(list(facts))
            head = True
        yield _line([_cell(value) for value in facts.values()])


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict | list) else value


def _line(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
