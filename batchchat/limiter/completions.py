"""How many tokens a request will take: its prompt, and what completions of this job have taken so far.

Before the first answers the reservation is the most that a request can take, where it says so (`max_tokens`); then it
is the mean of the job, and beside it stands the spread: what is in flight may together turn out larger than its
reservations by a few standard deviations, and that much is kept free. The spread is measured against the reservation,
so it covers a prompt that was counted roughly as well as completions of uneven length.

Recent answers count more: the weight of one never falls below 1/200.
"""

from __future__ import annotations

import math

UNKNOWN_COMPLETION = 512
MEMORY = 200


class Completions:
    """The distribution of completions in this job, learned from whole answers."""

    __slots__ = ("_last", "answers", "mean", "variance")

    def __init__(self) -> None:
        self.answers = 0
        self.mean = 0.0
        self.variance = 0.0
        self._last: tuple[int, float, int | None] = (-1, 0.0, None)

    def estimate(self, prompt_tokens: float, completion_limit: int | None) -> int:
        """Tokens to reserve for a request with this prompt and this `max_tokens`."""
        tokens = max(1, round(prompt_tokens + self._expected(completion_limit)))
        self._last = (tokens, prompt_tokens, completion_limit)
        return tokens

    def recall(self, tokens: int) -> tuple[float, int | None] | None:
        """The prompt and the `max_tokens` of a reservation, where it is the last estimate; else None."""
        asked, prompt, limit = self._last
        return (prompt, limit) if tokens == asked else None

    def _expected(self, completion_limit: int | None) -> float:
        if not self.answers:
            return float(UNKNOWN_COMPLETION if completion_limit is None else completion_limit)
        # While answers are few, the mean may be wrong by its standard error: reserve that too.
        most = self.mean + math.sqrt(self.variance / self.answers) if self.answers < MEMORY else self.mean
        return most if completion_limit is None else min(most, completion_limit)

    def learn(self, completion: float) -> None:
        """A completion took this many tokens, by the endpoint's count less our count of the prompt."""
        self.answers += 1
        weight = 1.0 / min(self.answers, MEMORY)
        difference = completion - self.mean
        self.mean += weight * difference
        self.variance += weight * ((1.0 - weight) * difference * difference - self.variance)
