"""A field of the request whose value each row says itself: what stands in a cell in, the field's normal form out.

A value has the same types and ranges as the field has in a job file, and the same normal form, so a row that says
`max_tokens` 8 asks the same request as a job that says it for all. Cells of a text table are text: they are taken as
JSON where the field is no text (`0.7`, `true`, `{"type": "json_object"}`). Null, NaN and a blank cell say nothing.

`extra_body.NAME` is a field that only other servers know: whatever stands in the cell goes there.
"""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import ValidationError

from batchchat.errors import Misspelt, UsageError
from batchchat.job.options import EXTRA_PREFIX, PARAM_COLUMNS, SAME_FOR_ALL
from batchchat.job.request import normal, not_json
from batchchat.job.schema import RequestSection
from batchchat.job.wording import words
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchchat.job.source import Layer

_SHOWN = 40
_NOT_BY_ROW = frozenset({*SAME_FOR_ALL, PARAM_COLUMNS[-1], EXTRA_PREFIX.rstrip(".")})
BY_ROW = tuple(name for name in RequestSection.model_fields if name not in _NOT_BY_ROW)
"""The fields that a column may say."""


def check_names(layer: Layer) -> None:
    """Refuse what no column can say.

    Raises:
        UsageError: a field that is the same for all rows, or none at all.
    """
    for place, stated in layer.items():
        if place[:2] != PARAM_COLUMNS:
            continue
        if len(place) < 3:
            raise UsageError(f"{stated.where}: must be a table of fields and columns")
        name = place[2]
        plain = name.removeprefix(EXTRA_PREFIX)
        if plain in SAME_FOR_ALL or plain in _NOT_BY_ROW:
            why = SAME_FOR_ALL.get(plain, "it is no field of a request")
            raise UsageError(f"{stated.where}: {plain} cannot be said by a column: {why}")
        if name.startswith(EXTRA_PREFIX):
            if plain in BY_ROW or not plain:
                raise UsageError(f"{stated.where}: {name}: write {plain or 'extra_body.NAME'}")
        elif name not in BY_ROW:
            meant = nearest(name, BY_ROW)
            told = did_you_mean(meant) or ";"
            raise Misspelt(
                f"{stated.where}: there is no field {name!r}{told} (a field that only some servers know is written "
                f"{EXTRA_PREFIX}{name})",
                wrong=name,
                meant=meant,
            )


class Parameters:
    """The fields of a request that a row says itself.

    Attributes:
        columns: that are read.

    Args:
        by_column: fields and their columns.
        fixed: the fields that are the same for every row.
    """

    def __init__(self, by_column: Mapping[str, str], fixed: Mapping[str, Any]) -> None:
        self.columns = tuple(dict.fromkeys(by_column.values()))
        self._by_column = dict(by_column)
        self._fixed = fixed
        self._text = frozenset(name for name in by_column if _is_text(name))

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """All fields of a row's request, but for model, messages and stream.

        Raises:
            ValueError: a cell says what the field does not take.
        """
        fields = dict(self._fixed)
        for name, column in self._by_column.items():
            value = row[column]
            try:
                read = self._read(name, value)
            except ValueError as error:
                shown = repr(value) if len(repr(value)) <= _SHOWN else repr(value)[: _SHOWN - 1] + "…"
                raise ValueError(f"column '{column}' says {name} {shown}: {error}") from None
            if read is not None:
                fields[name.removeprefix(EXTRA_PREFIX)] = read
        if "top_logprobs" in fields and not fields.get("logprobs"):
            raise ValueError("top_logprobs needs logprobs, which this row does not say")
        return fields

    def _read(self, name: str, value: Any) -> Any:
        value = _plain(value)
        if value is None:
            return None
        if name.startswith(EXTRA_PREFIX):
            read = next(_meanings(value))
            if wrong := not_json(read):
                raise ValueError(wrong)
            return read
        first: ValueError | None = None
        for meaning in [value] if name in self._text else _meanings(value):
            try:
                return _checked(name, meaning)
            except ValueError as error:
                first = first or error
        assert first is not None
        raise first


def _checked(name: str, value: Any) -> Any:
    try:
        section = RequestSection.model_validate({name: value})
    except ValidationError as error:
        raise ValueError(words(error.errors(include_url=False)[0], (PARAM_COLUMNS[0], name))) from None
    read = normal(section).get(name)
    if wrong := not_json(read):
        raise ValueError(wrong)
    return read


def _plain(value: Any) -> Any:
    """A cell as JSON has it: None where it says nothing."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if type(value).__module__ == "numpy" and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, list | tuple) and value and all(isinstance(part, tuple) for part in value):
        return {str(key): _plain(inner) for key, inner in value}  # a map of Parquet
    if isinstance(value, dict):
        # Parquet gives every field of a struct in every row: a null there means that there is no such field.
        return {name: _plain(inner) for name, inner in value.items() if inner is not None}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _meanings(value: Any) -> Iterator[Any]:
    """What a cell may mean, the likeliest first: text as JSON, 8.0 as 8."""
    if isinstance(value, str):
        text = value.strip()
        try:
            parsed = json.loads(text.lower() if text.lower() in {"true", "false"} else text)
        except ValueError:
            parsed = value
        if parsed is not None and not isinstance(parsed, str):
            yield from _meanings(parsed)
        if not isinstance(parsed, list | dict):
            yield value
        return
    yield value
    if isinstance(value, float) and value.is_integer():
        yield int(value)


def _is_text(name: str) -> bool:
    """Whether a field takes text and nothing else, so that text is never taken as JSON."""
    found = RequestSection.model_fields.get(name)
    if found is None:
        return False
    kinds = [kind for kind in get_args(found.annotation) if kind is not type(None)]
    return all(_is_text_kind(kind) for kind in kinds)


def _is_text_kind(kind: Any) -> bool:
    if get_origin(kind) is Annotated:
        return _is_text_kind(get_args(kind)[0])
    return kind is str or get_origin(kind) is Literal
