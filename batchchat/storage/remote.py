"""Remote storage, by its URL: one way to pyarrow's own file systems and to those of fsspec.

What is missing (a package, a bucket, a credential) is a UsageError that names the URL; what fails later is an OSError.
"""

from __future__ import annotations

import fnmatch
import functools
import io
import posixpath
import re
import shutil
from typing import Any, BinaryIO, cast

from batchchat.errors import UsageError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_BUCKETS = {"s3", "gs", "gcs"}
_BY_PYARROW = _BUCKETS | {"abfs", "abfss", "hdfs", "viewfs"}
_PIECE = 8 << 20  # one ranged GET, one part of an upload


def scheme(path: str) -> str | None:
    """The URL's scheme in lower case, None for a path without one."""
    found = _SCHEME.match(path)
    return found[1].lower() if found else None


def connect(path: str) -> tuple[Any, str]:
    """The file system (a `pyarrow.fs.FileSystem`) that a URL names, and the path in it."""
    kind = scheme(path)
    try:
        if kind in _BUCKETS:
            inner = path.split("://", 1)[1]
            return _bucket(f"{kind}://{inner.split('/', 1)[0]}"), inner
        return _by_url(path, by_pyarrow=kind in _BY_PYARROW)
    except ImportError as error:
        raise UsageError(f"{path}: {kind}:// needs a package that is not installed: {error}") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: cannot be opened: {error}") from error


@functools.cache
def _bucket(url: str) -> Any:
    """The file system of a bucket. It is made once: that asks the service for its region."""
    from pyarrow import fs

    return fs.FileSystem.from_uri(url)[0]


def _by_url(path: str, *, by_pyarrow: bool) -> tuple[Any, str]:
    from pyarrow import fs

    if by_pyarrow:
        found = fs.FileSystem.from_uri(path)
        return found[0], found[1]
    import fsspec

    inner, rest = fsspec.core.url_to_fs(path)
    return fs.PyFileSystem(fs.FSSpecHandler(inner)), rest


def lacks_bucket(path: str) -> bool:
    """Whether it is known that there is no such bucket; who may write there may not be allowed to ask."""
    from pyarrow import fs

    if scheme(path) not in _BUCKETS:
        return False
    system, inner = connect(path)
    try:
        return bool(system.get_file_info([inner.split("/", 1)[0]])[0].type == fs.FileType.NotFound)
    except OSError:
        return False


def info(path: str) -> Any:
    """The `pyarrow.fs.FileInfo` of a URL."""
    system, inner = connect(path)
    return system.get_file_info([inner])[0]


def names(folder: str) -> list[str]:
    """The names of the files in a folder."""
    from pyarrow import fs

    system, inner = connect(folder)
    return [found.base_name for found in system.get_file_info(fs.FileSelector(inner)) if found.is_file]


def match(pattern: str) -> list[str]:
    """The URLs of the files that a glob pattern matches; `**` spans folders."""
    from pyarrow import fs

    fixed = re.split(r"[*?\[]", pattern, maxsplit=1)[0].rsplit("/", 1)[0]
    system, inner = connect(fixed)
    inner = inner.rstrip("/")
    wanted = inner + pattern[len(fixed) :]
    selector = fs.FileSelector(inner, allow_not_found=True, recursive="/" in pattern[len(fixed) + 1 :])
    paths = [found.path for found in system.get_file_info(selector) if found.is_file]
    if "**" not in pattern:
        paths = [path for path in paths if path.count("/") == wanted.count("/")]
    kept = [path for path in paths if fnmatch.fnmatchcase(path, wanted.replace("**/", "*"))]
    return [fixed + path[len(inner) :] for path in kept]


def open_input(path: str) -> BinaryIO:
    """The file, open for reading anywhere in it."""
    return cast("BinaryIO", io.BufferedReader(open_arrow(path), _PIECE))


def open_arrow(path: str) -> Any:
    """The file as pyarrow reads it."""
    system, inner = connect(path)
    return system.open_input_file(inner)


def remove(path: str) -> None:
    """Removes a file. Raises FileNotFoundError."""
    system, inner = connect(path)
    system.delete_file(inner)


def make_folder(path: str) -> None:
    """Makes a folder, where the storage has such a thing."""
    system, inner = connect(path)
    system.create_dir(inner, recursive=True)


def upload(source: BinaryIO, path: str) -> None:
    """Copies an open file to a URL, from its beginning."""
    source.seek(0)
    system, inner = connect(path)
    # Without `compression=None` pyarrow would compress what goes to a name that ends in .gz.
    with system.open_output_stream(inner, compression=None) as target:
        shutil.copyfileobj(source, target, _PIECE)


def parent_and_name(path: str) -> tuple[str, str]:
    """The URL cut before its last part."""
    return posixpath.split(path.rstrip("/"))
