"""A job whose rows are all answered and whose output was not written yet: what `publish` is measured on.

    python benchmarks/finished.py FOLDER ROWS

Out: FOLDER/in.parquet, with the columns `id` and `prompt`, and FOLDER/out.parquet.batchchat, a checkpoint as `run`
leaves it; the answers are as long as those of the fast server. Nothing is sent.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import tables
from fast_server import TEXT

from batchchat.api.input.table import make_builder, open_table
from batchchat.api.kept.session import remember
from batchchat.checkpoint import Mark, open_journal
from batchchat.job import resolve
from batchchat.records import Completion, Outcome, Usage

if TYPE_CHECKING:
    from batchchat.job import Job
    from batchchat.records import Task


def the_job(folder: Path) -> Job:
    options = {"base_url": "http://127.0.0.1:9/v1", "model": "sim", "output": str(folder / "out.parquet")}
    return resolve(options, input=str(folder / "in.parquet"), environ={"OPENAI_API_KEY": "none"})


def outcome(task: Task) -> Outcome:
    usage = Usage(prompt_tokens=24, completion_tokens=61, total_tokens=85, cached_tokens=0, reasoning_tokens=0)
    done = Completion(
        contents=(f"{task.row} {TEXT}",),
        finish_reasons=("stop",),
        usage=usage,
        model="sim",
        request_id=f"chatcmpl-{task.key.hex()}",
        latency=0.5,
    )
    return Outcome(row=task.row, key=task.key, completion=done, at=time.time())


def make(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    tables.write_parquet(folder / "in.parquet", rows)
    job = the_job(folder)
    table = open_table(job)
    builder = make_builder(job, table.dataset, "sim")
    journal = open_journal(job.checkpoint_path)
    settings = journal.settings_id({**job.settings(), "model": "sim"})
    remember(journal, job, "sim")
    journal.set_header(begun=settings, failures_stand=False)
    for batch in table.dataset.batches(builder.columns):
        mark = Mark(size=batch.size, digest=builder.digest(batch), complete=False)
        journal.note_mark(settings, batch.start, mark)
        journal.commit(settings, [outcome(task) for task in builder.tasks(batch)])
    journal.complete(settings)
    journal.close()


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
