"""What the simulator can be told, by name: as options of `serve`, of `Simulator`, and of `POST /sim/reset`.

What comes in: names and values, typed or as text. What goes out: frozen `Settings`, or a `UsageError` that names the
setting. By default nothing is limited, nothing fails and nothing takes time.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from batchchat.errors import UsageError
from batchchat.serve.sim.rules import known

if TYPE_CHECKING:
    from collections.abc import Mapping


def _setting(default: Any, help: str, *, choices: tuple[str, ...] = (), secret: bool = False) -> Any:  # noqa: A002 - as argparse calls it
    if isinstance(default, dict):
        return dataclasses.field(default_factory=dict, metadata={"help": help, "choices": choices})
    return dataclasses.field(default=default, repr=not secret, metadata={"help": help, "choices": choices})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every setting of the simulator, with its default. Seconds and tokens, unless the name says otherwise."""

    seed: int = _setting(0, "changes every completion, latency and fault")

    latency: float = _setting(0.0, "seconds until the answer begins; the median where --latency-sigma is set")
    latency_sigma: float = _setting(0.0, "spread of a lognormal latency, drawn from the request's hash; 0: fixed")
    chunk_delay: float = _setting(0.0, "seconds between the chunks of a stream")
    slots: int = _setting(0, "requests served at once, others queue; 0: no bound")
    queue: int = _setting(-1, "requests that may wait for a slot, more get 429; -1: no bound")

    tokens: int = _setting(16, "length of a completion; the median where --tokens-sigma is set")
    tokens_sigma: float = _setting(0.0, "spread of lognormal lengths, drawn from the request's hash; 0: fixed")
    text: str = _setting("words", "what a completion says: a hash and words, or the prompt", choices=("words", "echo"))
    context: int = _setting(0, "context window in tokens, a longer prompt gets 400; 0: no bound")

    rpm: float = _setting(0.0, "requests a minute; 0: no limit")
    tpm: float = _setting(0.0, "tokens a minute; 0: no limit")
    tpm_counts: str = _setting(
        "used", "what a request counts: its real tokens, or prompt plus max_tokens", choices=("used", "asked")
    )
    window: str = _setting("bucket", "how limits are kept", choices=("bucket", "sliding", "fixed"))
    window_seconds: float = _setting(60.0, "length of a sliding or fixed window; limits are scaled to it")
    burst_seconds: float = _setting(1.0, "what a bucket holds, in seconds of its limit")
    count_refused: bool = _setting(False, "refused requests count against the limit of requests")
    others: float = _setting(0.0, "share of the limits that other clients take, 0 to below 1")
    headers: str = _setting(
        "honest",
        "x-ratelimit headers: what is left now, of a whole minute, ten times as much, or none",
        choices=("honest", "minute", "lying", "none"),
    )
    retry_after: str = _setting(
        "seconds", "how a 429 or 503 says when to come back", choices=("seconds", "ms", "date", "none")
    )

    faults: Mapping[str, float] = _setting(
        {}, "shares of requests that fail, by HTTP status or name of a rule: 429=0.1,500=0.05,drop=0.02"
    )
    stall: float = _setting(0.0, "seconds that a stalled answer stalls; 0: until the client leaves")

    models: tuple[str, ...] = _setting((), "served models, by commas; others get 404; empty: any name is served")
    want_key: bool = _setting(False, "answer 401 where no key is sent")
    key: str = _setting("", "the one key that is taken", secret=True)
    strict: bool = _setting(False, "refuse request fields that are not OpenAI's")

    keep_alive: float = _setting(0.0, "seconds after which an idle connection is closed; 0: never")
    replies_per_connection: int = _setting(0, "answers after which a connection is closed unannounced; 0: no bound")
    compress: str = _setting("none", "compress answers for clients that accept it", choices=("none", "gzip", "deflate"))
    stream_split: int = _setting(0, "cut event streams into pieces of so many bytes; 0: one piece for each event")
    line_end: str = _setting("lf", "line ends of event streams", choices=("lf", "crlf", "cr"))
    comments: bool = _setting(False, "comments (keep-alives) between the events of a stream")

    record: int = _setting(0, "how many of the last requests are kept for GET /sim/requests")
    prompts: bool = _setting(True, "count by prompt; costs memory where there are millions")

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        """Settings by name, with values of their type or as text.

        Raises:
            UsageError: an unknown name, or a value that it cannot be.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        values = {}
        for name, value in given.items():
            key = name.replace("-", "_")
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise UsageError(f"the simulator has no setting {name!r}{hint}")
            values[key] = _value(fields[key], value)
        return cls(**values)

    def public(self) -> dict[str, Any]:
        """As JSON, for people: without the key."""
        shown = dataclasses.asdict(self)
        del shown["key"]
        return shown


def _value(field: dataclasses.Field[Any], value: Any) -> Any:
    choices = field.metadata["choices"]
    try:
        typed = _typed(field, value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"the simulator's setting {field.name!r} cannot be {value!r}") from None
    if choices and typed not in choices:
        raise UsageError(f"the simulator's setting {field.name!r} is one of {', '.join(choices)}, not {value!r}")
    return typed


def _typed(field: dataclasses.Field[Any], value: Any) -> Any:
    if field.name == "faults":
        return _shares(value)
    if field.name == "models":
        names = value.split(",") if isinstance(value, str) else value
        return tuple(name.strip() for name in names if name.strip())
    kind: Any = type(field.default)
    if kind is bool:
        return _flag(value)
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return value
    if isinstance(value, bool):
        raise TypeError
    number = kind(value)
    least = {"queue": -1, "seed": -math.inf, "tokens": 1}.get(field.name, 0)
    most = {"others": 0.99}.get(field.name, math.inf)
    if not least <= number <= most or (kind is int and number != float(value)) or number == math.inf:
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    raise ValueError


def _shares(value: Any) -> dict[str, float]:
    if isinstance(value, str):
        value = dict(part.split("=", 1) for part in value.split(",") if part.strip())
    shares = {str(name).strip(): float(share) for name, share in value.items()}
    for name in shares:
        if not known(name):
            raise UsageError(f"the simulator knows no fault {name!r}; see `batchchat.serve.sim.rules`")
    if not all(0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1 + 1e-9:
        raise UsageError("the shares of the simulator's faults lie between 0 and 1, and so does their sum")
    return shares
