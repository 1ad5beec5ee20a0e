"""Values as text: the cells of a CSV file, and JSON.

Null is nothing between two delimiters, an empty text is `""`, so that a reader who looks can tell them apart. (Cells
that come from CSV are texts, and an empty one stays as it was: nothing.)
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from batchchat.tables import Digits, without_surrogates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_string = json.JSONEncoder(ensure_ascii=False).encode


def quoted(text: str, delimiter: str) -> str:
    """A cell of this text, in quotes where it needs them: U+FEFF too, which opens a file as its byte-order mark."""
    if text == "" or '"' in text or delimiter in text or "\n" in text or "\r" in text or text[0] == "\ufeff":
        return '"' + text.replace('"', '""') + '"'
    return text


def cells(values: Sequence[Any], delimiter: str) -> list[str]:
    """One cell for each value."""
    return ["" if value is None else quoted(plain(value), delimiter) for value in values]


def plain(value: Any) -> str:
    """A value that is not null, as text: what stands in a cell before it is quoted."""
    if isinstance(value, str):  # Digits too
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    found = _scalar(value)
    return json_text(value) if found is None else str(found)


def json_text(value: Any) -> str:
    """A value as JSON on one line: numbers keep their digits; NaN and infinities, which JSON lacks, are null."""
    render = _RENDER.get(type(value))
    if render:
        return render(value)
    found = _scalar(value)
    return found if isinstance(found, Digits) else _json_string(str(value) if found is None else found)


def _json_string(value: str) -> str:
    text = _string(value)
    return text if text.isascii() else without_surrogates(text)


def _json_float(value: float) -> str:
    return repr(value) if math.isfinite(value) else "null"


def _json_object(value: dict[Any, Any]) -> str:
    return "{" + ", ".join(f"{_json_string(str(key))}: {json_text(item)}" for key, item in value.items()) + "}"


def _json_array(value: Sequence[Any]) -> str:
    return "[" + ", ".join(map(json_text, value)) + "]"


_RENDER: dict[type, Callable[[Any], str]] = {
    type(None): lambda _: "null",
    Digits: lambda value: value if value.lstrip("-")[0].isdigit() else "null",
    str: _json_string,
    bool: lambda value: "true" if value else "false",
    int: repr,
    float: _json_float,
    dict: _json_object,
    list: _json_array,
    tuple: _json_array,
}


def _scalar(value: Any) -> str | None:
    """A date, a time, a decimal, bytes: as text (`Digits` where it is a number), None for anything else."""
    if isinstance(value, Decimal):
        return Digits(format(value, "f")) if value.is_finite() else str(value)
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, dt.timedelta):
        return _duration(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, uuid.UUID):
        return str(value)
    return None


def _duration(value: dt.timedelta) -> str:
    """ISO 8601, in seconds: `PT90.5S`, `-PT1S`."""
    whole, part = divmod(abs(value) // dt.timedelta(microseconds=1), 1_000_000)
    sign = "-" if value < dt.timedelta(0) else ""
    return f"{sign}PT{whole}" + (f".{part:06d}".rstrip("0") if part else "") + "S"
