"""A reply as an event stream: bytes in as they come, a judged `Completion` out at the end.

Server-sent events as the standard has them: lines end with CR, LF or both, and may be cut anywhere, also within a
character; comments keep the connection alive; an event may have several data lines; a BOM may stand first. Deltas are
put together into the reply that would have come without a stream, and judged as that one is.

A stream is whole with `[DONE]`, or when each choice has its finish reason: else it was cut, and is never kept.
Text is put together before broken characters are replaced: both halves of one may come in two events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from batchchat.errors import UnreadableReply
from batchchat.wire.errors import error_in
from batchchat.wire.json import load_raw
from batchchat.wire.reply import NO_CHOICES, Envelope, judge, unreadable
from batchchat.wire.surrogates import mend_tree
from batchchat.wire.wording import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchchat.records import Completion

_BOM = b"\xef\xbb\xbf"
_DONE = b"[DONE]"
_Texts = dict[str, list[str]]
_FIRST_WINS = frozenset({"id", "type", "role", "name", "index"})
_CONTENT = ("content", "tool_calls", "refusal", "function_call", "reasoning_content", "reasoning")


class EventStream:
    """One streamed reply, put together as it comes.

    Attributes:
        chunks: events with data so far; more of them mean that the answer goes on.
        speaking: whether a part of the answer itself has come.
        done: whether the end was announced; what comes after is ignored.
    """

    __slots__ = (
        "_choices",
        "_envelope",
        "_events",
        "_expected",
        "_mended",
        "_reply",
        "_texts",
        "chunks",
        "done",
        "speaking",
    )

    def __init__(self, headers: Mapping[str, str], *, choices: int = 1, hide: Sequence[str] = ()) -> None:
        self._envelope = Envelope(headers=headers, hide=hide)
        self._events = _Events()
        self._expected = choices
        self._choices: dict[int, dict[str, Any]] = {}
        self._texts: dict[int, _Texts] = {}  # text in pieces: joined once, since a long one has many
        self._reply: dict[str, Any] = {}
        self._mended = False
        self.chunks = 0
        self.speaking = False
        self.done = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            UnreadableReply: an event is no JSON.
            RequestError, JobStopped: the endpoint reports an error in mid-stream.
        """
        for event, text in self._events.feed(data):
            if self.done:
                return
            self._take(event, text)

    def finish(self, *, latency: float = 0.0, first_token: float | None = None) -> Completion:
        """The completion, after the last bytes.

        Raises:
            UnreadableReply: the stream was cut.
            ContentRefused: the model or a filter refused; `.completion` has what came.
        """
        for event, text in self._events.rest():
            if not self.done:
                self._take_last(event, text)
        envelope = Envelope(
            headers=self._envelope.headers, latency=latency, first_token=first_token, hide=self._envelope.hide
        )
        if not self.is_whole():
            raise unreadable("the stream was cut before the end of the answer", envelope)
        if not self._choices:
            raise unreadable("the stream has no choices", envelope, code=NO_CHOICES)
        reply = {**self._reply, "choices": [self._whole_choice(index) for index in sorted(self._choices)]}
        return judge(mend_tree(reply) if self._mended else reply, envelope)

    def _whole_choice(self, index: int) -> dict[str, Any]:
        choice = self._choices[index]
        texts = {name: "".join(pieces) for name, pieces in self._texts[index].items()}
        return {**choice, "message": {**choice["message"], **texts}}

    def is_whole(self) -> bool:
        """Whether nothing of the answer is missing, though the stream may go on."""
        ended = sum(choice["finish_reason"] is not None for choice in self._choices.values())
        return self.done or (ended == len(self._choices) and ended >= self._expected)

    def _take_last(self, event: bytes, text: bytes) -> None:
        """An event whose blank line never came: it counts where it is whole."""
        try:
            self._take(event, text)
        except UnreadableReply:
            return

    def _take(self, event: bytes, text: bytes) -> None:
        if text.strip() == _DONE:
            self.done = True
            return
        self.chunks += 1
        chunk = self._load(text)
        if event == b"error" or chunk.get("error"):
            said, envelope = chunk.get("error") or chunk, self._envelope
            raise error_in(said, envelope.headers, hide=envelope.hide, begun=self.speaking)
        for name in ("id", "model", "usage"):
            if chunk.get(name):
                self._reply[name] = chunk[name]
        choices = chunk.get("choices")
        if isinstance(choices, list):
            for choice in choices:
                self._take_choice(choice)

    def _load(self, text: bytes) -> dict[str, Any]:
        try:
            chunk = orjson.loads(text)
        except orjson.JSONDecodeError:
            try:
                chunk = load_raw(text)
            except ValueError:
                chunk = None
            self._mended = True
        if not isinstance(chunk, dict):
            said = quoted(text[:80].decode("utf-8", errors="replace"), self._envelope.hide)
            raise unreadable(f"an event of the stream is no JSON object: {said}", self._envelope)
        return chunk

    def _take_choice(self, delta: Any) -> None:
        if not isinstance(delta, dict):
            raise unreadable("an event of the stream has a choice that is no object", self._envelope)
        index = delta.get("index", 0)
        if not isinstance(index, int):
            index = 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = {"index": index, "message": {}, "finish_reason": None}
            self._texts[index] = {}
        for name, value in delta.items():
            if value is None or name == "index":
                continue
            if name in {"delta", "message"}:
                self._take_message(choice["message"], self._texts[index], value)
            elif name == "finish_reason":
                choice[name] = value
            else:
                choice[name] = _merged(choice.get(name), value)

    def _take_message(self, message: dict[str, Any], texts: _Texts, delta: Any) -> None:
        if not isinstance(delta, dict):
            raise unreadable("an event of the stream has a delta that is no object", self._envelope)
        for name, value in delta.items():
            if value is None:
                continue
            if value and not self.speaking and name in _CONTENT:
                self.speaking = True
            if name in _FIRST_WINS:
                message.setdefault(name, value)
            elif isinstance(value, str):
                texts.setdefault(name, []).append(value)
            else:
                message[name] = _merged(message.get(name), value)


