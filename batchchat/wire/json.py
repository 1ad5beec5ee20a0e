"""JSON both ways, as lenient as the wire needs and as fast as orjson where it is well-formed.

Out go requests made of what tables hold: `Decimal`, numpy's numbers, dates, integers beyond 64 bits, lone surrogates.
In come replies with lone surrogates, bytes that are no UTF-8 and NaN, which some servers write: kept, with U+FFFD
where a character is broken, since the answer was paid for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from batchchat.wire.surrogates import mend, mend_tree

_MAX_INT = 1 << 63


def dump(value: Any) -> bytes:
    """The value as compact JSON, names in their order.

    Raises:
        ValueError: it is nested too deeply, or holds what JSON cannot say.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # everything that orjson refuses; the slow way knows what to make of it
        return _dump_slowly(value)


def _dump_slowly(value: Any) -> bytes:
    try:
        plain = _plain(value)
        try:
            return orjson.dumps(plain)
        except TypeError:  # an integer of more than 64 bits, or more than 254 levels
            return json.dumps(plain, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _plain(value: Any) -> Any:
    """The value made of what JSON has: str, int, float, bool, None, dict and list."""
    if isinstance(value, Mapping):
        return {_name(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, int) else _foreign(value)


def _name(name: Any) -> str:
    return mend(name) if isinstance(name, str) else dump(name).decode().strip('"')


def _number(value: Decimal) -> int | float | None:
    """A Decimal as the number that a person would have written."""
    if not value.is_finite():
        return None
    whole = value.to_integral_value()
    return int(whole) if whole == value and abs(value) < _MAX_INT else float(value)


def _foreign(value: Any) -> Any:
    """What is left: Decimal, numpy's arrays and numbers, dates, and whatever orjson knows (UUIDs, enums)."""
    if isinstance(value, Decimal):
        return _number(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    try:
        return orjson.loads(orjson.dumps(value))
    except TypeError:
        raise ValueError(f"a value of type {type(value).__name__} cannot be said in JSON") from None


def load(body: bytes) -> Any:
    """The JSON value in `body`.

    Raises:
        ValueError: it is no JSON, or was cut.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return mend_tree(load_raw(body))


def load_raw(body: bytes) -> Any:
    """The same by the standard library, with lone surrogates as they came: their other half may follow.

    Raises:
        ValueError: it is no JSON, or was cut.
    """
    try:
        return json.loads(body.decode("utf-8-sig", errors="replace"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
