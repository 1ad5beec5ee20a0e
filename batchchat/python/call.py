"""One call of `run`: what is meant by it, and what it gives or raises when the job has ended."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchchat.api.input.memory import table_of_the_stopped, table_so_far, trial_table
from batchchat.dataset import open_memory
from batchchat.errors import UsageError
from batchchat.job import resolve
from batchchat.python.wording import in_python

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchchat.api import Summary
    from batchchat.errors import JobStopped
    from batchchat.job import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What is to be run: a job, and the data where they are in memory (None: the job names an input)."""

    job: Job
    data: Any

    def result(self, summary: Summary) -> Any:
        """What the call gives: a table of the kind that was given, or the output's path.

        Raises:
            JobStopped: the job was stopped; the table so far is its `table`.
        """
        table = None
        if self.data is not None and self.job.rows.trial:
            table = trial_table(self.data, self.job, summary.answers)
        elif self.data is not None:
            table = table_so_far(self.data, self.job, summary.checkpoint)
        if summary.reason is not None:
            stopped = summary.reason
            stopped.args = (in_python(summary.message or str(stopped)),)
            stopped.table, stopped.checkpoint = table, summary.checkpoint
            raise stopped
        return summary.output if self.data is None else table

    def complete(self, stopped: JobStopped) -> None:
        """Give what stopped the job before it began the table so far, and the checkpoint."""
        stopped.args = (in_python(str(stopped)),)
        if self.data is None:
            stopped.checkpoint = stopped.checkpoint or self.job.checkpoint_path
        if self.data is not None and stopped.table is None:
            stopped.table = table_of_the_stopped(self.data, self.job, stopped)


def make_call(data: Any, options: Mapping[str, Any], *, estimates: bool = False) -> Call:
    """What is meant.

    Args:
        data: a DataFrame, a Table or a path.
        options: by their names.
        estimates: whether nothing is to be sent, but for a sample.

    Raises:
        UsageError: an option is wrong, or the data are of no kind that is taken.
    """
    path = os.fspath(data) if isinstance(data, str | os.PathLike) else None
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if path is None:
        open_memory(data)
    elif not estimates and (options.get("sample") is not None or options.get("rows") is not None):
        raise UsageError(
            f"a trial (sample=, rows=) writes no output that could be returned for a path: read {path} into a "
            "DataFrame, or call batchchat run with --sample at a shell"
        )
    said = {name: _said(value) for name, value in options.items()}
    if "dry_run" in said:
        raise UsageError("dry_run: batchchat.run always runs; batchchat run --dry-run is of the command line")
    sends = not estimates or options.get("sample") is not None
    return Call(job=resolve(said, input=path, need_key=sends), data=None if path is not None else data)


@contextlib.contextmanager
def in_its_words() -> Iterator[None]:
    """What is raised names options as Python does."""
    try:
        yield
    except UsageError as error:
        error.args = (in_python(str(error)), *error.args[1:])
        raise


def _said(value: Any) -> Any:
    """A value as an option has it: paths are text, ranges are lists."""
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    return list(value) if isinstance(value, range) else value
