"""A request that is not answered: the HTTP status and OpenAI's error object.

What comes in: why. What goes out: a `Refusal`, raised by whoever finds the fault, made bytes by whoever answers.
"""

from __future__ import annotations

import json

# The type that OpenAI gives to an error of this status; others are `invalid_request_error`, or `server_error` from 500.
TYPES = {
    401: "invalid_request_error",
    402: "billing_error",
    403: "permission_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "requests",
    529: "overloaded_error",
}


class Refusal(Exception):
    """What is answered in place of a completion.

    Attributes:
        status: of HTTP.
        message, type, param, code: of the error object.
        headers: lines that end in CRLF.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - the API's own name of the field
        param: str | None = None,
        code: str | None = None,
        headers: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or type_of(status)
        self.param = param
        self.code = code
        self.headers = headers

    def object(self) -> dict[str, dict[str, str | None]]:
        """The error object."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def body(self) -> bytes:
        """The error object as bytes."""
        return json.dumps(self.object(), indent=2).encode()


def type_of(status: int) -> str:
    """The usual type of an error of this status."""
    return TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")


def body_of(status: int, message: str) -> bytes:
    """The error object of a request that never became one."""
    return Refusal(status, message).body()
