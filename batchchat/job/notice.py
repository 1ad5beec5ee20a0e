"""Where a notice goes when a job has ended: a variable says it, since such a URL is often a secret itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchchat.errors import UsageError
from batchchat.job.envfile import with_env_file
from batchchat.records import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "BATCHCHAT_NOTIFY"


def notice_url(env_file: str | None = None, *, environ: Mapping[str, str] = os.environ) -> Secret:
    """The URL that the variable holds.

    Raises:
        UsageError: it holds none. What it holds is not shown.
    """
    text = with_env_file(environ, env_file).get(VARIABLE, "").strip()
    if not text:
        raise UsageError(f"--notify: {VARIABLE} is not set; it holds the URL that the summary is posted to")
    try:
        parts = urlsplit(text)
        whole = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
    if not whole or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError(f"--notify: {VARIABLE} holds no URL of the form https://host/path")
    return Secret(text)
