"""What a value of a request may be: small checks that are put together into the shape of an object.

What comes in: a JSON value and its path in the request (`messages.0.role`). What goes out: nothing, or a `Refusal` with
status 400 whose message reads as the real endpoint's: what was sent, what is wrong, and where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchchat.serve.refusal import Refusal

Check = Callable[[Any, str], None]
LONGEST_QUOTE = 200


def wrong(value: Any, what: str, path: str) -> Refusal:
    """The refusal of a value."""
    quote = repr(value)
    if len(quote) > LONGEST_QUOTE:
        quote = f"{quote[:LONGEST_QUOTE]}..."
    return Refusal(400, f"{quote} {what} - '{path}'" if path else f"{quote} {what}")


def missing(name: str, path: str) -> Refusal:
    """The refusal of an object that lacks a field."""
    return Refusal(400, f"'{name}' is a required property" + (f" - '{path}'" if path else ""))


def anything(value: Any, path: str) -> None:
    """Whatever it is."""


def boolean(value: Any, path: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(value, "is not of type 'boolean'", path)


def string(*, shortest: int = 0, longest: int | None = None, pattern: str | None = None) -> Check:
    """A text, by its length and a pattern that it matches as a whole."""
    compiled = re.compile(pattern) if pattern else None

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str):
            raise wrong(value, "is not of type 'string'", path)
        if len(value) < shortest:
            raise wrong(value, "is too short", path)
        if longest is not None and len(value) > longest:
            raise wrong(value, f"is too long (at most {longest} characters)", path)
        if compiled and not compiled.fullmatch(value):
            raise wrong(value, f"does not match {pattern!r}", path)

    return check


def number(least: float, most: float) -> Check:
    """A number in a range, both ends in it."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise wrong(value, "is not of type 'number'", path)
        _in_range(value, least, most, path)

    return check


def integer(least: int | None = None, most: int | None = None) -> Check:
    """A whole number in a range, both ends in it; 1.0 is none, as for the real endpoint."""

    def check(value: Any, path: str) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong(value, "is not of type 'integer'", path)
        _in_range(value, least, most, path)

    return check


def _in_range(value: float, least: float | None, most: float | None, path: str) -> None:
    if least is not None and value < least:
        raise wrong(value, f"is less than the minimum of {least}", path)
    if most is not None and not value <= most:  # NaN is not either
        raise wrong(value, f"is greater than the maximum of {most}", path)


def one_of(*values: str) -> Check:
    """One of these texts."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, str) or value not in values:
            raise wrong(value, f"is not one of {list(values)}", path)

    return check


def array(item: Check, *, least: int = 0, most: int | None = None) -> Check:
    """A list whose items pass."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise wrong(value, "is not of type 'array'", path)
        if len(value) < least:
            raise wrong(value, "is too short", path)
        if most is not None and len(value) > most:
            raise wrong(value, f"is too long (at most {most} items)", path)
        for k, one in enumerate(value):
            item(one, f"{path}.{k}")

    return check


def mapping(value: Check, *, key: Check = anything, most: int | None = None) -> Check:
    """An object of any names whose values pass."""

    def check(given: Any, path: str) -> None:
        if not isinstance(given, dict):
            raise wrong(given, "is not of type 'object'", path)
        if most is not None and len(given) > most:
            raise wrong(given, f"has too many properties (at most {most})", path)
        for name, one in given.items():
            key(name, path)
            value(one, f"{path}.{name}")

    return check


def shape(fields: Mapping[str, Check], *, required: Sequence[str] = ()) -> Check:
    """An object of known names; other names pass, null stands for a field that is not there."""

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong(value, "is not of type 'object'", path)
        for name in required:
            if name not in value:
                raise missing(name, path)
        for name, one in value.items():
            inner = fields.get(name)
            if inner is not None and (one is not None or name in required):
                inner(one, f"{path}.{name}" if path else name)

    return check


def by_type(kinds: Mapping[str, Check]) -> Check:
    """An object whose field `type` says which shape it has."""
    kind = one_of(*kinds)

    def check(value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise wrong(value, "is not of type 'object'", path)
        if "type" not in value:
            raise missing("type", path)
        kind(value["type"], f"{path}.type")
        kinds[value["type"]](value, path)

    return check


def text_or(other: type[list[Any] | dict[str, Any]], check: Check) -> Check:
    """A text, or a value of another type that passes."""
    name = "array" if other is list else "object"

    def either(value: Any, path: str) -> None:
        if isinstance(value, str):
            return
        if not isinstance(value, other):
            raise wrong(value, f"is not of type 'string' or '{name}'", path)
        check(value, path)

    return either
