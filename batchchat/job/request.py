"""The fields of a request, so that the same request is the same however it was said.

`temperature = 1`, `--temperature 1.0` and `--extra-body '{"temperature": 1}'` give one value, and so one key.
`extra_body` is also the way to say what this version does not know: a known field in it is brought into the field's
type where it fits and passed as it stands where it does not (a temperature of 3 for a server that takes one), but for
the few that batchchat itself counts with.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from batchchat.errors import UsageError
from batchchat.job.options import EXTRA_PREFIX, OUR_FIELDS, PARAM_COLUMNS
from batchchat.job.schema import RequestSection
from batchchat.job.source import Layer, Stated

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXTRA = ("request", "extra_body")
_COUNTED = frozenset({"n", "max_tokens", "max_completion_tokens"})
_BESIDE = frozenset({"model", "stream", "extra_body", "param_columns"})


def lift_known(layer: Layer) -> Layer:
    """The layer with known fields of its extra_body put where they belong.

    Raises:
        UsageError: extra_body holds what batchchat says itself, or what the same source says differently.
    """
    lifted: Layer = {}
    for path, stated in layer.items():
        if path[:2] == PARAM_COLUMNS and len(path) > 2 and (other := layer.get(_fixed(path[2]))):
            raise UsageError(f"{stated.where}: {path[2]} is said twice, by {other.where} too")
        if path[:2] != _EXTRA or len(path) < 3:
            lifted[path] = stated
            continue
        name = path[2]
        if name == PARAM_COLUMNS[-1] or name in OUR_FIELDS:
            raise UsageError(
                f"{stated.where}: {name} has no place in extra_body: {OUR_FIELDS.get(name, 'say --param-column')}"
            )
        if name not in RequestSection.model_fields:
            lifted[path] = stated
            continue
        if (other := layer.get(("request", name))) or (other := layer.get((*PARAM_COLUMNS, name))):
            raise UsageError(f"{stated.where}: {name} is said twice, by {other.where} too")
        value, fits = _fitted(name, stated.value)
        place = ("request", name) if fits or name in _COUNTED else path
        lifted[place] = Stated(value=value, source=stated.source, where=stated.where)
    return lifted


def nearest(farther: Layer, nearer: Layer) -> Layer:
    """Both layers, the nearer one's word first; a field said in any way replaces all ways of the farther one."""
    merged = dict(farther)
    for path in nearer:
        if path[0] != "request":
            continue
        name = path[-1].removeprefix(EXTRA_PREFIX)
        for said in (("request", name), (*_EXTRA, name), (*PARAM_COLUMNS, name), (*PARAM_COLUMNS, EXTRA_PREFIX + name)):
            merged.pop(said, None)
    return {**merged, **nearer}


def _fixed(name: str) -> tuple[str, ...]:
    """Where the same field stands that is the same for every row."""
    return (*_EXTRA, name.removeprefix(EXTRA_PREFIX)) if name.startswith(EXTRA_PREFIX) else ("request", name)


def normal(section: RequestSection) -> dict[str, Any]:
    """The fields of the API that are set, in the form in which the same value is always the same."""
    fields = section.model_dump(exclude_none=True, exclude=set(_BESIDE))
    if not fields.get("stop", True):
        del fields["stop"]
    if "logit_bias" in fields:
        fields["logit_bias"] = {token: _plain(bias) for token, bias in fields["logit_bias"].items()}
    return fields


def request_fields(section: RequestSection, layer: Layer) -> dict[str, Any]:
    """Every field that is set, in its normal form, extra_body merged in.

    Raises:
        UsageError: a value that is no JSON, or two fields that do not go together.
    """
    fields = normal(section)
    if "top_logprobs" in fields and not (fields.get("logprobs") or "logprobs" in (section.param_columns or {})):
        raise UsageError(f"{_where(layer, 'top_logprobs')}: needs logprobs = true")
    fields.update(section.extra_body or {})
    for name, value in fields.items():
        if (wrong := not_json(value)) is not None:
            raise UsageError(f"{_where(layer, name)}: {wrong}")
    return fields


def not_json(value: Any) -> str | None:
    """Why a value cannot be sent as JSON, None where it can."""
    if isinstance(value, dict):
        return not_json([*map(str, value), *value.values()])
    if isinstance(value, list):
        return next(filter(None, map(not_json, value)), None)
    return _not_scalar(value)


def _not_scalar(value: Any) -> str | None:
    if isinstance(value, str):
        return None if _is_unicode(value) else "has bytes that are no Unicode text"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value} is no number of JSON"
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else f"{value} does not fit into 64 bits"
    return None if value is None else f"a {type(value).__name__} is no value of JSON; write it as text"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _fitted(name: str, value: Any) -> tuple[Any, bool]:
    try:
        section = RequestSection.model_validate({name: value})
    except ValidationError:
        return value, False
    return getattr(section, name), True


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number


def _where(layer: Layer, name: str) -> str:
    places: Mapping[tuple[str, ...], Stated] = layer
    stated = places.get(("request", name)) or places.get((*_EXTRA, name))
    return f"{stated.where} ({name})" if stated and name not in stated.where else stated.where if stated else name
