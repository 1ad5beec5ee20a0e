"""A notice: one JSON object posted to a URL, within a bounded time, whatever the other side does.

It is no request of the job: nothing of it is retried for long, counted or kept. The standard library sends it, in a
thread that nobody has to wait for: the look-up of a name cannot be ended, and the process must end.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from batchchat import defaults
from batchchat.errors import UsageError
from batchchat.transport.surroundings import proxy_for, trust

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.records import Secret

USER_AGENT = "batchchat"
_ATTEMPTS = 2
_PAUSE = 1.0
_WORTH_ANOTHER = frozenset({408, 425, 429})


def post(url: Secret, facts: Mapping[str, Any], *, patience: float = defaults.NOTICE_SECONDS) -> str | None:
    """Post the facts as JSON.

    Args:
        url: http or https; its path and query are secrets, and a login before its host goes into a header.
        facts: JSON-able.
        patience: seconds for everything.

    Returns:
        Why that failed, in words that show nothing of the URL but its host; None where it did not.
    """
    address = url.reveal()
    body = json.dumps(facts, ensure_ascii=False, default=str).encode()
    host = urlsplit(address).hostname
    found: list[str | None] = []

    def work() -> None:
        try:
            found.append(_posted(address, body, time.monotonic() + patience))
        except UsageError as error:  # proxies and certificates
            found.append(f"{host}: {error}")
        except Exception as error:  # whatever it is, the job has ended; and what it says may show the URL
            found.append(f"{host}: {type(error).__name__}")

    thread = threading.Thread(target=work, name="batchchat-notice", daemon=True)
    thread.start()
    thread.join(patience)
    return found[0] if found else f"{host}: no answer within {patience:g} seconds"


def _posted(address: str, body: bytes, end: float) -> str | None:
    opener = _opener(address)
    request = _request(address, body)
    host = request.host
    why = f"{host}: no answer"
    for attempt in range(_ATTEMPTS):
        if attempt:
            time.sleep(_PAUSE)
        left = end - time.monotonic()
        if left <= 0:
            break
        try:
            with opener.open(request, timeout=left):
                return None
        except urllib.error.HTTPError as error:
            why = f"{host} answers HTTP {error.code}"
            if error.code < 500 and error.code not in _WORTH_ANOTHER:
                break
        except urllib.error.URLError as error:
            why = f"{host}: {_reason(error.reason)}"
        except OSError as error:
            why = f"{host}: {_reason(error)}"
    return why


def _request(address: str, body: bytes) -> urllib.request.Request:
    parts = urlsplit(address)
    login, _, host = parts.netloc.rpartition("@")
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT}
    if login:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(login).encode()).decode()}"
    plain = parts._replace(netloc=host, fragment="").geturl()
    return urllib.request.Request(plain, data=body, headers=headers, method="POST")  # noqa: S310 - http(s), checked


def _opener(address: str) -> urllib.request.OpenerDirector:
    scheme = urlsplit(address).scheme
    proxy = proxy_for(address)
    secure = [urllib.request.HTTPSHandler(context=trust())] if scheme == "https" else []
    handler = urllib.request.ProxyHandler({} if proxy is None else {scheme: proxy})
    return urllib.request.build_opener(handler, _NoRedirect, *secure)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What the summary says goes where it was told to, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Never."""


def _reason(error: object) -> str:
    """What went wrong, as the system says it: nothing of the URL is in it."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    told = getattr(error, "strerror", None)
    return str(told or type(error).__name__)
