"""One writer: an advisory lock on a file beside the checkpoint.

The database file itself is never opened for locking, since closing any descriptor of it would drop SQLite's own locks.
The file is removed at a clean exit while the lock is held; so after locking, the file that was locked must still be
the one at that path.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from pathlib import Path

from batchchat.errors import CheckpointBusy, StorageFull, UsageError


class Lock:
    """The lock of one checkpoint, held from `acquire` to `release`."""

    def __init__(self, checkpoint: str | Path) -> None:
        self.path = Path(f"{checkpoint}-lock")
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
        self._sign()

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self._file is None:
            return
        if sys.platform == "win32":  # an open file cannot be removed there
            os.close(self._file)
        with contextlib.suppress(OSError):
            self.path.unlink()
        if sys.platform != "win32":
            os.close(self._file)
        self._file = None

    def _sign(self) -> None:
        assert self._file is not None
        try:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.write(self._file, f"{os.getpid()} {socket.gethostname()}\n".encode())
        except OSError as error:
            self.release()
            raise StorageFull(
                f"cannot write {self.path}: {error.strerror}; free some space and run it again"
            ) from error


def holder(path: Path) -> tuple[int, str] | None:
    """Process and host that signed a lock file, None where there is none."""
    try:
        pid, host = path.read_text(encoding="utf-8").split()
        return int(pid), host
    except (OSError, ValueError):
        return None


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
