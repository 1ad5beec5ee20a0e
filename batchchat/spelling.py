"""What was meant: the known name that is nearest to a word that is none, and the file that is nearest to a missing one.

In come words, out go words or nothing: where nothing is near, nothing is guessed.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_CUTOFF = 0.6


def nearest(wrong: str, known: Iterable[str], *, cutoff: float = _CUTOFF) -> str | None:
    """The nearest of the known names, whatever their case; None where none is near."""
    lower: dict[str, str] = {}
    for name in known:
        lower.setdefault(name.lower(), name)
    near = difflib.get_close_matches(wrong.lower(), lower, n=1, cutoff=cutoff)
    return lower[near[0]] if near else None


def did_you_mean(meant: str | None) -> str:
    """`; did you mean NAME?`, or nothing."""
    return f"; did you mean {meant}?" if meant else ""


def nearest_file(path: str, suffixes: Iterable[str]) -> str | None:
    """A file of this machine beside a path that is not there, with a similar name and one of the suffixes."""
    if "://" in path:
        return None
    wanted = Path(path)
    endings = tuple(suffixes)
    try:
        there = [entry.name for entry in wanted.parent.iterdir() if entry.name.lower().endswith(endings)]
    except OSError:
        return None
    near = nearest(wanted.name, there)
    return None if near is None or near == wanted.name else str(wanted.with_name(near))
