"""Python lists to Arrow arrays, buffer by buffer: `pyarrow.array(list)` would import pandas (1.6 s, 60 MB)."""

from __future__ import annotations

from array import array
from itertools import accumulate
from typing import TYPE_CHECKING, Any, cast

from batchchat.tables import without_surrogates

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchchat.records import ColumnKind


def arrow_type(kind: ColumnKind) -> Any:
    """The `pyarrow.DataType` of a result column."""
    import pyarrow as pa

    types = {"string": pa.string(), "strings": pa.list_(pa.string()), "int64": pa.int64(), "float64": pa.float64()}
    return types[kind]


def arrow_array(kind: ColumnKind, values: Sequence[Any]) -> Any:
    """A `pyarrow.Array` of these values; None is null."""
    if kind == "string":
        return strings(values)
    if kind == "strings":
        return lists(values)
    return integers(values) if kind == "int64" else floats(values)


def strings(values: Sequence[str | None]) -> Any:
    """Texts; a lone surrogate becomes U+FFFD."""
    import pyarrow as pa

    if None in values:
        if values.count(None) == len(values):  # as errors are, in a job that went well
            return pa.nulls(len(values), pa.string())
        texts = [value or "" for value in values]
    else:
        texts = list(cast("Sequence[str]", values))
    joined = "".join(texts)
    if joined.isascii():
        raw, lengths = joined.encode("ascii"), map(len, texts)
    else:
        encoded = [_encode(text) for text in texts]
        raw, lengths = b"".join(encoded), map(len, encoded)
    return pa.Array.from_buffers(pa.string(), len(texts), [_validity(values), _offsets(lengths), pa.py_buffer(raw)])


def _encode(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return without_surrogates(text).encode("utf-8")


def lists(values: Sequence[Sequence[str | None] | None]) -> Any:
    """Lists of texts."""
    import pyarrow as pa

    rows = [value or () for value in values]
    items = strings([text for row in rows for text in row])
    kind = pa.list_(pa.string())
    return pa.Array.from_buffers(kind, len(rows), [_validity(values), _offsets(map(len, rows))], children=[items])


def integers(values: Sequence[int | None]) -> Any:
    """Integers of 64 bits."""
    import pyarrow as pa

    raw = pa.py_buffer(array("q", [value or 0 for value in values]))
    return pa.Array.from_buffers(pa.int64(), len(values), [_validity(values), raw])


def floats(values: Sequence[float | None]) -> Any:
    """Floating-point numbers of 64 bits."""
    import pyarrow as pa

    raw = pa.py_buffer(array("d", [0.0 if value is None else value for value in values]))
    return pa.Array.from_buffers(pa.float64(), len(values), [_validity(values), raw])


def booleans(values: Sequence[bool | None]) -> Any:
    """Truth values."""
    import pyarrow as pa

    raw = _bits(bool(value) for value in values)
    return pa.Array.from_buffers(pa.bool_(), len(values), [_validity(values), raw])


def _offsets(lengths: Iterable[int]) -> Any:
    import pyarrow as pa

    return pa.py_buffer(array("i", accumulate(lengths, initial=0)))


def _validity(values: Sequence[Any]) -> Any:
    """The bitmap of what is not null, None where all is there."""
    return _bits(value is not None for value in values) if None in values else None


def _bits(flags: Iterable[bool]) -> Any:
    import pyarrow as pa

    digits = "".join("1" if flag else "0" for flag in flags)
    return pa.py_buffer(int(digits[::-1] or "0", 2).to_bytes((len(digits) + 7) // 8, "little"))
