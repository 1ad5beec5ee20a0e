"""A whole reply: bytes in, a judged `Completion` out.

Judged: tool calls are an answer without content; a refusal or a content filter is `ContentRefused`, which keeps what
was paid for; other empty content is an empty string. With several choices it fails only where no choice has content.
What is not known here is ignored, but kept: choices that say more than content and finish reason stay as raw JSON.

What cannot be read at all is an `UnreadableReply`, whatever is wrong with it: nothing else may leave this room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batchchat.errors import ContentRefused, UnreadableReply
from batchchat.records import Completion, Usage
from batchchat.wire.errors import error_in
from batchchat.wire.headers import rate_limits, request_id
from batchchat.wire.json import dump, load
from batchchat.wire.wording import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_CHOICES = "no_choices"
_MAX_TOKENS = (1 << 63) - 1
_CALLS = ("tool_calls", "function_call")
# What a choice and its message may say without saying more than `contents` and `finish_reasons`.
_PLAIN_CHOICE = frozenset({"index", "message", "finish_reason"})
_PLAIN_MESSAGE = frozenset({"role", "content"})


class Envelope(NamedTuple):
    """What is known of an answer beside its body."""

    headers: Mapping[str, str]
    latency: float = 0.0
    first_token: float | None = None
    hide: Sequence[str] = ()


def parse_reply(
    body: bytes, headers: Mapping[str, str], *, latency: float = 0.0, hide: Sequence[str] = ()
) -> Completion:
    """The completion in the body of a 200.

    Raises:
        ContentRefused: the model or a filter refused; `.completion` has what came.
        UnreadableReply: it is cut, no JSON, or has no choices.
        RequestError, JobStopped: it is an error object that stands for a known error.
    """
    envelope = Envelope(headers=headers, latency=latency, hide=hide)
    try:
        reply = load(body)
    except ValueError as error:
        raise unreadable(_complaint(body, error, hide), envelope) from None
    if not isinstance(reply, dict):
        raise unreadable("the answer is JSON, but no chat completion", envelope)
    return judge(reply, envelope)


def _complaint(body: bytes, error: ValueError, hide: Sequence[str]) -> str:
    if not body.strip():
        return "the answer is empty"
    begin = body[:4096].decode("utf-8", errors="replace")
    if begin.lstrip()[:1] == "<":
        return f"the answer is a page, not JSON: {quoted(begin, hide)}"
    return f"the answer is no JSON, or was cut ({quoted(str(error), hide)}): {quoted(begin[:80], hide)}"


def unreadable(message: str, envelope: Envelope, *, code: str | None = None) -> UnreadableReply:
    """The error for an answer that may have been paid for and is of no use."""
    return UnreadableReply(
        message,
        status=200,
        code=code,
        billed=True,
        limits=rate_limits(envelope.headers),
        request_id=request_id(envelope.headers),
    )


def judge(reply: Mapping[str, Any], envelope: Envelope) -> Completion:
    """The completion that a reply object is, or the error that it is instead."""
    if reply.get("error"):
        raise error_in(reply["error"], envelope.headers, hide=envelope.hide)
    choices = _choices(reply, envelope)
    if len(choices) == 1:  # what nearly every row is
        choice, message = choices[0], _message(choices[0], envelope)
        reason = choice.get("finish_reason")
        reasons: tuple[str | None, ...] = (reason if isinstance(reason, str) else None,)
        contents: tuple[str | None, ...] = (_content(message, reason),)
        messages = [message]
        plain = _is_plain(0, choice, message)
    else:
        messages = [_message(choice, envelope) for choice in choices]
        reasons = tuple(_string(choice.get("finish_reason")) for choice in choices)
        contents = tuple(map(_content, messages, reasons))
        plain = all(map(_is_plain, range(len(choices)), choices, messages))
    completion = Completion(
        contents=contents,
        finish_reasons=reasons,
        usage=usage_of(reply.get("usage")),
        message=None if plain else _raw(choices),
        model=_string(reply.get("model")),
        request_id=request_id(envelope.headers) or _string(reply.get("id")),
        latency=envelope.latency,
        first_token=envelope.first_token,
        limits=rate_limits(envelope.headers),
    )
    if None in contents:
        _refuse(completion, messages, envelope)
    return completion


def _choices(reply: Mapping[str, Any], envelope: Envelope) -> list[dict[str, Any]]:
    """The choices by their index."""
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices:
        raise unreadable("the answer has no choices", envelope, code=NO_CHOICES)
    for choice in choices:
        if not isinstance(choice, dict):
            raise unreadable("the answer's choices are no objects", envelope)
    if "error" in choices[0] and all(choice.get("error") for choice in choices):
        raise error_in(choices[0]["error"], envelope.headers, hide=envelope.hide)
    return choices if len(choices) == 1 else sorted(choices, key=_index)


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _message(choice: Mapping[str, Any], envelope: Envelope) -> Mapping[str, Any]:
    message = choice.get("message")
    if not isinstance(message, dict):
        raise unreadable("the answer has a choice without a message", envelope)
    return message


def _content(message: Mapping[str, Any], reason: str | None) -> str | None:
    """The content of one choice; None where it was refused, or where there are tool calls instead."""
    content = message.get("content")
    if not content or not isinstance(content, str):
        content = _joined(content)
    if content:
        return content
    if any(message.get(name) for name in _CALLS):
        return None
    return None if message.get("refusal") or reason == "content_filter" else ""


def _joined(content: Any) -> str:
    """The text of content that came in parts."""
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def _refuse(completion: Completion, messages: Sequence[Mapping[str, Any]], envelope: Envelope) -> None:
    """Raise where every choice was refused."""
    if any(content is not None for content in completion.contents):
        return
    if any(message.get(name) for message in messages for name in _CALLS):
        return
    said = next((text for message in messages if (text := _string(message.get("refusal")))), None)
    facts = {"status": 200, "limits": completion.limits, "request_id": completion.request_id}
    if said:
        raise ContentRefused(quoted(said, envelope.hide), completion=completion, type="refusal", **facts)
    raise ContentRefused("the content filter left nothing of the answer", completion=completion, **facts)


def _is_plain(position: int, choice: Mapping[str, Any], message: Mapping[str, Any]) -> bool:
    """Whether a choice says no more than its content and finish reason."""
    for name, value in message.items():
        if value and name not in _PLAIN_MESSAGE:
            return False
    for name, value in choice.items():
        if value and name not in _PLAIN_CHOICE:
            return False
    if choice.get("index", position) != position or (message.get("role") or "assistant") != "assistant":
        return False
    content = message.get("content")
    return content is None or isinstance(content, str)


def _raw(choices: Sequence[Mapping[str, Any]]) -> str | None:
    try:
        return dump(list(choices)).decode()
    except ValueError:  # nested beyond what can be written again: the answer itself is there
        return None


def usage_of(usage: Any) -> Usage:
    """The tokens that a `usage` object counts; None for each that it does not."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    prompt = prompt if isinstance(prompt, dict) else {}
    completion = completion if isinstance(completion, dict) else {}
    cached = prompt.get("cached_tokens")
    return Usage(
        prompt_tokens=_tokens(usage.get("prompt_tokens")),
        completion_tokens=_tokens(usage.get("completion_tokens")),
        total_tokens=_tokens(usage.get("total_tokens")),
        cached_tokens=_tokens(usage.get("prompt_cache_hit_tokens") if cached is None else cached),  # DeepSeek's name
        reasoning_tokens=_tokens(completion.get("reasoning_tokens")),
        cache_write_tokens=_tokens(prompt.get("cache_write_tokens")),
    )


def _tokens(value: Any) -> int | None:
    if value is None:
        return None
    if type(value) is int:
        return value if 0 <= value <= _MAX_TOKENS else None
    if isinstance(value, float) and value.is_integer() and 0 <= value <= 1 << 53:
        return int(value)
    return None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def parse_models(body: bytes) -> list[str]:
    """The names in the answer of `/models`, in its order.

    Raises:
        UnreadableReply: it is no list of models.
    """
    try:
        listed = load(body)
    except ValueError:
        listed = None
    data = listed.get("data", listed.get("models")) if isinstance(listed, dict) else listed
    if not isinstance(data, list):
        raise UnreadableReply("the endpoint's list of models cannot be read", status=200)
    names = (item.get("id") or item.get("name") if isinstance(item, dict) else item for item in data)
    return [name for name in names if isinstance(name, str)]
