"""Answers that are errors: status, headers and body in, one of our errors out; nothing is raised here.

Each question ("is this about money?", "is it this one request that is too large?") is answered in one function, from
the API's `code` and `type` first, and from well-known wording only where those say nothing. Sources: the table of
errors in the API's documentation, and the dialects that compatible servers and gateways are known to speak.

It does not know rows, pools or retries. What an endpoint says is quoted, shortened, and never with a key in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from batchchat.errors import (
    BadRequest,
    BatchchatError,
    ContentRefused,
    ContextTooLong,
    Forbidden,
    JobStopped,
    KeyRefused,
    ModelMissing,
    Permanent,
    QuotaExhausted,
    RateLimited,
    RequestError,
    RequestTooLarge,
    Retryable,
    ServerError,
    UnreadableReply,
)
from batchchat.wire.headers import duration, rate_limits, request_id, retry_after
from batchchat.wire.json import load
from batchchat.wire.wording import hidden, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BILLING = frozenset({
    "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
    "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "enforced_spend_limit_reached",
    "billing_error", "billing_hard_limit_reached", "billing_not_active", "account_deactivated", "insufficient_balance",
    "insufficient_credits", "insufficient_user_quota", "payment_required", "quota_exceeded",
})  # fmt: skip
_MODEL = frozenset({"model_not_found", "deploymentnotfound", "invalid_model", "model_not_available", "unknown_model"})
_CONTEXT = frozenset({"context_length_exceeded", "context_window_exceeded", "exceed_context_size_error"})
_FILTER = frozenset({
    "content_filter", "content_policy_violation", "responsibleaipolicyviolation", "content_filtered",
    "data_inspection_failed", "moderation_blocked",
})  # fmt: skip
_OVERLOADED = frozenset({"overloaded_error", "server_is_overloaded", "slow_down", "engine_overloaded"})
_TOO_LARGE = frozenset({"request_too_large", "tokens_per_request_exceeded"})

# The status that a word would have come with: for error objects that come in a 200 or in mid-stream.
_STATUS_OF = {
    **dict.fromkeys(_BILLING, 402),
    **dict.fromkeys(_MODEL, 404),
    **dict.fromkeys(_CONTEXT | _FILTER | {"invalid_request_error", "bad_request", "badrequesterror"}, 400),
    **dict.fromkeys(_OVERLOADED, 529),
    **dict.fromkeys(("invalid_api_key", "authentication_error", "invalid_authentication", "unauthorized"), 401),
    **dict.fromkeys(("permission_error", "permission_denied", "forbidden"), 403),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "resource_exhausted", "too_many_requests"), 429),
    **dict.fromkeys(("server_error", "api_error", "internal_server_error", "internal_error", "unavailable"), 500),
    **dict.fromkeys(("service_unavailable", "timeout", "timeout_error", "bad_gateway"), 500),
}

_NO_MONEY = re.compile(
    r"exceeded your current quota|check your plan and billing|insufficient (?:account )?balance|"
    r"credit balance is too low|insufficient (?:credits|funds|quota)|billing hard limit|spend(?:ing)? limit",
    re.IGNORECASE,
)
_WAIT = re.compile(r"(?:try again|retry)\b[^.\d]{0,24}?\b(?:in|after) ((?:\d+(?:\.\d+)?\s?[a-zµ]*)+)", re.IGNORECASE)
_UNIT = re.compile(r"\s?(milliseconds?|seconds?|secs?|minutes?|mins?|hours?|days?)\b", re.IGNORECASE)
_LARGE = re.compile(r"request too large|too large for|request is larger than", re.IGNORECASE)
_LIMIT = re.compile(r"limit:?\s*([\d,]+)", re.IGNORECASE)
_REQUESTED = re.compile(r"requested:?\s*~?([\d,]+)", re.IGNORECASE)
_LONG = re.compile(
    r"maximum context length|context (?:length|window|size)|prompt is too long|too many (?:input )?tokens|"
    r"(?:prompt|input) (?:tokens|length).{0,40}exceed|exceeds the (?:available|maximum) (?:context|number of tokens)",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(
    r"\b(?:model|deployment)\b.{0,120}?(?:not found|does not exist|doesn't exist|is not available|"
    r"do(?:es)? not have access|try pulling)|no such model|unknown model|no endpoints found for|"
    r"no (?:healthy )?deployments? (?:available|found)",
    re.IGNORECASE | re.DOTALL,
)
_BAD_NAME = re.compile(r"is not a valid model|invalid model name", re.IGNORECASE)
_NO_PATH = re.compile(
    r"unknown (?:request )?url|invalid url|^\W*not found\W*$|resource not found|no route|unsupported path|"
    r"page not found|cannot post|path .{0,80}not (?:found|exist)|no such (?:path|page|route|endpoint)|"
    r"file not found",
    re.IGNORECASE,
)

_LATER = frozenset({408, 409, 425})
_MAYBE_BILLED = frozenset({504, 524, 598})


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an error answer says of itself.

    Attributes:
        message: shortened, without keys.
        type, code, param: of the error object, as they came; None where it gave none.
        words: every code and type in it, in lower case, for looking up.
        structured: whether there was an error object at all.
    """

    message: str
    type: str | None = None
    code: str | None = None
    param: str | None = None
    words: frozenset[str] = frozenset()
    structured: bool = False


