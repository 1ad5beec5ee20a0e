"""`python -m batchchat.serve`: the server with every setting of the simulator as an option.

What comes in: arguments. What goes out: what `serve` gives. A key is never an argument:
`--want-key` asks for any.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys

from batchchat.errors import BatchchatError, UsageError
from batchchat.serve.service import SIMULATOR, serve
from batchchat.serve.sim.settings import Settings


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(prog="python -m batchchat.serve", description="An OpenAI-compatible server.")
    made.add_argument("--model", default=SIMULATOR, help="sim, local or local:PATH.gguf (default: sim)")
    made.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    made.add_argument("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    group = made.add_argument_group("settings (of the simulator, where not said otherwise)")
    for field in dataclasses.fields(Settings):
        if field.name == "key":
            continue
        name = f"--{field.name.replace('_', '-')}"
        told = field.metadata["help"]
        if field.default is False:
            group.add_argument(name, action="store_true", default=None, help=told)
        else:
            default = "" if field.default in {(), dataclasses.MISSING} else f" (default: {field.default})"
            choices = field.metadata["choices"] or None
            group.add_argument(name, default=None, choices=choices, metavar=_metavar(choices), help=told + default)
    return made


def _metavar(choices: tuple[str, ...] | None) -> str | None:
    return None if choices else "X"


def main(arguments: list[str] | None = None) -> int:
    """Serves, and gives the exit status."""
    given = vars(parser().parse_args(arguments))
    model, host, port = (given.pop(name) for name in ("model", "host", "port"))
    settings = {name: value for name, value in given.items() if value is not None}
    try:
        return serve(model, host=host, port=port, **settings)
    except BatchchatError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, UsageError) else 1


if __name__ == "__main__":
    sys.exit(main())
