"""Chat completions as the endpoint writes them: one object, or a stream of chunks.

What comes in: what each choice says. What goes out: bytes. It does not know why a choice says what it says.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DONE = b"[DONE]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One answer to one request.

    Attributes:
        tokens: the content, cut into tokens; None for a message without content (null).
        finish_reason: stop, length, tool_calls or content_filter.
        refusal: what the model says in place of an answer.
        tool_calls: as the API has them.
        logprobs: one entry for each token, as the API has them; None where nobody asked.
    """

    tokens: Sequence[str] | None
    finish_reason: str
    refusal: str | None = None
    tool_calls: Sequence[dict[str, Any]] | None = None
    logprobs: Sequence[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """All that is answered to one request; `usage` is None for a server that tells none."""

    id: str
    model: str
    choices: Sequence[Choice]
    usage: dict[str, Any] | None
    service_tier: str = "default"

    def body(self) -> bytes:
        """The answer as one object."""
        whole = self._envelope("chat.completion", [_whole(k, choice) for k, choice in enumerate(self.choices)])
        whole["service_tier"] = self.service_tier
        if self.usage is not None:
            whole["usage"] = self.usage
        return encode(whole)

    def chunks(self, *, include_usage: bool, opening: bool = False) -> Iterator[bytes]:
        """The answer as the data of an event stream, without `[DONE]`; choices are interleaved.

        Args:
            include_usage: the last chunk has the usage and no choices, the others a usage of null.
            opening: a first chunk without choices, as Azure sends it.
        """
        usage = {"usage": None} if include_usage else {}
        if opening:
            yield encode(self._envelope("", []) | {"prompt_filter_results": [{"prompt_index": 0}]} | usage)
        for piece in self._pieces():
            yield encode(self._envelope("chat.completion.chunk", [piece]) | usage)
        if include_usage and self.usage is not None:
            yield encode(self._envelope("chat.completion.chunk", []) | {"usage": self.usage})

    def _envelope(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": int(time.time()),
            "model": self.model,
            "system_fingerprint": "fp_batchchat",
            "choices": choices,
        }

    def _pieces(self) -> Iterator[dict[str, Any]]:
        for k, choice in enumerate(self.choices):
            yield _piece(k, {"role": "assistant", "content": "" if choice.tokens is not None else None})
        for at in range(max((len(choice.tokens or ()) for choice in self.choices), default=0)):
            for k, choice in enumerate(self.choices):
                if choice.tokens is not None and at < len(choice.tokens):
                    entry = choice.logprobs[at : at + 1] if choice.logprobs is not None else None
                    yield _piece(k, {"content": choice.tokens[at]}, logprobs=entry)
        for k, choice in enumerate(self.choices):
            if choice.refusal is not None:
                yield _piece(k, {"refusal": choice.refusal})
            for at, call in enumerate(choice.tool_calls or ()):
                yield from _call_pieces(k, at, call)
        for k, choice in enumerate(self.choices):
            yield _piece(k, {}, finish_reason=choice.finish_reason)


def _whole(index: int, choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if choice.tokens is None else "".join(choice.tokens),
        "refusal": choice.refusal,
        "annotations": [],
    }
    if choice.tool_calls:
        message["tool_calls"] = list(choice.tool_calls)
    logprobs = None if choice.logprobs is None else {"content": list(choice.logprobs), "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish_reason}


def _piece(
    index: int,
    delta: dict[str, Any],
    *,
    finish_reason: str | None = None,
    logprobs: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    entry = None if logprobs is None else {"content": list(logprobs), "refusal": None}
    return {"index": index, "delta": delta, "logprobs": entry, "finish_reason": finish_reason}


def _call_pieces(index: int, at: int, call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A tool call comes as its name, then its arguments in two pieces."""
    arguments = call["function"]["arguments"]
    first = {"index": at, "id": call["id"], "type": "function"}
    yield _piece(index, {"tool_calls": [first | {"function": {"name": call["function"]["name"], "arguments": ""}}]})
    half = len(arguments) // 2
    for part in (arguments[:half], arguments[half:]):
        yield _piece(index, {"tool_calls": [{"index": at, "function": {"arguments": part}}]})


_plain = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_escaped = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """JSON with text as it is; escaped where it holds a lone surrogate, which UTF-8 cannot carry."""
    try:
        return _plain(value).encode()
    except UnicodeEncodeError:
        return _escaped(value).encode()
