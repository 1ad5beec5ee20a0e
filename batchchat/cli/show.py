"""`batchchat show INPUT --row K`."""

from __future__ import annotations

import json as json_module
import re
import shlex
from typing import TYPE_CHECKING, Any

from batchchat.cli import stream
from batchchat.cli.option import Option, command
from batchchat.cli.options import INPUT, NOT_OF_THE_JOB, SHARED

if TYPE_CHECKING:
    from collections.abc import Mapping

    import typer

_OWN = (
    Option(name="row", kind=int, metavar="K", default=1, help="Row to show, counted from 1", group="Show"),
    Option(name="curl", kind=bool, help="As a curl command", group="Show"),
)
# What stands in a header for a value of the environment; the shell is to put it in.
_VARIABLE = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})")


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "show", arguments=[INPUT], options=[*_OWN, *SHARED])(show)


def show(*, input: str, row: int | None, curl: bool, **options: Any) -> None:  # noqa: A002 - the contract's own word
    """Print the request that a row would send, as JSON or as a curl command.

    It sends nothing, prints no key and needs none.
    """
    from batchchat.api import show_request
    from batchchat.job import resolve

    of_the_job = {name: value for name, value in options.items() if name not in NOT_OF_THE_JOB}
    shown = show_request(resolve(of_the_job, input=input, need_key=False), 1 if row is None else row)
    if curl:
        stream.emit(curl_command(shown.url, shown.headers, shown.body))
    else:
        stream.emit_json(shown.body)


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