def error_from(
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    hide: Sequence[str] = (),
    url: str = "",
    now: float | None = None,
) -> RequestError | JobStopped:
    """The error that an answer other than a 200 is.

    Args:
        status: HTTP status.
        headers: of the answer.
        body: whatever came with it.
        hide: texts (keys) that must not be in a message, whatever the endpoint echoes.
        url: that was asked, without a secret, for messages.
        now: Unix time, used where the answer has no `Date`.
    """
    problem = read_problem(body, status=status, hide=hide)
    wait = retry_after(headers, now)
    kind = _kind(status, problem, wait)
    obeyed = _obey(kind, headers.get("x-should-retry"))
    if issubclass(obeyed, JobStopped):
        return obeyed(_sentence(obeyed, status, problem, url))
    if wait is None and obeyed is RateLimited:
        wait = _wait_in_words(problem.message)
    assert issubclass(obeyed, RequestError)
    return obeyed(
        problem.message,
        status=status,
        type=problem.type or _own_name(kind, obeyed),
        code=problem.code,
        param=problem.param,
        retry_after=wait,
        limits=rate_limits(headers, now=now),
        billed=status in _MAYBE_BILLED,
        request_id=request_id(headers),
    )


def error_in(
    found: Any, headers: Mapping[str, str], *, hide: Sequence[str] = (), begun: bool = False
) -> RequestError | JobStopped:
    """The error that an error object in a 200, or in the middle of a stream, is.

    It is judged as if it had come with the status that its code stands for; where its code stands for none, the answer
    is merely unreadable, and worth another attempt.

    Args:
        found: the error object.
        headers: of the answer.
        hide: texts that must not be in a message.
        begun: whether a part of an answer had come: then it may have been billed, whatever it is.
    """
    problem = problem_in(found, hide=hide)
    wait = retry_after(headers)
    status = _status_meant(problem)
    kind = UnreadableReply if status is None else _kind(status, problem, wait)
    if issubclass(kind, JobStopped):
        return kind(_sentence(kind, 200, problem, ""))
    assert issubclass(kind, RequestError)
    if kind is RateLimited and wait is None:
        wait = _wait_in_words(problem.message)
    message = problem.message if status is not None else f"an error instead of an answer: {problem.message}"
    return kind(
        message,
        status=200,
        type=problem.type,
        code=problem.code,
        param=problem.param,
        retry_after=wait,
        limits=rate_limits(headers),
        billed=begun or kind in {UnreadableReply, ServerError},
        request_id=request_id(headers),
    )


def _own_name(kind: type[BatchchatError], obeyed: type[RequestError]) -> str | None:
    """What to call an error that the endpoint did not name, and that `x-should-retry` made another kind of."""
    return kind.kind if kind is not obeyed and issubclass(kind, RequestError) else None


def _status_meant(problem: Problem) -> int | None:
    if problem.code and problem.code.isdigit() and 400 <= int(problem.code[:4]) <= 599:
        return int(problem.code[:4])
    meant = [_STATUS_OF[word] for word in problem.words if word in _STATUS_OF]
    if not meant and problem.structured and _NO_MONEY.search(problem.message):
        return 402
    # `invalid_request_error` is the type of many codes that say more: the code's status counts.
    return min(meant, key=lambda status: (status == 400, status), default=None)


def _kind(status: int, problem: Problem, wait: float | None) -> type[BatchchatError]:  # noqa: PLR0911 - a table
    """Which of our errors it is."""
    if status == 401:
        return KeyRefused
    if _is_billing(status, problem, wait):
        return QuotaExhausted
    if _is_missing(status, problem):
        return ModelMissing
    if status == 429:
        return RequestTooLarge if _is_too_large(problem) else RateLimited
    if status == 529 or (status == 503 and (wait is not None or problem.words & _OVERLOADED)):
        return RateLimited
    if status >= 500 or status in _LATER:
        return ServerError
    if 400 <= status < 500:
        return _row_kind(status, problem)
    return BadRequest


def _row_kind(status: int, problem: Problem) -> type[BatchchatError]:
    if problem.words & _FILTER:
        return ContentRefused
    if problem.words & _CONTEXT or (status in {400, 403, 413, 422} and _LONG.search(problem.message)):
        return ContextTooLong
    return Forbidden if status == 403 else BadRequest


def _is_billing(status: int, problem: Problem, wait: float | None) -> bool:
    """Whether the account has run dry.

    Gemini's rate limits use the words of OpenAI's spent quota, but say when to come back: then it is a rate.
    """
    if status == 402:
        return True
    if problem.words & _BILLING:
        return "quota_exceeded" not in problem.words or (wait is None and _wait_in_words(problem.message) is None)
    if status not in {400, 403, 429} or "rate_limit_exceeded" in problem.words:
        return False
    return bool(_NO_MONEY.search(problem.message)) and wait is None and _wait_in_words(problem.message) is None


