"""The tables of a checkpoint, format 1, and how a row of them is sealed.

`outcomes.id` is `settings << 40 | row`, so outcomes lie in the order of the table's rows and are found by number
without an index (measured on 2,000,000 rows: five times the rate of a table with an index on the key, an eighth of the
bytes written). Rows from 2**39 on are unclaimed: answers that were paid for and that no row of the table asks for now.
Only those are indexed by key.

`counters` has a row for each settings, and one with the number 0 that counts commits.

Every row carries a CRC-32 of its values, verified when it is read: SQLite's own check does not see a flipped byte in a
value. Times are whole microseconds, since how a float is written out may differ between versions. Raw facts stand in
typed columns beside the raw message, so that columns, reports and costs can be made again without paying again.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

APPLICATION_ID = 0x62636874  # "bcht"
FORMAT = 1

SETTINGS_SHIFT = 40
UNCLAIMED = 1 << 39
ROW_MASK = (1 << SETTINGS_SHIFT) - 1

OUTCOME_COLUMNS = (
    "id",
    "key",
    "answered",
    "choices",
    "completion",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
    "message",
    "model",
    "request_id",
    "error",
    "attempts",
    "paid_for_nothing",
    "latency_us",
    "first_token_us",
    "at_us",
)

TABLES = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
    "CREATE TABLE header (name TEXT PRIMARY KEY, value TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    """CREATE TABLE settings (
        id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, body TEXT NOT NULL, base INTEGER,
        created_us INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE outcomes (
        id INTEGER PRIMARY KEY,
        key BLOB NOT NULL,
        answered INTEGER NOT NULL,
        choices INTEGER,
        completion TEXT,
        finish_reason TEXT,
        prompt_tokens INTEGER,
        completion_tokens INTEGER,
        total_tokens INTEGER,
        cached_tokens INTEGER,
        reasoning_tokens INTEGER,
        cache_write_tokens INTEGER,
        message TEXT,
        model TEXT,
        request_id TEXT,
        error TEXT,
        attempts INTEGER NOT NULL,
        paid_for_nothing INTEGER NOT NULL,
        latency_us INTEGER,
        first_token_us INTEGER,
        at_us INTEGER NOT NULL,
        checksum INTEGER NOT NULL) STRICT""",
    f"CREATE INDEX unclaimed ON outcomes (key) WHERE (id & {UNCLAIMED}) != 0",
    """CREATE TABLE batches (
        id INTEGER PRIMARY KEY, size INTEGER NOT NULL, digest BLOB NOT NULL, complete INTEGER NOT NULL,
        checksum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE counters (
        settings INTEGER PRIMARY KEY, answered INTEGER NOT NULL, failed INTEGER NOT NULL,
        prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, checksum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE runs (
        id INTEGER PRIMARY KEY, settings INTEGER, started_us INTEGER NOT NULL, ended_us INTEGER, body TEXT NOT NULL,
        checksum INTEGER NOT NULL) STRICT""",
    f"""CREATE VIEW results AS SELECT
        id >> {SETTINGS_SHIFT} AS settings, id & {ROW_MASK} AS row, answered, completion, finish_reason,
        prompt_tokens, completion_tokens, total_tokens, cached_tokens, reasoning_tokens, cache_write_tokens,
        error ->> 'text' AS error, model, request_id, attempts, paid_for_nothing, latency_us / 1e6 AS latency,
        first_token_us / 1e6 AS first_token, datetime(at_us / 1000000, 'unixepoch') AS at
        FROM outcomes WHERE (id & {UNCLAIMED}) = 0""",
)

STATEMENTS = frozenset(statement for statement in TABLES if statement.startswith("CREATE"))
# The tables that are small, and are read through when a checkpoint is opened for writing.
FACTS = ("header", "settings", "counters", "runs")


def checksum(values: Sequence[Any]) -> int:
    """CRC-32 over the values of a row, in their order: whole numbers, text, bytes and null."""
    return zlib.crc32(orjson.dumps(values, default=bytes.hex))


def sealed(values: Sequence[Any]) -> tuple[Any, ...]:
    """The values with their checksum behind them, as they are stored."""
    return (*values, checksum(values))


def intact(row: Sequence[Any]) -> bool:
    """Whether a stored row is as it was written."""
    return bool(row[-1] == checksum(row[:-1]))


def all_intact(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether every one of some stored rows is."""
    crc32, dumps, as_text = zlib.crc32, orjson.dumps, bytes.hex
    for row in rows:  # noqa: SIM110 - `all` of a generator takes a fifth longer
        if row[-1] != crc32(dumps(row[:-1], default=as_text)):
            return False
    return True


def outcome_id(settings: int, row: int) -> int:
    """The id of a row's outcome under some settings."""
    return settings << SETTINGS_SHIFT | row
