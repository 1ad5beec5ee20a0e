"""The end of a run: the table is published, and what the run came to is summed up."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import output
from batchchat.api.input.columns import Reader, shaped
from batchchat.api.input.selection import chosen_states, left_out
from batchchat.api.kept.published import facts_of, is_as_it_was
from batchchat.api.money.counted import counted
from batchchat.api.money.price import settled_facts
from batchchat.api.run.summary import Summary
from batchchat.checkpoint import cut_answers
from batchchat.errors import Interrupted, JobStopped, ModelMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchchat.api.input.table import Table
    from batchchat.api.kept.session import Session
    from batchchat.api.run.feed import Feed
    from batchchat.api.run.preview import Preview
    from batchchat.checkpoint import Journal
    from batchchat.events import Observer
    from batchchat.job import Job
    from batchchat.output import Published

_MOST_ERRORS = 3
_BLOCK = 8192


def publish_job(
    job: Job, table: Table, session: Session, *, observer: Observer, check: Callable[[], None]
) -> str | None:
    """Write the table with its result columns; its path. None for data in memory that are written nowhere.

    Raises:
        StorageFull: it cannot be written; the checkpoint has everything.
        InputFault: the input was changed meanwhile.
        Interrupted: a signal came; nothing was published.
    """
    total = table.dataset.count()
    if not job.output_path:
        session.journal.set_header(money=settled_facts(), tokens=settled_facts())
        _complete(table, session)
        return None
    shape = shape_of(job, table, session)
    if is_as_published(job, session.journal, shape):
        return job.output_path

    def progress(done: int) -> None:
        check()
        observer.publishing(done, total)

    def about_to(digest: str) -> None:
        table.check_unchanged()
        session.journal.set_header(publishing={"path": job.output_path, "digest": digest})

    reader = Reader(job, session.journal, session.chain)
    published = write_table(table, reader, job.output_path, progress=progress, about_to=about_to, whole=True)
    session.journal.set_header(
        published={**facts_of(published), **shape}, changed=False, money=settled_facts(), tokens=settled_facts()
    )
    _complete(table, session)
    return published.path


def _complete(table: Table, session: Session) -> None:
    """Note that every row is settled by these settings; with a filter some were never looked at."""
    if table.selection is None and len(session.chain) == 1:
        session.journal.complete(session.chain[0])


def shape_of(job: Job, table: Table, session: Session) -> dict[str, Any]:
    """What an output depends on besides the outcomes: the same shape gives the same file."""
    priced = {"price": [job.money.price, job.money.price_as]} if "cost_usd" in job.policy.add_columns else {}
    return {
        "of": {
            "input": [[path, stamp.size, stamp.mtime_ns] for path, stamp in table.stamps],
            "columns": [[column.name, column.kind] for column in table.columns],
            "limit": job.rows.limit,
            "text": [job.text.delimiter, job.text.encoding],
            "chain": list(session.chain),
            **({} if job.rows.where is None else {"where": job.rows.where}),
            **priced,
            **({"safe_csv": True} if job.policy.safe_csv else {}),
        }
    }


def is_as_published(job: Job, journal: Journal, shape: dict[str, Any]) -> bool:
    """Whether the output is there already, as it would be written now."""
    published = journal.header("published")
    return (
        published is not None
        and journal.header("changed") is False
        and published.get("of") == shape["of"]
        and bool(table_files := shape["of"]["input"])  # data in memory have no stamp that tells
        and all(stamp for _, _, stamp in table_files)
        and published["path"] == job.output_path
        and is_as_it_was(job.output_path, published)
    )


def write_table(
    table: Table,
    reader: Reader,
    path: str,
    *,
    progress: Callable[[int], None] | None = None,
    about_to: Callable[[str], None] | None = None,
    stale: Mapping[int, frozenset[int]] | None = None,
    whole: bool = False,
) -> Published:
    """Join outcomes to rows and publish.

    `stale` names, by settings, rows whose outcome is not to be shown. With `whole` every row was settled: one without
    an outcome is damage then, and not a row without an answer.
    """
    selection = table.selection

    def results(start: int, size: int) -> Mapping[str, Sequence[Any]]:
        without = left_out(selection, reader.chain, stale or {}, start, size)
        columns = reader.read(start, size, without=without, also=("answered",))
        answered = columns.pop("answered")
        missing = (start + at for at, state in enumerate(answered) if state is None)
        lost = next((row for row in missing if selection is None or row in selection), None) if whole else None
        if lost is not None:
            raise reader.journal.database.damaged(f"row {lost} was settled, and is not found")
        return shaped(table.columns, columns)

    return output.publish(
        table.written or table.dataset,
        path,
        table.columns,
        results,
        progress=progress,
        about_to=about_to,
        safe_csv=reader.safe_csv,
    )


def summarize(job: Job, table: Table, session: Session, *, feed: Feed, reason: JobStopped | None) -> Summary:
    """What the job has come to."""
    journal, chain = session.journal, session.chain
    rows = table.dataset.count()
    if rows is None:
        rows = feed.seen
    counts = journal.counts(chain, rows)
    answered, failed, skipped = counts.answered, counts.failed, 0
    cut, longest = counted(journal, "cut", [*chain, rows], lambda: list(cut_answers(journal, chain, rows)))
    if table.selection is not None:
        states = Counter(chosen_states(journal, chain, table.selection))
        failed, skipped = states.pop("failed", 0), table.selection.skipped
        answered, cut = states.total(), states["length"]
    status = 3 if failed else 0
    return Summary(
        rows=rows,
        succeeded=answered,
        failed=failed,
        pending=max(0, rows - answered - failed - skipped),
        skipped=None if table.selection is None else skipped,
        prompt_tokens=counts.prompt_tokens,
        completion_tokens=counts.completion_tokens,
        checkpoint=str(journal.path),
        stop_reason=None if reason is None else reason.stop_reason,
        status=status if reason is None else status_of(reason),
        misspelt=_misspelt(reason),
        message=None if reason is None else _how_to_go_on(job, journal, reason),
        reason=reason,
        errors=_frequent_errors(journal, chain, rows) if failed and reason is None else [],
        cut=cut,
        longest=longest,
        more_rows=rows == job.rows.limit and table.dataset.unlimited().count() != rows,
    )


def summarize_trial(job: Job, session: Session, preview: Preview, *, feed: Feed, reason: JobStopped | None) -> Summary:
    """What a trial has come to: of its rows alone."""
    preview.fed(feed.tried)
    answers = preview.all()
    pending = preview.pending
    failed = sum(answer["error"] is not None for answer in answers)
    cut = _cut(answers)
    costs = [Decimal(str(answer["cost_usd"])) for answer in answers if answer["cost_usd"] is not None]
    status = 3 if failed else 0
    return Summary(
        rows=len(answers),
        succeeded=len(answers) - failed - pending,
        failed=failed,
        pending=pending,
        prompt_tokens=sum(answer["prompt_tokens"] or 0 for answer in answers),
        completion_tokens=sum(answer["completion_tokens"] or 0 for answer in answers),
        cost_usd=sum(costs, Decimal(0)) if costs else None,
        checkpoint=str(session.journal.path),
        reused=feed.reused,
        stop_reason=None if reason is None else reason.stop_reason,
        status=status if reason is None else status_of(reason),
        misspelt=_misspelt(reason),
        message=None if reason is None else _how_to_go_on(job, session.journal, reason),
        reason=reason,
        answers=answers,
        begun_otherwise=_begun_otherwise(session),
        cut=len(cut),
        longest=max(cut, default=0),
    )


def _begun_otherwise(session: Session) -> bool:
    """Whether the job began with other settings than those of the trial, and was answered."""
    journal = session.journal
    begun = journal.header("begun")
    return begun is not None and int(begun) not in session.chain and journal.counts_of(int(begun)).answered > 0


def _cut(answers: Sequence[Mapping[str, Any]]) -> list[int]:
    """The tokens of those answers of a trial that were cut by their length."""
    return [
        answer["completion_tokens"] or 0
        for answer in answers
        if answer["error"] is None and "length" in _reasons(answer["finish_reason"])
    ]


def _reasons(said: str | Sequence[str] | None) -> Sequence[str]:
    return [said] if isinstance(said, str) else said or ()


def status_of(reason: JobStopped) -> int:
    """The exit status of a job that was stopped."""
    return 128 + reason.signal_number if isinstance(reason, Interrupted) else 1


def _misspelt(reason: JobStopped | None) -> tuple[str, str] | None:
    if isinstance(reason, ModelMissing) and reason.meant is not None:
        return (reason.wrong, reason.meant)
    return None


def _how_to_go_on(job: Job, journal: Journal, reason: JobStopped) -> str:
    if not job.input:
        return f"{reason}\nwhat was answered is kept in {journal.path}; the same call goes on"
    name = journal.path.name if not journal.path.is_absolute() else str(journal.path)
    target = job.output_path if Path(job.output_path + ".batchchat") == Path(job.checkpoint_path) else name
    if job.rows.trial:
        return f"{reason}\nwhat was answered is kept in {journal.path}"
    return (
        f"{reason}\nwhat was answered is kept in {journal.path}; no output was published\n"
        f"  batchchat resume {target}    goes on\n"
        f"  batchchat export {target}    writes the table as it stands"
    )


def _frequent_errors(journal: Journal, chain: Sequence[int], rows: int) -> list[tuple[str, int]]:
    seen: Counter[str] = Counter()
    for start in range(1, rows + 1, _BLOCK):
        columns = journal.results(chain, start, min(_BLOCK, rows - start + 1), ("error",))
        seen.update(error for error in columns["error"] if error is not None)
    return seen.most_common(_MOST_ERRORS)
