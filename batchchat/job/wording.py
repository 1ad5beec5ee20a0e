"""What is wrong with what was said, in words: the first error of the schema, who said it, and what it must be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import annotated_types
from pydantic import ValidationError

from batchchat.errors import UsageError
from batchchat.job.schema import Said
from batchchat.job.source import Layer, suggest

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

    from batchchat.job.options import Place

# How a type error is said to people: the beginning of pydantic's error type, and the words.
_WORDS = (
    ("int", "must be a whole number"),
    ("float", "must be a number"),
    ("finite", "must be a finite number"),
    ("string_too_short", "must not be empty"),
    ("string_type", "must be text"),
    ("string_sub", "must be text"),
    ("bool", "must be true or false"),
    ("list_type", "must be a list"),
    ("dict", "must be a table of names and values"),
    ("model", "must be a section"),
)
_SHOWN = 60


def validate(layer: Layer) -> Said:
    """The layer as one checked object.

    Raises:
        UsageError: the first thing that is wrong: who said it, what it is, and what it must be.
    """
    nested: dict[str, Any] = {}
    for path, stated in layer.items():
        place = nested
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = stated.value
    try:
        return Said.model_validate(nested)
    except ValidationError as error:
        raise UsageError(_sentence(error.errors(include_url=False)[0], layer)) from None


def _sentence(error: ErrorDetails, layer: Layer) -> str:
    place = tuple(str(part) for part in error["loc"])
    stated = next((layer[place[:size]] for size in range(len(place), 0, -1) if place[:size] in layer), None)
    where = stated.where if stated else ".".join(place)
    value = error["input"]
    shown = ""
    if isinstance(value, str | int | float) and len(str(value)) <= _SHOWN and place[0] not in {"endpoint", "prompt"}:
        shown = f" {value!r}" if isinstance(value, str) else f" {value}"
    return f"{where}{shown}: {words(error, place)}"


def words(error: ErrorDetails, place: Place) -> str:
    """What a value must be; `place` is that of the field, in a job file."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind.startswith(("greater_than", "less_than")):
        return f"must be {_range(_field(place))}"
    if kind == "too_long":
        return f"must be at most {context['max_length']}, these are {context['actual_length']}"
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters"
    if kind == "literal_error":
        return f"must be one of {context['expected']}{suggest(str(error['input']), _quoted(context['expected']))}"
    return next((words for start, words in _WORDS if kind.startswith(start)), error["msg"])


def _quoted(expected: str) -> list[str]:
    return expected.split("'")[1::2]


def _field(place: Place) -> FieldInfo | None:
    model: Any = Said
    field = None
    for part in place:
        fields = getattr(model, "model_fields", {})
        if part not in fields:
            break
        field = fields[part]
        model = field.annotation
    return field


def _range(field: FieldInfo | None) -> str:
    """The bounds of a field in words, wherever its annotation keeps them."""
    low: Any = None
    high: Any = None
    above = False
    for bound in _bounds(field.annotation if field else None):
        if isinstance(bound, annotated_types.Ge):
            low = bound.ge
        elif isinstance(bound, annotated_types.Gt):
            low, above = bound.gt, True
        elif isinstance(bound, annotated_types.Le):
            high = bound.le
    if high is None:
        return f"above {low}" if above else f"at least {low}"
    return f"from {low} to {high}"


def _bounds(annotation: Any) -> list[Any]:
    """All metadata inside an annotation: of Annotated, of the parts of a union, of a dict's values."""
    found: list[Any] = []
    for part in getattr(annotation, "__metadata__", ()):
        found.extend(getattr(part, "metadata", [part]))
    inner = getattr(annotation, "__origin__", None)
    if hasattr(annotation, "__metadata__"):
        return found + _bounds(inner)
    for argument in getattr(annotation, "__args__", ()):
        found.extend(_bounds(argument))
    return found
