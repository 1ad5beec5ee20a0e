"""Messages are written for the command line; here an option is called as the caller typed it: `max_cost=`."""

from __future__ import annotations

import re

from batchchat.python.options import Options

_SHORT = {"-m": "--model", "-o": "--output", "-c": "--concurrency"}
_FLAGS = frozenset({"retry_failed", "keep_answered", "restart", "overwrite", "yes"})
_NAMES = frozenset({*Options.__annotations__, "prompt", "model", "output", "checkpoint"})
# An option, and what stands for its value: a place-holder, a number, a quoted text, a URL, a few words of ours.
_OPTION = re.compile(
    r"(?<![\w-])(?P<name>-[moc]|--[a-z][a-z-]*)(?![\w-])"
    r"(?: (?P<value>[A-Z]{3,}\b(?!_)|\d+(?:\.\d+)?\b|'[^'\n]*'|https?://\S+|local\b|failed\b|llm_))?"
)


def in_python(message: str) -> str:
    """The message with its options as keywords: `--max-cost USD` is `max_cost=USD`, `--yes` is `yes=True`."""
    return _OPTION.sub(_keyword, message)


def _keyword(found: re.Match[str]) -> str:
    typed, value = found["name"], found["value"]
    name = _SHORT.get(typed, typed).removeprefix("--").replace("-", "_")
    if name not in _NAMES:
        return found[0]
    if name in _FLAGS:
        return f"{name}=True" + (f" {value}" if value else "")
    if value in {"local", "failed", "llm_"}:
        value = repr(value)
    followed_by_colon = found.string[found.end() : found.end() + 1] == ":"
    return f"{name}={value}" if value else name if followed_by_colon else f"{name}="
