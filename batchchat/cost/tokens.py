"""How many tokens a prompt has: a model's name in, a `TokenCounter` out.

Exact where the model's tokenizer is known and its ranks are on this machine: cl100k and o200k come with the extra
`tokens` (`bpe-openai`), or lie in tiktoken's cache. Nothing is ever downloaded: tiktoken alone would fetch its ranks in
the middle of an estimate, and hang where there is no network. Everywhere else the count is an estimate from the kinds
of bytes (letters, digits, punctuation, the scripts), and says that it is one; `estimate` corrects it by what a sample
was billed.

The weights of that estimate were fitted once, by least squares of the relative error against o200k and cl100k, on
texts in 80 languages, program text, JSON, English reviews and Chinese reviews. Measured there with o200k: the total is
within 3 % for English, Chinese and program text, within 10 % for Spanish, French, German, Portuguese, Russian,
Japanese, Korean, Arabic and Hindi, within 25 % for most others; a single text within 4 to 14 % (median).

A chat has an overhead that no tokenizer shows: 3 tokens a message and 1 for a name, and 3 that begin the answer, as
OpenAI documents it for its chat models up to gpt-4o ("How to count tokens with tiktoken", OpenAI Cookbook). The role
is a word like any other. Tool schemas, response formats and pictures are counted by rules of thumb.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import json
import os
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

PER_MESSAGE = 3
PER_NAME = 1
PER_REPLY = 3
# A picture of 1024 x 1024 at high detail, as OpenAI counts it for gpt-4o.
PER_IMAGE = 765

_CL100K, _O200K = "cl100k_base", "o200k_base"
# Which tokenizer a model has, by the beginning of its name; the first that fits. tiktoken's own table says the same.
_TOKENIZERS = (
    ("gpt-4o", _O200K),
    ("chatgpt-4o", _O200K),
    ("gpt-4.1", _O200K),
    ("gpt-4.5", _O200K),
    ("gpt-5", _O200K),
    ("gpt-oss", _O200K),
    ("o1", _O200K),
    ("o3", _O200K),
    ("o4-mini", _O200K),
    ("gpt-4", _CL100K),
    ("gpt-3.5", _CL100K),
    ("gpt-35", _CL100K),
)
# The models whose overhead of a chat is documented; the others' (reasoning models, open weights) is taken for the same.
_DOCUMENTED = re.compile(r"(gpt-4o|chatgpt-4o|gpt-4\.1|gpt-4\.5|gpt-4|gpt-3\.5|gpt-35)(?![a-z0-9.])")
_REMEMBERED = 256
# How far a total may be off: by bytes for an unknown tokenizer, and where only the overhead of messages is unknown.
# A picture may be 85 tokens or more than a thousand, by its size, its detail and the model.
_ERROR_OF_IMAGES = 0.9
_ERROR_OF_ESTIMATE, _ERROR_OF_OVERHEAD = 0.25, 0.05
# What a chat template that is not known may add to each request: measured 23 tokens with SmolLM2, whose template brings
# a system prompt of its own, and taken with a margin. Short prompts feel it.
_TEMPLATE = 40

# Tokens per word, lower-case letter, upper-case letter, digit, punctuation mark and line break ...
_Weights = tuple[float, float, float, float, float, float]
_ASCII: Mapping[str, _Weights] = {
    _O200K: (0.553, 0.116, 0.303, 0.667, 0.649, 0.728),
    _CL100K: (0.539, 0.126, 0.335, 0.632, 0.663, 0.441),
}
_KINDS = (
    bytes(range(ord("a"), ord("z") + 1)),
    bytes(range(ord("A"), ord("Z") + 1)),
    bytes(range(ord("0"), ord("9") + 1)),
    bytes(byte for byte in range(33, 127) if not chr(byte).isalnum()),
    b"\r\n",
)
# ... and per character beyond ASCII, by the first byte of its UTF-8: (first, last, o200k, cl100k).
_SCRIPTS = (
    (0xC2, 0xC2, 0.925, 0.937),  # Latin-1 signs
    (0xC3, 0xC3, 0.762, 1.464),  # Latin-1 letters
    (0xC4, 0xCD, 1.665, 2.575),  # other Latin letters, combining marks
    (0xCE, 0xCF, 0.328, 0.976),  # Greek
    (0xD0, 0xD3, 0.205, 0.380),  # Cyrillic
    (0xD4, 0xD5, 0.322, 2.247),  # Armenian
    (0xD6, 0xD7, 0.339, 1.070),  # Hebrew
    (0xD8, 0xDB, 0.248, 0.762),  # Arabic
    (0xDC, 0xDF, 2.0, 2.0),  # Syriac and its neighbours: two tokens a character, measured on single words
    (0xE0, 0xE0, 0.312, 1.174),  # the scripts of India, Thai, Lao
    (0xE1, 0xE1, 0.352, 1.881),  # Georgian, Khmer, Ethiopic
    (0xE2, 0xE2, 1.220, 1.090),  # typographic signs
    (0xE3, 0xE3, 0.593, 0.891),  # kana
    (0xE4, 0xE9, 0.777, 1.149),  # Han
    (0xEA, 0xED, 0.535, 0.929),  # Hangul
    (0xEE, 0xEF, 0.769, 1.417),  # full-width signs
    (0xF0, 0xF7, 1.5, 2.5),  # emoji and rare scripts, measured on emoji
)
_BEGINNINGS_ONLY = bytes(range(0xC0))


class TokenCounter:
    """Counts the prompt tokens of one model.

    Attributes:
        name: the tokenizer, or that there is none.
        error: how far a total may be off, relative: 0, or what was measured (see above).
        template: tokens that a chat template which is not known may add to each request.
        note: for people, what the counts are worth.
    """

    def __init__(self, count: Callable[[str], int], *, name: str, error: float, note: str, template: int = 0) -> None:
        self.name = name
        self.error = error
        self.template = template
        self.note = note
        self._count = count
        # Roles, system prompts and examples come again with every row.
        self._remembered = functools.lru_cache(maxsize=_REMEMBERED)(self.count_text)

    @property
    def exact(self) -> bool:
        """Whether counts are those that the endpoint will bill (for messages of text, without tools)."""
        return not self.error

    def with_images(self) -> TokenCounter:
        """The same for prompts that have images: their tokens are a rule of thumb."""
        note = f"{self.note}; an image counts as {PER_IMAGE} tokens, a rule of thumb; --sample 50 tells"
        return TokenCounter(self._count, name=self.name, error=_ERROR_OF_IMAGES, note=note, template=self.template)

    def count_text(self, text: str) -> int:
        """Tokens of a text. Lone surrogates count as U+FFFD, as which they are sent."""
        try:
            return self._count(text)
        except UnicodeEncodeError:
            return self._count(text.encode("utf-8", "replace").decode("utf-8"))

    def count_texts(self, texts: Iterable[str]) -> list[int]:
        """Tokens of each text."""
        return [self.count_text(text) for text in texts]

    def count_messages(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Prompt tokens of a chat, the overhead included."""
        last = len(messages) - 1
        return PER_REPLY + sum(self._message(message, at == last) for at, message in enumerate(messages))

    def count_body(self, body: bytes) -> int:
        """Prompt tokens of a request, given as its JSON."""
        request = json.loads(body)
        total = self.count_messages(request["messages"])
        if len(request) > 2:
            for field in ("tools", "functions", "response_format"):
                if field in request:
                    total += self._remembered(_text(request[field]))
        return total

    def count_bodies(self, bodies: Iterable[bytes]) -> list[int]:
        """Prompt tokens of each request."""
        return [self.count_body(body) for body in bodies]

    def _message(self, message: Mapping[str, Any], last: bool) -> int:
        total = PER_MESSAGE
        for field, value in message.items():
            if value is None:
                continue
            if field == "content":
                total += self._content(value, last)
            elif field == "name":
                total += PER_NAME + self._remembered(str(value))
            else:
                total += self._remembered(value if isinstance(value, str) else _text(value))
        return total

    def _content(self, content: Any, last: bool) -> int:
        """The last message is the row's own; what stands before it is mostly the same for all rows."""
        if isinstance(content, str):
            return self.count_text(content) if last else self._remembered(content)
        if not isinstance(content, list):
            return self._remembered(_text(content))
        return sum(self._part(part) for part in content)

    def _part(self, part: Any) -> int:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return self.count_text(part["text"])
        if isinstance(part, dict) and part.get("type") == "image_url":
            return PER_IMAGE
        return 0


