"""`batchchat report JOB`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchchat.cli import stream
from batchchat.cli.option import command
from batchchat.cli.options import JOB, OUTPUT

if TYPE_CHECKING:
    from batchchat.cli.option import Commands

_PAGE = replace(OUTPUT, group="Options", metavar="PAGE", default="OUTPUT.report.html", help="Where the page is written")


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "report", arguments=[JOB], options=[_PAGE])(report)


def report(*, job: str, output: str | None) -> None:
    """Write one HTML page about a job: rows, errors, tokens, cost, times, and a sample of its answers.

    The page needs nothing else: it can be mailed, and opened without a network. It holds rows of your table.
    """
    from batchchat.api import report_job

    stream.tell(report_job(job, output))
