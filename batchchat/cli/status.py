"""`batchchat status JOB`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat.cli import ending, stream
from batchchat.cli.option import Option, command
from batchchat.cli.options import JOB

if TYPE_CHECKING:
    import typer

_JSON = Option(name="json", kind=bool, help="Print it as JSON")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "status", arguments=[JOB], options=[_JSON])(status)


def status(*, job: str, json: bool) -> None:
    """Tell how far a job is, from its checkpoint, also while it runs."""
    from batchchat.api import job_status

    found = job_status(job).as_dict()
    if json:
        stream.emit_json(found)
    else:
        stream.emit(ending.status(found))
