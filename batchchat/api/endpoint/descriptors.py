"""How many requests can be in flight with the files that this process may open.

Every connection is one, and so are the table, the checkpoint and the output. A row must not fail, nor an output stay
unwritten, because they have run out: fewer requests are sent at once then, and the person is told.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from batchchat import defaults

if TYPE_CHECKING:
    from batchchat.events import Observer
    from batchchat.job import Job

# What a run has open besides its connections: about twenty, and a library may open some more.
_OWN_FILES = 40
# How far concurrency that is learned may get; where there is less room, it is given. Accepted: it may learn more, but
# an endpoint that pays for more at once is rare, and so is a system that allows no more files.
_LEARNED = 256


def fitted(job: Job, observer: Observer, *, allowed: int | None = None) -> Job:
    """The job with no more requests at once than this process may have connections.

    Args:
        job: what is meant.
        observer: is told where that is less than was asked for.
        allowed: how many files may be open; None: asks the system.
    """
    allowed = _allowed() if allowed is None else allowed
    room = _room(allowed)
    if (job.pool.concurrency or _LEARNED) <= room:
        return job
    asked = f" instead of {job.pool.concurrency}" if job.pool.concurrency else ""
    observer.note(f"this process may open {allowed} files: at most {room} requests at once{asked} (see ulimit -n)")
    return replace(job, pool=replace(job.pool, concurrency=room))


def connections(job: Job) -> int:
    """The most connections that the job can need, and have."""
    return min(job.pool.concurrency or defaults.MAX_CONCURRENCY, _room(_allowed()))


def _room(allowed: int) -> int:
    return max(1, allowed - _OWN_FILES)


def _allowed() -> int:
    """The hard limit: the soft one is raised as far as needed when connections are made."""
    if sys.platform == "win32":  # sockets are no files there
        return sys.maxsize
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
