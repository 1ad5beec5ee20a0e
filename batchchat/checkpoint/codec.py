"""Outcomes as rows of the checkpoint, and back: as result columns, and as what a resume needs to know of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from batchchat.checkpoint import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.errors import RequestError
    from batchchat.records import Outcome

State = Literal["answered", "length", "empty", "failed"]
_AT = {name: at for at, name in enumerate(schema.OUTCOME_COLUMNS)}


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
        None if done is None else done.latency,
        None if done is None else done.first_token,
        outcome.at,
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
    return json.dumps({name: value for name, value in facts.items() if value is not None}, ensure_ascii=False)


def stored(row: Sequence[Any]) -> Stored:
    """What a resume needs of a row of `schema.OUTCOME_COLUMNS`."""
    return Stored(key=row[_AT["key"]], state=_state(row))


def values(row: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """The named result columns of a row of `schema.OUTCOME_COLUMNS`; a failed row has no completion."""
    return [_READERS[name](row) if name in _READERS else row[_AT[name]] for name in names]


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


def _row(row: Sequence[Any]) -> int:
    return int(row[_AT["id"]]) & schema.ROW_MASK


_READERS = {"completion": _completion, "finish_reason": _finish_reason, "error": _error, "row": _row}
