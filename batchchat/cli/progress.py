"""What is shown while a job runs: two lines at a terminal, a plain line now and then elsewhere.

A thread of its own draws what it finds in the tally, at most four times a second, so a busy event loop is not asked for
anything. Progress goes to stderr; where answers go is said by the `show` that is given.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from batchchat.cli.tally import Pace, Tally, sentence
from batchchat.cli.window import Window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import TextIO

    from rich.console import Console, RenderableType

    # Shows one answer; at a terminal with the console on which the progress is drawn.
    Show = Callable[[Mapping[str, Any], Console | None], None]
    # Leaves the terminal alone for as long as the context lasts.
    Pause = Callable[[], contextlib.AbstractContextManager[None]]

FIRST_LINE, NEXT_LINES = 10.0, 60.0
_PER_SECOND = 4


@contextlib.contextmanager
def display(
    tally: Tally, *, file: TextIO | None, quiet: bool, show: Show | None = None, name: str = ""
) -> Iterator[Pause]:
    """Show the tally as long as the context lasts, and answers as they come; gives the way to pause it.

    With a name, the terminal's window has it in its title, and the bell rings at the end.
    """
    if quiet or file is None:
        yield contextlib.nullcontext
    elif file.isatty():
        with _at_terminal(tally, file, show, name) as pause:
            yield pause
    else:
        with lines(tally, file, show=show):
            yield contextlib.nullcontext


@contextlib.contextmanager
def lines(
    tally: Tally,
    file: TextIO,
    *,
    first: float = FIRST_LINE,
    following: float = NEXT_LINES,
    show: Show | None = None,
) -> Iterator[None]:
    """A plain line after ten seconds, and every minute from then on; notes and answers as they come."""
    over = threading.Event()

    def print_news() -> None:
        while tally.notes:
            print(f"batchchat: {tally.notes.popleft()}", file=file, flush=True)
        _show_answers(tally, show, None)

    def draw() -> None:
        pace = Pace()
        due = time.monotonic() + first
        while not over.wait(min(first, 1 / _PER_SECOND)):
            now = time.monotonic()
            rate = pace.rate(now, tally.settled_rows)
            print_news()
            if now >= due:
                due = now + following
                print("batchchat:", ", ".join(filter(None, sentence(tally, rate))), file=file, flush=True)

    thread = threading.Thread(target=_quietly, args=(draw,), name="batchchat-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _quietly(print_news)


@contextlib.contextmanager
def _at_terminal(tally: Tally, file: TextIO, show: Show | None, name: str) -> Iterator[Pause]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=cast("TextIO", _Closable(file)), highlight=False, markup=False, emoji=False)
    if console.is_dumb_terminal:
        with lines(tally, file, show=show):
            yield contextlib.nullcontext
        return
    pace = Pace()
    window = Window(console.file, name) if name and not console.legacy_windows else None

    def print_news() -> None:
        while tally.notes:
            console.print(tally.notes.popleft())
        _show_answers(tally, show, console)

    def draw() -> RenderableType:
        print_news()
        if window is not None:
            window.draw(tally)
        return _lines_of_terminal(tally, pace.rate(time.monotonic(), tally.settled_rows), console)

    live = Live(
        get_renderable=draw, console=console, refresh_per_second=_PER_SECOND, transient=True, redirect_stdout=False
    )

    @contextlib.contextmanager
    def pause() -> Iterator[None]:
        live.stop()
        try:
            yield
        finally:
            live.start()

    try:
        with live:
            yield pause
        print_news()
    finally:
        if window is not None:
            window.end(tally)


class _Closable:
    """A terminal that may be closed meanwhile: what it does not take is not shown, and the job goes on."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """As a file does."""
        with contextlib.suppress(OSError, ValueError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        """As a file does."""
        with contextlib.suppress(OSError, ValueError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _show_answers(tally: Tally, show: Show | None, console: Console | None) -> None:
    while tally.answers and show is not None:
        answer = tally.answers.popleft()
        tally.shown.add(answer["row"])
        show(answer, console)


def _lines_of_terminal(tally: Tally, rate: float, console: Console) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    progress, about = sentence(tally, rate)
    line = Table.grid(padding=(0, 2))
    if tally.total and console.width > 60:
        share = f"{100 * tally.done // tally.total} %"
        line.add_row(ProgressBar(total=tally.total, completed=tally.done, width=24), share, progress)
    else:
        line.add_row(progress)
    return Group(line, Text(about, style="dim", no_wrap=True, overflow="ellipsis"))


def _quietly(draw: Callable[[], None]) -> None:
    """Nobody who reads stderr may stop the job: a closed pipe ends the drawing alone."""
    with contextlib.suppress(OSError, ValueError):
        draw()
