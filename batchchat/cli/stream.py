"""stdout for what was asked for, stderr for people. A reader that went away (`| head`, a closed window) is no error."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console


def emit(text: str) -> bool:
    """A line, or several, on stdout; False where nobody reads any more."""
    return _write(sys.stdout, text)


def emit_json(value: Any) -> None:
    """One JSON value on stdout."""
    emit(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def tell(text: str) -> None:
    """A line, or several, for people, on stderr."""
    _write(sys.stderr, text)


def at_terminal() -> bool:
    """Whether somebody is there to be asked."""
    return _is_terminal(sys.stdin) and _is_terminal(sys.stderr)


def agreed(question: str) -> bool:
    """A question at the terminal, on stderr since stdout may go elsewhere; only a `y` is a yes."""
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def shown_at_terminal() -> bool:
    """Whether stdout is looked at, and not piped on."""
    return _is_terminal(sys.stdout)


def console() -> Console:
    """What lays text out for stdout: as wide as the terminal, without a bound elsewhere. NO_COLOR is rich's matter."""
    from rich.console import Console

    wide = None if shown_at_terminal() else _UNBOUNDED
    return Console(file=sys.stdout, width=wide, highlight=False, markup=False, emoji=False)


def _is_terminal(file: TextIO | None) -> bool:
    return file is not None and not file.closed and file.isatty()


def _write(file: TextIO | None, text: str) -> bool:
    if file is None:  # pythonw, or a closed descriptor at the start
        return False
    try:
        try:
            file.write(text + "\n")
        except UnicodeEncodeError:
            plain = text.encode(file.encoding or "ascii", "replace").decode(file.encoding or "ascii")
            file.write(plain + "\n")
        file.flush()
    except OSError as error:
        # What people are told is never worth a job: a log on a full disk, a terminal that was closed.
        if file is not sys.stderr and not _is_gone(file, error):
            raise
        _silence(file)
        return False
    return True


def _is_gone(file: TextIO, error: OSError) -> bool:
    """Whether nobody reads any more: the pipe's other end is closed, or the terminal is."""
    if isinstance(error, BrokenPipeError):
        return True
    return error.errno in _HUNG_UP and stat.S_ISCHR(os.fstat(file.fileno()).st_mode)


def _silence(file: TextIO) -> None:
    """Nobody reads any more: what is still buffered must not fail at the end of the process."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, file.fileno())
        os.close(nowhere)


_UNBOUNDED = 1_000_000
_HUNG_UP = frozenset({errno.EIO, errno.ENXIO})
