"""What changed in the settings of a job: short values in a line, longer texts side by side.

The signs between the columns are those of `diff -y`: `|` changed, `<` only before, `>` only now.
"""

from __future__ import annotations

import difflib
import json
import shutil
import textwrap
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from batchchat.cli.grid import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_NARROWEST, _WIDEST = 60, 160
_INDENT = "    "
_AROUND = 1  # unchanged lines that are shown around a change


def lines(changes: Iterable[tuple[str, Any, Any]], width: int | None = None) -> Iterator[str]:
    """Each change by its name."""
    width = width or max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((100, 24)).columns))
    for name, before, now in changes:
        short = f"  {name}: {_short(before)} -> {_short(now)}"
        if len(short) <= width and "\n" not in _text(before) + _text(now):
            yield short
        else:
            yield f"  {name}:"
            yield from _side_by_side(_text(before), _text(now), (width - len(_INDENT) - 3) // 2)


def _short(value: Any) -> str:
    return "not set" if value is None else repr(value)


def _text(value: Any) -> str:
    if value is None:
        return "(not set)"
    return plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str))


def _side_by_side(before: str, now: str, column: int) -> Iterator[str]:
    old, new = before.split("\n"), now.split("\n")
    yield _row("before", " ", "now", column)
    pieces = difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()
    for nth, (kind, i, j, k, m) in enumerate(pieces, 1):
        if kind == "equal":
            yield from _unchanged(old[i:j], column, first=nth == 1, last=nth == len(pieces))
            continue
        for left, right in zip_longest(old[i:j], new[k:m]):
            sign = ">" if left is None else "<" if right is None else "|"
            yield from _wrapped(left or "", sign, right or "", column)


def _unchanged(kept: Sequence[str], column: int, *, first: bool, last: bool) -> Iterator[str]:
    head = [] if first else kept[:_AROUND]
    rest = kept[len(head) :]
    tail = [] if last else rest[-_AROUND:]
    between = len(rest) - len(tail)
    for line in head:
        yield from _wrapped(line, " ", line, column)
    if between:
        yield f"{_INDENT}… {between} unchanged {'line' if between == 1 else 'lines'}"
    for line in tail:
        yield from _wrapped(line, " ", line, column)


def _wrapped(left: str, sign: str, right: str, column: int) -> Iterator[str]:
    for a, b in zip_longest(_fold(left, column), _fold(right, column), fillvalue=""):
        yield _row(a, sign, b, column)


def _fold(text: str, column: int) -> list[str]:
    return textwrap.wrap(text, column, drop_whitespace=False, break_on_hyphens=False) or [""]


def _row(left: str, sign: str, right: str, column: int) -> str:
    return f"{_INDENT}{left:<{column}} {sign} {right}".rstrip()
