"""What was published, and whether it is still so: an output that somebody edited is never written over silently."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import output, storage
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from batchchat.checkpoint import Journal
    from batchchat.job import Job
    from batchchat.output import Published


def exists(path: str) -> bool:
    """Whether there is an output already."""
    return storage.is_file(path) or storage.is_folder(path)


def check_unclaimed(job: Job) -> None:
    """Refuse to write over what no checkpoint knows.

    Raises:
        UsageError: the output exists without a checkpoint.
    """
    path, checkpoint = job.output_path, job.checkpoint_path
    if not path or job.rows.trial or job.policy.overwrite or job.policy.restart:
        return
    if not Path(checkpoint).exists() and exists(path):
        raise UsageError(
            f"the output {path} exists, and there is no checkpoint of it at {checkpoint}; nothing was sent. "
            "--overwrite replaces it, or name another output with -o"
        )


def check_unedited(job: Job, journal: Journal, *, done: str = "nothing was sent") -> None:
    """Refuse to write over an output that somebody changed; `done` tells what happened so far.

    Raises:
        UsageError: its content is not what was published.
    """
    path = job.output_path
    if not path or job.policy.overwrite or job.policy.restart or not exists(path):
        return
    known = [facts for name in ("published", "publishing", "exported") if (facts := journal.header(name))]
    ours = [facts for facts in known if Path(facts["path"]).name == Path(path).name]
    if any(is_as_it_was(path, facts) for facts in ours):
        return
    what = "was changed since it was published" if ours else "exists and was not published by this job"
    raise UsageError(f"the output {path} {what}; {done}. --overwrite replaces it, or name another with -o")


def facts_of(published: Published) -> dict[str, Any]:
    """What tells later whether somebody changed the output."""
    return {
        "path": published.path,
        "digest": published.digest,
        "size": published.size,
        "mtime_ns": published.mtime_ns,
    }


def is_as_it_was(path: str, facts: dict[str, Any]) -> bool:
    """Whether it is there and unchanged, by size and time where they tell, else by content.

    A folder that a kill left unfinished is ours too.
    """
    if not exists(path):
        return False
    if storage.is_file(path) and "mtime_ns" in facts:
        stamp = storage.stamp(path)
        if stamp.mtime_ns and (stamp.size, stamp.mtime_ns) == (facts["size"], facts["mtime_ns"]):
            return True
    if storage.is_folder(path) and not facts["digest"]:
        return not storage.is_file(storage.inside(path, "_SUCCESS"))
    return bool(output.digest(path) == facts["digest"])
