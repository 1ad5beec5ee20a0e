"""A file that appears whole or not at all.

A local one is written beside its target under a hidden name, synced, renamed once, and the folder is synced. A remote
one is written to a local temporary file and uploaded when it is whole: an object store shows an upload only when it is
complete, and a crash leaves nothing half-made there. It needs that much room in the temporary folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import tempfile
from typing import TYPE_CHECKING, BinaryIO, Self, cast

from batchchat.errors import StorageFull
from batchchat.storage import remote
from batchchat.storage.places import Stamp, is_remote, local, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from _typeshed import ReadableBuffer

_BUFFER = 1 << 20
_TEMPORARY = ".publishing"
_NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


@contextlib.contextmanager
def writing(path: str) -> Iterator[None]:
    """Turns what the system says while a file is written into StorageFull, with the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM or "No space left" in str(error):
            what = f"no space left to write {path}: free some there"
        else:
            what = f"cannot write {path}: {error.strerror or error}. Mend that"
        raise StorageFull(f"{what}, and run it again; what was answered is kept.") from error


class _Digesting(io.RawIOBase):
    """A file for writing that digests what passes. It can tell where it is, not seek."""

    def __init__(self, file: BinaryIO, folder: Path | None) -> None:
        self._file = file
        self._folder = folder
        self._hasher = hashlib.sha256()
        self._size = 0
        self._scratches: list[BinaryIO] = []

    def writable(self) -> bool:
        return True

    def write(self, data: ReadableBuffer, /) -> int:
        view = memoryview(data)
        self._hasher.update(view)
        self._file.write(view)
        self._size += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._size

    def scratch(self) -> BinaryIO:
        """A temporary file without a name, on the same disk; it is kept in memory as long as it is small."""
        folder = str(self._folder) if self._folder else None
        file = cast("BinaryIO", tempfile.SpooledTemporaryFile(_BUFFER, dir=folder))  # noqa: SIM115 closed by who asked
        self._scratches = [*(one for one in self._scratches if not one.closed), file]
        return file

    def close_scratches(self) -> None:
        """Close the temporary files that are open still: those of a publication that failed."""
        for file in self._scratches:
            with contextlib.suppress(OSError):  # a full disk fails again when a buffer is flushed
                file.close()

    def hexdigest(self) -> str:
        return self._hasher.hexdigest()


class Publication:
    """A file that appears whole, when `commit` is called, or not at all. Use it as a context manager.

    Attributes:
        file: what to write to.

    Raises:
        StorageFull: the file cannot be written; an earlier one of the same name stays as it was.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._target = None if is_remote(path) else local(path).resolve()
        self._temporary: Path | None = None

    def __enter__(self) -> Self:
        with writing(self.path):
            if self._target is None:
                self._raw = cast("BinaryIO", tempfile.TemporaryFile())
            else:
                _remove_leftovers(self._target)
                self._temporary = _temporary(self._target)
                self._raw = self._temporary.open("xb", buffering=_BUFFER)
                with contextlib.suppress(OSError):  # some network disks have no locks
                    _lock(self._raw.fileno())
        self.file = _Digesting(self._raw, self._target and self._target.parent)
        return self

    def commit(self, about_to: Callable[[str], None] | None = None) -> tuple[str, Stamp]:
        """Publishes what was written. Returns its SHA-256 in hex, and the stamp of the published file.

        Args:
            about_to: is told that digest before the file appears, so that a kill right after is understood.
        """
        if about_to is not None:
            about_to(self.file.hexdigest())
        with writing(self.path):
            self._raw.flush()
            if self._target is None:
                remote.upload(self._raw, self.path)
            else:
                self._rename(self._target)
            return self.file.hexdigest(), stamp(self.path)

    def _rename(self, target: Path) -> None:
        assert self._temporary is not None
        with contextlib.suppress(FileNotFoundError):
            self._temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        os.fsync(self._raw.fileno())
        self._raw.close()
        self._temporary.replace(target)
        self._temporary = None
        sync_folder(target.parent)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close_scratches()
        with contextlib.suppress(OSError):  # a full disk fails again when the last buffer is flushed
            self._raw.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Makes a rename in the folder durable, where folders can be synced: not on Windows, nor on every network disk."""
    if os.name == "nt":
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # it may be written, not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS}:
            raise
    finally:
        os.close(handle)


def _shortened(name: str) -> str:
    """The name as far as a hidden name around it fits into a directory entry (255 bytes)."""
    return os.fsdecode(os.fsencode(name)[:200])


def _temporary(target: Path) -> Path:
    return target.with_name(f".{_shortened(target.name)}.{secrets.token_hex(4)}{_TEMPORARY}")


def _remove_leftovers(target: Path) -> None:
    """Removes what killed publications of the same target left; one that still runs holds its lock, and its file."""
    ours = re.compile(re.escape(f".{_shortened(target.name)}.") + "[0-9a-f]{8}" + re.escape(_TEMPORARY))
    for path in target.parent.iterdir():
        if ours.fullmatch(path.name):
            with contextlib.suppress(OSError), path.open("rb") as file:
                _lock(file.fileno())
                path.unlink()


def _lock(handle: int) -> None:
    """Locks an open file for its holder alone. Raises BlockingIOError where it is held."""
    try:
        import fcntl
    except ImportError:  # Windows: a file that is open cannot be removed, which serves as well
        return
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
