"""A chat completion request, as the real endpoint takes it: every field's type and range.

What comes in: the bytes of a body. What goes out: the JSON object, valid, or a `Refusal`. It knows nothing of models,
keys or HTTP. Fields and ranges: openai-python 3.3.1 `types/chat/completion_create_params.py`, OpenAI's openapi.yaml.

Accepted: a field that is not OpenAI's passes unless `strict` is asked for, because compatible servers take their own
(`top_k`, `guided_json`); JSON schemas inside a request are only checked to be objects.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from batchchat.serve.refusal import Refusal
from batchchat.serve.schema import (
    Check,
    anything,
    array,
    boolean,
    by_type,
    integer,
    mapping,
    missing,
    number,
    one_of,
    shape,
    string,
    text_or,
    wrong,
)

NAME = string(pattern=r"[a-zA-Z0-9_-]{1,64}")
TEXT = string()
OBJECT = mapping(anything)

TEXT_PART = shape({"text": TEXT}, required=["text"])
IMAGE_PART = shape(
    {"image_url": shape({"url": string(shortest=1), "detail": one_of("auto", "low", "high")}, required=["url"])},
    required=["image_url"],
)
AUDIO_PART = shape(
    {"input_audio": shape({"data": TEXT, "format": one_of("wav", "mp3")}, required=["data", "format"])},
    required=["input_audio"],
)
FILE_PART = shape({"file": shape({"file_data": TEXT, "file_id": TEXT, "filename": TEXT})}, required=["file"])
REFUSAL_PART = shape({"refusal": TEXT}, required=["refusal"])
TEXTS = text_or(list, array(by_type({"text": TEXT_PART}), least=1))
PARTS = text_or(
    list,
    array(by_type({"text": TEXT_PART, "image_url": IMAGE_PART, "input_audio": AUDIO_PART, "file": FILE_PART}), least=1),
)
CALLED = shape({"name": TEXT, "arguments": TEXT}, required=["name", "arguments"])
CALL = by_type(
    {
        "function": shape({"id": TEXT, "function": CALLED}, required=["id", "function"]),
        "custom": shape({"id": TEXT, "custom": OBJECT}, required=["id", "custom"]),
    }
)
ASSISTANT = shape(
    {
        "content": text_or(list, array(by_type({"text": TEXT_PART, "refusal": REFUSAL_PART}), least=1)),
        "refusal": TEXT,
        "name": TEXT,
        "audio": OBJECT,
        "tool_calls": array(CALL, least=1),
        "function_call": CALLED,
    }
)
ROLES: dict[str, Check] = {
    "system": shape({"content": TEXTS, "name": TEXT}, required=["content"]),
    "assistant": ASSISTANT,
    "user": shape({"content": PARTS, "name": TEXT}, required=["content"]),
    "function": shape({"content": anything, "name": TEXT}, required=["content", "name"]),
    "tool": shape({"content": TEXTS, "tool_call_id": TEXT}, required=["content", "tool_call_id"]),
    "developer": shape({"content": TEXTS, "name": TEXT}, required=["content"]),
}
ROLE = one_of(*ROLES)


def message(value: Any, path: str) -> None:
    """One message, by its role."""
    if not isinstance(value, dict):
        raise wrong(value, "is not of type 'object'", path)
    if "role" not in value:
        raise missing("role", path)
    role = value["role"]
    if role in {"user", "system"} and len(value) == 2 and isinstance(value.get("content"), str):
        return  # nearly all of them, and the fast way
    ROLE(role, f"{path}.role")
    ROLES[role](value, path)
    if role == "assistant" and all(
        value.get(name) is None for name in ("content", "tool_calls", "function_call", "refusal", "audio")
    ):
        raise missing("content", path)


FUNCTION = shape(
    {"name": NAME, "description": TEXT, "parameters": OBJECT, "strict": boolean},
    required=["name"],
)
TOOL = by_type(
    {
        "function": shape({"function": FUNCTION}, required=["function"]),
        "custom": shape({"custom": shape({"name": NAME}, required=["name"])}, required=["custom"]),
    }
)
NAMED = shape({"name": TEXT}, required=["name"])
TOOL_CHOICE = by_type(
    {
        "function": shape({"function": NAMED}, required=["function"]),
        "custom": shape({"custom": NAMED}, required=["custom"]),
        "allowed_tools": shape({"allowed_tools": OBJECT}, required=["allowed_tools"]),
    }
)
RESPONSE_FORMAT = by_type(
    {
        "text": anything,
        "json_object": anything,
        "json_schema": shape(
            {
                "json_schema": shape(
                    {"name": NAME, "description": TEXT, "schema": OBJECT, "strict": boolean}, required=["name"]
                )
            },
            required=["json_schema"],
        ),
    }
)


def tool_choice(value: Any, path: str) -> None:
    """A word, or an object that names a tool."""
    if isinstance(value, str):
        one_of("none", "auto", "required")(value, path)
    else:
        TOOL_CHOICE(value, path)


def function_call(value: Any, path: str) -> None:
    """The deprecated brother of tool_choice."""
    if isinstance(value, str):
        one_of("none", "auto")(value, path)
    else:
        NAMED(value, path)


def token_id(value: Any, path: str) -> None:
    """A name in logit_bias."""
    if not str(value).isdecimal():
        raise wrong(value, "is no token id", path)


FIELDS: dict[str, Check] = {
    "messages": array(message, least=1),
    "model": string(shortest=1),
    "audio": shape(
        {"format": one_of("wav", "aac", "mp3", "flac", "opus", "pcm16")},
        required=["format", "voice"],
    ),
    "frequency_penalty": number(-2, 2),
    "presence_penalty": number(-2, 2),
    "function_call": function_call,
    "functions": array(FUNCTION, least=1, most=128),
    "logit_bias": mapping(number(-100, 100), key=token_id),
    "logprobs": boolean,
    "top_logprobs": integer(0, 20),
    "max_completion_tokens": integer(1),
    "max_tokens": integer(1),
    "metadata": mapping(string(longest=512), key=string(longest=64), most=16),
    "modalities": array(one_of("text", "audio")),
    "moderation": shape({"model": TEXT}, required=["model"]),
    "n": integer(1, 128),
    "parallel_tool_calls": boolean,
    "prediction": shape({"type": one_of("content"), "content": TEXTS}, required=["type", "content"]),
    "prompt_cache_key": TEXT,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": one_of("in_memory", "in-memory", "24h"),
    "reasoning_effort": one_of("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    "response_format": RESPONSE_FORMAT,
    "safety_identifier": string(longest=64),
    "seed": integer(-(2**63), 2**63 - 1),
    "service_tier": one_of("auto", "default", "flex", "scale", "priority", "fast"),
    "stop": text_or(list, array(TEXT, least=1, most=4)),
    "store": boolean,
    "stream": boolean,
    "stream_options": shape({"include_usage": boolean, "include_obfuscation": boolean}),
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "tools": array(TOOL, least=1, most=128),
    "tool_choice": tool_choice,
    "user": TEXT,
    "verbosity": one_of("low", "medium", "high"),
    "web_search_options": shape({"search_context_size": one_of("low", "medium", "high"), "user_location": OBJECT}),
}
BODY = shape(FIELDS, required=["messages", "model"])


def parse(body: bytes, *, model: str | None = None, strict: bool = False) -> dict[str, Any]:
    """The body of a request, checked.

    Args:
        body: as it came.
        model: stands for the field of that name where the path named it already (Azure's deployments).
        strict: refuse fields that are not OpenAI's.

    Raises:
        Refusal: 400, with what is wrong and where.
    """
    asked = _json(body)
    if not isinstance(asked, dict):
        raise wrong(asked, "is not of type 'object'", "")
    if model is not None:
        asked.setdefault("model", model)
    BODY(asked, "")
    _together(asked)
    if strict:
        for name in asked:
            if name not in FIELDS:
                raise Refusal(400, f"Unrecognized request argument supplied: {name}")
    return asked


def _together(asked: dict[str, Any]) -> None:
    """What fields allow only beside one another."""
    if asked.get("top_logprobs") is not None and not asked.get("logprobs"):
        raise Refusal(400, "'top_logprobs' is only allowed when 'logprobs' is true - 'top_logprobs'")
    if asked.get("stream_options") is not None and not asked.get("stream"):
        raise Refusal(400, "'stream_options' is only allowed when 'stream' is true - 'stream_options'")
    if asked.get("tool_choice") not in (None, "none", "auto"):
        _needs_tools(asked, "tool_choice")
    if asked.get("parallel_tool_calls") is not None:
        _needs_tools(asked, "parallel_tool_calls")


def _needs_tools(asked: dict[str, Any], name: str) -> None:
    if not asked.get("tools"):
        raise Refusal(400, f"'{name}' is only allowed when 'tools' are given - '{name}'")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


_decode = json.JSONDecoder(parse_constant=_no_constant).decode


def _json(body: bytes) -> Any:
    try:
        return _decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise Refusal(400, f"The request body is not valid JSON: {error}") from None
