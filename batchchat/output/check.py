"""What makes an output impossible, found before the first request."""

from __future__ import annotations

import fnmatch
from collections import Counter
from pathlib import PurePath
from typing import TYPE_CHECKING

from batchchat import storage
from batchchat.errors import UsageError
from batchchat.tables import find_format, require_format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.output.source import Table
    from batchchat.records import ResultColumn
    from batchchat.tables import Format


def check_output(dataset: Table, path: str, columns: Sequence[ResultColumn]) -> None:
    """Finds before the first request what would make the output impossible.

    Raises:
        UsageError: an unknown suffix; a result column that the input has; an output that is the input; a parent folder
            that is missing or cannot be written to.
    """
    form = find_format(path)
    if form is None and (not dataset.paths or dataset.paths == (dataset.name,)):  # in memory, or one file
        require_format(path, f"the output {path}", new=True)
    check_names(dataset, columns)
    for source in (dataset.name, *dataset.paths):
        if storage.same_file(path, source):
            raise UsageError(f"the output {path} is the input. Name another one.")
    if form is None:
        _reject_doubled_files(dataset, path)
    _reject_inside(dataset, path, form)
    if form is not None and storage.is_folder(path):
        raise UsageError(f"the output {path} is a folder. Name a file.")
    if form is None and storage.is_file(path):
        raise UsageError(f"the output {path} is a file, and the input a folder. Name a folder, or a file.parquet.")
    if reason := storage.why_not_writable(path):
        raise UsageError(f"the output {path} cannot be written: {reason}.")


def check_names(dataset: Table, columns: Sequence[ResultColumn]) -> None:
    """Finds a result column that the table has already. Raises UsageError."""
    taken = [column.name for column in columns if column.name in dataset.columns]
    if taken:
        raise UsageError(
            f"{dataset.name} has a column {taken[0]!r} already. Put a prefix before the result columns, "
            f"for example --prefix llm_."
        )


def _reject_doubled_files(dataset: Table, path: str) -> None:
    names = Counter(storage.file_name(source) for source in dataset.paths)
    doubled = [name for name, count in names.items() if count > 1]
    if doubled:
        raise UsageError(
            f"{dataset.name}: two input files are named {doubled[0]}, and the output {path} is one folder. "
            "Name one file instead, such as all.parquet."
        )


def _reject_inside(dataset: Table, path: str, form: Format | None) -> None:
    """An output among the input files would be a part of the input next time."""
    if dataset.paths == (dataset.name,):
        return
    if storage.is_folder(dataset.name):
        inside = form is not None and storage.same_file(storage.inside(dataset.name, storage.file_name(path)), path)
    else:
        inside = _matches(path if form else storage.inside(path, storage.file_name(dataset.paths[0])), dataset.name)
    if inside:
        raise UsageError(f"the output {path} would be a part of its input {dataset.name} next time. Name another.")


def _matches(path: str, pattern: str) -> bool:
    """Whether a glob pattern would find this path."""
    path, pattern = storage.absolute(path), storage.absolute(pattern)
    if "**" in pattern:
        return fnmatch.fnmatch(path, pattern.replace("**/", "*"))
    given, wanted = PurePath(path).parts, PurePath(pattern).parts
    return len(given) == len(wanted) and all(map(fnmatch.fnmatch, given, wanted))
