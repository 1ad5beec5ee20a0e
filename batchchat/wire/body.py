"""The body of a request: fields in, canonical JSON and its fingerprint out.

Canonical: `model` and `messages` first, then the other fields by name; what is not set is not sent; names inside a
field keep their order, since the order of a JSON schema's properties is the order in which a model fills them.
`stream` and `stream_options` are not in it: they say how an answer travels, not what was asked.

The key is a hash of these bytes. Whatever changes them makes everybody pay again, so a golden file guards them.
"""

from __future__ import annotations

from hashlib import blake2b
from operator import index
from typing import TYPE_CHECKING, Any

from batchchat.errors import BadRow
from batchchat.records import ChatRequest
from batchchat.wire.json import dump

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.records import Dialect

_FIRST = ("model", "messages")
_NOT_ASKED = frozenset({"model", "messages", "stream", "stream_options"})
_STREAM = b'"stream":true'
_STREAM_WITH_USAGE = b'"stream":true,"stream_options":{"include_usage":true}'


def encode(fields: Mapping[str, Any]) -> bytes:
    """The canonical JSON of a request.

    Raises:
        BadRow: a field cannot be said in JSON.
    """
    asked = {name: fields[name] for name in _FIRST if _is_set(fields.get(name))}
    for name in sorted(fields):
        if name not in _NOT_ASKED and _is_set(fields[name]):
            asked[name] = fields[name]
    try:
        return dump(asked)
    except ValueError as error:
        raise BadRow(_blame(asked, error)) from None


def _is_set(value: Any) -> bool:
    """Whether a field is set: pandas says "missing" with NaN, which is not equal to itself."""
    return value is not None and not (isinstance(value, float) and value != value)  # noqa: PLR0124 - NaN


def _blame(fields: Mapping[str, Any], error: ValueError) -> str:
    for name, value in fields.items():
        try:
            dump(value)
        except ValueError as found:
            return f"{name!r} makes no request: {found}"
    return f"the request cannot be made: {error}"


def request_key(body: bytes) -> bytes:
    """The 16 bytes by which an answer is found again."""
    return blake2b(body, digest_size=16, person=b"batchchat.req.1").digest()


def make_request(fields: Mapping[str, Any]) -> ChatRequest:
    """The request that these fields ask for.

    Raises:
        BadRow: a field cannot be said in JSON.
    """
    body = encode(fields)
    limit = fields.get("max_completion_tokens")
    return ChatRequest(
        body=body,
        key=request_key(body),
        choices=_count(fields.get("n")) or 1,
        completion_limit=_count(fields.get("max_tokens") if limit is None else limit),
    )


class RequestShape:
    """The requests of one job: all that does not change from row to row is encoded once.

    Args:
        model: the model's name.
        parameters: every other field that is set, without `messages` and `stream`.

    Raises:
        BadRow: a field cannot be said in JSON.
    """

    __slots__ = ("_choices", "_end", "_limit", "_start")

    def __init__(self, *, model: str, parameters: Mapping[str, Any]) -> None:
        self._start = b"".join((b'{"model":', dump(model), b',"messages":'))
        rest = encode({name: value for name, value in parameters.items() if name not in _FIRST})
        self._end = b"}" if rest == b"{}" else b"," + rest[1:]
        fixed = make_request({**parameters, "model": model})
        self._choices = fixed.choices
        self._limit = fixed.completion_limit

    def request(self, messages: list[dict[str, Any]]) -> ChatRequest:
        """The request with these messages: the same as `make_request` of all fields.

        Raises:
            BadRow: the messages cannot be said in JSON.
        """
        try:
            body = b"".join((self._start, dump(messages), self._end))
        except ValueError as error:
            raise BadRow(f"'messages' makes no request: {error}") from None
        return ChatRequest(body=body, key=request_key(body), choices=self._choices, completion_limit=self._limit)


def _count(value: Any) -> int | None:
    try:
        return index(value)
    except TypeError:
        whole = isinstance(value, float) and value.is_integer()
        return int(value) if whole else None


def for_endpoint(request: ChatRequest, *, stream: bool, dialect: Dialect) -> bytes:
    """What is sent: the canonical body, and what only the way of the answer needs, put in without encoding it again."""
    if not stream:
        return request.body
    added = _STREAM_WITH_USAGE if dialect.stream_options else _STREAM
    comma = b"," if len(request.body) > len(b"{}") else b""
    return b"".join((request.body[:-1], comma, added, b"}"))
