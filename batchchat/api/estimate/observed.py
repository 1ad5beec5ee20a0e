"""The answers that an estimate learns from: rows that the checkpoint answers, counted as the estimate counts.

Each row is rendered again and compared by its key, so that an answer of a row that was edited since teaches nothing.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from batchchat.api.input.rows import batches_of
from batchchat.cost.estimate import Observed
from batchchat.records import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchchat.checkpoint import Journal
    from batchchat.cost.tokens import TokenCounter
    from batchchat.dataset import Dataset
    from batchchat.prompt import RequestBuilder

_USAGE = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "cache_write_tokens",
)
_NAMES = ("answered", "key", "latency", *_USAGE)
# Answers that are enough to learn from.
_MOST = 1000


def observed_rows(
    journal: Journal,
    settings: int,
    dataset: Dataset,
    *,
    builder: RequestBuilder,
    tokens: TokenCounter,
    rows: Sequence[int] | None = None,
) -> list[Observed]:
    """What some settings were answered.

    Args:
        journal: the checkpoint.
        settings: their number.
        dataset: the table.
        builder: makes their requests.
        tokens: counts them.
        rows: a random draw of rows, sorted; None: a random part of all that were answered.
    """
    chosen = _draw(journal.rows_with_outcomes(settings)) if rows is None else list(rows)
    found = []
    for batch, here in batches_of(dataset, builder.columns, chosen):
        for task in builder.tasks(batch, here):
            stored = {name: values[0] for name, values in journal.results((settings,), task.row, 1, _NAMES).items()}
            if stored["answered"] and stored["key"] == task.key and task.request is not None:
                counted = tokens.count_body(task.request.body)
                usage = Usage(**{name: stored[name] for name in _USAGE})
                found.append(Observed(counted=counted, usage=usage, latency=stored["latency"]))
    return found


def _draw(rows: Iterable[int]) -> list[int]:
    """A random part of the rows, each as likely as any other; as few are held as are given."""
    draw = random.Random(0)  # noqa: S311 - no secret
    chosen: list[int] = []
    for nth, row in enumerate(rows):
        if nth < _MOST:
            chosen.append(row)
        elif (at := draw.randrange(nth + 1)) < _MOST:
            chosen[at] = row
    return sorted(chosen)
