"""What kills cost: the endpoint's count against what the checkpoint holds, after every kill and at the end.

An answer is lost when it went out whole and is not in the checkpoint. After each kill at most the requests in flight
and one group may be lost; at the end exactly what was lost was asked for again, and nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from crash.job import wait_until

GROUP = 500


@dataclass(frozen=True, kw_only=True)
class Kill:
    """A line of the record of kills."""

    job: int
    kill: int
    table: str
    stream: bool
    concurrency: int
    kind: str
    where: str
    place: str
    answered: int
    stored: int
    again: int


class Account:
    """Keeps the books of one job.

    Args:
        job: whose.
        endpoint: counts from nothing when the account is opened.
        expected: by row, the answer of an undisturbed run.
    """

    def __init__(self, job, endpoint, expected):
        self._job = job
        self._endpoint = endpoint
        self._expected = expected
        self._lost = 0
        self.worst = 0

    def after_a_kill(self):
        """Answers that were lost by the kill that just was; how many went out so far, and how many are kept."""
        wait_until(lambda: self._endpoint.stats()["in_flight"] == 0)
        answered, stored = self._endpoint.answered, self._job.stored()
        wrong = [row for row, text in stored.items() if text != self._expected[row]]
        assert not wrong, f"rows {wrong[:5]} hold another row's answer"
        again = answered - self._lost - len(stored)
        assert again >= 0, "the checkpoint holds answers that never went out"
        bound = self._job.concurrency + GROUP
        assert again <= bound, f"{again} answers are lost by one kill; {bound} may be"
        self._lost += again
        self.worst = max(self.worst, again)
        return answered, len(stored), again

    def at_the_end(self):
        """Every row has its answer, and nothing was asked twice but what was lost."""
        stored = self._job.stored()
        assert stored == self._expected
        needed = Counter(self._job.prompts)
        answers = self._endpoint.answers()
        missing = {prompt for prompt in needed if answers.get(prompt, 0) < needed[prompt]}
        assert not missing, f"{len(missing)} prompts were answered less often than they stand in the table"
        again = sum(answers.values()) - len(self._job.prompts)
        assert again == self._lost, f"{again} answers were asked for again; {self._lost} were lost"


def record(path, kills):
    """Append kills to a file of JSON lines."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(asdict(kill), ensure_ascii=False) + "\n" for kill in kills)
