"""`batchchat export JOB`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchchat.cli import stream
from batchchat.cli.option import Option, command
from batchchat.cli.options import ADD_COLUMNS, JOB, OUTPUT, OVERWRITE, SAFE_CSV

if TYPE_CHECKING:
    from batchchat.cli.option import Commands

_OPTIONS = (
    replace(OUTPUT, group="Options", default=None, help="Another table than the job's own output"),
    replace(ADD_COLUMNS, group="Options"),
    replace(SAFE_CSV, group="Options"),
    Option(name="json", kind=bool, help="Print output, rows, bytes and digest as JSON"),
    replace(OVERWRITE, group="Options", help="Replace the job's output though it was changed since it was written"),
)


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "export", arguments=[JOB], options=_OPTIONS)(export)


def export(
    *,
    job: str,
    output: str | None,
    add_columns: str | None,
    safe_csv: bool | None,
    overwrite: bool,
    json: bool,
) -> None:
    """Write the table from the checkpoint as it stands now, finished or not.

    Rows without an answer have nulls in the result columns. Columns may be added at any time: nothing is sent for them.
    """
    from batchchat.api import export_job

    written = export_job(job, output, add_columns=add_columns, safe_csv=safe_csv, overwrite=overwrite)
    if json:
        facts = {"output": written.path, "rows": written.rows, "bytes": written.size, "digest": written.digest}
        stream.emit_json(facts)
    else:
        stream.tell(f"{written.path}: {written.rows:,} rows")
