"""`batchchat show INPUT --row K`."""

from __future__ import annotations

import json as json_module
import re
import shlex
from typing import TYPE_CHECKING, Any

from batchchat.cli import stream
from batchchat.cli.grid import plain
from batchchat.cli.option import Option, command
from batchchat.cli.options import INPUT, NOT_OF_THE_JOB, SHARED
from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.api import ShownRequest
    from batchchat.cli.option import Commands
    from batchchat.job import Job

_FIRST = 1
_WIDEST = 60
_OWN = (
    Option(name="row", kind=int, metavar="K", default=_FIRST, help="Row to show, counted from 1", group="Show"),
    Option(name="curl", kind=bool, help="As a curl command", group="Show"),
    Option(
        name="settings", kind=bool, help="Every setting and where it comes from, instead of a request", group="Show"
    ),
)
# What stands in a header for a value of the environment; the shell is to put it in.
_VARIABLE = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})")


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "show", arguments=[INPUT], options=[*_OWN, *SHARED])(show)


def show(
    *,
    input: str,  # noqa: A002 - the contract's own word
    row: int | None,
    curl: bool,
    settings: bool,
    **options: Any,
) -> None:
    """Print the request that a row would send, as JSON or as a curl command.

    With --sample or --rows those of the trial, as a list. It sends nothing, prints no key and needs none.
    """
    from batchchat.api import show_requests
    from batchchat.job import resolve

    of_the_job = {name: value for name, value in options.items() if name not in NOT_OF_THE_JOB}
    job = resolve(of_the_job, input=input, need_key=False)
    if settings:
        _settings(job, as_json=bool(options.get("json")))
        return
    if row is not None and job.rows.trial:
        raise UsageError("--row is one row, --sample and --rows are several: name them in one way")
    number = None if job.rows.trial else _FIRST if row is None else row
    shown = [request for request in show_requests(job, number) if _makes_one(request, alone=number is not None)]
    if curl:
        for request in shown:
            stream.emit(curl_command(request.url, request.headers, request.body or {}))
    elif number is None:
        stream.emit_json([request.body for request in shown])
    else:
        stream.emit_json(shown[0].body)


def _settings(job: Job, *, as_json: bool) -> None:
    """A setting a line: its place in a job file, its value, and who said it."""
    from batchchat.job import shown_settings

    found = shown_settings(job)
    if as_json:
        stream.emit_json({one.name: {"value": one.value, "from": one.origin} for one in found})
        return
    rows = [(one.name, "-" if one.value is None else _short(one.value), one.origin) for one in found]
    names, values = (max(map(len, column)) for column in list(zip(*rows, strict=True))[:2])
    stream.emit("\n".join(f"{name:<{names}}  {value:<{values}}  {origin}" for name, value, origin in rows))


def _short(value: Any) -> str:
    """A value in one line, a long text cut: --json has all of it."""
    text = value if isinstance(value, str) else json_module.dumps(value, ensure_ascii=False, default=str)
    line = " ".join(plain(text).split())
    return line if len(line) <= _WIDEST else line[: _WIDEST - 1] + "…"


def _makes_one(request: ShownRequest, *, alone: bool) -> bool:
    """Whether the row makes a request; else why not is said, and of the only one it is an error."""
    if request.body is not None:
        return True
    if alone:
        raise UsageError(f"{request.where}: {request.error}")
    stream.tell(f"{request.where}: {request.error}")
    return False


def curl_command(url: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> str:
    """A command for a POSIX shell that sends the request; variables stay variables."""
    lines = [f"curl {shlex.quote(url)}"]
    lines += [f"-H {_quoted(f'{name}: {value}')}" for name, value in headers.items()]
    lines.append(f"-d {shlex.quote(json_module.dumps(body, ensure_ascii=False))}")
    return " \\\n  ".join(lines)


def _quoted(text: str) -> str:
    """For the shell, which expands the variables in it and nothing else."""
    if not _VARIABLE.search(text):
        return shlex.quote(text)
    plain = re.compile(r'[\\"`]').sub(lambda match: "\\" + match[0], text)
    return f'"{plain}"'
