"""The numbers of a job: fed block by block with what the checkpoint holds, asked at the end.

Latencies are counted in buckets of one percent, so percentiles are right to one percent and cost no memory; throughput
is counted over the time that runs took, so that a night between two runs is no gap in the picture.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens")
READ = ("row", "finish_reason", *_TOKENS, "error", "model", "attempts", "paid_for_nothing", "latency", "first_token",
        "at")  # fmt: skip
_STEP = math.log(1.01)
_BARS = 120
_MOST_KINDS = 1000  # of errors: what comes after these is counted as others
_DIGITS = re.compile(r"\d+")
_LONGEST_KIND = 200


class Percentiles:
    """Times, in buckets of one percent."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """One more."""
        self._counts[round(math.log(max(seconds, 1e-6)) / _STEP)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def at(self, share: float) -> float | None:
        """The time within which this share of them was done; None where there is none."""
        left = share * self.count
        for bucket in sorted(self._counts):
            left -= self._counts[bucket]
            if left <= 0:
                return min(math.exp(bucket * _STEP), self.longest)
        return None


@dataclass(slots=True, kw_only=True)
class ErrorKind:
    """Errors that differ in their numbers alone: an example of them, how many, and the first row."""

    example: str
    row: int
    count: int = 0


class Numbers:
    """What is counted of a job.

    Args:
        runs: start and end of each run, Unix times, in order.

    Attributes:
        answered, failed: rows.
        tokens: sums, by the names of the API's counts.
        attempts: HTTP requests; paid_for_nothing: those that may have been billed without an answer.
        finish_reasons, models: how often each.
        latency, first_token: of whole answers, and to their first chunk.
    """

    def __init__(self, runs: Sequence[tuple[float, float]]) -> None:
        self.answered = self.failed = self.attempts = self.paid_for_nothing = 0
        self.tokens = dict.fromkeys(_TOKENS, 0)
        self.finish_reasons: Counter[str] = Counter()
        self.models: Counter[str] = Counter()
        self.latency, self.first_token = Percentiles(), Percentiles()
        self._errors: dict[str, ErrorKind] = {}
        self._runs = [(start, max(start, end)) for start, end in runs]
        self._offsets = [0.0]
        for start, end in self._runs:
            self._offsets.append(self._offsets[-1] + end - start)
        self._bars: Counter[int] = Counter()
        self._tokens_of_bars: Counter[int] = Counter()

    @property
    def seconds(self) -> float:
        """How long runs took, together."""
        return self._offsets[-1]

    def add(self, block: Mapping[str, Sequence[Any]]) -> None:
        """A block of rows: for each name of `READ` a list; rows whose `row` is None have no outcome."""
        for values in zip(*(block[name] for name in READ), strict=True):
            facts = dict(zip(READ, values, strict=True))
            if facts["row"] is not None:
                self._add(facts)

    def errors(self) -> list[ErrorKind]:
        """The kinds of errors, most frequent first."""
        return sorted(self._errors.values(), key=lambda kind: (-kind.count, kind.row))

    def rates(self) -> list[float]:
        """Rows per second in equal parts of the time that runs took; empty where that was too short to tell."""
        return self._per_second(self._bars)

    def token_rates(self) -> list[float]:
        """Tokens per second in the same parts."""
        return self._per_second(self._tokens_of_bars)

    def breaks(self) -> list[float]:
        """Where a run ended and the next began, as shares of the whole time."""
        return [offset / self.seconds for offset in self._offsets[1:-1]] if self.seconds else []

    def _add(self, facts: Mapping[str, Any]) -> None:
        error = facts["error"]
        if error is None:
            self.answered += 1
        else:
            self.failed += 1
            self._add_error(error, facts["row"])
        for name in _TOKENS:
            self.tokens[name] += facts[name] or 0
        self.attempts += facts["attempts"] or 0
        self.paid_for_nothing += facts["paid_for_nothing"] or 0
        reasons = facts["finish_reason"]
        self.finish_reasons.update(map(str, reasons if isinstance(reasons, list) else [reasons] if reasons else []))
        if facts["model"] is not None:
            self.models[facts["model"]] += 1
        if facts["latency"]:
            self.latency.add(facts["latency"])
        if facts["first_token"]:
            self.first_token.add(facts["first_token"])
        self._add_time(facts)

    def _add_error(self, error: str, row: int) -> None:
        shape = _DIGITS.sub("0", error)[:_LONGEST_KIND]
        if shape not in self._errors and len(self._errors) >= _MOST_KINDS:
            shape = error = "others"
        self._errors.setdefault(shape, ErrorKind(example=error, row=row)).count += 1

    def _add_time(self, facts: Mapping[str, Any]) -> None:
        """Count the row in the part of the runs' time in which it was settled; a row that was not sent is in none."""
        at = facts["at"]
        nth = bisect_right(self._runs, (at, math.inf)) - 1
        if nth < 0 or not self.seconds or not facts["attempts"]:
            return
        start, end = self._runs[nth]
        offset = self._offsets[nth] + min(at, end) - start
        bar = min(_BARS - 1, int(_BARS * offset / self.seconds))
        self._bars[bar] += 1
        self._tokens_of_bars[bar] += (facts["prompt_tokens"] or 0) + (facts["completion_tokens"] or 0)

    def _per_second(self, counts: Counter[int]) -> list[float]:
        if not counts:
            return []
        length = self.seconds / _BARS
        return [counts[bar] / length for bar in range(_BARS)]
