"""A checkpoint against a table that may have been edited since, without changing either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.job import PromptSettings, input_folder
from batchchat.prompt import RequestBuilder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.checkpoint import Journal
    from batchchat.dataset import Dataset
    from batchchat.records import Batch


def builder_of(body: dict[str, Any], dataset: Dataset) -> RequestBuilder:
    """What made the requests of some settings that a checkpoint kept.

    Raises:
        UsageError: the table lacks a column that they read.
    """
    kept = dict(body)
    prompt = {name.partition(".")[2]: kept.pop(name) for name in list(kept) if name.startswith("prompt.")}
    model = kept.pop("model")
    said = PromptSettings(**prompt)
    folder = table_folder(dataset) if said.image_column is not None else None
    return RequestBuilder(said, model=model, parameters=kept, columns=dataset.columns, folder=folder)


def table_folder(dataset: Dataset) -> str | None:
    """The folder that a table lies in; that of data in memory is the working folder."""
    return input_folder(dataset.name if dataset.paths else "")


def stale_rows(journal: Journal, settings: int, dataset: Dataset) -> frozenset[int]:
    """Rows whose stored outcome is not of the request that they would send now."""
    builder = builder_of(journal.settings(settings), dataset)
    last = journal.last_row(settings)
    stale: set[int] = set()
    for batch in dataset.batches(builder.columns):
        if batch.start > last:
            break
        stale.update(stale_of(journal, settings, batch, builder))
    return frozenset(stale)


def stale_of(
    journal: Journal, settings: int, batch: Batch, builder: RequestBuilder, rows: Sequence[int] | None = None
) -> list[int]:
    """Those of a batch's rows (None: all) whose stored outcome is not of the request that they would send now."""
    mark, now = journal.mark(settings, batch.start), builder.digest(batch)
    before = mark.digest if mark is not None and mark.size == batch.size else None
    if before == now:
        return []
    stored = journal.stored(settings, batch.start, batch.size)
    asked = sorted(stored) if rows is None else [row for row in rows if row in stored]
    keys = {row: one.key for row, one in stored.items()}
    return builder.others(builder.tasks(batch, asked), keys, before=before, now=now)
