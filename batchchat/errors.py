"""What can go wrong, as one tree.

    BatchchatError
      UsageError                exit 2   the option, job file, table, template or checkpoint is at fault
        Misspelt                         a name that is none, and the one that may be meant
        SettingsChanged                  not those that the job began with
      JobStopped                exit 1   the job ended early; what was paid for is kept, `resume` goes on
        KeyRefused              key      401, or 403 by evidence
        QuotaExhausted          quota    402, 429 of the billing kind
        ModelMissing            model    the model or the path is not there
        WaitTooLong             wait     the endpoint asks for a wait beyond --max-retry-after
        BudgetReached           budget   the next request could pass --max-cost
        EndpointDown            outage   the endpoint cannot be reached, or not be trusted (certificate)
        StorageFull             disk     the checkpoint or the output cannot be written
        CheckpointBusy          busy     another run holds the checkpoint
        CheckpointDamaged       damaged  the checkpoint cannot be read, or is none
        Hopeless                hopeless every row is refused alike
        InputFault              input    a fault in the table, found late
        Interrupted             interrupt  a signal; exit 128 + its number
      RequestError                       one attempt of one row
        Retryable                        worth another attempt
          RateLimited                    paced: 429 of the rate kind, 503 with Retry-After, 529
          ServerError                    408, 409, 425, 5xx
          RequestTimeout
          ConnectionLost
          UnreadableReply                cut, malformed, or without choices
        Permanent                        kept as the row's error
          BadRequest                     400, 413, 422 and other 4xx
          ContextTooLong
          RequestTooLarge                429 that says this one request is above the limit
          Forbidden                      403; whether it is the row's or the job's is decided by evidence
          ContentRefused                 refusal or content filter; the reply (and its usage) is kept
          BadRow                         the row makes no request that could be sent

A `RequestError` never leaves a worker: it becomes the row's `Outcome`. A `JobStopped` ends the job after the requests
in flight. Errors of third parties are translated at the door, in one place each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchchat.records import Completion, RateLimits


class BatchchatError(Exception):
    """The root: everything that batchchat raises on purpose."""


class UsageError(BatchchatError):
    """A bad option, file, column, template or job file. Nothing was sent.

    The message says what is wrong, where (file, row, column), and what to do.
    """


class Misspelt(UsageError):
    """A name that is none: of a column, a key, an option, a file, a model.

    Attributes:
        wrong: what was said, empty where nothing was.
        meant: what may be meant, as it is to be typed instead; None where nothing is near.
        add: words of a command line that would say it.
    """

    def __init__(self, message: str, *, wrong: str, meant: str | None, add: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.wrong = wrong
        self.meant = meant
        self.add = tuple(add)


class SettingsChanged(UsageError):
    """The settings are not those that the job began with.

    Attributes:
        changes: name, value before and value now of each that differs; None: not set.
        remedy: the ways on.
    """

    def __init__(self, head: str, changes: Sequence[tuple[str, Any, Any]], remedy: str) -> None:
        told = [f"{name}: {_or_unset(before)} -> {_or_unset(now)}" for name, before, now in changes]
        super().__init__("\n  ".join([head, *told]) + "\n" + remedy)
        self.head = head
        self.changes = tuple(changes)
        self.remedy = remedy


def _or_unset(value: Any) -> str:
    return "not set" if value is None else repr(value)


class JobStopped(BatchchatError):
    """The job ended before its last row. What was paid for is in the checkpoint.

    Attributes:
        stop_reason: one word for machines, as in the summary.
        table: the table so far, of the kind that was given to `batchchat.run` (None for a path).
        checkpoint: path of the checkpoint, or None where none was made.
    """

    stop_reason: ClassVar[str] = "stopped"
    table: Any = None
    checkpoint: str | None = None


class KeyRefused(JobStopped):
    """The endpoint refuses the key."""

    stop_reason = "key"


class QuotaExhausted(JobStopped):
    """The account has no money or quota left."""

    stop_reason = "quota"


class ModelMissing(JobStopped):
    """The model, or the path of the endpoint, is not there.

    Attributes:
        wrong: the model that was asked for, where another may be meant; meant: that one.
    """

    stop_reason = "model"
    wrong: str = ""
    meant: str | None = None


class WaitTooLong(JobStopped):
    """The endpoint asks for a wait beyond --max-retry-after."""

    stop_reason = "wait"


class BudgetReached(JobStopped):
    """The next request could pass the budget."""

    stop_reason = "budget"


class EndpointDown(JobStopped):
    """The endpoint cannot be reached, answers nothing but failures, or has no certificate that can be trusted."""

    stop_reason = "outage"


class StorageFull(JobStopped):
    """The checkpoint or the output cannot be written."""

    stop_reason = "disk"


class CheckpointBusy(JobStopped):
    """Another run holds the checkpoint."""

    stop_reason = "busy"


class CheckpointDamaged(JobStopped):
    """The checkpoint cannot be read, is of a later version, or is no checkpoint. It was left as it is."""

    stop_reason = "damaged"


class Hopeless(JobStopped):
    """Every row is refused alike; no row was marked."""

    stop_reason = "hopeless"


class InputFault(JobStopped):
    """A fault in the table that was found after the first request."""

    stop_reason = "input"


class Interrupted(JobStopped, KeyboardInterrupt):
    """A signal, or Ctrl-C. Also a KeyboardInterrupt, so that notebooks and shells treat it as one.

    Attributes:
        signal_number: 1 (SIGHUP), 2 (SIGINT) or 15 (SIGTERM).
    """

    stop_reason = "interrupt"

    def __init__(self, message: str = "interrupted", *, signal_number: int = 2) -> None:
        super().__init__(message)
        self.signal_number = signal_number


class RequestError(BatchchatError):
    """One attempt of one row failed.

    Attributes:
        message: what the endpoint or the network said, without secrets.
        status: HTTP status, None where there was no answer.
        type, code, param: of the API's error object, None where it gave none.
        retry_after: seconds that the endpoint asked to wait, None where it asked for nothing.
        limits: the rate-limit headers of the answer, None where there were none.
        billed: True where the attempt may have been billed (a timeout, a cut or unreadable answer).
        request_id: the endpoint's id of the request, for its support.
    """

    kind: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: str | None = None,  # noqa: A002 - the API's own name of the field
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        limits: RateLimits | None = None,
        billed: bool = False,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.limits = limits
        self.billed = billed
        self.request_id = request_id

    def __str__(self) -> str:
        """As the `error` column has it: `type: message`, with the HTTP status where there was one."""
        status = f" (HTTP {self.status})" if self.status is not None else ""
        return f"{self.type or self.kind}: {self.message}{status}"

    @property
    def signature(self) -> tuple[int | None, str | None, str | None, str | None]:
        """Status, type, code and param: two errors of the same signature are alike."""
        return (self.status, self.type or self.kind, self.code, self.param)


class Retryable(RequestError):
    """Another attempt may succeed."""


class RateLimited(Retryable):
    """Paced, not counted as a retry: 429 of the rate kind, 503 with Retry-After, 529."""

    kind = "rate_limit"


class ServerError(Retryable):
    """408, 409, 425 and 5xx."""

    kind = "server_error"


class RequestTimeout(Retryable):
    """No answer (or, with a stream, no chunk) within the timeout. It may have been billed."""

    kind = "timeout"


class ConnectionLost(Retryable):
    """The connection could not be made, or broke before the answer began."""

    kind = "connection_error"


class UnreadableReply(Retryable):
    """An answer that was cut, is no JSON, or has no choices. It may have been billed."""

    kind = "unreadable_reply"


class Permanent(RequestError):
    """Asking again would give the same answer."""


class BadRequest(Permanent):
    """400, 413, 422 and other 4xx."""

    kind = "bad_request"


class ContextTooLong(Permanent):
    """The prompt does not fit into the model's context window."""

    kind = "context_length_exceeded"


class RequestTooLarge(Permanent):
    """This one request is larger than the rate limit: waiting does not help."""

    kind = "request_too_large"


class Forbidden(Permanent):
    """403: a key without permission, a spent quota, a firewall or one bad prompt; evidence decides."""

    kind = "permission_denied"


class ContentRefused(Permanent):
    """The model or a filter refused to answer. The reply was paid for and is kept.

    Attributes:
        completion: the reply, None where the refusal came as an HTTP error.
    """

    kind = "content_filter"

    def __init__(self, message: str, *, completion: Completion | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.completion = completion


class BadRow(Permanent):
    """The row makes no request that could be sent: its prompt is null or blank, or its messages are none."""

    kind = "invalid_row"
