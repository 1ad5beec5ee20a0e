"""What went wrong, in one or a few lines on stderr, and the exit status that the contract gives it."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from batchchat.cli import changes, mend, stream
from batchchat.errors import BatchchatError, Interrupted, Misspelt, SettingsChanged, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = 2
STOPPED = 1
INTERRUPTED = 128
SIGINT = 2


def status_of(call: Callable[[], int | None], *, debug: bool = False) -> int:
    """Run a command to its exit status; what it raises is said, not thrown."""
    try:
        return call() or 0
    except (Exception, KeyboardInterrupt) as error:  # the last place where anything can be said
        if debug:
            stream.tell(traceback.format_exc().rstrip())
        elif words := in_words(error):
            stream.tell(f"batchchat: {words}")
        return exit_status(error)


def exit_status(error: BaseException) -> int:
    """2 for usage, 128 and the signal's number for an interrupt, else 1."""
    if isinstance(error, UsageError):
        return USAGE
    if isinstance(error, Interrupted):
        return INTERRUPTED + error.signal_number
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED + SIGINT
    return STOPPED


def in_words(error: BaseException) -> str:
    """The message for a person; empty where there is nothing to say."""
    if isinstance(error, SettingsChanged):
        return "\n".join([error.head, *changes.lines(error.changes), error.remedy])
    if isinstance(error, Misspelt) and (command := mend.command(error)):
        return f"{error}\n  {command}"
    if isinstance(error, BatchchatError):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    kind = type(error).__name__
    return f"this is a fault of batchchat itself: {kind}: {error} (--debug shows where; please report it)"
