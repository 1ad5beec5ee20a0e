"""`batchchat run INPUT`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.cli import header, launch, stream
from batchchat.cli.option import command
from batchchat.cli.options import INPUT, NOT_OF_THE_JOB, SHARED

if TYPE_CHECKING:
    import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "run", arguments=[INPUT], options=SHARED)(run)


def run(*, input: str, json: bool, quiet: bool, **options: Any) -> int:  # noqa: A002 - the contract's own word
    """Send one chat completion per row, and write the table back with result columns.

    Run again, it resumes: what was answered is never asked, or paid for, again.

        batchchat run reviews.csv --prompt "Positive or negative? {{ review }}" -m local
    """
    from batchchat.cli.approval import approve
    from batchchat.job import resolve

    assert not NOT_OF_THE_JOB & options.keys()
    job = resolve(options, input=input)
    if job.policy.dry_run:
        plan = launch.plan(job)
        if json:
            stream.emit_json(plan.as_dict())
        else:
            stream.emit(header.lines(plan))
        return 0
    return launch.launch(approve(job), as_json=json, quiet=quiet)
