"""The keys of what is stored: which requests a checkpoint has an outcome for, in whatever row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat.checkpoint import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.checkpoint.journal import Journal


def stored_keys(journal: Journal, settings: int) -> Iterator[bytes]:
    """The key of each outcome under these settings, of those that lost their row too."""
    low, high = schema.outcome_id(settings, 0), schema.outcome_id(settings + 1, 0)
    for (key,) in journal.database.query("SELECT key FROM outcomes WHERE id BETWEEN ? AND ?", (low, high)):
        yield bytes(key)


def places(journal: Journal, settings: int, key: bytes) -> list[int]:
    """Rows at which an outcome of this key stands.

    The first call makes a temporary index, once for the connection: a trial asks for few keys, and an index that is
    kept would cost every run.
    """
    database = journal.database
    first, last = schema.outcome_id(settings, 0), schema.outcome_id(settings, schema.UNCLAIMED)
    if database.one("SELECT 1 FROM sqlite_temp_master WHERE name = 'places'") is None:
        database.execute("CREATE TEMP TABLE places AS SELECT key, id FROM outcomes")
        database.execute("CREATE INDEX temp.by_key ON places (key)")
    found = database.query("SELECT id FROM places WHERE key = ? AND id > ? AND id < ?", (key, first, last))
    rows = [number & schema.ROW_MASK for (number,) in found]
    return [row for row in rows if any(one.key == key for one in journal.stored(settings, row, 1).values())]
