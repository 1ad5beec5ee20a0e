"""What surrounds this machine: proxies and certificates, as the usual variables say; and sockets.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY are read as curl and the official client read them (lower case first;
NO_PROXY takes `*`, names with everything below them, addresses, networks, and any of them with a port). Loopback is
never proxied: another machine cannot reach it for us. Certificates: SSL_CERT_FILE, SSL_CERT_DIR, REQUESTS_CA_BUNDLE.

aiohttp's own `trust_env` asks all of this, and .netrc, again for each request, in a thread: too slow here.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from batchchat.errors import UsageError
from batchchat.wire import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

_SPARE_FILES = 256
_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
# As the official client sets them: a peer that is gone is noticed within minutes, where a long answer is waited for.
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPALIVE", 60), ("TCP_KEEPINTVL", 60), ("TCP_KEEPCNT", 5))


def proxy_for(url: str, environment: Mapping[str, str] | None = None) -> str | None:
    """The proxy through which a URL is to be asked, None for none. `environment` is this process's where not given.

    Raises:
        UsageError: the variable names no HTTP proxy.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if is_loopback(host):
        return None
    told = _told(os.environ if environment is None else environment)
    if environment is None and not told:
        told = getproxies()  # the system's settings, on macOS and Windows
        if told and proxy_bypass(host):
            return None
    proxy = told.get(parts.scheme) or told.get("all")
    if not proxy or _is_exempt(host, port, told.get("no", "")):
        return None
    return _checked(proxy)


def _told(environment: Mapping[str, str]) -> dict[str, str]:
    """The proxies by scheme; lower case wins. Under CGI, HTTP_PROXY is what a visitor sent, and is not believed."""
    told = {}
    for upper in (True, False):
        for name, value in environment.items():
            kind, _, rest = name.lower().rpartition("_")
            if rest != "proxy" or (name != name.lower()) is not upper:
                continue
            if upper and kind == "http" and "REQUEST_METHOD" in environment:
                continue
            told[kind] = value.strip()
    return told


def _is_exempt(host: str, port: int, no_proxy: str) -> bool:
    return any(_covers(entry.strip().lower(), host.lower().rstrip("."), port) for entry in no_proxy.split(","))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether one entry of NO_PROXY names this host."""
    if entry in {"", "*"}:
        return entry == "*"
    with contextlib.suppress(ValueError):
        network = ipaddress.ip_network(entry.strip("[]"), strict=False)
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(host.strip("[]")) in network
        return False
    name, _, said_port = entry.rpartition(":") if entry.rpartition(":")[2].isdigit() else (entry, "", "")
    if said_port and int(said_port) != port:
        return False
    name = name.strip("[]").removeprefix("*").removeprefix(".").rstrip(".")
    return bool(name) and (host == name or (host.endswith("." + name) and not _is_address(host)))


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host.strip("[]")))
    return False


def _checked(proxy: str) -> str:
    url = proxy if "://" in proxy else f"http://{proxy}"
    scheme = urlsplit(url).scheme.lower()
    if scheme not in {"http", "https"}:
        raise UsageError(
            f"the environment names a proxy of a kind that is not spoken here ({scheme}://); name an HTTP proxy in "
            f"HTTPS_PROXY, or leave this host out with NO_PROXY"
        )
    return url


def trust(environment: Mapping[str, str] | None = None) -> ssl.SSLContext:
    """Whom to trust: the authorities that a variable names, else the system's, else those that come with certifi.

    Raises:
        UsageError: a variable names a file that is not there, or holds no certificates.
    """
    told = os.environ if environment is None else environment
    name = next((name for name in _CA_VARIABLES if told.get(name)), None)
    folder = told.get("SSL_CERT_DIR") or None
    try:
        if name is not None and Path(told[name]).is_dir():  # REQUESTS_CA_BUNDLE may be a folder
            return ssl.create_default_context(capath=told[name])
        if name is not None or folder is not None:
            return ssl.create_default_context(cafile=told[name] if name else None, capath=folder)
    except OSError as error:  # ssl.SSLError is one
        raise UsageError(
            f"{name or 'SSL_CERT_DIR'}: no certificates in {told.get(name or 'SSL_CERT_DIR')!r} ({error})"
        ) from None
    context = ssl.create_default_context()
    places = ssl.get_default_verify_paths()
    if not context.cert_store_stats()["x509_ca"] and not places.cafile and not places.capath:
        with contextlib.suppress(ImportError):  # Python from python.org on a Mac knows no authority
            import certifi

            context.load_verify_locations(cafile=certifi.where())
    return context


def open_socket(address: tuple[int, int, int, str, tuple[object, ...]]) -> socket.socket:
    """A socket that notices when its peer is gone."""
    family, kind, protocol, _, _ = address
    opened = socket.socket(family, kind, protocol)
    with contextlib.suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):
                opened.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return opened


def allow_files(connections: int) -> None:
    """Let this process open a file for each connection, as far as the system lets it."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