def _merged(old: Any, new: Any) -> Any:
    """What came so far and what comes now, as one: text and lists grow, objects are filled, the rest is replaced."""
    if old is None or type(old) is not type(new):
        return _parts(new)
    if isinstance(new, str):
        return old + new
    if isinstance(new, dict):
        return _filled(old, new)
    if isinstance(new, list):
        return _grown(old, new)
    return new


def _parts(new: Any) -> Any:
    """A first value; a list of numbered parts is put together like later ones."""
    return _grown([], new) if isinstance(new, list) else new


def _filled(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    for name, value in new.items():
        if value is None or (name in _FIRST_WINS and old.get(name)):
            continue
        old[name] = _merged(old.get(name), value)
    return old


def _grown(old: list[Any], new: list[Any]) -> list[Any]:
    """A list with more parts; those that carry an index (tool calls) are parts of the one with that index."""
    for item in new:
        index = item.get("index") if isinstance(item, dict) else None
        known = next((part for part in old if isinstance(part, dict) and part.get("index") == index), None)
        if index is None or known is None:
            old.append(item)
        else:
            _filled(known, item)
    return old


class _Events:
    """The lines of a stream of server-sent events, as (event name, data)."""

    __slots__ = ("_after_cr", "_begun", "_data", "_line", "_name")

    def __init__(self) -> None:
        self._line = b""
        self._data: list[bytes] = []
        self._name = b""
        self._after_cr = False
        self._begun = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The events that these bytes complete."""
        if not self._begun:
            data = self._line + data
            self._line = b""
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._line = data
                return []
            self._begun = True
            data = data.removeprefix(_BOM)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        lines = data.split(b"\n")
        if len(lines) > 1:
            lines[0] = self._line + lines[0]
            self._line = lines.pop()
            return self._read(lines)
        self._line += data
        return []

    def rest(self) -> list[tuple[bytes, bytes]]:
        """An event that was begun when the stream ended."""
        line, self._line = self._line, b""
        return self._read([line, b""] if line else [b""])

    def _read(self, lines: list[bytes]) -> list[tuple[bytes, bytes]]:
        events = []
        for line in lines:
            if not line:
                if self._data:
                    events.append((self._name, b"\n".join(self._data)))
                    self._data = []
                self._name = b""
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"event":
                self._name = value
        return events
