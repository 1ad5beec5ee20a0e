"""Azure's dialect of the endpoint: when it is spoken, with which version and which key.

In come the endpoint's URL and the variables of the official client; out goes what is said differently there. The names
and their meaning are those of the client's `AzureOpenAI`: an address up to the host, the deployment in the path, the
version in the query, the key in the header `api-key`. What Azure calls `/openai/v1` needs no version and no deployment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from batchchat.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchchat.job.source import Stated

AZURE_ENDPOINT = "AZURE_OPENAI_ENDPOINT"
AZURE_KEYS = ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN")
_VERSION = "OPENAI_API_VERSION"
_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com", ".openai.azure.us")


def speaks_azure(base_url: str, url: Stated | None, version: Stated | None) -> bool:
    """Whether the endpoint is Azure's: by its host, by the variable that named it, or as a version was given."""
    host = urlsplit(base_url).hostname or ""
    return host.endswith(_HOSTS) or version is not None or (url is not None and url.where == AZURE_ENDPOINT)


def api_version(
    base_url: str, version: Stated | None, environ: Mapping[str, str], *, model: str | None, need: bool
) -> str | None:
    """The version to ask for; None where the URL says it, or needs none.

    Raises:
        UsageError: one is needed and not given, or no deployment is named.
    """
    parts = urlsplit(base_url)
    if parts.path.endswith("/v1"):
        return None if version is None else str(version.value)
    if need and model is None and "/deployments/" not in parts.path:
        raise UsageError("Azure has a deployment, and no list of them: name yours with -m")
    if any(name == "api-version" for name, _ in parse_qsl(parts.query)):
        return None
    text = environ.get(_VERSION, "").strip() if version is None else str(version.value)
    if need and not text:
        raise UsageError(f"{parts.netloc} wants a version: --api-version 2024-10-21, or export {_VERSION}=2024-10-21")
    return text or None
