"""The question before a key goes to a host that only a job file names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat.cli import stream
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from batchchat.job import Job


def approve(job: Job) -> Job:
    """The job, approved: asked at a terminal where it must be.

    Raises:
        UsageError: nobody is there to be asked, or the answer was no.
    """
    from batchchat.job import approved, needs_approval, secret_variables

    host = needs_approval(job)
    if host is None:
        return job
    names = " and ".join(secret_variables(job.endpoint))
    if stream.at_terminal():
        stream.tell(f"{job.source} would send the key in {names} to {host}, which nothing but this file names.")
        if stream.agreed("Send it there?"):
            return approved(job)
    raise UsageError(
        f"{job.source} would send the key in {names} to {host}, which nothing but this file names; "
        f"nothing was sent. Where you trust it: --base-url {job.endpoint.base_url} or --yes"
    )
