"""What the simulator reads in a request: its prompt, its marks, its size, and the hash that decides everything.

What comes in: the valid JSON of a request. What goes out: a frozen `Ask`. Two requests that would get the same
completion from a deterministic model have the same hash: the order of keys, and whether the answer is streamed, are
not in it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from batchchat.serve.sim.rules import Marks

# Fields that change how an answer is delivered or accounted for, not what it says.
DELIVERY = frozenset({"stream", "stream_options", "user", "metadata", "store", "service_tier", "safety_identifier"})
BYTES_PER_TOKEN = 4
IMAGE_TOKENS = 85
MESSAGE_TOKENS = 3
NORMAL = NormalDist()
_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request.

    Attributes:
        body: as it came.
        prompt: the text of the last message.
        marks: what the text of the messages asks for.
        prompt_tokens: three for each message and three for the reply, one for a name, one for each four bytes of
            text, 85 for each image; tools and schemas by their JSON.
        digest: 32 bytes.
    """

    body: dict[str, Any]
    prompt: str
    marks: Marks | None
    prompt_tokens: int
    digest: bytes

    @classmethod
    def of(cls, body: dict[str, Any], seed: int) -> Ask:
        """Reads a request."""
        texts = []
        tokens = MESSAGE_TOKENS
        for message in body["messages"]:
            text, images = text_of(message.get("content"))
            texts.append(text)
            tokens += MESSAGE_TOKENS + _tokens(text) + images * IMAGE_TOKENS + ("name" in message)
        for name in ("tools", "functions", "response_format"):
            if body.get(name) is not None:
                tokens += _tokens(json.dumps(body[name]))
        asked = {name: value for name, value in body.items() if name not in DELIVERY}
        plain = _canonical(asked).encode()
        return cls(
            body=body,
            prompt=texts[-1],
            marks=Marks.of(texts[0] if len(texts) == 1 else "\n".join(texts)),
            prompt_tokens=tokens,
            digest=hashlib.blake2b(plain, digest_size=32, salt=seed.to_bytes(16, "big", signed=True)).digest(),
        )

    @property
    def most_tokens(self) -> int | None:
        """What the request allows a completion; None where it sets no bound."""
        bounds = [self.body.get("max_completion_tokens"), self.body.get("max_tokens")]
        return min((bound for bound in bounds if bound is not None), default=None)

    @property
    def choices(self) -> int:
        """How many completions are asked for."""
        return self.body.get("n") or 1

    def draw(self, what: str, attempt: int = 0) -> float:
        """A number between 0 and 1, ends excluded, for one purpose and attempt; the same for the same request."""
        raw = hashlib.blake2b(b"%s %d" % (what.encode(), attempt), digest_size=8, key=self.digest).digest()
        return (int.from_bytes(raw, "big") + 0.5) / 2**64

    def spread(self, what: str, median: float, sigma: float) -> float:
        """A lognormal number for one purpose; the median itself where sigma is 0."""
        if not sigma or not median:
            return median
        return median * math.exp(sigma * NORMAL.inv_cdf(self.draw(what)))


def text_of(content: Any) -> tuple[str, int]:
    """The text of a message's content, and how many parts are not text."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        return "", 0
    texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "".join(texts), len(content) - len(texts)


def _tokens(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
