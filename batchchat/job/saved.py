"""A job as the text of a job file: what a command line said, to be kept and run again."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.errors import UsageError
from batchchat.job.settings import input_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchchat.job.settings import Job

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ORDER = ("prompt", "request", "endpoint", "pool", "job", "text")
_PATHS = ("input", "output", "checkpoint")


def job_file_text(job: Job, folder: str | os.PathLike[str]) -> str:
    """The job file that says what was said; its paths are relative to `folder`, where it will lie.

    Raises:
        UsageError: a value that TOML cannot say.
    """
    said = {**job.said, **({"checkpoint": job.checkpoint} if job.checkpoint else {})}
    lines = [f"{name} = {_value(_relative(str(said[name]), folder), name)}" for name in _PATHS if said.get(name)]
    for section in _ORDER:
        content = dict(said.get(section) or {})
        if section == "prompt" and "image_folder" in content:  # relative to the input as the job has it
            beside = Path(input_folder(job.input) or ".") / content["image_folder"]
            content["image_folder"] = _relative(str(beside), folder)
        if content:
            lines += ["", *_section(section, content)]
    return "\n".join(lines) + "\n"


def _section(name: str, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"[{name}]"
    tables = {key: value for key, value in content.items() if isinstance(value, dict) and value}
    for key, value in content.items():
        if key not in tables:
            yield f"{_key(key)} = {_value(value, f'{name}.{key}')}"
    for key, value in tables.items():
        yield ""
        yield from _section(f"{name}.{_key(key)}", value)


def _relative(path: str, folder: str | os.PathLike[str]) -> str:
    if "://" in path:
        return path
    try:
        return Path(os.path.relpath(Path(path).absolute(), Path(folder).absolute())).as_posix()
    except ValueError:  # on another drive
        return path


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _value(value: Any, where: str) -> str:
    if isinstance(value, str):
        return _lines(value) if "\n" in value else _text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(one, where) for one in value)}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{_key(str(key))} = {_value(one, where).strip()}" for key, one in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    raise UsageError(f"{where}: a job file cannot say {value!r} (TOML has no null); leave it on the command line")


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _lines(text: str) -> str:
    """Several lines as they are; the first line break belongs to the quotes."""
    escaped = "\n".join(_text(line)[1:-1].replace('\\"', '"') for line in text.split("\n"))
    return f'"""\n{escaped.replace(chr(34) * 3, chr(34) * 2 + chr(92) + chr(34))}"""'
