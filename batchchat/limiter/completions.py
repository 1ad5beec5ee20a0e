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

    __slots__ = ("_added", "_asked", "answers", "mean", "variance")

    def __init__(self) -> None:
        self.answers = 0
        self.mean = 0.0
        self.variance = 0.0
        self._asked = -1
        self._added = 0.0

    def estimate(self, prompt_tokens: int, completion_limit: int | None) -> int:
        """Tokens to reserve for a request with this prompt and this `max_tokens`."""
        if self.answers:
            # While answers are few, the mean may be wrong by its standard error: reserve that too.
            added = self.mean + math.sqrt(self.variance / self.answers) if self.answers < MEMORY else self.mean
            if completion_limit is not None and added > completion_limit:
                added = float(completion_limit)
        else:
            added = float(UNKNOWN_COMPLETION if completion_limit is None else completion_limit)
        self._added = added
        self._asked = max(1, prompt_tokens + round(added))
        return self._asked

    def part_of(self, tokens: int) -> float:
        """How much of a reservation is meant for the completion: the last estimate's, else the mean."""
        added = self._added if tokens == self._asked else self.mean
        return min(added, tokens)

    def learn(self, completion: float) -> None:
        """A completion took this many tokens, by the endpoint's count less our count of the prompt."""
        self.answers += 1
        weight = 1.0 / min(self.answers, MEMORY)
        difference = completion - self.mean
        self.mean += weight * difference
        self.variance += weight * ((1.0 - weight) * difference * difference - self.variance)
