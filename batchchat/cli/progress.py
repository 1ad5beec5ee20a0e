"""What is shown while a job runs: two lines at a terminal, a plain line now and then elsewhere; stderr only.

The tally only counts: it is told of every row, and must cost next to nothing. A thread of its own draws what it finds
there, at most four times a second, so a busy event loop is not asked for anything. The numbers it reads may be a row
apart from each other; that is accepted, nobody sees it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, TextIO, cast

from batchchat.cli import amount
from batchchat.events import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console, RenderableType

    from batchchat.errors import RequestError
    from batchchat.records import Outcome

FIRST_LINE, NEXT_LINES = 10.0, 60.0
_WINDOW = 20.0


class Tally(Observer):
    """Counts what happens."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.total: int | None = None
        self.reused = self.settled_rows = self.failed = self.retries = self.in_flight = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.notes: deque[str] = deque()
        self._why_waiting = ""
        self._waiting_until = 0.0
        self._why_paused = ""
        self._publishing: tuple[int, int | None] | None = None

    def planned(self, *, rows: int | None, reused: int, pending: int | None) -> None:
        """What there is to do."""
        self.reused = reused
        self.total = rows if pending is None else reused + pending

    def started(self) -> None:
        """One more in flight."""
        self.in_flight += 1

    def settled(self, outcome: Outcome) -> None:
        """One row is done; one that was never sent was never in flight."""
        self.settled_rows += 1
        if outcome.attempts.sent and self.in_flight:
            self.in_flight -= 1
        if outcome.completion is not None:
            usage = outcome.completion.usage
            self.prompt_tokens += usage.prompt_tokens or 0
            self.completion_tokens += usage.completion_tokens or 0
        if outcome.error is not None:
            self.failed += 1

    def retrying(self, error: RequestError, *, attempt: int, delay: float) -> None:
        """One more retry."""
        del error, attempt, delay
        self.retries += 1

    def throttled(self, error: RequestError, *, delay: float) -> None:
        """All wait."""
        self._why_waiting = str(error)
        self._waiting_until = self._clock() + delay

    def paused(self, reason: str) -> None:
        """The endpoint is away, or back."""
        self._why_paused = reason

    def publishing(self, done: int, total: int | None) -> None:
        """The output is being written."""
        self._publishing = (done, total)

    def note(self, message: str) -> None:
        """Kept until it is drawn."""
        self.notes.append(message)

    @property
    def done(self) -> int:
        """Rows that have their outcome, of this run and of earlier ones."""
        return self.reused + self.settled_rows

    def state(self) -> str:
        """What else than the rows is to be said now; mostly nothing."""
        if self._publishing is not None:
            done, total = self._publishing
            return f"writing the output: {amount.of(done, total)} rows"
        if self._why_paused:
            return f"paused: {self._why_paused}"
        left = self._waiting_until - self._clock()
        return f"waiting {amount.duration(left)}: {self._why_waiting}" if left > 0 else ""


class Pace:
    """Rows per second over the last twenty seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def rate(self, now: float, settled: int) -> float:
        """The rate, with this moment as the newest."""
        seen = self._seen
        if not seen or now - seen[-1][0] >= _WINDOW / 40:
            seen.append((now, settled))
        while len(seen) > 2 and now - seen[1][0] >= _WINDOW:
            seen.popleft()
        then, before = seen[0]
        return (settled - before) / (now - then) if now > then else 0.0


def sentence(tally: Tally, rate: float) -> tuple[str, str]:
    """How far the job is, and what is going on."""
    parts = [f"{amount.of(tally.done, tally.total)} rows"]
    if rate:
        parts.append(f"{rate:,.1f} rows/s" if rate < 10 else f"{rate:,.0f} rows/s")
    if rate and tally.total is not None and tally.total > tally.done:
        parts.append(f"{amount.duration((tally.total - tally.done) / rate)} left")
    about = [f"{tally.in_flight:,} in flight"] if tally.in_flight else []
    about += [amount.counted(tally.retries, "retry", "retries")] if tally.retries else []
    about += [f"{tally.failed:,} failed"] if tally.failed else []
    tokens = tally.prompt_tokens + tally.completion_tokens
    about += [f"{tokens:,} tokens"] if tokens else []
    about += [tally.state()] if tally.state() else []
    return ", ".join(parts), ", ".join(about)


@contextlib.contextmanager
def display(tally: Tally, *, file: TextIO | None, quiet: bool) -> Iterator[None]:
    """Show the tally as long as the context lasts."""
    if quiet or file is None:
        yield
    elif file.isatty():
        with _at_terminal(tally, file):
            yield
    else:
        with lines(tally, file):
            yield


@contextlib.contextmanager
def lines(tally: Tally, file: TextIO, *, first: float = FIRST_LINE, following: float = NEXT_LINES) -> Iterator[None]:
    """A plain line after ten seconds, and every minute from then on; notes as they come."""
    over = threading.Event()

    def draw() -> None:
        pace = Pace()
        due = time.monotonic() + first
        while not over.wait(min(first, 1.0)):
            now = time.monotonic()
            rate = pace.rate(now, tally.settled_rows)
            _print_notes(tally, file)
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
        _quietly(lambda: _print_notes(tally, file))


@contextlib.contextmanager
def _at_terminal(tally: Tally, file: TextIO) -> Iterator[None]:
    from rich.console import Console
    from rich.live import Live

    console = Console(file=cast("TextIO", _Closable(file)))
    if console.is_dumb_terminal:
        with lines(tally, file):
            yield
        return
    pace = Pace()

    def draw() -> RenderableType:
        while tally.notes:
            console.print(tally.notes.popleft(), markup=False, highlight=False)
        return _lines_of_terminal(tally, pace.rate(time.monotonic(), tally.settled_rows), console)

    with Live(get_renderable=draw, console=console, refresh_per_second=4, transient=True, redirect_stdout=False):
        yield
    while tally.notes:
        console.print(tally.notes.popleft(), markup=False, highlight=False)


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


def _print_notes(tally: Tally, file: TextIO) -> None:
    while tally.notes:
        print(f"batchchat: {tally.notes.popleft()}", file=file, flush=True)


def _quietly(draw: Callable[[], None]) -> None:
    """Nobody who reads stderr may stop the job: a closed pipe ends the drawing alone."""
    with contextlib.suppress(OSError, ValueError):
        draw()
