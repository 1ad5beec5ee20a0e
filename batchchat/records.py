"""What travels through the house: frozen, slotted records without I/O.

Row numbers count from 1, the first data row. Tokens are counts; times are seconds; money is `Decimal` US dollars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchchat.errors import RequestError


class Secret:
    """A key or token that masks itself wherever it is printed, logged or formatted.

    `reveal()` is the one way to the text; it is called where the header is built and nowhere else.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Consecutive rows of a table, by column.

    Attributes:
        start: number of the first row, from 1.
        size: how many rows.
        columns: for each column that was asked for, a list of `size` Python values; None is null.
    """

    start: int
    size: int
    columns: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that goes with a request and is put into its body when that is sent.

    Attributes:
        mark: what stands for it in the body until then: its type and the fingerprint of its bytes.
        mime: its type, by its content.
        size, mtime_ns: of the file when it was looked at.
        path: of the file; None where `data` has the bytes.
    """

    mark: str
    mime: str
    size: int
    mtime_ns: int = 0
    path: str | None = None
    data: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One Chat Completions request, before it is adapted to an endpoint's dialect.

    Attributes:
        body: its canonical JSON, UTF-8, without `stream`: what the key is a hash of.
        key: 16 bytes, the fingerprint of `body`.
        choices: `n`, how many choices are asked for.
        completion_limit: `max_completion_tokens` or `max_tokens`, None where neither is set.
        images: what is to be put into the body when it is sent; their marks stand there.
    """

    body: bytes
    key: bytes
    choices: int = 1
    completion_limit: int | None = None
    images: tuple[Image, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How an endpoint's own way of the same wire differs. It changes what is sent, never a request's key.

    Attributes:
        stream_options: whether `stream_options` is understood (old Azure versions refuse it; usage is then unknown).
    """

    stream_options: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests go. Its repr shows no secret.

    Attributes:
        base_url: as `wire.check_url` gives it; `/chat/completions` is put after its path, before its query.
        key: sent as `Authorization: Bearer`, or as `api-key` to Azure; None: no key is sent.
        headers: more headers, as they are sent; a `Secret` goes to this origin only, as the key does.
        query: more parameters of the query.
        azure: whether this is Azure: `api-key` header, and `/openai/deployments/DEPLOYMENT` after a bare host.
        deployment: Azure's deployment, None where `base_url` names it already.
        api_version: Azure's `api-version`, kept beside the query that `base_url` has.
        dialect: what differs from OpenAI's own wire.
    """

    base_url: str
    key: Secret | None = None
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    query: Mapping[str, str | Secret] = field(default_factory=dict)
    azure: bool = False
    deployment: str | None = None
    api_version: str | None = None
    dialect: Dialect = field(default_factory=Dialect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A row that is to be sent: its number and its request, or why it cannot be one."""

    row: int
    request: ChatRequest | None
    error: RequestError | None = None
    key: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the API counted them. `cached` and `cache_write` are parts of `prompt`, `reasoning` of `completion`.

    They are never added. Source: the `usage` object of a chat completion. None where the API gave no number.
    """

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What the rate-limit headers of one answer said. Times are seconds from the answer; None: not said.

    Headers name no window, and `reset` is the time until the bucket is full, not a time to wait.
    """

    requests_limit: float | None = None
    requests_remaining: float | None = None
    requests_reset: float | None = None
    tokens_limit: float | None = None
    tokens_remaining: float | None = None
    tokens_reset: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A whole answer to one request.

    Attributes:
        contents: the content of each choice, by its index; None where it has none (tool calls, a refusal).
        finish_reasons: as the API gave them, one a choice.
        usage: tokens, as far as the API said.
        message: the raw choices as JSON (a list), None where they say no more than `contents` and `finish_reasons`.
        model: the model that answered, as it calls itself.
        request_id: the endpoint's id.
        latency: seconds from the start of the request to the last byte of the answer.
        first_token: seconds to the first chunk with content; None without `--stream`.
        limits: the answer's rate-limit headers.
    """

    contents: tuple[str | None, ...]
    finish_reasons: tuple[str | None, ...]
    usage: Usage
    message: str | None = None
    model: str | None = None
    request_id: str | None = None
    latency: float = 0.0
    first_token: float | None = None
    limits: RateLimits | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What it took to settle one row.

    Attributes:
        sent: HTTP requests, the last one included.
        paid_for_nothing: attempts that timed out, were cut or unreadable: they may have been billed.
    """

    sent: int = 1
    paid_for_nothing: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one row was settled: answered (no error) or failed (an error, perhaps with a completion that was paid for).

    Attributes:
        row: the row's number; key: its request's key.
        completion: what was answered, None where nothing was.
        error: the row's error, None where it succeeded.
        at: Unix time at which it was settled.
    """

    row: int
    key: bytes
    completion: Completion | None = None
    error: RequestError | None = None
    attempts: Attempts = field(default_factory=Attempts)
    at: float = 0.0


ColumnKind = Literal["string", "strings", "int64", "float64"]

# Result columns that are written on request, behind the usual ones. Of several choices the texts of a row are a list.
ADDED_COLUMNS: dict[str, ColumnKind] = {
    "request_id": "string",
    "response_model": "string",
    "latency_s": "float64",
    "first_token_s": "float64",
    "attempts": "int64",
    "cached_tokens": "int64",
    "reasoning_tokens": "int64",
    "tool_calls": "string",
    "refusal": "string",
    "logprobs": "string",
    "cost_usd": "float64",
}
# Those of them that each choice has.
ADDED_BY_CHOICE = frozenset({"tool_calls", "refusal", "logprobs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultColumn:
    """A column that is written beside the input: `strings` is a list of strings (a JSON array in CSV)."""

    name: str
    kind: ColumnKind
