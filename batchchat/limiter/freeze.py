"""Refusals: one episode, one pause, and an orderly way out of it.

The first refusal of a request that started after the last pause begins an episode: nothing starts until the time that
the endpoint asked for. Refusals of requests that started before it belong to the same episode; they never pause twice,
but a time they ask for is kept as well, since nothing may be sent before it. Where no time is asked for, the pause
doubles with every episode that follows without an answer between.

After the pause one request goes first. The others wait a moment, for as long as a refusal usually takes to come back:
a herd that is refused again would only prolong the episode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
FIRST_LOOK = 0.2
SHORTEST_LOOK = 0.1
LONGEST_LOOK = 2.0


class Freeze:
    """When starts are allowed again. `epoch` numbers the stretches between pauses; a start belongs to one."""

    __slots__ = ("_looking", "_random", "_reply_time", "_thawed", "_unanswered", "epoch", "until")

    def __init__(self, random: random.Random) -> None:
        self._random = random
        self.epoch = 0
        self.until = float("-inf")
        self._unanswered = 0  # episodes since the last whole answer
        self._reply_time = SHORTEST_LOOK
        self._thawed = True  # the pause is over and something was started since
        self._looking = False  # one request is out, the others wait to see whether it is refused

    def refused(self, now: float, *, epoch: int, started: float, asked: float | None, reset: float | None) -> float:
        """A request of this epoch was refused; gives the seconds of a pause that begins with it, else 0.

        Args:
            now: the moment of the refusal.
            epoch: the epoch in which the request started.
            started: the moment at which it started.
            asked: seconds that the endpoint asked to wait.
            reset: seconds until its quota is whole again: no pause of our own is longer.
        """
        self._reply_time += (min(now - started, LONGEST_LOOK) - self._reply_time) / 4
        if epoch != self.epoch:
            if asked is not None and now + asked > self.until:
                self.until = now + asked
            return 0.0
        self.epoch += 1
        self._unanswered += 1
        self._thawed = self._looking = False
        pause = self._own_pause(reset) if asked is None else asked
        self.until = now + pause
        return pause

    def look(self, now: float) -> None:
        """Nobody starts for a moment, to see what becomes of those in flight; no episode begins."""
        self.until = max(self.until, now + FIRST_LOOK)

    def started(self, now: float) -> bool:
        """A request starts; the first one after a pause is looked after before others follow.

        True where it is the second one: the first was not refused within the time that a refusal takes.
        """
        if not self._thawed:
            self._thawed = self._looking = True
            self.until = now + min(max(3 * self._reply_time, SHORTEST_LOOK), LONGEST_LOOK)
            return False
        looked, self._looking = self._looking, False
        return looked

    def answered(self, now: float, *, epoch: int) -> bool:
        """A request of this epoch was answered; True where it was the first one after a pause."""
        if epoch != self.epoch:
            return False
        self._unanswered = 0
        looked, self._looking = self._looking, False
        if looked:
            self.until = now
        return looked

    @property
    def idle(self) -> bool:
        """True where `started` and `answered` have nothing to learn."""
        return self._thawed and not self._looking and not self._unanswered

    def _own_pause(self, reset: float | None) -> float:
        pause = min(FIRST_PAUSE * 2.0 ** (self._unanswered - 1), LONGEST_PAUSE)
        pause *= self._random.uniform(1.0, 1.25)
        return min(pause, reset) if reset is not None and reset > 0 else pause
