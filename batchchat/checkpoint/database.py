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

from batchchat.checkpoint import binding, schema
from batchchat.errors import BatchchatError, CheckpointDamaged, StorageFull, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BUSY_MS = 30_000
# How large a checkpoint may be for SQLite's own check when it is opened, which takes about 1 ms a megabyte.
_QUICK_BYTES = 64 << 20
# Errors without a code of their own: a table or column that is gone, text that is none.
_OF_DAMAGE = ("no such", "malformed", "unsupported file format", "Could not decode to UTF-8")
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
        self._is_damaged = False
        if write and not self.path.exists():
            _make(self.path)
        with self.translated():
            self._connection = self._open("ro")
        try:
            with self.translated():
                self._check_format()
                if write:
                    self._check_structure()
                    self._connection.close()
                    self._connection = self._open("rw")
                    self._prepare()
        except BaseException:
            self._connection.close()
            raise

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
        with self.translated():
            for statement, values in binding.bound(table, map(schema.sealed, rows)):
                self._connection.executemany(statement, values)

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

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads of one moment, whatever a run writes meanwhile; within a transaction they are so already."""
        with self.translated():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def check_pages(self) -> None:
        """SQLite's own check of the file: every page in its place, every row in its order."""
        with self.translated():
            found = self._pragma("quick_check(1)")
        if found != "ok":
            raise self.damaged(found.splitlines()[-1])

    def close(self, *, fold: bool) -> None:
        """Close the connection; `fold` leaves the one file, without its log, where no reader is in the way.

        Nothing is folded into a file in which damage was found.
        """
        with contextlib.ExitStack() as stack:
            if fold and self._is_damaged:
                # SQLite folds the log when the last connection closes that may write: a reader is closed after it.
                with contextlib.suppress(sqlite3.Error, UnicodeDecodeError):
                    stack.callback(self._open("ro").close)
            elif fold:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA busy_timeout = 200")
                    self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    self._connection.execute("PRAGMA journal_mode = DELETE")
            with self.translated():
                self._connection.close()

    def damaged(self, what: str) -> CheckpointDamaged:
        """The error for a file that cannot be trusted."""
        self._is_damaged = True
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
        if code == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK):
            return self.damaged("its header says that it is not to be written")
        if isinstance(error, sqlite3.OperationalError) and any(words in str(error) for words in _OF_DAMAGE):
            return self.damaged(str(error).split(" with text", maxsplit=1)[0])
        what, remedy = _WORDS.get(code) or _WORDS.get(primary) or ("cannot be used", "run it again")
        return StorageFull(f"the checkpoint {self.path} {what} ({error}): {remedy}")

    def _open(self, mode: str) -> sqlite3.Connection:
        """A connection. A reader that finds what a kill left half-done lets SQLite undo that, and reads on."""
        uri = f"{self.path.resolve().as_uri()}?mode="
        connection = sqlite3.connect(uri + mode, uri=True, isolation_level=None, check_same_thread=False)
        try:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except BaseException as error:
            connection.close()
            if mode == "ro" and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_ROLLBACK:
                return self._open("rw")
            raise
        return connection

    def _prepare(self) -> None:
        """Set it to its durable ways."""
        run = self._connection.execute
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

    def _check_structure(self) -> None:
        """Find damage before anything is changed: in the file's length, its tables, and all facts but the rows'."""
        tables = {statement for (statement,) in self._connection.execute("SELECT sql FROM sqlite_master")}
        if self._pragma("encoding") != "UTF-8" or self._pragma("auto_vacuum") or not tables >= schema.STATEMENTS:
            raise self.damaged("its tables are not as they were made")
        pages = self._pragma("page_count")
        length, size = pages * self._pragma("page_size"), self.path.stat().st_size
        if size != length and not _size(f"{self.path}-wal"):
            raise self.damaged(f"it has {size:,} bytes instead of {length:,}")
        if self._pragma("freelist_count") >= pages:
            raise self.damaged("its list of free pages is not as it was written")
        if length <= _QUICK_BYTES:
            self.check_pages()
        for table in schema.FACTS:
            self.sealed_list(table, "", ())

    def _check_format(self) -> None:
        if self._pragma("application_id") != schema.APPLICATION_ID:
            raise CheckpointDamaged(
                f"{self.path} is no checkpoint of batchchat; it was left as it is. Name another with --checkpoint, "
                "or --restart moves it aside"
            )
        version = self._pragma("user_version")
        if version != schema.FORMAT:
            raise CheckpointDamaged(
                f"the checkpoint {self.path} has format {version}; this batchchat knows format {schema.FORMAT}. "
                "It was left as it is: upgrade batchchat, or --restart moves it aside"
            )

    def _pragma(self, name: str) -> Any:
        return self._connection.execute(f"PRAGMA {name}").fetchone()[0]


def _make(path: Path) -> None:
    """Make an empty checkpoint: it appears whole, so that an empty or cut file is never taken for a new one."""
    if _size(f"{path}-wal") and Path(f"{path}-wal").stat().st_nlink == 1:  # else `move_aside` was killed in its middle
        raise CheckpointDamaged(
            f"the log {path}-wal is there without its checkpoint {path}: put that back beside it, or --restart moves "
            "the log aside and starts anew"
        )
    new = path.with_name(f"{path.name}-new")
    try:
        for stale in (new, *(Path(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal"))):
            stale.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
            for statement in (
                "PRAGMA journal_mode = MEMORY",
                "PRAGMA fullfsync = 1",
                "BEGIN",
                *schema.TABLES,
                "COMMIT",
            ):
                connection.execute(statement)
        new.replace(path)
        sync_folder(path.parent)
    except (OSError, sqlite3.Error) as error:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        raise StorageFull(
            f"the checkpoint {path} cannot be made ({error}): its folder must be writable and have some space"
        ) from error


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


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
