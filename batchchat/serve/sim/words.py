"""What the simulator says: a completion that is a function of the request and the seed, and of nothing else.

What comes in: an `Ask`, and the name of a rule that changes what is said. What goes out: a `Reply`. The first word of
a completion is a hash of its request, so that an answer can be told from another's; then words, one token each.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

from batchchat.serve.reply import Choice, Reply
from batchchat.serve.sim.example import example
from batchchat.serve.sim.rules import without_marks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.serve.sim.ask import Ask
    from batchchat.serve.sim.settings import Settings

# 64 words: six bits of a hash choose one.
TEXT = """
able acid aged also area army away baby back ball band bank base bath bear beat been beer bell belt best bill bird
blow blue boat body bond bone book boom born boss both bowl bulk burn bush busy call calm came camp card care case
cash cast cell chat chip city club coal coat code cold come cook cool cope copy core cost crew
"""
WORDS = tuple(TEXT.split())
SPACED = tuple(f" {word}" for word in WORDS)
TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]|\s+")
REFUSAL = "I'm sorry, but I can't help with that."


def tokens_of(text: str) -> list[str]:
    """A text cut into what the simulator calls tokens; joined they are the text."""
    return TOKEN.findall(text)


def answer(ask: Ask, settings: Settings, rule: str | None = None) -> Reply:
    """What is answered to a request."""
    choices = [_choice(ask, settings, rule, index) for index in range(ask.choices)]
    completion = sum(len(choice.tokens or ()) + _call_tokens(choice) for choice in choices)
    completion += sum(len(tokens_of(choice.refusal)) for choice in choices if choice.refusal)
    usage = None if rule == "no-usage" else usage_of(ask.prompt_tokens, completion)
    return Reply(
        id=f"chatcmpl-{ask.digest.hex()[:24]}",
        model=ask.body["model"],
        choices=[] if rule == "no-choices" else choices,
        usage=usage,
    )


def usage_of(prompt: int, completion: int) -> dict[str, Any]:
    """Usage, as the API has it."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choice(ask: Ask, settings: Settings, rule: str | None, index: int) -> Choice:
    if rule == "refuse":
        return Choice(tokens=None, finish_reason="stop", refusal=REFUSAL)
    if rule == "null":
        return Choice(tokens=None, finish_reason="stop")
    if rule == "empty":
        return Choice(tokens=(), finish_reason="stop")
    if rule == "tool" or _must_call(ask.body):
        return Choice(tokens=None, finish_reason="tool_calls", tool_calls=[_call(ask, index)])
    tokens, reason = _cut(ask, _said(ask, settings, rule, index))
    if rule in {"length", "filter"}:
        tokens, reason = tokens[: (len(tokens) + 1) // 2], "length" if rule == "length" else "content_filter"
    return Choice(tokens=tokens, finish_reason=reason, logprobs=_logprobs(ask, tokens))


def _said(ask: Ask, settings: Settings, rule: str | None, index: int) -> list[str]:
    """The tokens of a choice before anything cuts them."""
    form = ask.body.get("response_format") or {}
    if form.get("type") == "json_schema":
        return tokens_of(json.dumps(example(form["json_schema"].get("schema", {}), _Picks(ask, index)), indent=1))
    if form.get("type") == "json_object":
        return tokens_of(json.dumps({"answer": "".join(_words(ask, index, 4))}))
    if rule == "echo" or settings.text == "echo":
        return tokens_of(without_marks(ask.prompt))
    wanted = ask.marks.values.get("tokens") if ask.marks else None
    length = round(wanted if wanted is not None else ask.spread("tokens", settings.tokens, settings.tokens_sigma))
    return _words(ask, index, max(1, length))


def _words(ask: Ask, index: int, count: int) -> list[str]:
    """So many tokens: the hash of the request (and choice), then words that it chooses."""
    seed = hashlib.blake2b(index.to_bytes(2, "big"), digest_size=64, key=ask.digest).digest()
    bits = seed
    while len(bits) < count:
        seed = hashlib.blake2b(seed, digest_size=64).digest()
        bits += seed
    return [bits[:6].hex(), *(SPACED[byte & 63] for byte in bits[1:count])]


def _cut(ask: Ask, tokens: list[str]) -> tuple[list[str], str]:
    """What `stop` and the bound on tokens leave, and why it ends there."""
    stops = ask.body.get("stop")
    if stops:
        text = "".join(tokens)
        ends = [text.find(stop) for stop in ([stops] if isinstance(stops, str) else stops) if stop and stop in text]
        if ends:
            tokens = tokens_of(text[: min(ends)])
    bound = ask.most_tokens
    if bound is not None and bound < len(tokens):
        return tokens[:bound], "length"
    return tokens, "stop"


def _must_call(body: dict[str, Any]) -> bool:
    choice = body.get("tool_choice")
    return choice == "required" or isinstance(choice, dict) or isinstance(body.get("function_call"), dict)


def _call(ask: Ask, index: int) -> dict[str, Any]:
    """A call of the tool that is asked for, else of the first, else of one that was made up."""
    tools = [tool["function"] for tool in ask.body.get("tools") or () if "function" in tool]
    choice = ask.body.get("tool_choice")
    wanted = choice.get("function", {}).get("name") if isinstance(choice, dict) else None
    named = [tool for tool in tools if tool["name"] == wanted] or tools or [{"name": "look_up"}]
    arguments = example(named[0].get("parameters") or {"type": "object"}, _Picks(ask, index))
    return {
        "id": f"call_{ask.digest.hex()[24:44]}{index:x}",
        "type": "function",
        "function": {"name": named[0]["name"], "arguments": json.dumps(arguments)},
    }


def _call_tokens(choice: Choice) -> int:
    return sum(len(tokens_of(call["function"]["arguments"])) + 1 for call in choice.tool_calls or ())


def _logprobs(ask: Ask, tokens: Sequence[str]) -> list[dict[str, Any]] | None:
    if not ask.body.get("logprobs"):
        return None
    return [_logprob(ask, at, token) for at, token in enumerate(tokens)]


def _logprob(ask: Ask, at: int, token: str) -> dict[str, Any]:
    likely = -0.01 - ask.draw("logprob", at)
    others = [WORDS[(at + k) % len(WORDS)] for k in range(ask.body.get("top_logprobs") or 0)]
    ranked = [(token, likely), *((f" {word}", likely - 1 - k) for k, word in enumerate(others[1:]))]
    top = [_entry(word, value) for word, value in ranked[: len(others)]]
    return _entry(token, likely) | {"top_logprobs": top}


def _entry(token: str, value: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(value, 6), "bytes": list(token.encode("utf-8", "replace"))}


class _Picks:
    """One choice after the other, by the request's hash."""

    def __init__(self, ask: Ask, index: int) -> None:
        self._ask = ask
        self._index = index
        self._made = 0

    def __call__(self, of: int) -> int:
        self._made += 1
        return int(self._ask.draw(f"pick {self._index}", self._made) * of)
