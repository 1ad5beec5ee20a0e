"""Arrow arrays to Python values, without pandas, without losing nanoseconds, and without digits that nobody wrote.

A float of 32 or 16 bits becomes the shortest number that means it: 0.1, where plain widening gives 0.10000000149011612.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - a zone is put on at the end, where there is one


def python_values(array: Any) -> list[Any]:
    """One Python value for each value of a `pyarrow.Array`; None for null.

    Raises:
        ValueError: a value that Python cannot hold, or text that is not UTF-8 (UnicodeDecodeError).
    """
    import pyarrow as pa

    kind = array.type
    if not _is_special(kind):
        found: list[Any] = array.to_pylist()
        return found
    if isinstance(kind, pa.BaseExtensionType):
        return python_values(array.storage)
    if pa.types.is_dictionary(kind):
        words = python_values(array.dictionary)
        return [None if at is None else words[at] for at in array.indices.to_pylist()]
    if pa.types.is_nested(kind):
        return _structs(array) if pa.types.is_struct(kind) else _lists(array)
    return _scalars(array)


def _scalars(array: Any) -> list[Any]:
    import pyarrow as pa

    kind = array.type
    if pa.types.is_floating(kind):
        return [None if digits is None else float(digits) for digits in array.cast(pa.string()).to_pylist()]
    return [None if count is None else _time(kind, count) for count in array.view(pa.int64()).to_pylist()]


def _is_special(kind: Any) -> bool:
    import pyarrow as pa

    if isinstance(kind, pa.BaseExtensionType):
        return _is_special(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return _is_special(kind.value_type)
    if pa.types.is_nested(kind):
        return any(_is_special(kind.field(n).type) for n in range(kind.num_fields))
    return getattr(kind, "unit", None) == "ns" or pa.types.is_float32(kind) or pa.types.is_float16(kind)


def _structs(array: Any) -> list[Any]:
    names = [array.type.field(n).name for n in range(array.type.num_fields)]
    fields = [python_values(field) for field in array.flatten()]
    rows = zip(*fields, strict=True)
    there = array.is_valid().to_pylist()
    return [dict(zip(names, row, strict=True)) if valid else None for row, valid in zip(rows, there, strict=True)]


def _lists(array: Any) -> list[Any]:
    """Lists of any kind; a map is a list of pairs, as pyarrow gives it."""
    import pyarrow as pa

    is_map = pa.types.is_map(array.type)
    found: list[Any] = []
    for scalar in array:
        if not scalar.is_valid:
            found.append(None)
            continue
        items = python_values(scalar.values)
        found.append([tuple(item.values()) for item in items] if is_map else items)
    return found


def _time(kind: Any, count: int) -> Any:
    """A timestamp, duration or time of day from its count of nanoseconds."""
    import pyarrow as pa

    if pa.types.is_timestamp(kind):
        return _timestamp(count, kind.tz)
    if pa.types.is_duration(kind):
        whole = dt.timedelta(microseconds=count // 1000)
        return whole if count % 1000 == 0 else f"PT{count / 10**9:.9f}S"
    time = (_EPOCH + dt.timedelta(microseconds=count // 1000)).time()
    return time if count % 1000 == 0 else f"{time:%H:%M:%S}.{count % 10**9:09d}"


def _timestamp(count: int, zone: str | None) -> Any:
    import pyarrow as pa

    moment = _EPOCH + dt.timedelta(microseconds=count // 1000)
    if zone is not None:
        moment = moment.replace(tzinfo=dt.UTC).astimezone(pa.lib.string_to_tzinfo(zone))
    if count % 1000 == 0:
        return moment
    offset = moment.isoformat()[19:].lstrip(".0123456789")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{count % 10**9:09d}{offset}"
