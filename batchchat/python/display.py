"""One place that shows how far a job is: a line in a notebook's cell, lines at a terminal, else the log.

A notebook's line is updated in place by its display id; it is no widget, so it needs no extension and stays in the
saved notebook. Everything that a person should know goes to the log `batchchat` besides.
"""

from __future__ import annotations

import contextlib
import html
import importlib
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

from batchchat.cli import amount, stream
from batchchat.cli.progress import FIRST_LINE, NEXT_LINES, display
from batchchat.cli.tally import Pace, Tally, sentence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.api import Summary

LOG = logging.getLogger("batchchat")
LOOK_SECONDS = 0.2
_NOTEBOOK_SECONDS = 0.5


class Screen(Tally):
    """Counts what happens, and shows it when it is told to draw. As it stands it writes to the log.

    Drawing is the business of the thread that made the call: a notebook takes what is displayed from there alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self._pace = Pace()
        self._due = time.monotonic() + FIRST_LINE

    def note(self, message: str) -> None:
        """Into the log."""
        LOG.info("%s", message)

    def draw(self) -> None:
        """Show how far it is, where it is time to."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + NEXT_LINES
            LOG.info("%s", ", ".join(filter(None, self._sentence(now))))

    def end(self, summary: Summary | None) -> None:
        """Say what it came to; None where it ended without a word."""
        if summary is not None:
            LOG.info("%s", came_to(summary))
            if summary.failed and summary.reason is None:
                LOG.warning("%s", failures(summary))

    def _sentence(self, now: float) -> tuple[str, str]:
        return sentence(self, self._pace.rate(now, self.settled_rows))


class Silence(Screen):
    """`progress=False`: what went wrong is in the table, and in what is raised."""

    def draw(self) -> None:
        """Nothing."""

    def end(self, summary: Summary | None) -> None:
        """Nothing."""


class Terminal(Screen):
    """Lines at the foot of a terminal, drawn by a thread of their own, and a last one that stays.

    Attributes:
        last: that line.
    """

    last = ""

    def note(self, message: str) -> None:
        """Into the log, and above the lines."""
        super().note(message)
        self.notes.append(message)

    def draw(self) -> None:
        """The thread does."""

    def end(self, summary: Summary | None) -> None:
        """The line that stays, once the others are gone."""
        super().end(summary)
        if summary is not None:
            self.last = f"batchchat: {came_to(summary)}"


class Notebook(Screen):
    """A line in the output of a cell, and the notes under it."""

    def __init__(self) -> None:
        super().__init__()
        self._handle: Any = None
        self._kept: list[str] = []
        self._due = 0.0

    def note(self, message: str) -> None:
        """Into the log, and under the line."""
        super().note(message)
        self._kept.append(message)

    def draw(self) -> None:
        """The line, twice a second at most."""
        now = time.monotonic()
        if now >= self._due:
            self._due = now + _NOTEBOOK_SECONDS
            self._show(", ".join(filter(None, self._sentence(now))), done=self.done, total=self.total)

    def end(self, summary: Summary | None) -> None:
        """The last state of the line."""
        super().end(summary)
        if summary is not None or self._handle is not None:
            self._show("stopped" if summary is None else came_to(summary), done=None, total=None)

    def _show(self, text: str, *, done: int | None, total: int | None) -> None:
        show = importlib.import_module("IPython.display").display  # a kernel has it; we do not ask for it
        bar = f'<progress value="{done}" max="{max(total, 1)}"></progress> ' if total is not None else ""
        notes = "".join(f"<br><small>{html.escape(note)}</small>" for note in self._kept)
        bundle = {
            "text/plain": "\n".join([f"batchchat: {text}", *self._kept]),
            "text/html": f"<div>{bar}batchchat: {html.escape(text)}{notes}</div>",
        }
        # Whatever a front end makes of it, it is not the job's matter.
        with contextlib.suppress(Exception):
            if self._handle is None:
                self._handle = show(bundle, raw=True, display_id=True)
            else:
                self._handle.update(bundle, raw=True)


@contextlib.contextmanager
def shown(*, progress: bool) -> Iterator[Screen]:
    """The screen of a call, as long as it lasts."""
    if not progress:
        yield Silence()
    elif _in_notebook():
        yield Notebook()
    elif sys.stderr is not None and sys.stderr.isatty():
        screen = Terminal()
        try:
            with display(screen, file=sys.stderr, quiet=False):
                yield screen
        finally:
            if screen.last:
                stream.tell(screen.last)
    else:
        yield Screen()


def came_to(summary: Summary) -> str:
    """`1,000 rows: 998 succeeded, 2 failed; 4,000 tokens, 0.02 USD, 12 s`."""
    rows = [f"{summary.succeeded:,} succeeded"]
    rows += [f"{summary.failed:,} failed"] if summary.failed else []
    rows += [f"{summary.pending:,} pending"] if summary.pending else []
    facts = [f"{summary.prompt_tokens + summary.completion_tokens:,} tokens"]
    facts += [amount.money(summary.cost_usd)] if summary.cost_usd is not None else []
    facts += [f"{summary.reused:,} answered before"] if summary.reused else []
    facts += [amount.duration(summary.elapsed_s)]
    stopped = f"stopped ({summary.stop_reason}): " if summary.stop_reason else ""
    return f"{stopped}{amount.counted(summary.rows, 'row', 'rows')}: {', '.join(rows)}; {', '.join(facts)}"


def failures(summary: Summary) -> str:
    """How many rows failed, and the most frequent reasons."""
    most = "; ".join(f"{amount.counted(count, 'row', 'rows')}: {error}" for error, count in summary.errors)
    rows = amount.counted(summary.rows, "row", "rows")
    return f"{summary.failed:,} of {rows} failed, see their error column" + (f": {most}" if most else "")


def _in_notebook() -> bool:
    """Whether a kernel runs this: then IPython is there, and displays what it is given."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None
