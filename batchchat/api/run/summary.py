"""What a run came to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from decimal import Decimal

    from batchchat.api.money.bill import Bill
    from batchchat.errors import JobStopped
    from batchchat.limiter import Bound

PUBLIC = (
    "rows",
    "succeeded",
    "failed",
    "pending",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "output",
    "checkpoint",
    "reused",
    "requests",
    "retries",
    "elapsed_s",
    "stop_reason",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The end of a run.

    Attributes:
        rows, succeeded, failed, pending: of the job.
        skipped: rows that `--where` does not choose, None where nobody asked for some.
        prompt_tokens, completion_tokens: of every answer that the job holds.
        cost_usd: what they cost, None where the price is unknown.
        output: what was published, None where nothing was.
        checkpoint: where everything is kept.
        reused: rows that the checkpoint answered.
        requests: HTTP requests sent in this run, retries counted.
        retries: attempts made again in this run.
        elapsed_s: seconds.
        stop_reason: None, or a word of the contract.
        status: the exit status.
        message: why it stopped and how to go on; None where it did not.
        reason: what stopped it.
        answers: of a trial, a row each.
        misspelt: what was said and what may be meant, None where nothing is near.
        bill: what was paid for what; None of a trial.
        errors: of the rows that failed, the most frequent errors and how often they came.
        cut: answers that were cut by their length; longest: the most tokens that such a one has.
        bound: what the requests have waited for, None where none was sent.
        begun_otherwise: of a trial, whether the job has answers to other settings, so that a run would be refused.
        more_rows: whether the table may have rows beyond `--limit`.
    """

    rows: int
    succeeded: int
    failed: int
    pending: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal | None = None
    output: str | None = None
    checkpoint: str = ""
    reused: int = 0
    requests: int = 0
    retries: int = 0
    elapsed_s: float = 0.0
    stop_reason: str | None = None
    status: int = 0
    message: str | None = None
    reason: JobStopped | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    skipped: int | None = None
    misspelt: tuple[str, str] | None = None
    bill: Bill | None = None
    errors: list[tuple[str, int]] = field(default_factory=list)
    cut: int = 0
    longest: int = 0
    more_rows: bool = False
    begun_otherwise: bool = False
    bound: Bound | None = None

    def as_dict(self) -> dict[str, Any]:
        """The facts that the contract names, JSON-able: money as a number."""
        facts = {name: getattr(self, name) for name in PUBLIC}
        facts["cost_usd"] = None if self.cost_usd is None else float(self.cost_usd)
        if self.skipped is not None:
            facts["skipped"] = self.skipped
        facts["elapsed_s"] = round(self.elapsed_s, 3)
        return facts
