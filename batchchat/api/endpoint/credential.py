"""A key out of a command: in goes the command line, out comes what it prints.

It is run by the shell, as whoever typed it means it: only the command line and the environment say one, never a job
file or a checkpoint. What it prints is shown nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib

from batchchat.errors import KeyRefused
from batchchat.job import looks_secret
from batchchat.records import Secret

PATIENCE = 60.0
_SHOWN = 200


async def printed_key(command: str, *, patience: float = PATIENCE) -> Secret:
    """The key that a command prints, without white space around it.

    Raises:
        KeyRefused: it fails, prints nothing or what is no key, or does not end within `patience` seconds.
    """
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), patience)
    except TimeoutError:
        raise KeyRefused(f"--api-key-command printed no key within {patience:g} seconds") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        said = err.decode(errors="replace").strip().rpartition("\n")[2][:_SHOWN]
        why = f": {said}" if said and not looks_secret(said) else ""
        raise KeyRefused(f"--api-key-command ended with status {process.returncode}{why}")
    text = out.decode(errors="replace").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise KeyRefused("--api-key-command printed no key: it has to print the key alone, on one line")
    return Secret(text)
