"""Where requests go, with which headers and which key, and which host may have one.

A key is never typed and never written down: it comes from a variable, is stripped, and travels as a `Secret`. A job
file from elsewhere may name any host, so a key goes to a host that only a job file names after a person approved it.
A checkpoint is trusted with the host that its run was started with: such a run was approved when it began.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from batchchat import defaults
from batchchat.errors import Misspelt, UsageError
from batchchat.job.azure import AZURE_KEYS, api_version, speaks_azure
from batchchat.job.settings import EndpointSettings, is_embedded
from batchchat.records import Secret
from batchchat.spelling import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.job.settings import Job, Source
    from batchchat.job.source import Layer, Stated

_VARIABLE = re.compile(r"\$\{([^}]*)\}")
_VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SECRET_NAME = re.compile(
    r"(?:^|[-_])(?:authorization|cookie|token|secret|password|api-?key|apikey|auth-key|access-key|subscription-key|key)$",
    re.IGNORECASE,
)
# What may stand around ${NAME} in a header that carries a secret: a scheme's name, and signs.
_SCHEME = re.compile(r"(?:[A-Za-z]+ +)?(?:[A-Za-z_-]+=)?[\s\"',;:]*")
_OWN_HEADERS = frozenset({"content-length", "content-type", "transfer-encoding", "connection", "accept-encoding"})
_KEY_HEADERS = frozenset({"authorization", "api-key", "x-api-key"})
_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{6,}|sk_[A-Za-z0-9_]{16,}|gsk_[A-Za-z0-9]{16,}|xai-[A-Za-z0-9]{16,}"
    r"|hf_[A-Za-z0-9]{16,}|AIza[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{12,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,})"
)
_SURE_SECRET = re.compile(r"(?<![A-Za-z0-9])(?:sk-|sk_|gsk_|xai-|hf_|AIza|AKIA)(?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{20,}")
_PRINTABLE = re.compile(r"[\x21-\x7e]+")


def endpoint_settings(
    layer: Layer, environ: Mapping[str, str], *, model: str | None, need_key: bool
) -> EndpointSettings:
    """The endpoint as the layers say it.

    Args:
        layer: all sources, merged.
        environ: the process's variables: keys and ${NAME} come from there.
        model: for the embedded one no key is looked for.
        need_key: False where nothing will be sent: what is not set then stays as it was written.

    Raises:
        UsageError: the URL is none, a header is none or carries a literal secret, a variable is not set.
    """
    url = layer.get(("endpoint", "base_url"))
    base_url = defaults.BASE_URL if url is None else _base_url(str(url.value), url)
    source: Source = "default" if url is None else url.source
    said = _headers_said(layer)
    version = layer.get(("endpoint", "api_version"))
    azure = speaks_azure(base_url, url, version)
    named = layer.get(("endpoint", "api_key_env"))
    name = _usual_key(environ, azure=azure) if named is None else str(named.value)
    command = layer.get(("run", "api_key_command"))
    headers = {header: _expanded(text, environ, header, need=need_key) for header, text in said.items()}
    if is_openai(base_url):
        for header, variable in (("OpenAI-Organization", "OPENAI_ORG_ID"), ("OpenAI-Project", "OPENAI_PROJECT_ID")):
            text = environ.get(variable, "").strip()
            if text and header.lower() not in {known.lower() for known in headers}:
                headers[header] = text
    embedded = is_embedded(model, source)
    carried = named is None and any(header.lower() in _KEY_HEADERS for header in said)
    key = None if carried or command is not None else _key(name, named, environ, need=need_key)
    keyless = key is None and command is None and not carried and not embedded
    if keyless and need_key and is_openai(base_url):
        meant = nearest(model or "", [defaults.LOCAL_MODEL])
        raise Misspelt(
            f"{name} is not set, and {host_of(base_url)} wants a key: export {name}=..., "
            "or name another endpoint with --base-url, or use the embedded model with -m local",
            wrong=model or "",
            meant=meant,
        )
    return EndpointSettings(
        base_url=base_url,
        base_url_source=source,
        api_key_env=name,
        api_key_env_source="default" if named is None else named.source,
        headers={} if embedded else headers,
        headers_said=said,
        key=None if embedded else key,
        key_command=None if command is None or embedded else str(command.value),
        azure=azure and not embedded,
        api_version=api_version(base_url, version, environ, model=model, need=need_key)
        if azure and not embedded
        else None,
    )


def needs_approval(job: Job) -> str | None:
    """The host that a person must approve before it is given a key, None where nobody has to be asked.

    That is a host which only a job file names, other than OpenAI's or loopback, where a key or a header out of the
    environment would go to it. `--base-url` and `--yes` approve.
    """
    endpoint = job.endpoint
    if endpoint.base_url_source != "job file" or job.policy.yes or job.embedded:
        return None
    keyed = endpoint.key is not None or endpoint.key_command is not None
    carries = keyed or any(isinstance(value, Secret) for value in endpoint.headers.values())
    if not carries or is_openai(endpoint.base_url) or is_loopback(endpoint.base_url):
        return None
    return host_of(endpoint.base_url)


def approved(job: Job) -> Job:
    """The same job after a person said yes to its host: as if `--base-url` had named it."""
    return replace(job, endpoint=replace(job.endpoint, base_url_source="option"))


def secret_variables(endpoint: EndpointSettings) -> tuple[str, ...]:
    """The variables whose values would go to the endpoint: for the question and the message about approval."""
    names = [name for text in endpoint.headers_said.values() for name in _VARIABLE.findall(text)]
    return tuple(dict.fromkeys([endpoint.api_key_env, *names] if endpoint.key is not None else names))


def looks_secret(text: str, *, prose: bool = False) -> bool:
    """Whether a text holds what looks like a key; in prose only what can hardly be anything else."""
    return (_SURE_SECRET if prose else _LOOKS_SECRET).search(text) is not None


def host_of(url: str) -> str:
    """Host and, where it is said, port."""
    return urlsplit(url).netloc.rpartition("@")[2]


def is_openai(url: str) -> bool:
    """Whether it is OpenAI's own endpoint, reached in a way that nobody can listen to."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == "api.openai.com" or host.endswith(".api.openai.com"))


