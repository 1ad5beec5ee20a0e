"""Rows beside their answers as text: a wrapped, coloured table at a terminal, one plain line a row elsewhere.

What a model says is shown, never obeyed: control characters, with which a text could move the cursor or rename the
window, are replaced. The widths of the columns are those of the first rows, so that the rest can follow as it is read.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from batchchat.cli import amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console
    from rich.text import Text

    from batchchat.api import RowAnswer

_CHUNK = 50  # rows that are laid out together
_NARROWEST = 10
_MOST_LINES = 8  # of a cell, at a terminal
_INPUT_WIDTH = 60  # of an input column, elsewhere
_ERROR = "error: "
_VISIBLE = dict.fromkeys([*range(32), *range(127, 160)], "\N{REPLACEMENT CHARACTER}") | {9: " " * 4, 10: "\n"}


def plain(text: str) -> str:
    """The text without characters that a terminal would obey."""
    return text.replace("\r\n", "\n").translate(_VISIBLE)


def words(value: Any) -> str:
    """A value as people read it: several choices one below the other, nothing for a null."""
    if value is None:
        return ""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list | tuple) and all(part is None or isinstance(part, str) for part in value):
        return "\n".join(f"{nth}. {words(part)}" for nth, part in enumerate(value, 1))
    if isinstance(value, dict | list | tuple):
        return plain(json.dumps(value, ensure_ascii=False, default=str))
    return plain(str(value))


def answer_words(answer: RowAnswer) -> str:
    """What became of a row: its answer, its error, or that it is pending."""
    error = answer.results["error"]
    if error is not None:
        return _ERROR + words(error)
    if not answer.settled:
        return "(pending)"
    return words(answer.results["completion"])


def lines(answers: Iterable[RowAnswer]) -> Iterator[str]:
    """One plain line a row, for `grep`: line breaks become spaces, long inputs are cut."""
    widths: list[int] = []
    for chunk in _chunks(answers):
        cells = [_line_cells(answer) for answer in chunk]
        if not widths:
            heads = ["row", *chunk[0].inputs, "completion"]
            widths = [max(map(_width, column)) for column in zip(heads, *cells, strict=True)]
            yield _aligned(heads, widths)
        yield from (_aligned(row, widths) for row in cells)


def table(answers: Iterable[RowAnswer], console: Console) -> Iterator[str]:
    """A table for a terminal, some rows at a time."""
    widths: list[int] = []
    for chunk in _chunks(answers):
        heads = ["row", *chunk[0].inputs, "completion", ""]
        cells = [_cells(answer) for answer in chunk]
        first = not widths
        if first:
            widths = _widths([heads, *cells], console.width)
        yield _rendered(console, heads if first else None, cells, widths)


def details(answer: RowAnswer, console: Console) -> str:
    """All of one row, nothing cut."""
    from rich.table import Table
    from rich.text import Text

    sheet = Table.grid(padding=(0, 2))
    sheet.add_column(no_wrap=True)
    sheet.add_column(overflow="fold")
    head = ", ".join(_about(answer))
    for name, value in answer.inputs.items():
        sheet.add_row(Text(plain(name), style="dim"), Text(words(value)))
    name = "completion" if answer.results["error"] is None else "error"
    text = answer_words(answer).removeprefix(_ERROR)
    sheet.add_row(Text(name, style="dim"), Text(text, style=_style(answer)))
    with console.capture() as captured:
        console.print(Text(f"row {answer.row}", style="bold"), Text(head, style="dim"), sheet, sep="\n")
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _about(answer: RowAnswer) -> Iterator[str]:
    facts, results = answer.facts, answer.results
    if facts["model"]:
        yield plain(facts["model"])
    if results["finish_reason"]:
        yield f"finish reason {words(results['finish_reason'])}"
    if results["prompt_tokens"] is not None:
        yield f"{results['prompt_tokens']:,} tokens in, {results['completion_tokens'] or 0:,} out"
    if facts["latency"]:
        yield amount.duration(facts["latency"])
    if facts["attempts"] is not None:
        yield amount.counted(facts["attempts"], "attempt", "attempts")
    if facts["request_id"]:
        yield f"request {plain(facts['request_id'])}"


def _chunks(answers: Iterable[RowAnswer]) -> Iterator[list[RowAnswer]]:
    iterator = iter(answers)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _line_cells(answer: RowAnswer) -> list[str]:
    inputs = [_cut(" ".join(words(value).split())) for value in answer.inputs.values()]
    return [str(answer.row), *inputs, " ".join(answer_words(answer).split())]


def _cut(text: str) -> str:
    return text if len(text) <= _INPUT_WIDTH else text[: _INPUT_WIDTH - 1] + "…"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (width - _width(cell)) for cell, width in zip(cells[:-1], widths, strict=False)]
    return "  ".join([*padded, cells[-1]])


def _width(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _cells(answer: RowAnswer) -> list[Text]:
    """A row's cells with their styles: number, inputs, answer, and how it ended where that is worth a word."""
    from rich.text import Text

    inputs = [Text(words(value)) for value in answer.inputs.values()]
    ended = words(answer.results["finish_reason"])
    noted = Text("" if ended == "stop" else ended, style="yellow")
    return [Text(str(answer.row), style="dim"), *inputs, Text(answer_words(answer), style=_style(answer)), noted]


def _style(answer: RowAnswer) -> str:
    return "red" if answer.results["error"] is not None else "green" if answer.settled else "dim"


def _widths(rows: Sequence[Sequence[Text | str]], total: int) -> list[int]:
    """As wide as what stands in them; where that is too much, the wide ones give way in proportion."""

    def natural(cell: Text | str) -> int:
        return max(map(_width, str(cell).split("\n")))

    wide = [max(1, *map(natural, column)) for column in zip(*rows, strict=True)]
    room = total - 2 * len(wide)
    fixed = sum(width for width in wide if width <= _NARROWEST)
    flexible = sum(width for width in wide if width > _NARROWEST)
    if fixed + flexible <= room or not flexible:
        return wide
    share = max(0, room - fixed) / flexible
    return [width if width <= _NARROWEST else max(_NARROWEST, int(width * share)) for width in wide]


def _rendered(console: Console, heads: list[str] | None, cells: list[list[Text]], widths: Sequence[int]) -> str:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    if heads is not None:
        grid.add_row(*(Text(plain(head), style="bold") for head in heads))
    for row in cells:
        grid.add_row(*(_cropped(cell, width, console) for cell, width in zip(row, widths, strict=True)))
    with console.capture() as captured:
        console.print(grid)
    return captured.get().rstrip("\n")


def _cropped(cell: Text, width: int, console: Console) -> Text:
    """At most so many lines of it."""
    from rich.text import Text

    wrapped = cell.wrap(console, max(width, 1), overflow="fold")
    if len(wrapped) <= _MOST_LINES:
        return cell
    return Text("\n").join([*wrapped[:_MOST_LINES], Text("…", style="dim")])
