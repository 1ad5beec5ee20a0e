"""The process that hosts the embedded model: llama.cpp's own server, on a free loopback port.

What comes in: one argument, JSON: the path of a GGUF file, slots, context, threads. What goes out: one line on stdout,
the address; llama.cpp's log on stderr. It ends when its stdin ends, which is when its parent ends, however that ends.

It is run as a file, and imports nothing of the house: it starts in the time that llama.cpp takes. Linux also kills it
when the thread that started it dies (PR_SET_PDEATHSIG), because a pipe stays open in whatever the parent has forked.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import threading
from typing import Any

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serves until stdin ends."""
    asked = json.loads(sys.argv[1])
    _die_with_parent(asked["parent"])
    out = os.dup(1)
    os.dup2(2, 1)  # whatever llama.cpp prints is log
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    address = _host(asked)
    os.write(out, f"{address}\n".encode())
    os.close(out)
    threading.Event().wait()


def _die_with_parent(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before that took effect
            os._exit(1)


def _end_with_stdin() -> None:
    while os.read(0, 1024):
        pass
    os._exit(0)  # nothing to clean up, and llama.cpp's threads would be waited for


def _host(asked: dict[str, Any]) -> str:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = asked["path"]
    params.model_alias = {asked["name"]}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.ui = False
    params.n_parallel = asked["slots"]
    params.n_ctx = asked["slots"] * asked["context"]  # llama.cpp divides it between the slots
    params.n_predict = asked["longest"]
    params.cpuparams.n_threads = asked["threads"]
    params.cpuparams_batch.n_threads = asked["threads"]
    params.cache_ram_mib = 0  # by default up to 8 GB of old prompts are kept
    params.endpoint_slots = False  # they show other people's prompts
    params.verbosity = asked["verbosity"]
    _host.server = server = xllamacpp.Server(params)  # type: ignore[attr-defined] # kept alive with the process
    return str(server.listening_address)


if __name__ == "__main__":
    main()
