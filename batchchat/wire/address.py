"""Addresses: what a person typed as the endpoint's URL in, the URL that is meant out.

A base URL may end in a slash or not, may be the whole address of chat completions, and may have a query (Azure's
`?api-version=`), which is kept when paths are joined. A secret in a URL is refused: URLs are printed and kept.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from batchchat.errors import UsageError
from batchchat.records import Secret

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from batchchat.records import Endpoint

_CHAT = "/chat/completions"
_PORTS = {"http": 80, "https": 443}
_SECRET_NAMES = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token", "subscription-key"})
_HOST = re.compile(r"[^\s/?#@\\<>\"^`{|}%\x00-\x20]+")


def check_url(text: str, *, name: str = "--base-url") -> str:
    """The base URL that is meant: without a slash at its end and without `/chat/completions`; its query is kept.

    Args:
        text: as typed.
        name: of the option or key that it was given by, for messages.

    Raises:
        UsageError: it is no http or https URL, or it carries a secret.
    """
    url = text.strip()
    if not re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", url):
        raise UsageError(f"{name}: {_shown(url)!r} is no URL; write it with its scheme, as http://127.0.0.1:8000/v1")
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as error:  # UnicodeError is one
        raise UsageError(f"{name}: {_shown(url)!r} is no URL ({error})") from None
    if parts.scheme.lower() not in _PORTS:
        raise UsageError(f"{name}: {parts.scheme}:// is not spoken here; the endpoint is an http:// or https:// URL")
    if "@" in parts.netloc:
        raise UsageError(f"{name}: a user name or password in a URL would be kept and printed; use --header")
    if not parts.hostname or port == 0 or not _HOST.fullmatch(parts.netloc):
        raise UsageError(f"{name}: {_shown(url)!r} names no host")
    _refuse_secrets(parts, name)
    path = parts.path.rstrip("/").removesuffix(_CHAT).rstrip("/")
    return urlunsplit(
        (parts.scheme.lower(), parts.netloc.lower(), quote(path, safe="/%:@!$&'()*+,;=~"), parts.query, "")
    )


def _shown(url: str) -> str:
    """A URL for a message, without what could be a password."""
    return re.sub(r"//[^/@]*@", "//***@", url)


def _refuse_secrets(parts: SplitResult, name: str) -> None:
    for parameter, _ in parse_qsl(parts.query):
        if parameter.lower() in _SECRET_NAMES:
            raise UsageError(f"{name}: a key in a URL ({parameter}=) would be kept and printed; use --header")


def address(endpoint: Endpoint, path: str = _CHAT) -> str:
    """The URL to ask: `path` put after the base URL's path, before its query. It may hold secrets of `query`.

    Raises:
        UsageError: the base URL is none.
    """
    parts = urlsplit(check_url(endpoint.base_url))
    base = parts.path
    if endpoint.azure and endpoint.deployment and "/deployments/" not in base and not base.endswith("/v1"):
        base = f"{base.removesuffix('/openai')}/openai/deployments/{quote(endpoint.deployment, safe='')}"
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if endpoint.api_version:
        query.setdefault("api-version", endpoint.api_version)
    for name, value in endpoint.query.items():
        query[name] = value.reveal() if isinstance(value, Secret) else value
    return urlunsplit((parts.scheme, parts.netloc, base + path, urlencode(query, safe="/:,"), ""))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what must be equal for a key to go there.

    Raises:
        ValueError: it is no URL.
    """
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return (scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(scheme, 0))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its very name."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False
