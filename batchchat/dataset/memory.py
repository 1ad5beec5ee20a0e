"""A table in memory: which kinds there are, and what is said of those that are none.

pandas and pyarrow are not imported to find out: whoever has a DataFrame has imported pandas.
"""

from __future__ import annotations

import sys
from typing import Any

from batchchat.dataset.memorypart import FramePart, TablePart
from batchchat.dataset.table import FileDataset
from batchchat.errors import UsageError


class MemoryDataset(FileDataset):
    """A table in memory."""

    def __init__(self, part: TablePart | FramePart, *, limit: int | None) -> None:
        super().__init__(part.path, [part], limit=limit)
        self.paths = ()

    def written(self, path: str) -> MemoryDataset:
        """The same rows as they go to a file. Raises UsageError."""
        part = self.parts[0]
        return MemoryDataset(part.as_table(path), limit=self.limit) if isinstance(part, FramePart) else self


def open_memory(data: Any, *, limit: int | None = None) -> MemoryDataset:
    """A DataFrame or a Table as a dataset.

    Raises:
        UsageError: it is neither, or has columns that cannot be named.
    """
    if is_frame(data):
        return MemoryDataset(FramePart(data), limit=limit)
    if is_table(data):
        return MemoryDataset(TablePart(data), limit=limit)
    kind = type(data)
    hint = _HINTS.get((kind.__module__.partition(".")[0], kind.__name__), "make a DataFrame of it")
    raise UsageError(
        f"data is a {kind.__module__}.{kind.__qualname__}; it takes a pandas DataFrame, a pyarrow Table or a path: "
        f"{hint}"
    )


def is_frame(data: Any) -> bool:
    """Whether it is a DataFrame; pandas is not imported to find out."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(data, pandas.DataFrame)


def is_table(data: Any) -> bool:
    """Whether it is a pyarrow Table; pyarrow is not imported to find out."""
    pyarrow = sys.modules.get("pyarrow")
    return pyarrow is not None and isinstance(data, pyarrow.Table)


_HINTS = {
    ("pyarrow", "RecordBatch"): "pyarrow.Table.from_batches([batch]) makes a Table of it",
    ("pyarrow", "RecordBatchReader"): "its read_all() gives a Table",
    ("polars", "DataFrame"): "its to_arrow() gives a Table",
    ("polars", "LazyFrame"): "its collect().to_arrow() gives a Table",
    ("duckdb", "DuckDBPyRelation"): "its to_arrow_table() gives a Table",
    ("pandas", "Series"): "its to_frame(name) gives a DataFrame",
    ("builtins", "list"): "pandas.DataFrame(rows) makes one of a list of dicts",
    ("builtins", "dict"): "pandas.DataFrame(columns) makes one of a dict of lists",
}
