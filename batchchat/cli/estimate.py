"""`batchchat estimate INPUT`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchchat.cli import bill, stream
from batchchat.cli.counting import counting
from batchchat.cli.option import Option, command
from batchchat.cli.options import INPUT, NOT_OF_THE_JOB, SHARED
from batchchat.cli.progress import display
from batchchat.cli.tally import Tally
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from batchchat.api import Estimated, Summary
    from batchchat.cli.option import Commands
    from batchchat.job import Job

_SAYS = {
    "sample": "Send N rows drawn at random first, keep their answers for the run, and learn from them",
    "rows": "Only these rows, as 3,17-20",
    "dry_run": "Send nothing, whatever else is said",
    "json": "Print the estimate as JSON",
}
_OPTIONS = [replace(option, help=_SAYS.get(option.name, option.help)) for option in SHARED]
_COMPARE = Option(
    name="compare", metavar="M1,M2,...", help="The same rows with each of these models, one table", group="Estimate"
)


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "estimate", arguments=[INPUT], options=[_COMPARE, *_OPTIONS])(estimate)


def estimate(*, input: str, compare: str | None, json: bool, quiet: bool, **options: Any) -> int:  # noqa: A002 - the contract's own word
    """Tell how many rows, tokens and dollars a run would take, and how long; sends nothing unless --sample.

    How long answers will be is not known before some are there: --sample 50 sends 50 rows, keeps their answers for the
    run, and gives a range that holds the bill in about 90 of 100 jobs.

        batchchat estimate reviews.csv --prompt "Positive? {{ review }}" -m gpt-4o-mini --max-tokens 5
    """
    from batchchat.api import Compared, compare_models, estimate_job
    from batchchat.job import resolve

    assert not NOT_OF_THE_JOB & options.keys()
    sends = options.get("sample") is not None and not options.get("dry_run")
    job = resolve(options, input=input, need_key=sends)
    models = None if compare is None else [name.strip() for name in compare.split(",") if name.strip()]
    sample = _sample(job, compares=models is not None, quiet=quiet) if sends else None
    found: Compared | Estimated
    with counting(sys.stderr, quiet=quiet) as progress:
        if models is None:
            found = estimate_job(job, sample=sample, progress=progress)
        else:
            found = compare_models(job, models, sample=sample, progress=progress)
    if json:
        stream.emit_json(found.as_dict())
    else:
        stream.emit(bill.compared(found) if isinstance(found, Compared) else bill.estimated(found))
    if found.message:
        stream.tell(found.message)
    return found.status


def _sample(job: Job, *, compares: bool, quiet: bool) -> Summary | None:
    """Send the sample, as a trial is sent."""
    from batchchat.api import send_sample
    from batchchat.cli.approval import approve

    if compares and job.model is None:
        raise UsageError("--compare with --sample: name with -m the model that answers the sample; nothing was sent")
    tally = Tally()
    with display(tally, file=sys.stderr, quiet=quiet):
        return send_sample(approve(job), observer=tally)
