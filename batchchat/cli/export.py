"""`batchchat export JOB`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchchat.cli import stream
from batchchat.cli.option import command
from batchchat.cli.options import ADD_COLUMNS, JOB, OUTPUT

if TYPE_CHECKING:
    import typer

_OTHER = replace(OUTPUT, group="Options", default=None, help="Another table than the job's own output")
_ADDED = replace(ADD_COLUMNS, group="Options")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "export", arguments=[JOB], options=[_OTHER, _ADDED])(export)


def export(*, job: str, output: str | None, add_columns: str | None) -> None:
    """Write the table from the checkpoint as it stands now, finished or not.

    Rows without an answer have nulls in the result columns. Columns may be added at any time: nothing is sent for them.
    """
    from batchchat.api import export_job

    written = export_job(job, output, add_columns=add_columns)
    stream.tell(f"{written.path}: {written.rows:,} rows")
