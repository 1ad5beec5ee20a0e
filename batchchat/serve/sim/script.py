"""Replies that are given out one after the other before anything else is asked: `POST /sim/script`.

What comes in: a list of objects. What goes out: frozen `Step`s, or a `UsageError` that names the object. Each object:

    {"status": 429, "headers": {"retry-after": "2"}, "body": ..., "delay": 0.5, "drop": true, "rule": "cut", "times": 3}

All are optional. `status` is 200. A `body` that is a text is sent as it is, another is sent as JSON; without one an
error status has its error object and 200 the usual completion. `delay` is in seconds. `drop` resets the connection
before the answer (true) or in the middle of it ("mid"). `rule` is a name of `batchchat.serve.sim.rules` in place of all
these. `times` repeats the step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from batchchat.errors import UsageError
from batchchat.serve.reply import encode
from batchchat.serve.sim.rules import known

NAMES = frozenset({"status", "headers", "body", "delay", "drop", "rule", "times"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One scripted reply."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    delay: float = 0.0
    rule: str | None = None

    @property
    def lines(self) -> str:
        """The headers, without those that frame the body, as lines."""
        framing = {"content-type", "content-length", "transfer-encoding", "connection"}
        return "".join(f"{name}: {value}\r\n" for name, value in self.headers if name.lower() not in framing)

    @property
    def kind(self) -> str:
        """The content type."""
        return next((value for name, value in self.headers if name.lower() == "content-type"), "application/json")


def steps(given: Any) -> list[Step]:
    """The steps of a script.

    Raises:
        UsageError: it is no list of such objects.
    """
    if not isinstance(given, list):
        raise UsageError("a script is a list of replies")
    made: list[Step] = []
    for number, one in enumerate(given, 1):
        if not isinstance(one, dict) or not one.keys() <= NAMES:
            raise UsageError(f"reply {number} of the script is no object of {', '.join(sorted(NAMES))}")
        try:
            made += [_step(one)] * int(one.get("times", 1))
        except (TypeError, ValueError) as error:
            raise UsageError(f"reply {number} of the script: {error}") from None
    return made


def _step(given: dict[str, Any]) -> Step:
    rule = given.get("rule")
    if given.get("drop"):
        rule = "drop-mid" if given["drop"] == "mid" else "drop"
    if rule is not None and not known(str(rule)):
        raise ValueError(f"there is no rule {rule!r}")
    status = int(given.get("status", 200))
    if not 200 <= status <= 999:
        raise ValueError(f"{status} is no status of an answer")
    headers = tuple((str(name), str(value)) for name, value in dict(given.get("headers") or {}).items())
    if any(mark in name + value for name, value in headers for mark in "\r\n"):
        raise ValueError("a header has a line end in it")
    return Step(
        status=status,
        headers=headers,
        body=_bytes(given.get("body")),
        delay=float(given.get("delay") or 0),
        rule=None if rule is None else str(rule),
    )


def _bytes(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else encode(body)
