"""What was counted over all outcomes at the end of a run, and is kept: a job that is as it was is not counted again.

As it was means: no commit since, and nothing moved, which only a table that was published without a change after it
can say (`changed` in the header of the checkpoint). Data in memory without an output are counted each time.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from batchchat.errors import JobStopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchchat.checkpoint import Journal


def counted(journal: Journal, name: str, of: Sequence[Any], count: Callable[[], Any]) -> Any:
    """What `count` gives, which is JSON, or gave before.

    Args:
        journal: the checkpoint, opened for writing.
        name: of what is counted.
        of: what it depends on besides the outcomes, JSON-able.
        count: counts it.
    """
    state = _state(journal)
    kept = journal.header("counted") if state is not None else None
    values = kept["values"] if kept is not None and kept["state"] == state else {}
    if name in values and values[name]["of"] == list(of):
        return values[name]["found"]
    found = count()
    if state is not None:
        with contextlib.suppress(JobStopped):  # a full disk: it is counted again then
            journal.set_header(counted={"state": state, "values": {**values, name: {"of": list(of), "found": found}}})
    return found


def _state(journal: Journal) -> list[Any] | None:
    """Another one after each change of an outcome; None where outcomes changed since the table was published."""
    published = journal.header("published")
    if published is None or journal.header("changed") is not False:
        return None
    return [journal.commits, published["digest"], published["mtime_ns"]]
