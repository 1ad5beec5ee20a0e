"""`batchchat resume JOB`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchchat.cli import ending, launch, stream
from batchchat.cli.ends import ends
from batchchat.cli.option import command
from batchchat.cli.options import ENDING, JOB, RESUMED
from batchchat.errors import JobStopped, SettingsChanged

if TYPE_CHECKING:
    from batchchat.cli.option import Commands


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "resume", arguments=[JOB], options=[*RESUMED, *ENDING])(resume)


def resume(*, job: str, json: bool, quiet: bool, ok_failed: str | None, notify: bool, **options: Any) -> int:
    """Go on with a job by its checkpoint alone: no settings to type again.

    Keys come from the environment. Pool, endpoint, budget and limit may be said anew.
    """
    from batchchat.api import resume_job
    from batchchat.cli.approval import approve

    end = ends(ok_failed=ok_failed, notify=notify, env_file=options["env_file"])
    try:
        meant = resume_job(job, options)
    except JobStopped as stopped:
        if json:
            stream.emit_json(ending.of_the_stopped(stopped, checkpoint=stopped.checkpoint))
        raise
    try:
        return launch.launch(approve(meant), as_json=json, quiet=quiet, end=end)
    except SettingsChanged as changed:  # by --max-tokens: `run` has other ways on
        changed.remedy = "--retry length sends the answers again that were cut, --retry failed the rows that failed"
        raise