def counter(model: str) -> TokenCounter:
    """The best counter that this machine has for a model; loading its ranks takes about half a second, once."""
    name = model.lower().removeprefix("ft:").rpartition("/")[2]
    tokenizer = tokenizer_of(model)
    if tokenizer is None:
        note = (
            "prompts estimated from their bytes, since this model's tokenizer is not known; its chat template may add "
            f"up to {_TEMPLATE} tokens a row; --sample 50 tells"
        )
        estimator = _estimator(_O200K)
        return TokenCounter(estimator, name="estimate", error=_ERROR_OF_ESTIMATE, note=note, template=_TEMPLATE)
    count = _exact(tokenizer)
    if count is None:
        note = f'prompts estimated from their bytes; pip install "batchchat[tokens]" brings {tokenizer}'
        return TokenCounter(_estimator(tokenizer), name=f"estimate of {tokenizer}", error=_ERROR_OF_ESTIMATE, note=note)
    if _DOCUMENTED.match(name) is None:
        note = f"text counted with {tokenizer}; a few tokens of each message are not documented for this model"
        return TokenCounter(count, name=tokenizer, error=_ERROR_OF_OVERHEAD, note=note)
    return TokenCounter(count, name=tokenizer, error=0.0, note=f"counted with {tokenizer}")


