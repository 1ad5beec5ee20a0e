"""The SQLite file under a checkpoint: opening, transactions, and its errors in our words.

One connection writes. It is used by one thread at a time (the committer's), so Python's own thread check is off.
Readers open the file read-only and never fold the write-ahead log.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.checkpoint import schema
from batchchat.errors import BatchchatError, CheckpointDamaged, StorageFull, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BUSY_MS = 30_000
# Errors without a code of their own: a table or column that is gone, text that is none.
_OF_DAMAGE = ("no such", "malformed", "Could not decode to UTF-8")
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_SCHEMA, sqlite3.SQLITE_MISMATCH})


class Database:
    """One connection to a checkpoint.

    Args:
        path: of the file.
        write: open for writing, and make the file where there is none.

    Raises:
        CheckpointDamaged: the file is no checkpoint of a format that is known. It is left as it is.
        UsageError: the file system has no write-ahead log.
    """

    def __init__(self, path: str | Path, *, write: bool) -> None:
        self.path = Path(path)
        self._write = write
        with self.translated():
            if write:
                self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
                self._prepare()
            else:
                uri = f"{self.path.resolve().as_uri()}?mode=ro"
                self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)
                self._connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
                self._check_format()

    def query(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, as they come."""
        with self.translated():
            yield from self._connection.execute(sql, values)

    def one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        """The first row of a SELECT, None where there is none."""
        with self.translated():
            row: tuple[Any, ...] | None = self._connection.execute(sql, values).fetchone()
            return row

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run a statement; how many rows it changed."""
        with self.translated():
            return self._connection.execute(sql, values).rowcount

    def insert(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert or replace rows, each sealed with its checksum."""
        if not rows:
            return
        marks = ",".join("?" * (len(rows[0]) + 1))
        with self.translated():
            self._connection.executemany(
                f"INSERT OR REPLACE INTO {table} VALUES ({marks})", [schema.sealed(row) for row in rows]
            )

    def sealed_rows(self, table: str, columns: str = "*", where: str = "", values: Sequence[Any] = ()) -> Iterator[Any]:
        """Rows of a table without their checksums, each verified."""
        for row in self.query(f"SELECT {columns} FROM {table} {where}", values):
            if not schema.intact(row):
                raise self.damaged(f"a row of {table} is not as it was written")
            yield row[:-1]

    def sealed_list(self, table: str, where: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """The same as a list, checksums left on: a quarter of the time where there are thousands."""
        with self.translated():
            rows = self._connection.execute(f"SELECT * FROM {table} {where}", values).fetchall()
        if not schema.all_intact(rows):
            raise self.damaged(f"a row of {table} is not as it was written")
        return rows

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing; durable when it is left."""
        with self.translated():
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self.translated():
                self._connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise

    def close(self, *, fold: bool) -> None:
        """Close the connection; `fold` leaves the one file, without its log, where no reader is in the way."""
        if fold:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA busy_timeout = 200")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self._connection.execute("PRAGMA journal_mode = DELETE")
        with self.translated():
            self._connection.close()

    def damaged(self, what: str) -> CheckpointDamaged:
        """The error for a file that cannot be trusted."""
        return CheckpointDamaged(
            f"the checkpoint {self.path} is damaged: {what}. It was left as it is; --restart moves it aside and starts "
            "anew, or put a backup of it in its place"
        )

    @contextlib.contextmanager
    def translated(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise self._ours(error) from error
        except UnicodeDecodeError as error:  # within SQLite's own message, which quotes what it found
            raise self.damaged("its tables are not as they were made") from error

    def _ours(self, error: sqlite3.Error) -> BatchchatError:
        code = getattr(error, "sqlite_errorcode", None) or 0
        primary = code & 0xFF
        if primary in _DAMAGED:
            return self.damaged(str(error))
        if isinstance(error, sqlite3.OperationalError) and any(words in str(error) for words in _OF_DAMAGE):
            return self.damaged(str(error).split(" with text", maxsplit=1)[0])
        what, remedy = _WORDS.get(code) or _WORDS.get(primary) or ("cannot be used", "run it again")
        return StorageFull(f"the checkpoint {self.path} {what} ({error}): {remedy}")

    def _prepare(self) -> None:
        """Make the tables where the file is new; check it and set it to its durable ways otherwise."""
        run = self._connection.execute
        run(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if not self._is_new():
            self._check_format()
        run("PRAGMA synchronous = FULL")
        (mode,) = run("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise UsageError(
                f"the file system of {self.path.parent} does not support SQLite's write-ahead log; "
                "put the checkpoint on a local disk with --checkpoint PATH"
            )
        run("PRAGMA cache_size = -16000")
        run("PRAGMA temp_store = FILE")
        if sys.platform == "darwin":
            run("PRAGMA fullfsync = 1")
            run("PRAGMA checkpoint_fullfsync = 1")
        if self._is_new():
            with self.transaction():
                for statement in schema.TABLES:
                    run(statement)
            sync_folder(self.path.parent)

    def _is_new(self) -> bool:
        """Whether the file is empty: just made, or left by a kill before its tables were."""
        (tables,) = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        return bool(tables == 0 and application == 0)

    def _check_format(self) -> None:
        (application,) = self._connection.execute("PRAGMA application_id").fetchone()
        if application != schema.APPLICATION_ID:
            raise CheckpointDamaged(
                f"{self.path} is no checkpoint of batchchat; it was left as it is. Name another with --checkpoint, "
                "or --restart moves it aside"
            )
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version != schema.FORMAT:
            raise CheckpointDamaged(
                f"the checkpoint {self.path} has format {version}; this batchchat knows format {schema.FORMAT}. "
                "It was left as it is: upgrade batchchat, or --restart moves it aside"
            )


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        file = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


_ELSEWHERE = "put it on a local disk with --checkpoint PATH"
_NO_LOCKS = ("cannot be locked", f"its file system has no locks that SQLite can use; {_ELSEWHERE}")
# What is wrong and what to do, by SQLite's primary codes, and by its extended ones (sqlite.org/rescode.html).
_WORDS = {
    sqlite3.SQLITE_FULL: ("cannot be written", "free some space and run it again"),
    sqlite3.SQLITE_IOERR: ("cannot be read or written", "the disk is full or failing; mend that and run it again"),
    sqlite3.SQLITE_READONLY: ("cannot be written", "allow it, or name another with --checkpoint PATH"),
    sqlite3.SQLITE_CANTOPEN: (
        "cannot be opened",
        "its folder must be there and writable, and this process be allowed enough open files (ulimit -n)",
    ),
    sqlite3.SQLITE_BUSY: (
        "is kept locked",
        f"close the program that uses it; where there is none, its file system has no proper locks: {_ELSEWHERE}",
    ),
    sqlite3.SQLITE_IOERR_LOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_RDLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_CHECKRESERVEDLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_SHMLOCK: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_SHMMAP: _NO_LOCKS,
    sqlite3.SQLITE_IOERR_SHMOPEN: _NO_LOCKS,
}
