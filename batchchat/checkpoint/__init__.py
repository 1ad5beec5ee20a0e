"""The checkpoint: one SQLite file that holds everything a job has paid for.

`journal` is the door, `facts` its part about the job, `marks` that about batches that are as they were, `usage` its
part for the bill, `settled` and `keys` those for lists of rows; `schema` has the format, `codec` turns outcomes into
its rows, `database` speaks SQLite, `lock` keeps a second writer out, `aside` makes room for a new one.
"""

from __future__ import annotations

from batchchat.checkpoint.aside import exists, is_aside, move_aside
from batchchat.checkpoint.codec import Stored
from batchchat.checkpoint.facts import canonical
from batchchat.checkpoint.journal import Counts, Journal, note, open_journal, read_journal
from batchchat.checkpoint.keys import places, stored_keys
from batchchat.checkpoint.lock import is_running
from batchchat.checkpoint.marks import Mark
from batchchat.checkpoint.settled import settled_rows
from batchchat.checkpoint.usage import cut_answers, paid_for_nothing, usage_by_model, usage_since, usage_sums, usages

__all__ = [
    "Counts",
    "Journal",
    "Mark",
    "Stored",
    "canonical",
    "cut_answers",
    "exists",
    "is_aside",
    "is_running",
    "move_aside",
    "note",
    "open_journal",
    "paid_for_nothing",
    "places",
    "read_journal",
    "settled_rows",
    "stored_keys",
    "usage_by_model",
    "usage_since",
    "usage_sums",
    "usages",
]
