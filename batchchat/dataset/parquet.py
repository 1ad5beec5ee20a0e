"""Parquet files: only the columns that somebody asks for are read, a few pages at a time.

`pre_buffer=False` and a small read buffer keep memory small: by default pyarrow reads ahead a whole row group. Batches
do not cross row groups, so a reader that starts in the middle skips those before without touching them.

Values become Python objects without pandas, which pyarrow would import for nanoseconds: a timestamp is a `datetime`
where microseconds hold it, else ISO text with nine digits; durations and times of day likewise.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from batchchat import storage
from batchchat.dataset.values import python_values
from batchchat.defaults import BATCH_BYTES, BATCH_ROWS
from batchchat.errors import InputFault, UsageError
from batchchat.records import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchchat.tables import Format

_READ_BUFFER = 1 << 20


class ParquetPart:
    """A Parquet file, as rows from 1.

    Attributes:
        path, before, rows, columns, form: as of a text file; the rows are known from the metadata.
        schema: the `pyarrow.Schema`, with all metadata.
        size: of the file, in bytes.
    """

    def __init__(self, path: str, form: Format) -> None:
        import pyarrow as pa

        self.path = path
        self.form = form
        self.before = 0
        self._stamp = storage.stamp(path)
        self.size = self._stamp.size
        try:
            with self.open() as file:
                self._sizes = tuple(_group(file.metadata.row_group(n)) for n in range(file.num_row_groups))
                self.schema = file.schema_arrow
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{path}: is no Parquet file that can be read: {error}") from error
        self.columns: tuple[str, ...] = tuple(self.schema.names)
        self.rows = self.at_least = sum(rows for rows, _ in self._sizes)
        doubled = [name for name, count in Counter(self.columns).items() if count > 1]
        if doubled:
            raise UsageError(f"{path}: two columns are named {doubled[0]!r}. Rename one.")

    def open(self) -> Any:
        """The `pyarrow.parquet.ParquetFile`, read with little memory. Use it as a context manager."""
        from pyarrow import parquet

        return parquet.ParquetFile(storage.open_arrow(self.path), pre_buffer=False, buffer_size=_READ_BUFFER)

    def arrow_batches(
        self, columns: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Record batches of these columns (None: all), with the number of the first row of each.

        Raises:
            InputFault: the file is damaged, or was changed since it was opened.
        """
        import pyarrow as pa

        last = self.rows if stop is None else min(stop, self.rows)
        self.require_unchanged()
        try:
            with self.open() as file:
                before = 0
                for group, (rows, size) in enumerate(self._sizes):
                    if before + rows >= start and before < last:
                        yield from _cut(_group_batches(file, group, columns, _step(rows, size)), before, start, last)
                    before += rows
        except (pa.ArrowException, OSError) as error:
            raise InputFault(f"{self.path}: cannot be read on: {error}") from error

    def raw(self, first: int, end: int) -> Iterator[bytes]:
        """The file's bytes from one place to another, a piece at a time. Raises InputFault."""
        self.require_unchanged()
        try:
            with storage.open_input(self.path) as file:
                file.seek(first)
                while first < end and (data := file.read(min(_READ_BUFFER, end - first))):
                    first += len(data)
                    yield data
        except OSError as error:
            raise InputFault(f"{self.path}: cannot be read on: {error}") from error

    def require_unchanged(self) -> None:
        """Raises InputFault where the file is not what it was when it was opened."""
        try:
            changed = storage.stamp(self.path) != self._stamp
        except OSError as error:
            raise InputFault(f"{self.path}: cannot be read: {error.strerror or error}.") from error
        if changed:
            raise InputFault(f"{self.path}: the file was changed while it was read; run again.")

    def batches(self, columns: Sequence[str], start: int = 1, stop: int | None = None) -> Iterator[Batch]:
        """The rows from `start` to `stop`, by column, as Python values."""
        for first, batch in self.arrow_batches(columns, start, stop):
            for at in range(0, batch.num_rows, step := _fitting(batch)):
                piece = batch.slice(at, step)
                try:
                    values = {name: python_values(piece.column(name)) for name in columns}
                except (UnicodeDecodeError, ValueError) as error:
                    place = f"rows {self.before + first + at} to {self.before + first + at + piece.num_rows - 1}"
                    raise InputFault(f"{self.path}, {place}: a value cannot be read: {error}") from error
                yield Batch(start=first + at, size=piece.num_rows, columns=values)

    def check(self, budget: int, stop: int | None, *_: Any) -> int:
        """Nothing: the metadata was read when the file was opened."""
        del budget, stop
        return 0

    def where(self, row: int) -> str:
        """`reviews.parquet, row 3`."""
        return f"{self.path}, row {self.before + row}"


def _group(metadata: Any) -> tuple[int, int]:
    return metadata.num_rows, metadata.total_byte_size


def _step(rows: int, size: int) -> int:
    """How many rows one batch of a row group has."""
    return max(1, min(BATCH_ROWS, BATCH_BYTES * rows // max(1, size)))


def _fitting(batch: Any) -> int:
    """Rows of a piece whose Python values do not take much: dictionaries unfold beyond what the metadata says."""
    rows: int = batch.num_rows
    return max(1, min(rows, 4 * BATCH_BYTES * rows // max(1, int(batch.nbytes))))


def _group_batches(file: Any, group: int, columns: Sequence[str] | None, step: int) -> Iterator[Any]:
    yield from file.iter_batches(batch_size=step, row_groups=[group], columns=columns, use_threads=False)


def _cut(batches: Iterator[Any], before: int, start: int, last: int) -> Iterator[tuple[int, Any]]:
    """The batches of one row group, as far as they are between two rows; `before` is how many rows precede them."""
    for batch in batches:
        first = max(0, start - before - 1)
        end = min(batch.num_rows, last - before)
        if first < end:
            yield before + first + 1, batch.slice(first, end - first)
        before += batch.num_rows
        if before >= last:
            return
