"""Faults and other ways to answer, by name: in a prompt (`@@NAME`), as a share of all requests, or in a script.

A prompt (any text of the request's messages) that contains `@@NAME` gets that answer for ever. `@@NAME*2` gives it the
first two times that the prompt is sent; then the next mark in the text has its turn, then the usual answer:
`@@503*2 @@drop*1 Paris` fails three times and is answered the fourth.

| name | what is answered |
| --- | --- |
| `400`, `503`, ... | that HTTP status, with an error object |
| `quota`, `billing` | 429 `insufficient_quota`; 402 |
| `too-large` | 429: this request alone is above the limit |
| `context` | 400 `context_length_exceeded` |
| `filter-400` | 400 `content_filter`, as Azure refuses a prompt |
| `model` | 404 `model_not_found` |
| `html` | 502 with a page of HTML |
| `refuse`, `filter` | a refusal in place of content; what was said so far, finish_reason content_filter |
| `length`, `empty`, `null`, `tool` | half, finish_reason length; empty content; null content; a tool call |
| `echo` | the prompt itself, without its marks |
| `no-usage`, `no-choices`, `blank` | no usage; an empty list of choices; no body at all |
| `malformed`, `error-200` | 200 with a body that is no JSON; 200 with an error object |
| `drop`, `drop-mid` | the connection is reset before the answer; in the middle of it |
| `cut` | the connection ends before the content-length (or the stream) does |
| `stall`, `stall-mid` | nothing more comes: before the answer; in the middle of it |
| `error-mid` | an error object in the middle of a stream |
| `unfinished` | a stream that ends as HTTP has it, but without finish_reason and `[DONE]` |

Marks with a value change the answer and are read beside these: `@@latency=2.5` (seconds), `@@tokens=100`,
`@@retry-after=7` (seconds, for every refusal of this prompt).

What comes in: a prompt, how often it came, a share drawn. What goes out: the name of a rule, or None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.serve.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = re.compile(r"@@(?:(latency|tokens|retry-after)=(\d+(?:\.\d+)?)|([0-9a-z]+(?:-[0-9a-z]+)*)(?:\*(\d+))?)")

# Ways to answer that are an HTTP error: status, message, type, code.
ERRORS: dict[str, tuple[int, str, str, str | None]] = {
    "quota": (
        429,
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "billing": (402, "The account has no credit left.", "billing_error", None),
    "too-large": (
        429,
        "Request too large for sim on tokens per min (TPM): Limit 30000, Requested 36278.",
        "tokens",
        "rate_limit_exceeded",
    ),
    "context": (
        400,
        "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "filter-400": (
        400,
        "The response was filtered due to the prompt triggering the content management policy.",
        "invalid_request_error",
        "content_filter",
    ),
    "model": (
        404,
        "The model 'sim' does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
}
CODES = {401: "invalid_api_key", 429: "rate_limit_exceeded", 503: "server_is_overloaded"}
# What the model says otherwise than usual; WIRE is what the server or the network does to the answer.
SAYS = frozenset({"refuse", "filter", "length", "empty", "null", "tool", "echo", "no-usage", "no-choices"})
GATEWAY = frozenset({"html", "blank", "malformed", "error-200"})
NETWORK = frozenset({"drop", "drop-mid", "cut", "stall", "stall-mid", "error-mid", "unfinished"})
WIRE = GATEWAY | NETWORK


def known(name: str) -> bool:
    """Whether a rule has this name."""
    return name in SAYS or name in WIRE or name in ERRORS or _status(name) is not None


def _status(name: str) -> int | None:
    return int(name) if name.isdecimal() and 400 <= int(name) <= 599 else None


def refusal(name: str, *, retry_after: str = "") -> Refusal | None:
    """The HTTP error that a rule stands for; None for rules that are none.

    Args:
        name: of the rule.
        retry_after: header lines for those that ask to wait (429 of the rate kind, 503, 529).
    """
    if name in ERRORS:
        status, message, kind, code = ERRORS[name]
        return Refusal(status, message, type=kind, code=code, param="messages" if name == "context" else None)
    number = _status(name)
    if number is None:
        return None
    waits = retry_after if number in {429, 503, 529} else ""
    message = "Rate limit reached for sim" if number == 429 else f"The simulator answers {number} here"
    return Refusal(number, message, code=CODES.get(number), headers=waits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a prompt asks for."""

    rules: tuple[tuple[str, int], ...] = ()
    values: Mapping[str, float]

    @classmethod
    def of(cls, text: str) -> Marks | None:
        """The marks in a text; None where there are none, which is nearly always."""
        if "@@" not in text:
            return None
        rules, values = [], {}
        for match in MARK.finditer(text):
            value, number, name, times = match.groups()
            if value:
                values[value] = float(number)
            elif known(name):
                rules.append((name, int(times) if times else 0))
        return cls(rules=tuple(rules), values=values)

    def rule(self, attempt: int) -> str | None:
        """Which rule has its turn at the k-th attempt, counted from 1."""
        for name, times in self.rules:
            if not times or attempt <= times:
                return name
            attempt -= times
        return None


def without_marks(text: str) -> str:
    """The text, for an echo."""
    return MARK.sub("", text).strip() if "@@" in text else text


def drawn(shares: Mapping[str, float], draw: float) -> str | None:
    """Which fault a number between 0 and 1 falls on."""
    for name, share in shares.items():
        if draw < share:
            return name
        draw -= share
    return None
