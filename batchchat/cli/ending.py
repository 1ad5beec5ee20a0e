"""What is said when a command ended: a summary, a plan, a status, the answers of a trial."""

from __future__ import annotations

import shlex
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.cli import amount, mend, typed
from batchchat.cli.page import PAGES
from batchchat.cli.place import short

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchchat.api import Summary
    from batchchat.api.money.bill import Bill
    from batchchat.errors import JobStopped
    from batchchat.job import Job


def of_the_stopped(stopped: JobStopped, *, checkpoint: str | None) -> dict[str, Any]:
    """The summary of a run that ended before it had one: the checkpoint could not be opened."""
    from batchchat.api import Summary

    nothing = Summary(rows=0, succeeded=0, failed=0, pending=0, prompt_tokens=0, completion_tokens=0)
    unknown = dict.fromkeys(("rows", "succeeded", "failed", "pending", "prompt_tokens", "completion_tokens"))
    return nothing.as_dict() | unknown | {"checkpoint": checkpoint, "stop_reason": stopped.stop_reason}


def sentences(summary: Summary, *, job: Job, quiet: bool) -> Iterator[str]:
    """The summary for people; with `quiet` only where something went wrong."""
    if quiet and not summary.status:
        return
    yield _of_a_trial(summary) if job.rows.trial else _of_the_rows(summary)
    yield ", ".join(_spent(summary))
    if not quiet and not job.embedded:
        yield from _bound(summary)
    yield from () if summary.bill is None else _billed(summary.bill)
    for error, count in summary.errors:
        yield f"  {amount.counted(count, 'row', 'rows')}: {error}"
    if summary.message:
        reason, *how_to_go_on = summary.message.split("\n")
        yield reason
        if summary.misspelt is not None and (command := mend.replaced(*summary.misspelt)):
            yield f"  {command}"
        yield from how_to_go_on
    elif job.rows.trial:
        yield from () if quiet else _after_a_trial(summary, job)
    else:
        yield from _after_a_run(summary, job, quiet=quiet)


def headline(summary: Summary, name: str) -> str:
    """The summary in a line, for a notice: nothing but names and numbers."""
    why = f"stopped ({summary.stop_reason}), " if summary.stop_reason else ""
    cost = [] if summary.cost_usd is None else [amount.money(summary.cost_usd)]
    return f"{name}: {why}{', '.join([*_counts(summary), *cost, amount.duration(summary.elapsed_s)])}"


def _bound(summary: Summary) -> Iterator[str]:
    """What a run that took its time was bound by; a few rows that all were in flight tell nothing."""
    bound = summary.bound
    if bound is not None and bound.kind != "nothing" and summary.elapsed_s >= defaults.BOUND_AFTER_SECONDS:
        yield f"  {bound}"


def _after_a_trial(summary: Summary, job: Job) -> Iterator[str]:
    """What may be next: what is changed is tried on the same rows; the whole."""
    trial = ("--sample", "--seed-rows", "--rows", "--restart", "--json", "--yes")
    if summary.cut:
        yield f"{_cut(summary)}; {' '.join(_more_room(summary, job))} would give more room"
    yield "Change the prompt and try it on the same rows: they stand beside these answers then."
    if "estimate" in PAGES:
        yield f"What all of it would cost: {typed.again(command='estimate', without=trial)}"
    if not summary.begun_otherwise:
        yield f"Send all of it: {typed.again(without=trial)}"
        return
    yield "The job began with other settings. Send only the rows without an answer, or all of them to another output:"
    yield f"  {typed.again(without=trial, add=('--keep-answered',))}"
    yield f"  {typed.again(without=(*trial, '--output'), add=('-o', _other(job)))}"


def _other(job: Job) -> str:
    """An output beside the job's own: `labels.2.csv` beside `labels.csv`."""
    path = Path(job.output_path)
    name, _, suffixes = path.name.partition(".")
    return short(str(path.with_name(f"{name}.2.{suffixes}" if suffixes else f"{name}.2")))


def _after_a_run(summary: Summary, job: Job, *, quiet: bool) -> Iterator[str]:
    name = _name(job)
    if summary.cut and not quiet:
        more = " ".join(_more_room(summary, job))
        yield f"{_cut(summary)}; send them again with more room: batchchat resume {name} --retry length {more}"
    if summary.more_rows and not quiet:
        yield _about_the_rest(summary, job, name)
    if summary.failed:
        if not quiet:
            yield f"Look at the failed rows: batchchat rows {name} --failed"
        if sum(count for error, count in summary.errors if error.startswith("invalid_row:")) == summary.failed:
            yield "These rows make no request: mend them in the table, and run the same command again"
            return
        yield f"Send the failed rows again: batchchat resume {name} --retry-failed"
    elif not quiet:
        yield f"Look at the answers: batchchat rows {name}"
        yield f"Rows that are added later, and only those: batchchat resume {name}"


def _name(job: Job) -> str:
    """The job, to be typed: its output where the checkpoint lies beside it, else the checkpoint."""
    beside = job.checkpoint_path == job.output_path + defaults.CHECKPOINT_SUFFIX
    return shlex.quote(short(job.output_path if beside else job.checkpoint_path))


def _cut(summary: Summary) -> str:
    if summary.cut == 1:
        return "1 answer was cut by its length"
    return f"{summary.cut:,} answers were cut by their length"


