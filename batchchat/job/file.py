"""A job file: its keys, its lines, its paths, and the secrets that must not stand in it.

In comes a path; out goes a layer whose paths are relative to the file already. Lines are found by reading the text a
second time, since tomllib gives none: where a key is written in a way that this misses (a dotted key inside an inline
table), a message names the key without a line.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.errors import Misspelt, UsageError
from batchchat.job.options import OPEN_TABLES, OUR_FIELDS, PATHS, Place
from batchchat.job.schema import JobFile, known_keys
from batchchat.job.source import Layer, Stated
from batchchat.spelling import did_you_mean, nearest, nearest_file

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT = re.compile(r"\s*\(at line (\d+), column (\d+)\)")
_TABLE = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*([A-Za-z0-9_\-.\"' ]+?)\s*=")
_KEY_WITHOUT_PLACE = {"api_key", "key", "apikey", "token", "secret", "password"}


def is_job_file(path: str) -> bool:
    """Whether the name is that of a job file."""
    return path.lower().endswith(".toml")


def file_layer(path: str) -> Layer:
    """What a job file says.

    Raises:
        UsageError: it cannot be read, is no TOML, has an unknown key, or names no input.
    """
    text = _read(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = _AT.search(str(error))
        line = f", line {at[1]}, column {at[2]}" if at else ""
        raise UsageError(f"{path}{line}: this is no TOML: {_AT.sub('', str(error))}") from None
    layer: Layer = {}
    for place, value in _settings(path, text, content):
        where = f"{_place(path, text, place)}: {'.'.join(place)}"
        layer[place] = Stated(value=_relative(path, place, value), source="job file", where=where)
    if ("input",) not in layer or layer["input",].value == "":
        raise UsageError(f'{path}: no table is named; write input = "TABLE.csv" above the first [section]')
    return layer


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: a job file is UTF-8 text; byte {error.start} is none") from None
    except OSError as error:
        meant = nearest_file(path, [".toml"])
        message = f"{path}: cannot be read: {error.strerror}{did_you_mean(meant)}"
        raise Misspelt(message, wrong=path, meant=meant) from None


def _settings(path: str, text: str, content: dict[str, Any]) -> Iterator[tuple[Place, Any]]:
    """Every key with its value; an unknown one is an error."""
    known = known_keys(JobFile)
    for name, value in content.items():
        if name not in known:
            raise _unknown(path, text, (name,), known)
        keys = known[name]
        if keys is None:
            yield (name,), value
        elif not isinstance(value, dict):
            raise UsageError(f"{_place(path, text, (name,))}: {name} is a section: write [{name}] and keys below it")
        else:
            for key, inner in value.items():
                if key not in keys:
                    raise _unknown(path, text, (name, key), known)
                if (name, key) in OPEN_TABLES and isinstance(inner, dict):
                    yield from (((name, key, field), deepest) for field, deepest in inner.items())
                else:
                    yield (name, key), inner


def _unknown(path: str, text: str, place: Place, known: dict[str, tuple[str, ...] | None]) -> UsageError:
    """An unknown key, and the one that was meant: in its section, or the same name in another one."""
    name = place[-1]
    here = known[place[0]] if len(place) > 1 else tuple(known)
    meant = nearest(name, here or ())
    hint = did_you_mean(meant)
    if name.lower() in _KEY_WITHOUT_PLACE:
        meant = None
        hint = '; a key never stands in a job file: name its variable, api_key_env = "OPENAI_API_KEY" in [endpoint]'
    elif elsewhere := [section for section, keys in known.items() if keys and name in keys and section != place[0]]:
        hint, meant = f"; it belongs in [{elsewhere[0]}]", None
    elif place[0] == "request" and len(place) > 1:
        ours = OUR_FIELDS.get(name)
        meant = None if ours else meant
        other = "a field that only some servers know goes under [request.extra_body]"
        hint = f": {ours}" if ours else f"{hint} ({other})"
    return Misspelt(f"{_place(path, text, place)}: unknown key {'.'.join(place)}{hint}", wrong=name, meant=meant)


def _relative(path: str, place: Place, value: Any) -> Any:
    """Paths of a job file are relative to it; so is the file of a model `local:PATH`."""
    start = f"{defaults.LOCAL_MODEL}:"
    if place == ("request", "model") and isinstance(value, str) and value.startswith(start):
        return start + _beside(path, value.removeprefix(start))
    if place not in PATHS or not isinstance(value, str) or not value.strip() or "://" in value:
        return value
    return _beside(path, value)


def _beside(path: str, named: str) -> str:
    return str(Path(path).parent / Path(named).expanduser())


def _place(path: str, text: str, place: Place) -> str:
    line = line_of(text, place)
    return f"{path}, line {line}" if line else path


def line_of(text: str, place: Place) -> int | None:
    """The line on which a key (or, failing that, what contains it) is set, from 1."""
    table: Place = ()
    found: dict[Place, int] = {}
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if header := _TABLE.match(line):
            table = _parts(header[1])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault(table + _parts(key[1]), number)
            quote = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")
    return next((found[place[:size]] for size in range(len(place), 0, -1) if place[:size] in found), None)


def _parts(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))
