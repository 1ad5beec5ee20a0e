"""What is meant: options, environment, job file and defaults become one validated `Job`.

In come the options as they were typed, the process's variables and, where one is named, a job file. Out goes a frozen
`Job`, or a `UsageError` that says which option, variable or line of the file is wrong. This room alone reads the
environment. It opens no table, asks no endpoint and knows no default of its own (those are in `batchchat.defaults`).

    options.py   names of options and variables, and where each stands in a job file
    source.py    one layer of settings: options, variables, a checkpoint's
    file.py      a job file: its keys, its lines, its paths, and secrets that must not stand in it
    schema.py    the shape of a job file as pydantic models
    wording.py   what is wrong with what was said, in words
    parameter.py fields of a request that a row says itself
    request.py   the fields of a request, so that the same request is the same however it was said
    azure.py     Azure's dialect: when it is spoken, its version, its keys
    endpoint.py  URL, headers, keys, and which host may have one
    settings.py  Job and its parts
    profile.py   what a person says once for all jobs
    notice.py    where a notice of a job's end goes
    envfile.py   variables out of a file
    resolve.py   the way from layers to a Job
    shown.py     every setting and where it comes from
    saved.py     a job as the text of a job file
"""

from __future__ import annotations

from batchchat.job.endpoint import approved, looks_secret, needs_approval, secret_variables
from batchchat.job.notice import notice_url
from batchchat.job.parameter import Parameters
from batchchat.job.profile import known_names
from batchchat.job.resolve import resolve, resume
from batchchat.job.rows import parse_rows
from batchchat.job.saved import job_file_text
from batchchat.job.settings import (
    EndpointSettings,
    Job,
    MoneySettings,
    PolicySettings,
    PoolSettings,
    PromptSettings,
    RowSettings,
    TextSettings,
    input_folder,
)
from batchchat.job.shown import Shown, shown_settings
from batchchat.job.source import suggest

__all__ = [
    "EndpointSettings",
    "Job",
    "MoneySettings",
    "Parameters",
    "PolicySettings",
    "PoolSettings",
    "PromptSettings",
    "RowSettings",
    "Shown",
    "TextSettings",
    "approved",
    "input_folder",
    "job_file_text",
    "known_names",
    "looks_secret",
    "needs_approval",
    "notice_url",
    "parse_rows",
    "resolve",
    "resume",
    "secret_variables",
    "shown_settings",
    "suggest",
]