def _is_missing(status: int, problem: Problem) -> bool:
    """Whether the model is not there, or nothing at all is at this path."""
    if status in {400, 403, 404} and (problem.words & _MODEL or _BAD_NAME.search(problem.message)):
        return True
    if status != 404:
        return False
    if not problem.structured:
        return True
    return bool(_NO_MODEL.search(problem.message) or _NO_PATH.search(problem.message))


def _is_too_large(problem: Problem) -> bool:
    """Whether this one request is above the limit: waiting will not help."""
    if problem.words & _TOO_LARGE or _LARGE.search(problem.message):
        return True
    limit, requested = _LIMIT.search(problem.message), _REQUESTED.search(problem.message)
    if limit is None or requested is None:
        return False
    return _integer(requested[1]) > _integer(limit[1])


def _integer(text: str) -> int:
    return int(text.replace(",", "")[:18] or "0")


def _wait_in_words(message: str) -> float | None:
    """Seconds in "Please try again in 6m0s" or "retry after 20 seconds", which some say instead of a header."""
    match = _WAIT.search(message)
    if match is None:
        return None
    text = _UNIT.sub(lambda unit: "ms" if unit[1].lower().startswith("mil") else unit[1][0].lower(), match[1])
    return duration(text.replace(" ", ""))


def _obey(kind: type[BatchchatError], should_retry: str | None) -> type[BatchchatError]:
    """`x-should-retry` decides about the row; what stops the job (key, money, model) stops it all the same."""
    if should_retry is None or issubclass(kind, JobStopped):
        return kind
    said = should_retry.strip().lower()
    if said == "true" and issubclass(kind, Permanent):
        return ServerError
    if said == "false" and issubclass(kind, Retryable):
        return BadRequest
    return kind


def _sentence(kind: type[JobStopped], status: int, problem: Problem, url: str) -> str:
    """What is said to a person when the job stops."""
    what = {
        KeyRefused: "the endpoint refuses the key",
        QuotaExhausted: "the account has no money or quota left",
        ModelMissing: "the endpoint does not have this model"
        if problem.structured and not _NO_PATH.search(problem.message)
        else f"nothing is at {url or 'this path of the endpoint'}; check the base URL (most end in /v1)",
    }[kind]
    code = f", {problem.code}" if problem.code else ""
    return f"{what} (HTTP {status}{code}): {problem.message}"


def read_problem(body: bytes, *, status: int, hide: Sequence[str] = ()) -> Problem:
    """What the body of an error answer says."""
    try:
        found = load(body)
    except ValueError:
        found = body[: 1 << 16].decode("utf-8", errors="replace")
    if isinstance(found, list) and found and isinstance(found[0], dict):
        found = found[0]  # Gemini wraps its error object in a list
    if isinstance(found, dict):
        inner = next((found[name] for name in ("error", "detail", "errors") if found.get(name)), found)
        problem = problem_in(inner, hide=hide, around=found)
        if problem.message:
            return problem
    text = found if isinstance(found, str) else ""
    return Problem(message=quoted(text, hide) or _phrase(status))


def problem_in(found: Any, *, hide: Sequence[str] = (), around: Mapping[str, Any] | None = None) -> Problem:
    """What an error object says, in any of the shapes that are about."""
    if not isinstance(found, dict):
        text = "; ".join(map(_detail, found)) if isinstance(found, list) else str(found)
        structured = around is None or "error" in around
        return Problem(message=quoted(text, hide), structured=structured)
    nested = [
        found,
        *(part for name in ("innererror", "details", "metadata") if isinstance(part := found.get(name), dict)),
    ]
    words = {
        str(part[name]).lower()
        for part in nested
        for name in ("code", "type", "error_code", "status")
        if isinstance(part.get(name), str | int)
    }
    message = next((found[name] for name in ("message", "msg", "error", "detail") if found.get(name)), None)
    said = message if isinstance(message, str) else "" if message is None else str(message)
    code = found.get("code", found.get("error_code"))
    return Problem(
        message=quoted(said, hide) or _named(found, hide),
        type=_text(found.get("type"), hide),
        code=_text(code, hide),
        param=_text(found.get("param"), hide),
        words=frozenset(words),
        structured=True,
    )


def _named(found: Mapping[str, Any], hide: Sequence[str]) -> str:
    """A message for an error object that has none."""
    return _text(found.get("code"), hide) or _text(found.get("type"), hide) or ""


def _detail(item: Any) -> str:
    """One finding of a validation error, as FastAPI servers list them."""
    if not isinstance(item, dict):
        return str(item)
    place = item.get("loc")
    where = ".".join(str(part) for part in place if part != "body") if isinstance(place, list) else ""
    message = str(item.get("msg") or item.get("message") or item.get("type") or "")
    return f"{where}: {message}" if where else message


def _text(value: Any, hide: Sequence[str]) -> str | None:
    if value is None or isinstance(value, dict | list) or value == "":
        return None
    return hidden(str(value)[:200], hide)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "no message"
