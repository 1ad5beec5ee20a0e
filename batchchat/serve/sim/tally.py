"""The simulator's own counts: what came, what was answered, what was not, and how many were there at once.

What comes in: one call for each thing that happens to a request. What goes out: the object of `GET /sim/stats`.
Every request that came is in exactly one of: answered, partial, spoilt, refused, dropped, gone, in_flight.
"""

from __future__ import annotations

import json
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchchat.serve.head import Request

SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "api-key", "x-api-key", "cookie"})


class Tally:
    """Counts since the last reset.

    Attributes:
        received: requests for a completion that came whole.
        answered: completions whose last byte was written to a live connection.
        partial: answers that began and did not end: cut or dropped by us, or left by the client.
        spoilt: 200s that are no completion (malformed, an error object, no body, no choices).
        refused: error statuses, by status.
        dropped: requests whose connection we closed before the answer.
        gone: requests whose client left before the answer began.
        billable_prompt_tokens, billable_completion_tokens: of everything that the model worked on and that may be
            billed: whole answers, with usage or without, and those that were cut, spoilt or left by the client.
        admitted: requests that the rate limits let in, and their tokens, with the times of the first and the last.
    """

    def __init__(self, *, prompts: bool, record: int) -> None:
        self.received = self.answered = self.partial = self.spoilt = self.dropped = self.gone = 0
        self.refused: Counter[int] = Counter()
        self.in_flight = self.max_in_flight = 0
        self.prompt_tokens = self.completion_tokens = 0
        self.billable_prompt_tokens = self.billable_completion_tokens = 0
        self.admitted = 0
        self.admitted_tokens = 0.0
        self.first = self.last = 0.0
        self._cpu = time.process_time()
        self._prompts: dict[str, list[int]] | None = {} if prompts else None
        self._records: deque[tuple[float, Request]] = deque(maxlen=record)

    def arrived(self, request: Request) -> None:
        """A request is there."""
        self.received += 1
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        if self._records.maxlen:
            self._records.append((time.time(), request))

    def asked(self, prompt: str) -> int:
        """Its prompt is known; gives the how manieth time it came (or how many requests came, where none is kept)."""
        if self._prompts is None:
            return self.received
        counts = self._prompts.get(prompt)
        if counts is None:
            counts = self._prompts[prompt] = [0, 0]
        counts[0] += 1
        return counts[0]

    def admit(self, now: float, tokens: float) -> None:
        """The rate limits let it in."""
        self.admitted += 1
        self.admitted_tokens += tokens
        self.first = self.first or now
        self.last = now

    def answer(self, prompt: str, usage: dict[str, Any] | None) -> None:
        """A completion went out whole."""
        self.answered += 1
        if usage is not None:
            self.prompt_tokens += usage["prompt_tokens"]
            self.completion_tokens += usage["completion_tokens"]
        if self._prompts is not None and prompt in self._prompts:
            self._prompts[prompt][1] += 1

    def worked(self, prompt: int, completion: int) -> None:
        """The model worked on a request, whatever became of its answer."""
        self.billable_prompt_tokens += prompt
        self.billable_completion_tokens += completion

    def left(self, *, began: bool) -> None:
        """The client went before its answer was whole."""
        if began:
            self.partial += 1
        else:
            self.gone += 1

    def object(self, *, prompts: bool) -> dict[str, Any]:
        """All counts, as JSON; with `prompts`, prompt to how often it was received and answered."""
        shown: dict[str, Any] = {
            name: getattr(self, name)
            for name in (
                "received",
                "answered",
                "partial",
                "spoilt",
                "dropped",
                "gone",
                "in_flight",
                "max_in_flight",
                "prompt_tokens",
                "completion_tokens",
                "billable_prompt_tokens",
                "billable_completion_tokens",
                "admitted",
                "admitted_tokens",
            )
        }
        shown["refused"] = {str(status): count for status, count in sorted(self.refused.items())}
        shown["admitted_seconds"] = self.last - self.first
        shown["cpu_s"] = time.process_time() - self._cpu
        if self._prompts is not None:
            shown["distinct_prompts"] = len(self._prompts)
            shown["answered_again"] = sum(counts[1] - 1 for counts in self._prompts.values() if counts[1] > 1)
            if prompts:
                shown["prompts"] = {
                    prompt: {"received": received, "answered": answered}
                    for prompt, (received, answered) in self._prompts.items()
                }
        return shown

    def records(self) -> list[dict[str, Any]]:
        """The last requests, oldest first, without secrets."""
        return [
            {
                "time": at,
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "headers": {
                    name: "(hidden)" if name in SECRET_HEADERS else value for name, value in request.headers.items()
                },
                "body": _readable(request.body),
            }
            for at, request in self._records
        ]


def _readable(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
