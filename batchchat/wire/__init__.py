"""The JSON and the event stream of chat completions: what is asked and answered in, bytes and records out.

Pure functions and one incremental decoder; nothing here opens a connection, waits, or knows rows.
`address` knows URLs, `body` requests and their keys, `reply` and `stream` answers, `headers` limits and waits,
`errors` everything that is not an answer; `json`, `surrogates` and `wording` are their tools.
"""

from __future__ import annotations

from batchchat.wire.address import address, check_url, is_loopback, origin
from batchchat.wire.body import RequestShape, encode, for_endpoint, make_request, request_key
from batchchat.wire.errors import error_from
from batchchat.wire.headers import rate_limits, request_id, retry_after
from batchchat.wire.reply import NO_CHOICES, parse_models, parse_reply
from batchchat.wire.stream import EventStream

__all__ = [
    "NO_CHOICES",
    "EventStream",
    "RequestShape",
    "address",
    "check_url",
    "encode",
    "error_from",
    "for_endpoint",
    "is_loopback",
    "make_request",
    "origin",
    "parse_models",
    "parse_reply",
    "rate_limits",
    "request_id",
    "request_key",
    "retry_after",
]
