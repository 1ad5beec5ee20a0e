"""One answer as text, with the prompt that it answers and the answer that the row had before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.cli.grid import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

_STYLES = {"prompt": "dim", "completion": "green", "before": "yellow", "error": "red"}
_SAME = "(the same)"
_MOST_LINES = 12  # of one text, at a terminal


def lines(answer: Mapping[str, Any]) -> str:
    """Plain lines, nothing cut; further lines of a text are indented."""
    told = [f"row {answer['row']}"]
    told += [f"  {name}: {text}".replace("\n", "\n      ") for name, text in _parts(answer)]
    return "\n".join(told)


def draw(answer: Mapping[str, Any], console: Console) -> None:
    """The same at a terminal: coloured, wrapped, a long text cut."""
    from rich.table import Table
    from rich.text import Text

    sheet = Table.grid(padding=(0, 2, 0, 0))
    sheet.add_column(no_wrap=True)
    sheet.add_column(overflow="fold")
    for name, text in _parts(answer):
        kept = text.split("\n")
        cut = "\n".join([*kept[:_MOST_LINES], "…"] if len(kept) > _MOST_LINES else kept)
        sheet.add_row(Text(f"  {name}", style="dim"), Text(cut, style=_STYLES[name]))
    console.print(Text(f"row {answer['row']}", style="bold"))
    console.print(sheet)


def _parts(answer: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in _STYLES:
        value = answer.get(name)
        if value is None:
            continue
        same = name == "before" and value == answer.get("completion")
        yield name, _SAME if same else words(value)
