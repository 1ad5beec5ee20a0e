"""The stations put together: a job is run, looked at, and written out.

run.py        a job from its first check to its published table
table.py      the table, the templates and the output, checked before anything is sent
connection.py the way to the endpoint, opened when something is to be sent
session.py    the checkpoint of a job: settings compared, the output unchanged
reconcile.py  what the checkpoint holds against what the table asks now
feed.py       the rows that are to be sent
rows.py       which rows a trial takes; selection.py which ones --where chooses
models.py     which model is meant
columns.py    the result columns, and those on request
images.py     images on their way to the endpoint
preview.py    answers that are shown as they come
plan.py       what a run would do: for --dry-run and the header
signals.py    Ctrl-C and its kin
finish.py     publish and sum up
summary.py    what a run came to
estimate.py   what a job will take: pending.py (rows to send), counting.py (their prompts), observed.py (answers)
money.py      prices and bills; purse.py keeps to the budgets of a run
find.py       which job is meant
status.py     how far a job is
inspect.py    show, export
report.py     a page about a job
comparison.py two jobs, row by row
answers.py    rows beside their answers, for people

A name is imported when it is first asked for: a run needs half of the room, and its first request waits for no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchchat.api.answers import RowAnswer, job_rows
    from batchchat.api.comparison import Comparison, compare_jobs
    from batchchat.api.estimate import compare_models, estimate_job, expected_cost, send_sample
    from batchchat.api.estimated import Compared, Estimated
    from batchchat.api.find import find_checkpoint, resume_job
    from batchchat.api.inspect import ShownRequest, export_job, show_requests
    from batchchat.api.plan import Plan, plan_job
    from batchchat.api.report import report_job
    from batchchat.api.run import execute, run_job
    from batchchat.api.status import Status, folder_jobs, job_status
    from batchchat.api.summary import Summary

__all__ = [
    "Compared",
    "Comparison",
    "Estimated",
    "Plan",
    "RowAnswer",
    "ShownRequest",
    "Status",
    "Summary",
    "compare_jobs",
    "compare_models",
    "estimate_job",
    "execute",
    "expected_cost",
    "export_job",
    "find_checkpoint",
    "folder_jobs",
    "job_rows",
    "job_status",
    "plan_job",
    "report_job",
    "resume_job",
    "run_job",
    "send_sample",
    "show_requests",
]
_FILES = {
    "answers": ("RowAnswer", "job_rows"),
    "comparison": ("Comparison", "compare_jobs"),
    "estimate": ("compare_models", "estimate_job", "expected_cost", "send_sample"),
    "estimated": ("Compared", "Estimated"),
    "find": ("find_checkpoint", "resume_job"),
    "inspect": ("ShownRequest", "export_job", "show_requests"),
    "plan": ("Plan", "plan_job"),
    "report": ("report_job",),
    "run": ("execute", "run_job"),
    "status": ("Status", "folder_jobs", "job_status"),
    "summary": ("Summary",),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_FILE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
