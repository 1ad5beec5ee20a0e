"""Data in memory: where their checkpoint lies, and the table that comes of it.

A file's checkpoint stands beside the file. Data in memory have no place, so theirs is found again by what they are:
`.batchchat/FINGERPRINT.batchchat` in the working folder. The fingerprint is of the settings (so that each model and
prompt that is tried has its own) and of the first rows of the columns that the prompt reads. The same call gives the
same name; columns that the prompt does not read may come and go. Where there is no such file, one with the same
settings is taken if it has answered most of these rows, or if these rows have most of what it answered: so an edited
row, a slice, a longer table or another order find what was paid for.

The price: a table of which more than half was edited cannot be told from another table, and is sent whole. To look for
overlap every row is rendered once, about 20 microseconds each; that happens only where the name was not found and
another checkpoint has the same settings.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults, output
from batchchat.api.input.columns import RESULTS, Reader, result_columns, shaped
from batchchat.api.input.selection import left_out, select
from batchchat.api.input.table import make_builder
from batchchat.api.kept.compare import builder_of, stale_rows
from batchchat.api.kept.find import begun_chain
from batchchat.api.kept.published import check_unclaimed
from batchchat.checkpoint import read_journal, stored_keys
from batchchat.dataset import open_memory
from batchchat.errors import BatchchatError, JobStopped, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchchat.api.input.table import Table
    from batchchat.checkpoint import Journal
    from batchchat.job import Job
    from batchchat.prompt import RequestBuilder

FOLDER = ".batchchat"
_BLOCK = 8192


def placed(job: Job, table: Table, model: str) -> Job:
    """The job of data in memory with its checkpoint: the one that knows them, else a new one.

    Raises:
        UsageError: answers are to be kept or retried, and no checkpoint has any of these rows; or the output exists and
            is not of that checkpoint.
    """
    job = replace(job, checkpoint=find_place(job, table, model))
    check_unclaimed(job)
    _make_folder(job)
    return job


def find_place(job: Job, table: Table, model: str) -> str:
    """Where the answers to data in memory are, or would be, kept.

    Raises:
        UsageError: answers are to be kept or retried, and no checkpoint has any of these rows.
    """
    folder = Path(FOLDER).absolute()
    body = {**job.settings(), "model": model}
    builder = make_builder(job, table.dataset, model)
    first = next(table.dataset.batches(builder.columns), None)
    family = _hash(body)
    exact = folder / f"{family}-{_hash(first and builder.digest(first).hex())}{defaults.CHECKPOINT_SUFFIX}"
    if exact.exists():
        return str(exact)
    # What `restart` kept aside has a dot in its name.
    there = [path for path in folder.glob(f"*{defaults.CHECKPOINT_SUFFIX}") if "." not in path.stem]
    own = [path for path in there if path.stem.startswith(family)]
    others = [path for path in there if path not in own]
    rows, policy = _Rows(table, builder), job.policy
    # The others may hold these settings too: those that were called with `keep_answered` or `retry`.
    found = _most_alike(own, body, rows) or _most_alike(others, body, rows)
    if found is None and (policy.keep_answered or policy.retry):
        found = _most_alike(others, None, rows)
        if found is None:
            raise UsageError(
                f"no checkpoint in {folder} has answers to these rows, so there is nothing to keep or to retry; "
                "name one with --checkpoint PATH"
            )
    return str(found or exact)


def _make_folder(job: Job) -> None:
    """Make the folder of checkpoints, which tells git to pass it by."""
    folder = Path(job.checkpoint_path).parent
    try:
        folder.mkdir(exist_ok=True)
        ignore = folder / ".gitignore"
        if not ignore.exists():
            ignore.write_text("*\n", encoding="ascii")
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be made ({error.strerror}); name a place for the answers with --checkpoint PATH"
        ) from error


def table_so_far(data: Any, job: Job, checkpoint: str | None, *, settled: bool = True) -> Any:
    """The data with what their checkpoint has for each row.

    Args:
        data: a DataFrame or a Table.
        job: theirs.
        checkpoint: its path; None: there are no answers.
        settled: False where no run has brought the checkpoint in line with the data: then it is compared first.

    Raises:
        JobStopped: the checkpoint cannot be read.
    """
    dataset = open_memory(data, limit=job.rows.limit)
    rows = dataset.count()
    assert rows is not None
    columns = result_columns(job)
    names = [column.name for column in columns]
    if checkpoint is None or not Path(checkpoint).exists():
        nothing = {name: [None] * rows for name in names}
        return output.joined(data, columns, [nothing], limit=job.rows.limit)
    journal = read_journal(checkpoint)
    try:
        chain = begun_chain(journal) if settled else _own_chain(journal, job)
        selection = select(job, dataset)
        reader = Reader(job, journal, chain)
        stale = {} if settled else {number: stale_rows(journal, number, dataset) for number in chain}

        def pieces() -> Iterator[Mapping[str, Sequence[Any]]]:
            for start in range(1, rows + 1, _BLOCK):
                size = min(_BLOCK, rows - start + 1)
                without = left_out(selection, chain, stale, start, size)
                yield shaped(columns, reader.read(start, size, without=without))

        return output.joined(data, columns, pieces(), limit=job.rows.limit)
    finally:
        journal.close()


def trial_table(data: Any, job: Job, answers: Sequence[Mapping[str, Any]]) -> Any:
    """The rows of a trial, with their answers."""
    columns = result_columns(job)
    names = (*RESULTS, *job.policy.add_columns)
    piece = shaped(columns, {name: [answer[name] for answer in answers] for name in names})
    return output.joined(data, columns, [piece], rows=[answer["row"] for answer in answers])


def table_of_the_stopped(data: Any, job: Job, stopped: JobStopped) -> Any:
    """The data with what is known of them, whatever it was that stopped the job before it began."""
    try:
        return table_so_far(data, job, stopped.checkpoint or job.checkpoint, settled=False)
    except JobStopped:  # the checkpoint is damaged: nothing of it is shown
        return table_so_far(data, job, None)


class _Rows:
    """The rows as one set of settings or another asks for them."""

    def __init__(self, table: Table, builder: RequestBuilder) -> None:
        self._table = table
        self._builder = builder
        self._keys: list[bytes] | None = None

    def keys(self, journal: Journal, settings: int | None) -> list[bytes]:
        """The keys of the requests, under this call's settings (None) or under those of a checkpoint."""
        if settings is not None:
            return self._rendered(builder_of(journal.settings(settings), self._table.dataset))
        if self._keys is None:
            self._keys = self._rendered(self._builder)
        return self._keys

    def _rendered(self, builder: RequestBuilder) -> list[bytes]:
        batches = self._table.dataset.batches(builder.columns)
        return [task.key for batch in batches for task in builder.tasks(batch)]


