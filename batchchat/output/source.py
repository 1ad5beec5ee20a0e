"""What this room asks of a table: the files of `dataset`, without knowing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchchat.records import Batch
    from batchchat.tables import Dialect, Format, TextRows


class Source(Protocol):
    """One file, as rows from 1; `before` is how many rows of the table stand in the files before it."""

    path: str
    form: Format
    before: int

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names."""

    @property
    def rows(self) -> int | None:
        """How many rows, None where nobody has read to the end."""

    def batches(self, columns: Sequence[str], start: int = 1, stop: int | None = None) -> Iterator[Batch]:
        """Rows by column, as Python values."""

    def where(self, row: int) -> str:
        """The place of a row in a message."""

    def require_unchanged(self) -> None:
        """Raises InputFault where the file is not what it was when it was opened."""


class TextSource(Source, Protocol):
    """A file of lines."""

    header: str
    dialect: Dialect

    def records(self, start: int = 1, stop: int | None = None) -> Iterator[TextRows]:
        """Rows with their own byte text."""


class JsonSource(TextSource, Protocol):
    """A JSONL file."""

    def with_digits(self) -> JsonSource:
        """Numbers as `Digits`."""

    def undecoded(self) -> JsonSource:
        """Records that nobody looks into."""


class ParquetSource(Source, Protocol):
    """A Parquet file, or a table in memory."""

    schema: Any
    size: int  # in bytes; 0 where it is in memory

    def raw(self, first: int, end: int) -> Iterator[bytes]:
        """The file's bytes from one place to another."""

    def open(self) -> Any:
        """The `pyarrow.parquet.ParquetFile`, as a context manager."""

    def arrow_batches(
        self, columns: Sequence[str] | None = None, start: int = 1, stop: int | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Record batches, with the number of their first row."""


class Table(Protocol):
    """A table of files, all of one kind."""

    name: str
    paths: tuple[str, ...]
    parts: tuple[Any, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns' names."""

    def spans(self) -> Iterator[tuple[Any, int | None]]:
        """Each `Source` that counts, with the last of its rows that does (None: all)."""
