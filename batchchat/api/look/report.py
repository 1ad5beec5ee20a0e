"""A job's page: its numbers from the checkpoint, some of its rows, and the file that it is written to."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from batchchat.api.kept.find import find_checkpoint, resume_job, shown_chain
from batchchat.api.look.answers import job_rows
from batchchat.api.look.status import job_status
from batchchat.api.money.bill import make_bill
from batchchat.api.money.price import find_price
from batchchat.checkpoint import read_journal
from batchchat.errors import InputFault, UsageError
from batchchat.report import READ, Facts, Numbers, Sampled, page
from batchchat.storage import Publication, same_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.api.look.answers import RowAnswer
    from batchchat.api.look.status import Status
    from batchchat.checkpoint import Journal
    from batchchat.job import Job

_BLOCK = 8192
_TELLING = 2.0  # seconds: shorter runs wait for nothing in particular
_SAMPLE = 20
_SUFFIX = ".report.html"


def report_job(target: str, path: str | None = None) -> str:
    """Write a page about a job, also while it runs; its path.

    Args:
        target: the job.
        path: of the page, None: `OUTPUT.report.html`.

    Raises:
        UsageError: there is no such job, or the page would overwrite a file of the job.
        StorageFull: the page cannot be written.
    """
    checkpoint = find_checkpoint(target)
    job = resume_job(str(checkpoint), {}, need_key=False)
    destination = path or _output(job) + _SUFFIX
    for own in (job.input, job.output_path, str(checkpoint)):
        if same_file(destination, own):
            raise UsageError(f"{destination} is a file of the job itself; name another with -o")
    text = _page(job, str(checkpoint))
    with Publication(destination) as publication:
        publication.file.write(text.encode())
        publication.commit()
    return destination


def _output(job: Job) -> str:
    """The job's output; in the working folder by its short name."""
    path, here = Path(job.output_path), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else job.output_path


def _page(job: Job, checkpoint: str) -> str:
    status = job_status(checkpoint)
    journal = read_journal(checkpoint)
    try:
        chain = shown_chain(journal)
        last = max((journal.last_row(number) for number in chain), default=0)
        rows = last if status.rows is None else min(last, status.rows)
        runs = journal.runs()
        numbers = _numbers(journal, chain, rows, runs)
        price = None if job.model is None else find_price(job, job.model)
        bill = make_bill(journal, job, chain, rows, price, saved=_reused(runs)) if chain else None
        settings = journal.settings(chain[0]) if chain else {}
    finally:
        journal.close()
    sample, failures, note = _some_rows(checkpoint)
    facts = Facts(
        title=_output(job),
        input=job.input,
        output=job.output_path,
        checkpoint=checkpoint,
        host="this machine" if job.embedded else urlsplit(job.endpoint.base_url).netloc,
        model=job.model or "-",
        rows=status.rows,
        state=_state(status),
        cost=None if bill is None else bill.cost_usd,
        bill=None if bill is None else bill.as_dict(),
        bound=_bound(runs),
        price=None if price is None else str(price),
        settings=settings,
        at=time.time(),
        runs=runs,
        sample=sample,
        failures=failures,
        note=note,
    )
    return page(facts, numbers)


def _bound(runs: Sequence[dict[str, Any]]) -> str:
    """What the longest run waited for, where it lasted long enough to tell."""
    told = {
        run["ended"] - run["started"]: run["bound"]["text"]
        for run in runs
        if run["ended"] and run.get("bound") and run["bound"]["kind"] != "nothing"
    }
    longest = max(told, default=0.0)
    return str(told[longest]) if longest >= _TELLING else ""


def _reused(runs: Sequence[dict[str, Any]]) -> int:
    """Rows that the last full run found answered."""
    return next((int(run.get("reused") or 0) for run in reversed(runs) if run.get("bill")), 0)


def _numbers(journal: Journal, chain: Sequence[int], rows: int, runs: Sequence[dict[str, Any]]) -> Numbers:
    now = time.time()
    numbers = Numbers([(run["started"], run["ended"] or now) for run in runs])
    for start in range(1, rows + 1, _BLOCK):
        numbers.add(journal.results(chain, start, min(_BLOCK, rows + 1 - start), READ))
    return numbers


def _some_rows(checkpoint: str) -> tuple[list[Sampled], list[Sampled], str]:
    """Rows at random, rows that failed, and why there are none where the table cannot be read any more."""
    with contextlib.ExitStack() as stack:
        try:
            some = stack.enter_context(contextlib.closing(job_rows(checkpoint, sample=_SAMPLE)))
            sample = [_sampled(answer) for answer in some]
            failed = stack.enter_context(contextlib.closing(job_rows(checkpoint, failed=True, count=_SAMPLE)))
            return sample, [_sampled(answer) for answer in failed], ""
        except (UsageError, InputFault) as error:
            return [], [], f"No rows are shown, since the table cannot be read as it was: {error}"


def _sampled(answer: RowAnswer) -> Sampled:
    results = answer.results
    return Sampled(
        row=answer.row,
        inputs=answer.inputs,
        completion=results["completion"],
        error=results["error"],
        finish_reason=results["finish_reason"],
    )


def _state(status: Status) -> str:
    if status.running:
        return "running"
    if status.stop_reason:
        return f"stopped: {status.stop_reason}"
    return "finished" if status.pending == 0 else "not finished"
