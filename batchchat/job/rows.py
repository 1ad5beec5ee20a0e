"""Row numbers as people write them: `3,17-20`."""

from __future__ import annotations

import re
from typing import Any

_PART = re.compile(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?")


def parse_rows(value: Any) -> tuple[range, ...]:
    """Ranges of row numbers from 1, sorted, without overlap, of `3,17-20` or a list of numbers.

    Raises:
        ValueError: the text is no such list, a row is 0, or a range runs backwards.
    """
    parts = [str(part) for part in value] if isinstance(value, list | tuple) else str(value).split(",")
    spans = sorted(_span(part) for part in parts)
    merged: list[range] = []
    for first, last in spans:
        if merged and first <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, last + 1))
        else:
            merged.append(range(first, last + 1))
    return tuple(merged)


def _span(part: str) -> tuple[int, int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError("must be row numbers and ranges, as 3,17-20")
    first = int(match[1])
    last = int(match[2] or match[1])
    if first < 1:
        raise ValueError("rows are counted from 1")
    if last < first:
        raise ValueError(f"the range {part.strip()} runs backwards")
    return first, last
