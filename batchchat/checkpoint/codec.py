"""Outcomes as rows of the checkpoint, and back: as result columns, and as what a resume needs to know of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from batchchat.checkpoint import schema
from batchchat.wire.surrogates import mend

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchchat.errors import RequestError
    from batchchat.records import Outcome

State = Literal["answered", "length", "empty", "failed"]
_AT = {name: at for at, name in enumerate(schema.OUTCOME_COLUMNS)}
_ANSWERED, _CHOICES = itemgetter(_AT["answered"]), itemgetter(_AT["choices"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What a resume needs to know of a stored outcome: its request's key, and which kind of answer it is."""

    key: bytes
    state: State


def encode(outcome: Outcome, settings: int) -> tuple[Any, ...]:
    """The values of `schema.OUTCOME_COLUMNS` for an outcome."""
    done = outcome.completion
    attempts = outcome.attempts
    head = (schema.outcome_id(settings, outcome.row), outcome.key, int(outcome.error is None))
    tail = (
        None if outcome.error is None else encode_error(outcome.error),
        attempts.sent,
        attempts.paid_for_nothing,
        None if done is None else _microseconds(done.latency),
        None if done is None or done.first_token is None else _microseconds(done.first_token),
        _microseconds(outcome.at),
    )
    if done is None:
        return (*head, *(None,) * 12, *tail)
    usage = done.usage
    choices = len(done.contents)
    return (
        *head,
        choices,
        done.contents[0] if choices == 1 else _list(done.contents),
        done.finish_reasons[0] if choices == 1 else _list(done.finish_reasons),
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.total_tokens,
        usage.cached_tokens,
        usage.reasoning_tokens,
        usage.cache_write_tokens,
        done.message,
        done.model,
        done.request_id,
        *tail,
    )


def encode_error(error: RequestError) -> str:
    """An error as JSON: the text of the `error` column and the facts behind it."""
    facts = {
        "text": str(error),
        "kind": error.kind,
        "status": error.status,
        "type": error.type,
        "code": error.code,
        "param": error.param,
        "request_id": error.request_id,
    }
    return mend(json.dumps({name: value for name, value in facts.items() if value is not None}, ensure_ascii=False))


def stored(row: Sequence[Any]) -> Stored:
    """What a resume needs of a row of `schema.OUTCOME_COLUMNS`."""
    return Stored(key=row[_AT["key"]], state=_state(row))


def columns(rows: Sequence[Sequence[Any] | None], names: Sequence[str]) -> dict[str, list[Any]]:
    """The named result columns of rows of `schema.OUTCOME_COLUMNS`; None for a row that has no outcome.

    Column by column: what is the same for every row is not asked of each.
    """
    whole = [row for row in rows if row is not None]
    plain = all(map(_ANSWERED, whole)) and set(map(_CHOICES, whole)) <= {1}
    found: dict[str, list[Any]] = {}
    for name in names:
        reader = _READERS.get(name)
        if reader is None or (plain and name in _AS_STORED):
            reader = itemgetter(_AT[name])
        values = list(map(reader, whole))
        if len(whole) < len(rows):
            following = iter(values)
            values = [None if row is None else next(following) for row in rows]
        found[name] = values
    return found


def _state(row: Sequence[Any]) -> State:
    if not row[_AT["answered"]]:
        return "failed"
    reasons = row[_AT["finish_reason"]]
    several = row[_AT["choices"]] != 1
    if reasons == "length" or (several and reasons and '"length"' in reasons):
        return "length"
    content = row[_AT["completion"]]
    if content == "" or (several and content and not any(json.loads(content))):
        return "empty"
    return "answered"


def _list(parts: Sequence[str | None]) -> str:
    return json.dumps(list(parts), ensure_ascii=False)


def _completion(row: Sequence[Any]) -> Any:
    if not row[_AT["answered"]]:
        return None
    content = row[_AT["completion"]]
    return json.loads(content) if content is not None and row[_AT["choices"]] != 1 else content


def _finish_reason(row: Sequence[Any]) -> Any:
    reasons = row[_AT["finish_reason"]]
    return json.loads(reasons) if reasons is not None and row[_AT["choices"]] != 1 else reasons


def _error(row: Sequence[Any]) -> str | None:
    text = row[_AT["error"]]
    return None if text is None else str(json.loads(text)["text"])


def _request_id(row: Sequence[Any]) -> str | None:
    """The endpoint's id of the answer, else of the last refusal."""
    request_id, error = row[_AT["request_id"]], row[_AT["error"]]
    if request_id is None and error is not None:
        request_id = json.loads(error).get("request_id")
    return None if request_id is None else str(request_id)


def _settings(row: Sequence[Any]) -> int:
    return int(row[_AT["id"]]) >> schema.SETTINGS_SHIFT


def _row(row: Sequence[Any]) -> int:
    return int(row[_AT["id"]]) & schema.ROW_MASK


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _seconds(name: str) -> Callable[[Sequence[Any]], float | None]:
    at = _AT[f"{name}_us"]
    return lambda row: None if row[at] is None else row[at] / 1_000_000


_READERS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "completion": _completion,
    "finish_reason": _finish_reason,
    "error": _error,
    "request_id": _request_id,
    "settings": _settings,
    "row": _row,
    **{name: _seconds(name) for name in ("latency", "first_token", "at")},
}
# Where every row was answered with one choice, these stand in the checkpoint as they are in the output.
_AS_STORED = frozenset({"completion", "finish_reason", "error", "request_id"})
