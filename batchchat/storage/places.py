"""Paths as people type them: local ones (`file://` too) by pathlib, the others by `remote`.

Which of the two it is, is decided here and in `publication`, and nowhere else.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from batchchat.storage import remote

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """What tells one state of a file from another. `mtime_ns` is 0 where the storage does not say."""

    size: int
    mtime_ns: int


def is_remote(path: str) -> bool:
    """Whether the path names a place that is not this machine's file system (`file://` is)."""
    return remote.scheme(path) not in {None, "file"}


def local(path: str) -> Path:
    """A local path, without `file://`."""
    if remote.scheme(path) != "file":
        return Path(path)
    rest = path[len("file://") :]
    return Path(rest.removeprefix("localhost") if rest.startswith("localhost/") else rest)


def absolute(path: str) -> str:
    """The path from the root on, without links; of a remote one, itself."""
    return path if is_remote(path) else str(local(path).resolve())


def is_file(path: str) -> bool:
    """Whether a file is there."""
    return bool(remote.info(path).is_file) if is_remote(path) else local(path).is_file()


def is_folder(path: str) -> bool:
    """Whether a folder is there (on object stores: the beginning of some object's name)."""
    if not is_remote(path):
        return local(path).is_dir()
    from pyarrow import fs

    return bool(remote.info(path).type == fs.FileType.Directory)


def stamp(path: str) -> Stamp:
    """Size and time of the last change. Raises OSError."""
    if not is_remote(path):
        found = local(path).stat()
        return Stamp(size=found.st_size, mtime_ns=found.st_mtime_ns)
    info = remote.info(path)
    if not info.is_file:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    return Stamp(size=info.size, mtime_ns=info.mtime_ns or 0)


def same_file(one: str, other: str) -> bool:
    """Whether two paths name the same file or folder, also by links and before it is there."""
    if is_remote(one) or is_remote(other):
        return one.rstrip("/") == other.rstrip("/")
    try:
        return local(one).samefile(local(other))
    except OSError:
        return local(one).resolve() == local(other).resolve()


def file_name(path: str) -> str:
    """The last part of the path."""
    return remote.parent_and_name(path)[1] if is_remote(path) else local(path).name


def inside(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}" if is_remote(folder) else str(local(folder) / name)


def _shown(paths: Iterable[str]) -> list[str]:
    """By name, without hidden files and those that begin with `_` (`_SUCCESS`, and what other programs keep)."""
    return sorted(path for path in paths if not file_name(path).startswith((".", "_")))


def list_folder(folder: str) -> list[str]:
    """The paths of the files in a folder, by name; hidden ones and those that begin with `_` are left out."""
    if is_remote(folder):
        return _shown(inside(folder, name) for name in remote.names(folder))
    return _shown(str(path) for path in local(folder).iterdir() if path.is_file())


def has_pattern(path: str) -> bool:
    """Whether the path is a glob pattern."""
    return glob.has_magic(path)


def match(pattern: str) -> list[str]:
    """The paths of the files that a glob pattern matches, by name, left out as in `list_folder`."""
    if is_remote(pattern):
        return _shown(remote.match(pattern))
    found = glob.glob(str(local(pattern)), recursive=True)  # noqa: PTH207 - a pattern may begin at the root
    return _shown(path for path in found if Path(path).is_file())


def open_input(path: str) -> BinaryIO:
    """The file, open for reading anywhere in it. Raises OSError."""
    return remote.open_input(path) if is_remote(path) else local(path).open("rb")


def open_arrow(path: str) -> Any:
    """What pyarrow reads a file from: the path itself, or a remote file."""
    return remote.open_arrow(path) if is_remote(path) else str(local(path))


def sha256(path: str) -> str:
    """The SHA-256 of a file's content, in hex, as `sha256sum` prints it. Raises OSError."""
    hasher = hashlib.sha256()
    with open_input(path) as file:
        while piece := file.read(_PIECE):
            hasher.update(piece)
    return hasher.hexdigest()


def remove(path: str) -> None:
    """Removes a file. Raises FileNotFoundError where it is not there."""
    if is_remote(path):
        remote.remove(path)
    else:
        local(path).unlink()


def make_folder(path: str) -> None:
    """Makes a folder, unless it is there. Its parent must be."""
    if is_remote(path):
        remote.make_folder(path)
    else:
        local(path).mkdir(exist_ok=True)


def why_not_writable(path: str) -> str | None:
    """Why nothing can be made at this path, None where nothing is known to stand in the way."""
    if is_remote(path):
        return "there is no such bucket" if remote.lacks_bucket(path) else None
    parent = local(path).resolve().parent
    if not parent.is_dir():
        return f"the folder {parent} is not there; make it first"
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"the folder {parent} is not writable"
    return None
