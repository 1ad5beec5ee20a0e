"""A job is run: the api's call, with what is shown around it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batchchat.cli import ending, stream
from batchchat.cli.progress import Tally, display
from batchchat.errors import JobStopped

if TYPE_CHECKING:
    from batchchat.api import Plan
    from batchchat.job import Job


def launch(job: Job, *, as_json: bool, quiet: bool) -> int:
    """Run the job to its exit status, and say how it went."""
    from batchchat.api import execute

    tally = Tally()
    try:
        with display(tally, file=sys.stderr, quiet=quiet):
            summary = execute(job, observer=tally)
    except JobStopped as stopped:
        if as_json:
            stream.emit_json(ending.of_the_stopped(job, stopped))
        raise
    if as_json:
        stream.emit_json(summary.answers if job.rows.trial else summary.as_dict())
    elif job.rows.trial:
        stream.emit(ending.answers(summary.answers))
    for line in ending.sentences(summary, job=job, quiet=quiet):
        stream.tell(line)
    return summary.status


def plan(job: Job) -> Plan:
    """What the job would do."""
    from batchchat.api import plan_job

    return plan_job(job)
