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
