"""One writer: an advisory lock on a file beside the checkpoint.

The database file itself is never opened for locking, since closing any descriptor of it would drop SQLite's own locks.
The file is removed at a clean exit while the lock is held; so after locking, the file that was locked must still be
the one at that path.

The holder writes down how many commits are durable. After a kill that tells whether the checkpoint still has them all:
SQLite takes a log that was cut, or damaged, for one whose end was never written. It is not synced, so after a power
loss it may tell of fewer commits than there were, never of more.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from batchchat.errors import CheckpointBusy, StorageFull, UsageError


class Lock:
    """The lock of one checkpoint, held from `acquire` to `release`.

    Attributes:
        commits: how many commits were durable when the last holder, who did not release it, last noted them.
    """

    def __init__(self, checkpoint: str | Path) -> None:
        self.path = Path(f"{checkpoint}-lock")
        self.commits = 0
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            CheckpointBusy: another run holds it.
            UsageError: the folder cannot be written to.
        """
        while self._file is None:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise UsageError(f"cannot write beside the checkpoint: {error.strerror}: {self.path}") from error
            try:
                _lock(file)
                if _same(file, self.path):
                    self._file = file
            except BlockingIOError:
                owner = holder(self.path)
                raise CheckpointBusy(
                    f"another run{f' (process {owner[0]} on {owner[1]})' if owner else ''} holds the checkpoint "
                    f"{self.path.with_name(self.path.name.removesuffix('-lock'))}; wait for it, or stop it"
                ) from None
            except OSError as error:
                with contextlib.suppress(OSError):
                    self.path.unlink()
                raise UsageError(
                    f"the file system of {self.path.parent} has no locks ({error.strerror}); "
                    "put the checkpoint on a local disk with --checkpoint PATH"
                ) from error
            finally:
                if self._file is None:
                    os.close(file)
        signature = _signature(self.path)
        self.commits = signature.commits if signature else 0
        try:
            os.ftruncate(self._file, self._sign())
        except OSError as error:
            self.release()
            raise StorageFull(
                f"cannot write {self.path}: {error.strerror}; free some space and run it again"
            ) from error

    def note(self, commits: int) -> None:
        """Write down that so many commits are durable."""
        self.commits = commits
        with contextlib.suppress(OSError):  # it is a check, and no more than that
            self._sign()

    def release(self, *, keep: bool = False) -> None:
        """Give the lock back and remove its file; `keep` leaves what was noted in it."""
        if self._file is None:
            return
        if keep:
            os.close(self._file)
            self._file = None
            return
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(self._file)
        with contextlib.suppress(OSError):
            self.path.unlink()
        if sys.platform != "win32":
            os.close(self._file)
        self._file = None

    def _sign(self) -> int:
        """Write who holds it; how many bytes that are, which only get more as commits do."""
        assert self._file is not None
        os.lseek(self._file, 0, os.SEEK_SET)
        return os.write(self._file, f"{os.getpid()} {socket.gethostname()} {self.commits}\n".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What stands in a lock file: who holds it, and how many commits are durable."""

    pid: int
    host: str
    commits: int


def _signature(path: Path) -> Signature | None:
    try:
        pid, host, commits = path.read_text(encoding="utf-8").split()
        return Signature(pid=int(pid), host=host, commits=int(commits))
    except (OSError, ValueError):
        return None


def holder(path: Path) -> tuple[int, str] | None:
    """Process and host that signed a lock file, None where there is none."""
    signature = _signature(path)
    return None if signature is None else (signature.pid, signature.host)


def is_running(checkpoint: str | Path) -> bool:
    """Whether a run of this host holds the checkpoint. Asked without touching the lock."""
    owner = holder(Path(f"{checkpoint}-lock"))
    if owner is None:
        return False
    pid, host = owner
    if host != socket.gethostname() or sys.platform == "win32":  # os.kill would end the process there
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError from error
else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
