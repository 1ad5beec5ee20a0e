"""`JOB`: an output, its input, its job file or its checkpoint, and the checkpoint that is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.checkpoint import read_journal
from batchchat.errors import BatchchatError, UsageError
from batchchat.job import resolve, resume

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
        job = resolve({}, input=target, need_key=False)
        if Path(job.checkpoint_path).exists():
            return Path(job.checkpoint_path)
        raise UsageError(f"{target} has no checkpoint yet ({job.checkpoint_path} is not there); start it with run")
    found = _of_input(path)
    if len(found) == 1:
        return found[0]
    if found:
        names = "\n  ".join(str(one) for one in found)
        raise UsageError(f"{target} is the input of several jobs; name one of them:\n  {names}")
    raise UsageError(
        f"there is no checkpoint for {target} ({beside} is not there); JOB is an output, its input, its job file or "
        "its checkpoint"
    )


def resume_job(target: str, options: Mapping[str, Any] | None = None, *, need_key: bool = True) -> Job:
    """The job that a checkpoint kept, with what the options say on top.

    Raises:
        UsageError: there is no such job, or an option is wrong.
    """
    path = find_checkpoint(target)
    journal = read_journal(path)
    try:
        said = journal.header("job")
    finally:
        journal.close()
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


def _is_database(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


def _of_input(path: Path) -> list[Path]:
    """Checkpoints in the input's folder and in this one that were made from the input."""
    folders = {path.absolute().parent, Path.cwd()}
    candidates = sorted(one for folder in folders for one in folder.glob(f"*{defaults.CHECKPOINT_SUFFIX}"))
    wanted = path.absolute()
    found = []
    for candidate in candidates:
        try:
            journal = read_journal(candidate)
        except BatchchatError:
            continue
        try:
            job = journal.header("job") or {}
            if job.get("input") and Path(job["input"]).absolute() == wanted:
                found.append(candidate)
        except BatchchatError:
            continue
        finally:
            journal.close()
    return found
