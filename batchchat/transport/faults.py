"""Network faults: an exception of aiohttp, ssl or the system in, one of our errors out. The one place for it.

`billed` is what the budget counts: whether the endpoint may have worked on the request. It may not where no connection
was made, and not where a kept connection turns out to have been closed before the request came; it may wherever a
request went out on a fresh connection, and of course where a part of the answer came.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchchat.errors import (
    BadRequest,
    ConnectionLost,
    EndpointDown,
    JobStopped,
    RequestError,
    RequestTimeout,
    UnreadableReply,
)

if TYPE_CHECKING:
    from collections.abc import Callable

_OUT_OF_FILES = frozenset({errno.EMFILE, errno.ENFILE})
_PROXY_REFUSES = frozenset({401, 403, 407})


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where it happened.

    Attributes:
        where: host and port that were asked.
        fresh: whether a connection was opened for the request.
        answered: whether the head of the answer had come.
        timeout: seconds after which a request is given up.
        connect_timeout: seconds after which an attempt to connect is given up.
    """

    where: str
    fresh: bool
    answered: bool
    timeout: float
    connect_timeout: float


def translate(fault: BaseException, scene: Scene) -> RequestError | JobStopped | None:
    """Our error for it; None where it is none of the network's."""
    for kind in type(fault).__mro__:
        make = FAULTS.get(kind.__name__)
        if make is not None:
            return make(fault, scene)
    return None


def _unreachable(fault: BaseException, scene: Scene) -> RequestError:
    """No connection was made: nothing was asked, nothing is billed."""
    cause = getattr(fault, "os_error", fault)
    number = getattr(cause, "errno", None)
    if number in _OUT_OF_FILES:
        return ConnectionLost(
            f"no connection to {scene.where}: this process may not open more files; allow more (ulimit -n) or lower "
            f"--concurrency"
        )
    reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    if isinstance(number, int) and str(reason).startswith("Connect call failed"):  # asyncio's words for any reason
        reason = os.strerror(number)
    return ConnectionLost(f"no connection to {scene.where}: {reason}")


def _too_slow(_: BaseException, scene: Scene) -> RequestError:
    return ConnectionLost(f"no connection to {scene.where} within {scene.connect_timeout:g} s")


def _untrusted(fault: BaseException, scene: Scene) -> JobStopped:
    cause = getattr(fault, "certificate_error", fault)
    reason = getattr(cause, "verify_message", None) or str(cause)
    return EndpointDown(
        f"the certificate of {scene.where} cannot be trusted: {reason}. If it comes from an authority of "
        f"your own, name its file in SSL_CERT_FILE"
    )


def _handshake(fault: BaseException, scene: Scene) -> RequestError:
    reason = getattr(getattr(fault, "os_error", fault), "reason", None) or str(fault)
    return ConnectionLost(f"no TLS connection to {scene.where}: {reason}")


def _broken(fault: BaseException, scene: Scene) -> RequestError:
    """The connection broke, before or within the answer."""
    if scene.answered:
        return _cut(fault, scene)
    reason = getattr(fault, "strerror", None) or "it was closed without an answer"
    return ConnectionLost(f"the connection to {scene.where} broke: {reason}", billed=scene.fresh)


def _not_sent(_: BaseException, scene: Scene) -> RequestError:
    return ConnectionLost(f"the connection to {scene.where} broke before the request was sent")


def timed_out(_: BaseException | None, scene: Scene) -> RequestError:
    """No answer, or no next chunk, in time."""
    what = "the answer stopped" if scene.answered else "no answer"
    return RequestTimeout(f"{what}: {scene.where} said nothing for {scene.timeout:g} s", billed=True)


def _cut(_: BaseException, scene: Scene) -> RequestError:
    return UnreadableReply(f"the answer of {scene.where} was cut", billed=True)


def _no_http(_: BaseException, scene: Scene) -> RequestError:
    return UnreadableReply(f"what {scene.where} answered is no HTTP that can be read", billed=True)


def _proxy(fault: BaseException, scene: Scene) -> RequestError | JobStopped:
    status = getattr(fault, "status", 0)
    said = f"the proxy does not let through to {scene.where} (HTTP {status}: {getattr(fault, 'message', '')})"
    return EndpointDown(said) if status in _PROXY_REFUSES else ConnectionLost(said)


def _misdirected(_: BaseException, scene: Scene) -> RequestError:
    return BadRequest(f"{scene.where} redirects to what is no address")


def _no_address(_: BaseException, scene: Scene) -> JobStopped:
    return EndpointDown(f"{scene.where} is no address that can be asked")


# By name: aiohttp's tree grows, and its older versions lack some. A test fails when a class of it is missing here.
FAULTS: dict[str, Callable[[BaseException, Scene], RequestError | JobStopped]] = {
    "ClientConnectorError": _unreachable,
    "ClientConnectorDNSError": _unreachable,
    "ClientProxyConnectionError": _unreachable,
    "UnixClientConnectorError": _unreachable,
    "ConnectionTimeoutError": _too_slow,
    "ClientConnectorCertificateError": _untrusted,
    "ServerFingerprintMismatch": _untrusted,
    "SSLCertVerificationError": _untrusted,
    "ClientSSLError": _handshake,
    "ClientConnectorSSLError": _handshake,
    "SSLError": _broken,
    "ClientHttpProxyError": _proxy,
    "ClientError": _broken,
    "ClientConnectionError": _broken,
    "ClientConnectionResetError": _broken,
    "ClientOSError": _broken,
    "ServerConnectionError": _broken,
    "ServerDisconnectedError": _broken,
    "UploadAbortedError": _not_sent,
    "OSError": _broken,
    "ServerTimeoutError": timed_out,
    "SocketTimeoutError": timed_out,
    "TimeoutError": timed_out,
    "ClientPayloadError": _cut,
    "ClientResponseError": _no_http,
    "ContentTypeError": _no_http,
    "HttpProcessingError": _no_http,
    "WSServerHandshakeError": _no_http,
    "WSMessageTypeError": _no_http,
    "TooManyRedirects": _misdirected,
    "RedirectClientError": _misdirected,
    "InvalidUrlRedirectClientError": _misdirected,
    "NonHttpUrlRedirectClientError": _misdirected,
    "InvalidURL": _no_address,
    "InvalidUrlClientError": _no_address,
    "NonHttpUrlClientError": _no_address,
    "RuntimeError": _broken,  # uvloop's word for a write to a connection that is closed already
}
