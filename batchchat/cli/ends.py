"""What `run` and `resume` do when a job has ended, besides telling it: the exit status, and a notice to a URL."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from batchchat.cli import stream, tolerance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.api import Summary
    from batchchat.cli.tolerance import Tolerance
    from batchchat.records import Secret

_FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a job ends: which rows may fail, and where a notice goes."""

    tolerance: Tolerance | None = None
    notice: Secret | None = None

    def judged(self, summary: Summary) -> Summary:
        """The summary, with the exit status that `--ok-failed` gives it."""
        if self.tolerance is None or summary.status != _FAILED:
            return summary
        meant = summary.rows - (summary.skipped or 0)
        return replace(summary, status=0) if self.tolerance.allows(summary.failed, meant) else summary

    def notify(self, headline: str, facts: Mapping[str, Any], *, status: int) -> None:
        """Post a summary, where that is asked for; a notice that does not arrive changes nothing but this line."""
        if self.notice is None:
            return
        from batchchat.transport import post

        if why := post(self.notice, {"text": headline, "exit_status": status, **facts}):
            stream.tell(f"batchchat: --notify: the summary was not delivered: {why}")


def ends(*, ok_failed: str | None, notify: bool, env_file: str | None) -> End:
    """How the job is to end.

    Raises:
        UsageError: `--ok-failed` is no number of rows and no share, or there is no URL to notify.
    """
    allowed = tolerance.parse(ok_failed)
    if not notify:
        return End(tolerance=allowed)
    from batchchat.job import notice_url

    return End(tolerance=allowed, notice=notice_url(env_file))
