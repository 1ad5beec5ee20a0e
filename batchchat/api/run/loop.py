"""The event loop that a run has for itself: uvloop's where it is installed, and rarer rounds of garbage collection.

A row makes some 150 objects that refer to others and drops them within milliseconds by their reference counts. Python
looks for cycles after every 700 that are new, which finds nothing here and costs 8 % of a row (`make bench-work`).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")

_NEW_OBJECTS = 50_000  # some 10 MB at most before a round


def run_on_loop(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end on a new event loop."""
    with _rarer_collections(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


@contextlib.contextmanager
def _rarer_collections() -> Iterator[None]:
    """Leave it as it was found: the process may be somebody's notebook. Who turned it off, or higher, knows why."""
    before = gc.get_threshold()
    if 0 < before[0] < _NEW_OBJECTS:
        gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # Windows
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
