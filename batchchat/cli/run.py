"""`batchchat run INPUT`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.cli import header, launch, stream
from batchchat.cli.ends import ends
from batchchat.cli.option import Option, command
from batchchat.cli.options import ENDING, INPUT, NOT_OF_THE_JOB, SHARED
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from batchchat.cli.option import Commands
    from batchchat.job import Job


_SAVE = Option(
    name="save_job", metavar="PATH", help="Write the job file of this command line, and stop; send nothing", group="Job"
)


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "run", arguments=[INPUT], options=[*SHARED, *ENDING, _SAVE])(run)


def run(
    *,
    input: str,  # noqa: A002 - the contract's own word
    json: bool,
    quiet: bool,
    ok_failed: str | None,
    notify: bool,
    save_job: str | None,
    **options: Any,
) -> int:
    """Send one chat completion per row, and write the table back with result columns.

    Run again, it resumes: what was answered is never asked, or paid for, again.

        batchchat run reviews.csv --prompt "Positive or negative? {{ review }}" -m local
    """
    from batchchat.cli.approval import approve
    from batchchat.job import resolve

    assert not NOT_OF_THE_JOB & options.keys()
    end = ends(ok_failed=ok_failed, notify=notify, env_file=options["env_file"])
    job = resolve(options, input=input, need_key=save_job is None)
    if save_job is not None:
        return _save(job, save_job, quiet=quiet)
    if job.policy.dry_run:
        plan = launch.plan(job)
        if json:
            stream.emit_json(plan.as_dict())
        else:
            stream.emit(header.lines(plan))
        return 0
    return launch.launch(approve(job), as_json=json, quiet=quiet, end=end)


def _save(job: Job, path: str, *, quiet: bool) -> int:
    """Write the job file; what is there already is only replaced where that was said."""
    from batchchat.job import job_file_text

    target = Path(path)
    if target.suffix != ".toml":
        raise UsageError(f"--save-job {path}: a job file ends in .toml")
    if target.exists() and not job.policy.overwrite:
        raise UsageError(f"--save-job {path}: this file exists; --overwrite replaces it")
    text = job_file_text(job, target.parent)
    try:
        target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"--save-job {path}: cannot be written: {error.strerror}") from None
    if not quiet:
        stream.tell(f"wrote {path}; run it: batchchat run {shlex.quote(path)}")
    return 0
