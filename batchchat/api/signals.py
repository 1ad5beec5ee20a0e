"""Signals while a job runs: the first one asks for an orderly end, a second SIGINT for an end at once."""

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


class Signals:
    """Catches SIGINT, SIGTERM and SIGHUP between `__enter__` and `__exit__`, where this is the main thread.

    Attributes:
        reason: the first signal, None while there was none.
    """

    def __init__(self) -> None:
        self.reason: Interrupted | None = None
        self._on_first: Callable[[Interrupted], None] = _nothing
        self._on_second: Callable[[], None] = _nothing
        self._before: dict[signal.Signals, Any] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._asking = False

    def __enter__(self) -> Self:
        if threading.current_thread() is not threading.main_thread():
            return self
        self._loop = asyncio.get_running_loop()
        for name in _NAMES:
            number = getattr(signal, name, None)
            if number is None:
                continue
            # A signal that the parent told us to ignore (nohup) stays ignored.
            if signal.getsignal(number) == signal.SIG_IGN:
                continue
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._caught)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            with contextlib.suppress(ValueError, TypeError):
                signal.signal(number, handler)

    def listen(self, on_first: Callable[[Interrupted], None], on_second: Callable[[], None]) -> None:
        """Who is to be told, on the event loop: of the first signal, and of a second SIGINT."""
        self._on_first, self._on_second = on_first, on_second
        if self.reason is not None:
            on_first(self.reason)

    def check(self) -> None:
        """Give up where a signal has come.

        Raises:
            Interrupted: it has.
        """
        if self.reason is not None:
            raise self.reason

    @contextlib.contextmanager
    def interrupting(self) -> Iterator[None]:
        """A signal ends what stands in this context at once, by `Interrupted`: a question that nobody answers."""
        self.check()
        self._asking = True
        try:
            yield
        finally:
            self._asking = False

    def _caught(self, number: int, _: Any) -> None:
        # Python runs this between two instructions of the main thread: hand it to the loop, which also wakes it.
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell, number)
        if self.reason is None:
            self.reason = Interrupted(f"interrupted by {signal.Signals(number).name}", signal_number=number)
        if self._asking:
            raise self.reason

    def _tell(self, number: int) -> None:
        assert self.reason is not None
        if not getattr(self, "_told", False):
            self._told = True
            self._on_first(self.reason)
        elif number == signal.SIGINT:
            self._on_second()


def _nothing(*_: Any) -> None:
    """Nobody listens yet."""
