"""A pandas DataFrame or a pyarrow Table as rows, as a file's part is.

Nothing is copied: a batch of the columns that somebody asks for becomes Python values, and no more. What is missing in
a DataFrame (None, NaN, NaT, NA) is null.

The columns of a DataFrame go by their labels as text; its index is no column. What is written to a file is the Arrow
table that pandas itself would write: Parquet keeps the index, text formats get its named levels as first columns.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from batchchat.dataset.values import python_values
from batchchat.defaults import BATCH_BYTES, BATCH_ROWS
from batchchat.errors import InputFault, UsageError
from batchchat.records import Batch
from batchchat.tables import Format, find_format

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Its values are typed as those of a Parquet file are.
_FORM = Format(kind="parquet", suffix="")


class MemoryPart:
    """Rows in memory, from 1.

    Attributes:
        path: what they are called in messages.
        rows, at_least, before, columns, form: as of a file.
        size: 0, since there are no bytes to copy.
    """

    form = _FORM
    size = 0

    def __init__(self, name: str, columns: Sequence[str], rows: int) -> None:
        doubled = [column for column, count in Counter(columns).items() if count > 1]
        if doubled:
            raise UsageError(f"{name}: two columns are named {doubled[0]!r}. Rename one.")
        self.path = name
        self.before = 0
        self.columns = tuple(columns)
        self.rows = self.at_least = rows

    def batches(self, columns: Sequence[str], start: int = 1, stop: int | None = None) -> Iterator[Batch]:
        """The rows from `start` to `stop`, by column, as Python values."""
        last = self.rows if stop is None else min(stop, self.rows)
        step = self._step(columns)
        first = start - 1
        while first < last:
            end = min(last, (first // step + 1) * step)
            try:
                values = {name: self._values(name, first, end) for name in columns}
            except (UnicodeDecodeError, ValueError, TypeError) as error:
                raise InputFault(f"{self.path}, rows {first + 1} to {end}: a value cannot be read: {error}") from error
            yield Batch(start=first + 1, size=end - first, columns=values)
            first = end

    def check(self, budget: int, stop: int | None, *_: Any) -> int:
        """Nothing: it was checked when it was made."""
        del budget, stop
        return 0

    def require_unchanged(self) -> None:
        """Nothing: nobody else can write to it."""

    def where(self, row: int) -> str:
        """`the DataFrame, row 3`."""
        return f"{self.path}, row {row}"

    def _step(self, columns: Sequence[str]) -> int:
        del columns
        return BATCH_ROWS

    def _values(self, name: str, first: int, end: int) -> list[Any]:
        raise NotImplementedError


class TablePart(MemoryPart):
    """A `pyarrow.Table`.

    Attributes:
        schema: with its metadata.
    """

    def __init__(self, table: Any, name: str = "the Table") -> None:
        super().__init__(name, table.column_names, table.num_rows)
        self._table = table
        self.schema = table.schema

    def arrow_batches(
        self, columns: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Record batches, with the number of the first row of each."""
        table = self._table if columns is None else self._table.select(list(columns))
        number = start
        for batch in table.slice(start - 1, None if stop is None else stop - start + 1).to_batches():
            yield number, batch
            number += batch.num_rows

    def _step(self, columns: Sequence[str]) -> int:
        """Rows of a batch: fewer where they are large, by powers of eight so that an edit does not shift them all."""
        size = self._table.select(list(columns)).nbytes // max(1, self.rows)
        step = BATCH_ROWS
        while step > 1 and step * size > BATCH_BYTES:
            step //= 8
        return max(1, step)

    def _values(self, name: str, first: int, end: int) -> list[Any]:
        column = self._table.column(name).slice(first, end - first)
        return [value for chunk in column.chunks for value in python_values(chunk)]


class FramePart(MemoryPart):
    """A `pandas.DataFrame`."""

    def __init__(self, frame: Any) -> None:
        import pandas as pd

        if isinstance(frame.columns, pd.MultiIndex):
            raise UsageError(
                "the DataFrame's columns are a MultiIndex, which a template cannot name: flatten them first, for "
                "example with frame.columns = ['_'.join(map(str, names)) for names in frame.columns]"
            )
        super().__init__("the DataFrame", [str(label) for label in frame.columns], len(frame))
        # Shallow: whoever adds or replaces columns of the caller's while the job runs does not change the job's rows.
        self._frame = frame.copy(deep=False)
        self._at = {name: at for at, name in enumerate(self.columns)}

    def as_table(self, path: str) -> TablePart:
        """The same rows as pandas writes them to a file.

        Raises:
            UsageError: a column holds what no file can.
        """
        import pyarrow as pa

        frame, form = self._frame, find_format(path)
        if form is not None and form.is_text:
            frame = _with_named_levels(frame, path)
        if not all(isinstance(label, str) for label in frame.columns):
            frame = frame.set_axis([str(label) for label in frame.columns], axis="columns")
        try:
            keep = None if form is None or not form.is_text else False
            return TablePart(pa.Table.from_pandas(frame, preserve_index=keep), self.path)
        except (pa.ArrowException, ValueError, TypeError) as error:
            reason = "; ".join(str(part) for part in error.args)
            raise UsageError(
                f"the DataFrame cannot be written to {path}: {reason}. Make that column of one type, or leave out "
                "output= and write the DataFrame that is returned"
            ) from error

    def _values(self, name: str, first: int, end: int) -> list[Any]:
        return _series_values(self._frame.iloc[first:end, self._at[name]])


def _with_named_levels(frame: Any, path: str) -> Any:
    """The frame with the named levels of its index as its first columns, as text formats get them."""
    named = [name for name in frame.index.names if name is not None]
    taken = [name for name in named if str(name) in map(str, frame.columns)]
    if taken:
        raise UsageError(
            f"the DataFrame has an index level and a column that are both named {taken[0]!r}, and {path} has room for "
            "one: rename one of them"
        )
    return frame.reset_index(level=named) if named else frame


def _series_values(series: Any) -> list[Any]:
    """Python values of a pandas Series; None for what is missing."""
    missing = series.isna().tolist()
    kind = series.dtype
    if getattr(kind, "kind", "") == "f" and getattr(kind, "itemsize", 8) < 8:
        # The shortest number that means it: 0.1, where plain widening gives 0.10000000149011612.
        values = [None if gone else float(str(value)) for value, gone in zip(series.array, missing, strict=True)]
    else:
        values = series.tolist()
    if getattr(kind, "char", "O") == "O":  # objects, and types that pandas or Arrow add to numpy's
        values = [_plain(value) for value in values]
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]


def _plain(value: Any) -> Any:
    """Without numpy: `read_parquet` gives lists as arrays, with arrays in them."""
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
