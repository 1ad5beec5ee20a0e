"""`batchchat status [JOB]`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat.cli import amount, ending, stream
from batchchat.cli.option import Option, command
from batchchat.cli.options import JOB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.api import Status
    from batchchat.cli.option import Commands

_JOB = replace(JOB, optional=True, help=f"{JOB.help}; without one, the jobs of this folder are listed")
_JSON = Option(name="json", kind=bool, help="Print it as JSON")


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "status", arguments=[_JOB], options=[_JSON])(status)


def status(*, job: str | None, json: bool) -> None:
    """Tell how far a job is, from its checkpoint, also while it runs."""
    from batchchat.api import folder_jobs, job_status

    if job is None:
        found, wrong = folder_jobs()
        for sentence in wrong:
            stream.tell(f"batchchat: {sentence}")
        if json:
            stream.emit_json([one.as_dict() for one in found])
        elif found:
            stream.emit(_listed(found))
        else:
            stream.tell("there is no job in this folder; batchchat run INPUT starts one")
        return
    facts = job_status(job).as_dict()
    if json:
        stream.emit_json(facts)
    else:
        stream.emit(ending.status(facts))


def _listed(found: Sequence[Status]) -> str:
    """A job a line: its output, how many rows are settled, and its state."""
    rows = [("job", "rows", "failed", "state", "model")]
    for one in found:
        done = amount.of(one.succeeded + one.failed, one.rows)
        rows.append((_name(one), done, f"{one.failed:,}", _state(one), one.model or "-"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _name(one: Status) -> str:
    """The output where the checkpoint lies beside it, else the checkpoint: what JOB may be."""
    name = Path(one.checkpoint).name
    output = Path(one.output or "").name
    return output if output and name == f"{output}.batchchat" else name


def _state(one: Status) -> str:
    if one.running:
        return "running"
    if one.stop_reason:
        return f"stopped: {one.stop_reason}"
    return "finished" if one.pending == 0 else "not finished"
