"""A key goes to a host that only a job file names after a person approved it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat.errors import UsageError
from batchchat.job import needs_approval

if TYPE_CHECKING:
    from batchchat.job import Job


def check_approval(job: Job) -> None:
    """Refuse to send a key where nobody has said that it may go.

    Raises:
        UsageError: it names the host and the variable.
    """
    host = needs_approval(job)
    if host is not None:
        raise UsageError(
            f"{job.source} would send {job.endpoint.api_key_env} to {host}, which only the job file names. If that "
            f"is right, say --yes or --base-url {job.endpoint.base_url}"
        )
