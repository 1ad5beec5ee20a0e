"""How far the counting of rows is: a line that changes at a terminal, nothing elsewhere."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, TextIO

from batchchat.cli import amount

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVERY = 0.2
_AFTER = 0.5


@contextlib.contextmanager
def counting(
    file: TextIO | None, *, quiet: bool, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int | None], None]]:
    """What is to be told of each step: the rows that were counted, of how many. Quick ones are not shown."""
    shown = 0
    due = clock() + _AFTER

    def progress(done: int, total: int | None) -> None:
        nonlocal shown, due
        if quiet or file is None or not file.isatty() or clock() < due:
            return
        due = clock() + _EVERY
        text = f"counting: {amount.of(done, total)} rows"
        _write(file, "\r" + text.ljust(shown))
        shown = max(shown, len(text))

    try:
        yield progress
    finally:
        if shown and file is not None:
            _write(file, "\r" + " " * shown + "\r")


def _write(file: TextIO, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody reads any more: that is no reason to stop
        file.write(text)
        file.flush()
