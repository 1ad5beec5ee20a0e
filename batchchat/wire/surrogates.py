"""Halves of characters: text in, text that is valid UTF-8 out.

JSON can spell half a character (a lone surrogate, half of an emoji), which no UTF-8 can hold; tables and servers that
cut text by UTF-16 units produce them. Two halves that meet become their character, a lone one becomes U+FFFD.
"""

from __future__ import annotations

import re
from typing import Any

_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_LONE = re.compile("[\ud800-\udfff]")


def mend(text: str) -> str:
    """The text without lone surrogates."""
    if _LONE.search(text) is None:
        return text
    return _LONE.sub("\ufffd", _PAIR.sub(_character, text))


def _character(pair: re.Match[str]) -> str:
    return pair[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def mend_tree(value: Any) -> Any:
    """The same for every string and every name in a JSON value."""
    if isinstance(value, str):
        return mend(value)
    if isinstance(value, dict):
        return {mend(name): mend_tree(item) for name, item in value.items()}
    if isinstance(value, list):
        return [mend_tree(item) for item in value]
    return value
