"""`batchchat export JOB`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchchat.cli import stream
from batchchat.cli.option import command
from batchchat.cli.options import JOB, OUTPUT

if TYPE_CHECKING:
    import typer

_OTHER = replace(OUTPUT, group="Options", default=None, help="Another table than the job's own output")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "export", arguments=[JOB], options=[_OTHER])(export)


def export(*, job: str, output: str | None) -> None:
    """Write the table from the checkpoint as it stands now, finished or not.

    Rows without an answer have nulls in the result columns.
    """
    from batchchat.api import export_job

    written = export_job(job, output)
    stream.tell(f"{written.path}: {written.rows:,} rows")
