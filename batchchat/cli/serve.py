"""`batchchat serve`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from batchchat import defaults
from batchchat.cli.option import Option, command

if TYPE_CHECKING:
    from batchchat.cli.option import Commands

_OPTIONS = (
    Option(
        name="model",
        short="-m",
        metavar="NAME",
        default=defaults.SERVED_MODEL,
        help="sim is the simulator; local (or local:PATH.gguf) the embedded model",
    ),
    Option(name="host", metavar="ADDRESS", default=defaults.SERVE_HOST, help="Address to listen on"),
    Option(name="port", kind=int, default=defaults.SERVE_PORT, help="Port to listen on; 0 takes a free one"),
)


def register(commands: Commands) -> None:
    """Add the command; what the simulator can be told is asked of it when it is needed."""
    command(commands, "serve", options=_OPTIONS, further=settings)(serve)


def serve(*, model: str | None, host: str | None, port: int | None, **given: Any) -> int:
    """Serve an OpenAI-compatible endpoint on this machine: a simulator, or the embedded model.

    The first line on stdout is its base URL. Limits, latency and faults of the simulator are none by default.

        batchchat serve --port 0 --rpm 600 --latency 0.2 --faults 429=0.05,500=0.01
    """
    from batchchat.serve import serve as serve_until_signal

    return serve_until_signal(
        model or defaults.SERVED_MODEL,
        host=host or defaults.SERVE_HOST,
        port=defaults.SERVE_PORT if port is None else port,
        **{name: value for name, value in given.items() if value is not None},
    )


def settings() -> list[Option]:
    """What the simulator can be told, as options; a key is never one."""
    from batchchat.serve.sim.settings import Settings

    return [_option(field) for field in dataclasses.fields(Settings) if field.name != "key"]


def _option(field: dataclasses.Field[Any]) -> Option:
    kind = type(field.default) if isinstance(field.default, bool | int | float) else str
    told = None
    if kind in {int, float}:
        told = f"{field.default:g}"
    elif isinstance(field.default, str):
        told = field.default or None
    words = field.metadata["help"]
    return Option(
        name=field.name,
        kind=kind,
        metavar="|".join(field.metadata["choices"]),
        default=told,
        help=words if words[1:2] == "-" else words[:1].upper() + words[1:],
        negative=field.default is True,
        group="Simulator",
    )
