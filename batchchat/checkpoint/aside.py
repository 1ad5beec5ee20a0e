"""A checkpoint makes room for another, for `--restart`: nothing is lost, and a kill does not part it from its log."""

from __future__ import annotations

import contextlib
import re
import time
from pathlib import Path

from batchchat import defaults
from batchchat.checkpoint.database import Database, sync_folder
from batchchat.checkpoint.lock import Lock
from batchchat.errors import BatchchatError, StorageFull


def exists(path: str | Path) -> bool:
    """Whether there is a checkpoint, or the log of one."""
    return any(Path(f"{path}{suffix}").exists() for suffix in ("", "-wal"))


def is_aside(path: str | Path) -> bool:
    """Whether a checkpoint has a name that `move_aside` gave it."""
    return _ASIDE.search(Path(path).name) is not None


def move_aside(path: str | Path) -> Path:
    """Give a checkpoint (and its log) another name, for `--restart`; the new name.

    Raises:
        CheckpointBusy: a run holds it.
        StorageFull: the folder cannot be changed.
    """
    path = Path(path)
    lock = Lock(path)
    lock.acquire()
    try:
        aside = _free_name(path)
        # Folded into one file where it can be read, so that one rename moves it all.
        with contextlib.suppress(BatchchatError):
            if path.exists():
                Database(path, write=True).close(fold=True)
        try:
            _move(path, aside)
        except OSError as error:
            raise StorageFull(f"cannot move {path} aside: {error.strerror or error}") from error
        return aside
    finally:
        lock.release()


_ASIDE = re.compile(rf"\.\d{{8}}-\d{{6}}(-\d+)?{re.escape(defaults.CHECKPOINT_SUFFIX)}$")


def _free_name(path: Path) -> Path:
    stamp, nth = time.strftime("%Y%m%d-%H%M%S"), 0
    stem = path.name.removesuffix(defaults.CHECKPOINT_SUFFIX)
    while True:
        aside = path.with_name(f"{stem}.{stamp}{f'-{nth}' if nth else ''}{defaults.CHECKPOINT_SUFFIX}")
        if not exists(aside):
            return aside
        nth += 1


def _move(path: Path, aside: Path) -> None:
    """Rename a checkpoint and its log. The log has both names until the file has its new one: a kill parts them not."""
    logs = [suffix for suffix in ("-wal", "-journal") if Path(f"{path}{suffix}").exists()]
    for suffix in logs:
        with contextlib.suppress(OSError):  # a file system without links: it is renamed below
            Path(f"{aside}{suffix}").hardlink_to(f"{path}{suffix}")
    if path.exists():
        path.rename(aside)
    for suffix in (*logs, "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").replace(f"{aside}{suffix}")
            Path(f"{path}{suffix}").unlink()  # a rename from one name of a file to another leaves both
    sync_folder(path.parent)
