"""Variables from a file: all of those of `--env-file`, of `./.env` only the one that holds the key.

A `.env` lies in many folders for other programs, so it is not read as if it had been named. What the process has goes
before what a file has.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED = re.compile(r"""(?:'([^']*)'|"((?:[^"\\]|\\.)*)")\s*(?:#.*)?""")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_LOCAL = ".env"


def with_env_file(environ: Mapping[str, str], path: str | None) -> Mapping[str, str]:
    """The process's variables, and behind them those of the file.

    Raises:
        UsageError: the file cannot be read, or a line of it is none.
    """
    if path is None:
        return environ
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"--env-file {path}: this is UTF-8 text; byte {error.start} is none") from None
    except OSError as error:
        raise UsageError(f"--env-file {path}: cannot be read: {error.strerror}") from None
    found, wrong = _variables(text)
    if wrong:
        raise UsageError(f"--env-file {path}, line {wrong[0]}: must be NAME=value")
    return {**found, **environ}


def with_local_key(environ: Mapping[str, str], name: str) -> Mapping[str, str]:
    """The variables, and from `./.env` the one that holds the key, where the process does not have it."""
    if environ.get(name, "").strip():
        return environ
    try:
        text = Path(_LOCAL).read_text(encoding="utf-8-sig")
    except (OSError, ValueError):  # no file of ours, then
        return environ
    found = _variables(text)[0].get(name)
    return environ if found is None else {**environ, name: found}


def _variables(text: str) -> tuple[dict[str, str], list[int]]:
    """Names and values, and the lines that are neither these nor blank nor a comment."""
    found: dict[str, str] = {}
    wrong: list[int] = []
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip()
        if not plain or plain.startswith("#"):
            continue
        match = _LINE.fullmatch(plain)
        if match is None:
            wrong.append(number)
        else:
            found[match[1]] = _value(match[2])
    return found, wrong


def _value(text: str) -> str:
    quoted = _QUOTED.fullmatch(text)
    if quoted is None:
        return _COMMENT.sub("", text).strip()
    if quoted[1] is not None:
        return quoted[1]
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), quoted[2])
