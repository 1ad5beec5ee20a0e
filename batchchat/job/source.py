"""One layer of settings: what the options say, what the variables say, what a checkpoint kept.

A layer is flat: the path of a key in a job file, and what is stated there. Values are only brought into the types that
a job file would have; whether they are allowed is the schema's matter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.errors import Misspelt, UsageError
from batchchat.job.azure import AZURE_ENDPOINT
from batchchat.job.options import OPEN_TABLES, OPTIONS, VARIABLES, Place, flag
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from batchchat.job.settings import Source

_JSON_OPTIONS = frozenset({"logit_bias", "response_format", "tools", "metadata", "extra_body"})
_LISTS = frozenset({"retry", "add_columns"})
_WHOLE = re.compile(r"[+-]?\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """A value and who said it; `where` is how a message names the place."""

    value: Any
    source: Source
    where: str


Layer = dict[Place, Stated]


def option_layer(options: Mapping[str, Any]) -> Layer:
    """What the options say; None, False flags and empty lists are not given."""
    layer: Layer = {}
    for name, value in options.items():
        path = OPTIONS.get(name)
        if path is None:
            meant = nearest(name, OPTIONS)
            message = f"there is no option {flag(name)}{did_you_mean(meant)}"
            raise Misspelt(message, wrong=flag(name), meant=None if meant is None else flag(meant))
        unsaid = (isinstance(value, list | tuple) and not value) or (value is False and path[0] == "run")
        if value is None or unsaid:
            continue
        spread(layer, path, Stated(value=_typed(name, value), source="option", where=flag(name)))
    return layer


def variable_layer(environ: Mapping[str, str]) -> Layer:
    """What BATCHCHAT_... variables say; an empty one says nothing."""
    layer: Layer = {}
    for name, path in VARIABLES.items():
        text = environ.get(name, "").strip()
        if text:
            value = _number(text) if path[0] == "pool" else text
            layer[path] = Stated(value=value, source="environment", where=name)
    return layer


def usual_layer(environ: Mapping[str, str]) -> Layer:
    """What the official client's variables say; those stand behind a job file."""
    for name in ("OPENAI_BASE_URL", AZURE_ENDPOINT):
        text = environ.get(name, "").strip()
        if text:
            return {("endpoint", "base_url"): Stated(value=text, source="environment", where=name)}
    return {}


def saved_layer(said: Mapping[str, Any], where: str) -> Layer:
    """What a checkpoint kept of a job."""
    layer: Layer = {}
    for section, content in said.items():
        if not isinstance(content, Mapping):
            layer[section,] = Stated(value=content, source="checkpoint", where=where)
            continue
        for key, value in content.items():
            spread(layer, (section, key), Stated(value=value, source="checkpoint", where=f"{where}: {section}.{key}"))
    return layer


def spread(layer: Layer, path: Place, stated: Stated) -> None:
    """Put a value into the layer; headers and extra_body go in one by one, so that nearer ones add to farther ones."""
    if path in OPEN_TABLES and isinstance(stated.value, Mapping):
        for name, value in stated.value.items():
            layer[(*path, str(name))] = Stated(value=value, source=stated.source, where=stated.where)
    else:
        layer[path] = stated


def suggest(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean NAME?` where one is near, else nothing."""
    return did_you_mean(nearest(wrong, known))


def _typed(name: str, value: Any) -> Any:
    """An option's value in the type that a job file would have."""
    if isinstance(value, str) and (name in _JSON_OPTIONS or (name == "tool_choice" and value[:1] in {"{", "@"})):
        return _json(name, value)
    if name == "header" and not isinstance(value, Mapping):
        return _headers([value] if isinstance(value, str) else value)
    if name == "param_column" and not isinstance(value, Mapping):
        return _columns([value] if isinstance(value, str) else value)
    if name in _LISTS and isinstance(value, str):
        return [kind.strip() for kind in value.split(",") if kind.strip()]
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    # A number out of an array: pandas and numpy users pass those.
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _json(name: str, text: str) -> Any:
    """A JSON option: the JSON itself, or `@PATH` of a file that holds it."""
    where = flag(name)
    if text.startswith("@"):
        where = f"{where} {text}"
        try:
            text = Path(text[1:]).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{where}: this is no JSON: {error} (quote it in single quotes for the shell)") from None


def _headers(lines: Iterable[str]) -> dict[str, str]:
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise UsageError("--header: a header is written 'Name: value', with ${VARIABLE} for a secret")
        headers[name.strip()] = value.strip()
    return headers


def _columns(pairs: Iterable[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not equals or not name.strip() or not column:
            raise UsageError(f"--param-column {pair}: write NAME=COLUMN, as max_tokens=limit")
        if name.strip() in columns:
            raise UsageError(f"--param-column: {name.strip()} is said twice")
        columns[name.strip()] = column
    return columns


def _number(text: str) -> Any:
    """A number where the text is one; else the text, which the schema refuses by name."""
    if _WHOLE.fullmatch(text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
