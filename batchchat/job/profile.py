"""What a person says once for all jobs: profiles and aliases, in `~/.config/batchchat/config.toml`.

A profile is one's own word, so a key goes to its host without a question; it stands behind a job file, which knows
better what it needs. An alias is another name of a model, wherever a model is named.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchchat.errors import Misspelt, UsageError
from batchchat.job.schema import EndpointSection, PoolSection
from batchchat.job.source import Layer, Stated, spread
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchchat.job.options import Place

_NAME = "config.toml"
_SECTIONS = {"endpoint": tuple(EndpointSection.model_fields), "pool": tuple(PoolSection.model_fields)}
_PLACES: dict[str, Place] = {"model": ("request", "model"), "price": ("job", "price"), "price_as": ("job", "price_as")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The file's content; `path` is where it lies, or would lie."""

    path: str
    profiles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)


def known_names(environ: Mapping[str, str] = os.environ) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the person's profiles, and those of the aliases.

    Raises:
        UsageError: as `read_config`.
    """
    config = read_config(environ)
    return tuple(config.profiles), tuple(config.aliases)


def read_config(environ: Mapping[str, str]) -> Config:
    """The person's settings; empty where there is no file, or no home.

    Raises:
        UsageError: the file cannot be read, is no TOML, or has an unknown key.
    """
    path = _path(environ)
    if path is None or not path.is_file():
        return Config(path=str(path or _NAME))
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: this is no TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    _check(str(path), "", content, ("profiles", "aliases"))
    profiles, aliases = content.get("profiles", {}), content.get("aliases", {})
    if not isinstance(profiles, dict) or not all(isinstance(profile, dict) for profile in profiles.values()):
        raise UsageError(f"{path}: a profile is a section: [profiles.NAME]")
    if not isinstance(aliases, dict) or not all(isinstance(name, str) and name for name in aliases.values()):
        raise UsageError(f'{path}: an alias is a model by another name, in [aliases]: fast = "gpt-4.1-mini"')
    return Config(path=str(path), profiles=profiles, aliases=aliases)


def profile_layer(config: Config, name: str, where: str) -> Layer:
    """What a profile says. `where` is who named it.

    Raises:
        UsageError: there is no such profile, or it has an unknown key.
    """
    if name not in config.profiles:
        meant = nearest(name, config.profiles)
        known = ", ".join(config.profiles) or "none"
        raise Misspelt(
            f"{where} {name}: there is no such profile{did_you_mean(meant)} ({config.path} has {known})",
            wrong=name,
            meant=meant,
        )
    profile = config.profiles[name]
    _check(config.path, f"profiles.{name}.", profile, (*_PLACES, *_SECTIONS))
    layer: Layer = {}
    for key, value in profile.items():
        said = f"{config.path}: profiles.{name}.{key}"
        if key in _PLACES:
            layer[_PLACES[key]] = Stated(value=value, source="profile", where=said)
            continue
        if not isinstance(value, dict):
            raise UsageError(f"{said} is a section: write [profiles.{name}.{key}] and keys below it")
        _check(config.path, f"profiles.{name}.{key}.", value, _SECTIONS[key])
        for inner, content in value.items():
            spread(layer, (key, inner), Stated(value=content, source="profile", where=f"{said}.{inner}"))
    return layer


def with_alias(config: Config, layer: Layer) -> Layer:
    """The layer with the model's own name where it was called by an alias."""
    stated = layer.get(("request", "model"))
    if stated is None or stated.value not in config.aliases:
        return layer
    where = f"{stated.where}, alias {stated.value}"
    model = Stated(value=config.aliases[stated.value], source=stated.source, where=where)
    return {**layer, ("request", "model"): model}


def _path(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("XDG_CONFIG_HOME", "").strip()
    home = environ.get("HOME", "").strip() or environ.get("USERPROFILE", "").strip()
    if folder:
        return Path(folder) / "batchchat" / _NAME
    return Path(home) / ".config" / "batchchat" / _NAME if home else None


def _check(path: str, where: str, content: Mapping[str, Any], known: Iterable[str]) -> None:
    for name in content:
        if name not in known:
            meant = nearest(name, known)
            told = f"{path}: unknown key {where}{name}{did_you_mean(meant)} (it takes {', '.join(known)})"
            raise Misspelt(told, wrong=name, meant=meant)