def _most_alike(paths: Sequence[Path], body: dict[str, Any] | None, rows: _Rows) -> Path | None:
    """The checkpoint that shares the most with the rows, of those that share most of the rows, or of what they have.

    `body` names the settings; None: those that each checkpoint began with.
    """
    best: tuple[int, float, Path] | None = None
    for path in paths:
        try:
            shared = _shared(path, body, rows)
            found = (shared, path.stat().st_mtime, path)
        except (BatchchatError, OSError):  # another's, or damaged: it is passed by
            continue
        if shared and (best is None or found > best):
            best = found
    return best[2] if best else None


def _shared(path: Path, body: dict[str, Any] | None, rows: _Rows) -> int:
    """How many of the rows have an outcome there; 0 where that is less than half of both."""
    journal = read_journal(path)
    try:
        settings = journal.header("begun") if body is None else journal.find_settings(body)
        if settings is None:
            return 0
        stored = set(stored_keys(journal, settings))
        if not stored:
            return 0
        asked = rows.keys(journal, settings if body is None else None)
        shared = sum(key in stored for key in asked)
        most_of_the_rows = 2 * shared >= len(asked)
        return shared if most_of_the_rows or 2 * len(stored.intersection(asked)) >= len(stored) else 0
    finally:
        journal.close()


def _own_chain(journal: Journal, job: Job) -> tuple[int, ...]:
    number = journal.find_settings(job.settings())
    return () if number is None else journal.chain(number)


def _hash(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
