"""A job is run: the api's call, with what is shown around it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.cli import answer, ending, failure, header, stream
from batchchat.cli.ends import End
from batchchat.cli.progress import display
from batchchat.cli.tally import Tally
from batchchat.errors import JobStopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from batchchat.api import Plan, Summary
    from batchchat.cli.progress import Show
    from batchchat.job import Job


def launch(job: Job, *, as_json: bool, quiet: bool, end: End | None = None) -> int:
    """Run the job to its exit status, and say how it went."""
    end = end or End()
    try:
        summary, tally = _run(job, as_json=as_json, quiet=quiet)
    except JobStopped as stopped:
        facts = ending.of_the_stopped(stopped, checkpoint=job.checkpoint_path)
        if as_json:
            stream.emit_json(facts)
        end.notify(f"{_name(job)}: stopped ({stopped.stop_reason})", facts, status=failure.exit_status(stopped))
        raise
    summary = end.judged(summary)
    if as_json:
        stream.emit_json(summary.answers if job.rows.trial else summary.as_dict())
    elif job.rows.trial:
        _show_rest(summary, tally)
    for line in ending.sentences(summary, job=job, quiet=quiet):
        stream.tell(line)
    end.notify(ending.headline(summary, _name(job)), summary.as_dict(), status=summary.status)
    return summary.status


def _run(job: Job, *, as_json: bool, quiet: bool) -> tuple[Summary, Tally]:
    """The job's run, with its progress."""
    from batchchat.api import execute

    tally = Tally()
    name = "" if job.rows.trial else _name(job)
    with display(tally, file=sys.stderr, quiet=quiet, show=_show(job, as_json=as_json), name=name) as pause:

        def confirm(found: Plan) -> None:
            if quiet and not header.may_ask(job):
                return
            plan = _priced(found, job)
            with pause():
                if not quiet:
                    stream.tell(header.lines(plan))
                header.confirm(plan, job)

        return execute(job, observer=tally, confirm=confirm), tally


def _name(job: Job) -> str:
    """The job in a word or two."""
    return Path(job.output_path).name


def _show(job: Job, *, as_json: bool) -> Show | None:
    """How an answer is shown: of a trial on stdout, since it was asked for; the first ones of a new job on stderr."""
    if not job.rows.trial:
        return _for_a_person
    return None if as_json else _as_asked_for


def _for_a_person(found: Mapping[str, Any], console: Console | None) -> None:
    if console is None:
        stream.tell(answer.lines(found))
    else:
        answer.draw(found, console)


def _as_asked_for(found: Mapping[str, Any], console: Console | None) -> None:
    if console is not None and stream.shown_at_terminal():
        answer.draw(found, console)  # by way of the progress that is drawn below it
    else:
        stream.emit(answer.lines(found))


def _show_rest(summary: Summary, tally: Tally) -> None:
    """The answers of a trial that were not shown while it ran: those that the checkpoint had."""
    for found in summary.answers:
        if found["row"] in tally.shown:
            continue
        if stream.shown_at_terminal():
            answer.draw(found, stream.console())
        else:
            stream.emit(answer.lines(found))


def plan(job: Job) -> Plan:
    """What the job would do, and what it would cost."""
    from batchchat.api import plan_job

    return _priced(plan_job(job), job)


def _priced(found: Plan, job: Job) -> Plan:
    from batchchat.api import expected_cost

    if not found.to_send or found.model is None:
        return found
    return replace(found, cost=expected_cost(replace(job, model=found.model), to_send=found.to_send))