def _more_room(summary: Summary, job: Job) -> tuple[str, str]:
    """The option that makes answers longer, with twice what they could have, or had."""
    names = ("max_completion_tokens", "max_tokens")
    said = {**job.prompt.param_columns, **job.request}
    name = next((name for name in names if said.get(name)), "max_tokens")
    most = job.request.get(name) or summary.longest
    return f"--{name.replace('_', '-')}", f"{2 * most}" if most else "N"


def _about_the_rest(summary: Summary, job: Job, name: str) -> str:
    """What sends the rows beyond the limit: the same command without it, where it was typed there."""
    said = f"Only the first {amount.counted(summary.rows, 'row was', 'rows were')} meant; the rest"
    if job.origins.get("job.limit") == "--limit" and typed.words()[:1] == ("run",):
        return f"{said}: {typed.again(without=('--limit', '--restart'))}"
    return f"{said}: batchchat resume {name} --limit N, with a larger N"


def _counts(summary: Summary) -> list[str]:
    parts = [amount.counted(summary.rows, "row", "rows")]
    parts += [f"{summary.succeeded:,} succeeded", f"{summary.failed:,} failed"]
    parts += [f"{summary.pending:,} pending"] if summary.pending else []
    parts += [f"{summary.skipped:,} skipped"] if summary.skipped else []
    return parts


def _of_the_rows(summary: Summary) -> str:
    where = f"{short(summary.output)}: " if summary.output else ""
    return f"{where}{', '.join(_counts(summary))}"


def _of_a_trial(summary: Summary) -> str:
    failed = sum(answer.get("error") is not None for answer in summary.answers)
    rows = amount.counted(len(summary.answers), "row", "rows")
    return f"a trial of {rows}: {failed:,} failed; no output was written"


def _spent(summary: Summary) -> Iterator[str]:
    if summary.prompt_tokens or summary.completion_tokens:
        yield f"{summary.prompt_tokens:,} tokens in, {summary.completion_tokens:,} out"
    if summary.cost_usd is not None:
        yield amount.money(summary.cost_usd)
    requests = amount.counted(summary.requests, "request", "requests")
    retries = amount.counted(summary.retries, "retry", "retries")
    yield f"{requests} ({retries})" if summary.retries else requests
    if summary.reused:
        yield f"{amount.counted(summary.reused, 'row', 'rows')} answered before"
    yield amount.duration(summary.elapsed_s)


def _billed(bill: Bill) -> Iterator[str]:
    """What is worth a line: several models, attempts that brought nothing, answers that were there before."""
    if len(bill.models) > 1:
        for name, line in bill.models.items():
            cost = "" if line.cost_usd is None else f", {amount.money(line.cost_usd)}"
            yield f"  {name or 'a model without a name'}: {amount.counted(line.rows, 'row', 'rows')}{cost}"
    if bill.attempts_for_nothing:
        most = "" if not bill.for_nothing_usd else f" (at most {amount.money(bill.for_nothing_usd)})"
        attempts = amount.counted(bill.attempts_for_nothing, "attempt", "attempts")
        yield f"  paid for nothing, perhaps: {attempts} that brought no answer{most}"
    if bill.saved_rows and bill.saved_usd:
        yield f"  saved: {amount.money(bill.saved_usd)} for what was answered before"


def status(facts: Mapping[str, Any]) -> str:
    """How far a job is, a fact a line."""
    times = {key: _moment(facts[key]) for key in ("started", "ended") if facts.get(key) is not None}
    bill = facts.get("bill")
    return _facts({**facts, **times, "bill": None, **(_lines_of(bill) if bill else {})})


def _lines_of(bill: Mapping[str, Any]) -> dict[str, Any]:
    """A bill that was kept, as facts for people."""
    nothing, saved = bill["paid_for_nothing"], bill["saved"]
    found: dict[str, Any] = {}
    if len(bill["models"]) > 1:
        found["models"] = {
            name or "(no name)": f"{amount.counted(line['rows'], 'row', 'rows')}{_dollars(line['cost_usd'])}"
            for name, line in bill["models"].items()
        }
    if nothing["attempts"]:
        attempts = amount.counted(nothing["attempts"], "attempt", "attempts")
        found["paid for nothing"] = f"{attempts}{_dollars(nothing['at_most_usd'], ', at most ')}"
    if saved["rows"]:
        found["saved"] = f"{amount.counted(saved['rows'], 'row', 'rows')}{_dollars(saved['about_usd'], ', about ')}"
    return found


def _dollars(cost: float | None, before: str = ", ") -> str:
    return "" if not cost else f"{before}{amount.money(Decimal(str(cost)))}"


def _moment(at: float) -> str:
    """A Unix time on the clock of this machine."""
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def _facts(facts: Mapping[str, Any]) -> str:
    shown = {key.replace("_", " "): value for key, value in facts.items() if value is not None}
    width = max(map(len, shown), default=0) + 2
    lines = []
    for key, value in shown.items():
        if isinstance(value, dict) and not value:
            continue
        if isinstance(value, dict):
            lines.append(key)
            lines += [f"  {name:<{width}}{_word(inner)}" for name, inner in value.items() if inner is not None]
        else:
            lines.append(f"{key:<{width + 2}}{_word(value)}")
    return "\n".join(lines)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
