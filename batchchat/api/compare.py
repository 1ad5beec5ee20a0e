"""A checkpoint against a table that may have been edited since, without changing either."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.job import PromptSettings, input_folder
from batchchat.prompt import RequestBuilder

if TYPE_CHECKING:
    from batchchat.checkpoint import Journal
    from batchchat.dataset import Dataset


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
        mark = journal.mark(settings, batch.start)
        if mark is not None and mark.size == batch.size and mark.digest == builder.digest(batch):
            continue
        stored = journal.stored(settings, batch.start, batch.size)
        tasks = builder.tasks(batch, sorted(stored))
        stale.update(task.row for task in tasks if stored[task.row].key != task.key)
    return frozenset(stale)
