"""`JOB`: an output, its input, its job file or its checkpoint, and the checkpoint that is meant."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.checkpoint import is_aside, read_journal
from batchchat.errors import BatchchatError, CheckpointDamaged, JobStopped, Misspelt, UsageError
from batchchat.spelling import did_you_mean, nearest
from batchchat.tables import find_format

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from batchchat.checkpoint import Journal
    from batchchat.job import Job

_MAGIC = b"SQLite format 3\0"


def find_checkpoint(target: str) -> Path:
    """The checkpoint of a job.

    Raises:
        UsageError: there is none, or it could be one of several.
        CheckpointDamaged: the target can be nothing else, and is none.
    """
    path = Path(target)
    if _is_database(path) or target.endswith(defaults.CHECKPOINT_SUFFIX):
        if path.exists():
            return path
        raise UsageError(f"there is no checkpoint {target}")
    beside = Path(target + defaults.CHECKPOINT_SUFFIX)
    if beside.exists():
        return beside
    if path.suffix == ".toml":
        from batchchat.job import resolve

        job = resolve({}, input=target, need_key=False)
        if Path(job.checkpoint_path).exists():
            return Path(job.checkpoint_path)
        raise UsageError(f"{target} has no checkpoint yet ({job.checkpoint_path} is not there); start it with run")
    found = _of_input(path) or _unreadable(path)
    if len(found) == 1:
        return found[0]
    if found:
        names = "\n  ".join(str(one) for one in found)
        raise UsageError(f"{target} is the input of several jobs; name one of them:\n  {names}")
    if path.is_file() and find_format(target) is None:  # it can be nothing but a checkpoint
        raise CheckpointDamaged(
            f"{target} is no checkpoint of batchchat, or its beginning is damaged; it was left as it is. Put a backup "
            "in its place, or start the job anew with run --restart"
        )
    meant = _near(path)
    raise Misspelt(
        f"there is no checkpoint for {target} ({beside} is not there){did_you_mean(meant) or ';'} JOB is an output, "
        "its input, its job file or its checkpoint",
        wrong=target,
        meant=meant,
    )


def resume_job(target: str, options: Mapping[str, Any] | None = None, *, need_key: bool = True) -> Job:
    """The job that a checkpoint kept, with what the options say on top.

    Raises:
        UsageError: there is no such job, or an option is wrong.
    """
    from batchchat.job import resume

    path = find_checkpoint(target)
    try:
        with contextlib.closing(read_journal(path)) as journal:
            said = journal.header("job")
    except JobStopped as stopped:
        stopped.checkpoint = str(path)
        raise
    if said is None:
        raise UsageError(f"the checkpoint {path} was never begun; start the job with run")
    if not said.get("input"):
        raise UsageError(
            f"{path} belongs to data in memory: make the same call of batchchat.run in Python again, and it goes on"
        )
    return resume(said, options, checkpoint=str(path), need_key=need_key)


def begun_chain(journal: Journal) -> tuple[int, ...]:
    """The settings of the job, nearest first; empty where no full run was begun."""
    begun = journal.header("begun")
    return () if begun is None else journal.chain(int(begun))


def shown_chain(journal: Journal) -> tuple[int, ...]:
    """The settings of the job; where only trials were made, those of the last one."""
    chain = begun_chain(journal)
    if chain:
        return chain
    tried = [run["settings"] for run in journal.runs() if run["settings"] is not None]
    return (tried[-1],) if tried else ()


def _near(path: Path) -> str | None:
    """A job of the same folder by its output, input or job file whose name is near."""
    checkpoints = sorted(path.parent.glob(f"*{defaults.CHECKPOINT_SUFFIX}"))
    names = {one.name.removesuffix(defaults.CHECKPOINT_SUFFIX) for one in checkpoints}
    names |= {entry.name for entry in path.parent.glob("*.toml")} if checkpoints else set()
    names |= {Path(source).name for one in checkpoints if (source := _input_of(one))}
    meant = nearest(path.name, names - {path.name})
    return None if meant is None else str(path.with_name(meant))


def _unreadable(path: Path) -> list[Path]:
    """The checkpoint that the input has by default, where it cannot be read: whoever opens it says why."""
    if not path.exists():
        return []
    from batchchat.job.settings import default_output

    usual = Path(default_output(str(path)) + defaults.CHECKPOINT_SUFFIX)
    return [usual] if usual.exists() and _input_of(usual) is None else []


def _input_of(checkpoint: Path) -> str | None:
    """The input that a checkpoint was made from, None where it cannot be read."""
    try:
        journal = read_journal(checkpoint)
    except BatchchatError:
        return None
    try:
        source: str | None = (journal.header("job") or {}).get("input")
    except BatchchatError:
        return None
    finally:
        journal.close()
    return source


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _of_input(path: Path) -> list[Path]:
    """Checkpoints in the input's folder and in this one that were made from the input.

    One that `--restart` kept aside is no job of its own where the job that took its place is there.
    """
    wanted = path.resolve()
    folders = {wanted.parent, path.absolute().parent.resolve(), Path.cwd().resolve()}
    candidates = sorted(one for folder in folders for one in folder.glob(f"*{defaults.CHECKPOINT_SUFFIX}"))
    found = []
    for candidate in candidates:
        source = _input_of(candidate)
        if source and Path(source).resolve() == wanted:
            found.append(candidate)
    return [one for one in found if not is_aside(one)] or found
