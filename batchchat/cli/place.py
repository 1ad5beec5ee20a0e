"""A path as a person would type it here."""

from __future__ import annotations

from pathlib import Path


def short(path: str) -> str:
    """The path from the working folder where it lies below it, else as it is."""
    here, named = Path.cwd(), Path(path)
    return str(named.relative_to(here)) if named.is_absolute() and named.is_relative_to(here) else path
