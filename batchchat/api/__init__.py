"""The stations put together: a job is run, looked at, and written out.

input/     the table: table.py opens and checks it; rows.py and selection.py choose of it (trials, --where);
           memory.py is for data in memory; columns.py says which result columns there are
endpoint/  connection.py is opened when something is to be sent; credential.py and approval.py: keys; models.py: which
           model is meant; images.py: images on their way; descriptors.py: files that may be open
kept/      find.py: which job is meant; session.py: its checkpoint, settings compared; reconcile.py: what it holds
           against what the table asks now (compare.py, pending.py: by looking alone); published.py: the output
run/       execution.py: a job from its first check to its published table, on the loop of loop.py; plan.py and
           feed.py: the rows to send; preview.py: answers as they come; signals.py: Ctrl-C; finish.py, summary.py
money/     price.py; purse.py: the budgets of a run; bill.py and counted.py: what it came to
estimate/  estimate.py: what a job will take; counting.py: prompts; observed.py: answers; estimated.py: the result
look/      inspect.py: show and export; status.py, answers.py, report.py, comparison.py

A name is imported when it is first asked for: a run needs half of the room, and its first request waits for no other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchchat.api.estimate.estimate import compare_models, estimate_job, expected_cost, send_sample
    from batchchat.api.estimate.estimated import Compared, Estimated
    from batchchat.api.kept.find import find_checkpoint, resume_job
    from batchchat.api.look.answers import RowAnswer, job_rows
    from batchchat.api.look.comparison import Comparison, compare_jobs
    from batchchat.api.look.inspect import ShownRequest, export_job, show_requests
    from batchchat.api.look.report import report_job
    from batchchat.api.look.status import Status, folder_jobs, job_status
    from batchchat.api.run.execution import execute, run_job
    from batchchat.api.run.plan import Plan, plan_job
    from batchchat.api.run.summary import Summary

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
    "look.answers": ("RowAnswer", "job_rows"),
    "look.comparison": ("Comparison", "compare_jobs"),
    "estimate.estimate": ("compare_models", "estimate_job", "expected_cost", "send_sample"),
    "estimate.estimated": ("Compared", "Estimated"),
    "kept.find": ("find_checkpoint", "resume_job"),
    "look.inspect": ("ShownRequest", "export_job", "show_requests"),
    "run.plan": ("Plan", "plan_job"),
    "look.report": ("report_job",),
    "run.execution": ("execute", "run_job"),
    "look.status": ("Status", "folder_jobs", "job_status"),
    "run.summary": ("Summary",),
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