def tokenizer_of(model: str) -> str | None:
    """`cl100k_base` or `o200k_base` where the model is known to have it, else None."""
    name = model.lower().removeprefix("ft:").rpartition("/")[2]
    for beginning, tokenizer in _TOKENIZERS:
        rest = name.removeprefix(beginning)
        if rest != name and not rest[:1].isalnum():
            return tokenizer
    return None


def prompt_bound(body: bytes) -> int:
    """The most prompt tokens that a request can have, without a tokenizer.

    A token is at least one byte of text, and JSON is no shorter than the text in it. The allowance covers what chat
    templates and tool prompts add of their own (the longest known are below 1,000 tokens).
    """
    return len(body) + (1000 if any(mark in body for mark in _TOOL_MARKS) else 128)


_TOOL_MARKS = (b'"tools":', b'"functions":', b'"response_format":')


@functools.lru_cache(maxsize=4)
def _exact(tokenizer: str) -> Callable[[str], int] | None:
    try:
        with warnings.catch_warnings():  # it opens its data in a way that Python 3.11 calls deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            bindings = importlib.import_module("bpe_openai._bindings")
    except ImportError:
        return _from_cache_of_tiktoken(tokenizer)
    # The bindings count without making the list; the package's `encode_ordinary` gives up above 200,000 tokens.
    count: Callable[[str], int] = bindings.tokenizer_for_encoding(tokenizer).count
    return count


def _from_cache_of_tiktoken(tokenizer: str) -> Callable[[str], int] | None:
    """tiktoken, but only where it need not download anything."""
    folder = os.environ.get("TIKTOKEN_CACHE_DIR") or os.environ.get("DATA_GYM_CACHE_DIR")
    address = f"https://openaipublic.blob.core.windows.net/encodings/{tokenizer}.tiktoken"
    name = hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()
    if not (Path(folder or Path(tempfile.gettempdir()) / "data-gym-cache") / name).is_file():
        return None
    import tiktoken

    encode = tiktoken.get_encoding(tokenizer).encode_ordinary
    return lambda text: len(encode(text))


def _estimator(tokenizer: str) -> Callable[[str], int]:
    word, *kinds = _ASCII[tokenizer]
    column = 2 if tokenizer == _O200K else 3
    scripts = {byte: entry[column] for entry in _SCRIPTS for byte in range(entry[0], entry[1] + 1)}

    def estimate(text: str) -> int:
        data = text.encode("utf-8")
        length = len(data)
        total = word * len(text.split())
        for weight, kind in zip(kinds, _KINDS, strict=True):
            total += weight * (length - len(data.translate(None, kind)))
        if not text.isascii():
            beginnings = data.translate(None, _BEGINNINGS_ONLY)
            total += sum(scripts[byte] * beginnings.count(byte) for byte in set(beginnings))
        return max(round(total), 1) if text else 0

    return estimate


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
