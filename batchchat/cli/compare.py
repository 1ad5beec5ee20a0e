"""`batchchat compare A [B]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.cli import amount, stream
from batchchat.cli.grid import plain, words
from batchchat.cli.option import Argument, Option, command
from batchchat.errors import Misspelt, UsageError
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from batchchat.api import Comparison
    from batchchat.api.look.comparison import Changed
    from batchchat.cli.option import Commands

_FORMATS = ("text", "md")
_WIDEST = 48
_A = Argument(name="a", help="A job; or JOB@N, its settings number N")
_B = Argument(name="b", help="The other; without one, the last settings of A against those before them", optional=True)
_OPTIONS = (
    Option(name="gold", metavar="COLUMN", help="Column of the table that says what is right"),
    Option(name="count", short="-n", kind=int, default=defaults.CHANGED_SHOWN, help="Differing rows to show"),
    Option(name="json", kind=bool, help="Print it as JSON"),
    Option(name="format", metavar="|".join(_FORMATS), default=_FORMATS[0], help="What is printed"),
)


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "compare", arguments=[_A, _B], options=_OPTIONS)(compare)


def compare(
    *,
    a: str,
    b: str | None,
    gold: str | None,
    count: int | None,
    json: bool,
    format: str | None,  # noqa: A002 - the contract's own word
) -> None:
    """Compare two jobs, or two settings of one: where they agree, what they cost, and who is right.

    Answers are compared as labels: capitals, quotes and a full stop do not count.

        batchchat compare mini.csv maxi.csv --gold label
    """
    from batchchat.api import compare_jobs

    form = format or _FORMATS[0]
    if form not in _FORMATS:
        meant = nearest(form, _FORMATS)
        told = f"--format {form}: must be one of {', '.join(_FORMATS)}{did_you_mean(meant)}"
        raise Misspelt(told, wrong=form, meant=meant)
    if count is not None and count < 0:
        raise UsageError(f"-n {count}: must be at least 0")
    found = compare_jobs(a, b, gold=gold, count=defaults.CHANGED_SHOWN if count is None else count)
    if json:
        stream.emit_json(found.as_dict())
    else:
        stream.emit("\n".join(_lines(found, _markdown if form == "md" else _aligned)))


def _lines(found: Comparison, table: Any) -> Iterator[str]:
    yield from table([["", "A", "B"], *_sides(found)])
    yield ""
    yield f"{found.both:,} rows answered by both, {_share(found.agree, found.both)} alike"
    if found.only_a or found.only_b:
        yield f"answered by one alone: {found.only_a:,} by A, {found.only_b:,} by B"
    if found.unlike:
        yield f"{amount.counted(found.unlike, 'row is', 'rows are')} not the same in both tables, and not compared"
    if found.right is not None:
        right = found.right
        alone = f"A alone {right.a - right.both:,}, B alone {right.b - right.both:,}"
        yield f"both right {right.both:,}, {alone}, neither {right.neither:,}"
    if found.changed:
        gold = [] if found.right is None else [found.right.column]
        heads = ["row", *found.changed[0].inputs, "A", "B", *gold]
        rows = [_changed(one, gold=bool(gold)) for one in found.changed]
        yield ""
        yield from table([heads, *rows])
        left = found.both - found.agree - len(found.changed)
        if left:
            yield f"and {left:,} more (-n N shows more)"


def _sides(found: Comparison) -> Iterator[list[str]]:
    a, b = found.a, found.b
    yield ["job", plain(a.name), plain(b.name)]
    yield ["model", plain(a.model), plain(b.model)]
    yield ["answered", f"{a.answered:,}", f"{b.answered:,}"]
    yield ["failed", f"{a.failed:,}", f"{b.failed:,}"]
    yield ["tokens in", f"{a.prompt_tokens:,}", f"{b.prompt_tokens:,}"]
    yield ["tokens out", f"{a.completion_tokens:,}", f"{b.completion_tokens:,}"]
    costs = [None if side.cost_usd is None else amount.money(side.cost_usd) for side in (a, b)]
    yield ["cost", *(cost or "not known" for cost in costs)]
    if found.right is not None:
        yield ["right", _share(found.right.a, found.both), _share(found.right.b, found.both)]


def _changed(one: Changed, *, gold: bool) -> list[str]:
    cells = [*one.inputs.values(), one.a, one.b, *([one.gold] if gold else [])]
    return [f"{one.row}", *map(_cell, cells)]


def _share(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.1f} %)" if whole else f"{part:,}"


def _cell(value: Any) -> str:
    text = " ".join(words(value).split())
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()


def _markdown(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for nth, row in enumerate(rows):
        cells = (cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in row)
        yield f"| {' | '.join(cells)} |"
        if nth == 0:
            yield "|" + " --- |" * len(row)