def is_loopback(url: str) -> bool:
    """Whether it is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _usual_key(environ: Mapping[str, str], *, azure: bool) -> str:
    """The variable of the official client that holds the key."""
    usual = (*AZURE_KEYS, defaults.API_KEY_ENV) if azure else (defaults.API_KEY_ENV,)
    return next((name for name in usual if environ.get(name, "").strip()), usual[0])


def _base_url(text: str, stated: Stated) -> str:
    """The URL without what is appended to it; no message repeats a password."""
    where = stated.where
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError as error:
        raise UsageError(f"{where}: this is no URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError(f"{where}: a URL with a user or password in it is not taken: use --api-key-env or --header")
    if parts.scheme not in {"http", "https"}:
        rest = text.rpartition("://")[2]
        guess = "http" if is_loopback(f"http://{rest}") else "https"
        raise UsageError(f"{where}: {text} is no URL of http or https; did you mean {guess}://{rest}?")
    if not parts.hostname or not _PRINTABLE.fullmatch(text):
        raise UsageError(f"{where}: {text!r} is no URL: a host is missing, or it has characters that no URL has")
    if parts.fragment:
        raise UsageError(f"{where}: a URL of an endpoint has no part after '#'")
    if looks_secret(text) or any(_SECRET_NAME.search(name) for name, _ in parse_qsl(parts.query)):
        raise UsageError(f"{where}: the URL carries a key; keep it in a variable: --api-key-env NAME or --header")
    path = parts.path.rstrip("/").removesuffix("/chat/completions").rstrip("/")
    return parts._replace(path=path).geturl()


def _headers_said(layer: Layer) -> dict[str, str]:
    """Headers by their names, the nearest word of each, checked, not expanded yet."""
    said: dict[str, tuple[str, str]] = {}
    for path, stated in layer.items():
        if path[:2] == ("endpoint", "headers") and len(path) == 3:
            _check_header(path[2], str(stated.value), stated)
            said[path[2].lower()] = (path[2], str(stated.value).strip())
    return dict(said.values())


def _check_header(name: str, text: str, stated: Stated) -> None:
    where = stated.where if stated.where.endswith(name) else f"{stated.where} {name}"
    if not _HEADER_NAME.fullmatch(name):
        raise UsageError(f"{stated.where}: {name!r} is no name of a header")
    if name.lower() in _OWN_HEADERS:
        raise UsageError(f"{where}: this header is set by batchchat itself")
    for variable in _VARIABLE.findall(text):
        if not _VARIABLE_NAME.fullmatch(variable):
            raise UsageError(f"{where}: ${{{variable}}} names no variable")
    rest = _VARIABLE.sub("", text)
    if any(character in rest for character in "\r\n\0") or not rest.isascii():
        raise UsageError(f"{where}: a header's value is one line of ASCII")
    literal = rest == text or not _SCHEME.fullmatch(rest)
    if looks_secret(rest) or (_SECRET_NAME.search(name) and literal):
        raise UsageError(
            f"{where}: a key is never written out; keep it in a variable: {name}: "
            + ("Bearer ${NAME}" if name.lower() == "authorization" else "${NAME}")
        )


def _expanded(text: str, environ: Mapping[str, str], header: str, *, need: bool) -> str | Secret:
    names = _VARIABLE.findall(text)
    missing = [name for name in names if not environ.get(name, "").strip()]
    if missing and need:
        raise UsageError(f"header {header}: the variable {missing[0]} is not set: export {missing[0]}=...")
    if missing or not names:
        return text
    value = _VARIABLE.sub(lambda match: environ[match[1]].strip(), text)
    if any(character in value for character in "\r\n\0") or not value.isascii():
        raise UsageError(f"header {header}: a variable in it ({', '.join(names)}) holds what no header can carry")
    return Secret(value)


def _key(name: str, named: Stated | None, environ: Mapping[str, str], *, need: bool) -> Secret | None:
    """The key, stripped; an error where a variable that somebody named is not set."""
    where = named.where if named else ""
    if not _VARIABLE_NAME.fullmatch(name) or looks_secret(name):
        raise UsageError(f"{where}: give the name of the variable that holds the key, as OPENAI_API_KEY, not the key")
    text = environ.get(name, "").strip()
    if not text:
        if named is not None and need:
            raise UsageError(f"{where}: the variable {name} is not set: export {name}=...")
        return None
    if not _PRINTABLE.fullmatch(text):
        raise UsageError(f"the key in {name} has a blank or another character that no key has; set it again")
    return Secret(text)
