"""Words of others, for messages: an HTML page or a wall of text in, one short line without secrets out."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

from batchchat.wire.surrogates import mend

if TYPE_CHECKING:
    from collections.abc import Sequence

LONGEST = 500
_READ = 1 << 16
_HTML = re.compile(r"<(?:!doctype|html|head|body|title|h1|center|p)\b", re.IGNORECASE)
_TITLE = re.compile(r"<(title|h1)[^>]*>(.*?)</\1\s*>", re.IGNORECASE | re.DOTALL)
_UNSEEN = re.compile(r"<(script|style|head)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")
_KEYS = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|r8|hf|nvapi|fw|pplx|AIza)[-_][A-Za-z0-9_-]{12,}|(?<=bearer )[^\s\"',;]{8,}", re.IGNORECASE
)
MASK = "***"


def short(text: str) -> str:
    """The text on one line, at most about 500 characters; of an HTML page its title, else its first words."""
    text = mend(text[:_READ])
    if _HTML.search(text[:4096]):
        text = _words_of_page(text)
    text = _BLANK.sub(" ", text).strip()
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def _words_of_page(page: str) -> str:
    title = _TITLE.search(page)
    words = title[2] if title and title[2].strip() else _UNSEEN.sub(" ", page)
    return html.unescape(_TAG.sub(" ", words))


def quoted(text: str, secrets: Sequence[str]) -> str:
    """What an endpoint said, as it may be shown: without secrets, on one line."""
    return short(hidden(text[:_READ], secrets))


def hidden(text: str, secrets: Sequence[str]) -> str:
    """The text without these secrets, and without anything that looks like a key."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, MASK)
    return _KEYS.sub(MASK, text)
