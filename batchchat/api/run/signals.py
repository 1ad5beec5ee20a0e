"""What stops a run from outside: a signal, or somebody who presses the switch.

The first word asks for an orderly end, a second SIGINT for an end at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

from batchchat.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class Switch:
    """Stops a run that goes on between `__enter__` and `__exit__`, on the event loop that enters it.

    Attributes:
        reason: why it is to stop, None while nobody has pressed.
    """

    def __init__(self) -> None:
        self.reason: Interrupted | None = None
        self._on_first: Callable[[Interrupted], None] = _nothing
        self._on_second: Callable[[], None] = _nothing
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking = False
        self._told = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop = None

    def listen(self, on_first: Callable[[Interrupted], None], on_second: Callable[[], None]) -> None:
        """Who is to be told, on the event loop: of the first word, and of a second SIGINT."""
        self._on_first, self._on_second = on_first, on_second
        if self.reason is not None:
            on_first(self.reason)

    def check(self) -> None:
        """Give up where somebody has pressed.

        Raises:
            Interrupted: somebody has.
        """
        if self.reason is not None:
            raise self.reason

    def press(self, reason: Interrupted) -> None:
        """Stop; a second SIGINT: at once. From any thread, and from a signal handler. The first reason stays."""
        if self.reason is None:
            self.reason = reason
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # the run has just ended, and its loop is closed
                loop.call_soon_threadsafe(self._tell, reason.signal_number)

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """A signal ends what stands in this context at once, by `Interrupted`: a question that nobody answers."""
        self.check()
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def _tell(self, number: int) -> None:
        assert self.reason is not None
        if not self._told:
            self._told = True
            self._on_first(self.reason)
        elif number == signal.SIGINT:
            self._on_second()


class Signals(Switch):
    """A switch that SIGINT, SIGTERM and SIGHUP press, where this is the main thread."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        if threading.current_thread() is not threading.main_thread():
            return self
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is None:
                continue
            # What nohup told us to ignore stays ignored. SIGINT does not: a shell without job control has every
            # background job ignore it, and who sends it there means it.
            if name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(ValueError, TypeError):
                signal.signal(number, handler)
        super().__exit__()

    def _caught(self, number: int, _: Any) -> None:
        # Python runs this between two instructions of the main thread: hand it to the loop, which also wakes it.
        self.press(Interrupted(f"interrupted by {signal.Signals(number).name}", signal_number=number))
        if self._asking:
            self.check()


def _nothing(*_: Any) -> None:
    """Nobody listens yet."""
