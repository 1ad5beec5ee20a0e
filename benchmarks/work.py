"""How much work a row is, counted: a guard that knows nothing of the machine's mood.

    python benchmarks/work.py            what a row takes now, beside the baseline
    python benchmarks/work.py --write    the same, kept as the new baseline (`make work-baseline`)

Every call of a function, in Python or C and in every thread, is counted while a fixed job runs: a CSV, a template, 64
in flight, checkpoint and output as ever. The endpoint is scripted, inside the process: connections are aiohttp's own,
but what is written to one is answered at once. The count of a short job is taken off that of a longer one, so that
start-up is not in it. The same code gives the same count but for 1 or 2 %, which depend on how many rows a commit
finds. work.json keeps a count for each version of Python, since versions call differently; a test fails at 10 % more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import aiohttp
import fast_server
import tables

import batchchat
from batchchat.api import run_job
from batchchat.events import Observer
from batchchat.job import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

BASELINE = Path(__file__).with_name("work.json")
FEW, MANY = 400, 2_000
MOST = 1.10
PACKAGE = Path(batchchat.__file__).parent
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

BODY = fast_server.REPLY % (1, 2, fast_server.TEXT.encode(), 110, 171)
REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)


class Scripted(asyncio.Transport):
    """A connection whose other end answers every request with the same reply, as soon as the loop comes round."""

    def __init__(self, loop: asyncio.AbstractEventLoop, protocol: Any) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._closed = False

    def write(self, data: bytes) -> None:
        if b"Content-Length: 0" not in data:
            self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        if not self._closed:
            self._protocol.data_received(REPLY)

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._loop.call_soon(self._protocol.connection_lost, None)

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@contextlib.contextmanager
def scripted() -> Iterator[None]:
    """In here, aiohttp's connections lead to no endpoint but to `Scripted`."""

    async def connected(self, *_: Any, **__: Any) -> Any:
        loop = asyncio.get_running_loop()
        protocol = self._factory()
        protocol.connection_made(Scripted(loop, protocol))
        return protocol

    with patch.object(aiohttp.TCPConnector, "_create_connection", connected):
        yield


@contextlib.contextmanager
def counted(counts: Counter[Any]) -> Iterator[None]:
    """Counts calls by the code that is called, or that calls what is written in C; in threads that begin here too."""

    def note(frame: Any, event: str, _: Any) -> None:
        if event in {"call", "c_call"}:
            counts[frame.f_code] += 1

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def run(folder: Path, rows: int) -> None:
    """The fixed job; it has to end well."""
    table, output = folder / f"{rows}.csv", folder / f"{rows}.out.csv"
    tables.write(table, rows)
    options = {
        "base_url": "http://127.0.0.1:9/v1",
        "model": "sim",
        "concurrency": 64,
        "prompt": "Label: {{ prompt }}",
        "output": str(output),
    }
    job = resolve(options, input=str(table), environ={"OPENAI_API_KEY": "none"})
    with scripted():
        summary = asyncio.run(run_job(job, observer=Observer()))
    assert (summary.status, summary.succeeded) == (0, rows), summary.message


def room(filename: str) -> str:
    """Where code stands: a room of the package, or a library."""
    path = Path(filename)
    if path.is_relative_to(PACKAGE):
        return path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    parts = path.parts
    return parts[parts.index("site-packages") + 1] if "site-packages" in parts else path.stem


def count() -> dict[str, float]:
    """Calls a row, by room, the busiest first; `total` is their sum."""
    found: list[Counter[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), 10)  # what is imported and compiled the first time is no row's work
        for rows in (FEW, MANY):
            calls: Counter[Any] = Counter()
            with counted(calls):
                run(Path(folder), rows)
            by_room: Counter[str] = Counter()
            for code, times in calls.items():
                by_room[room(code.co_filename)] += times
            found.append(by_room)
    few, many = found
    each = {name: (many[name] - few[name]) / (MANY - FEW) for name in many if name != "work"}
    busiest = sorted(each.items(), key=lambda pair: -pair[1])
    return {"total": round(sum(each.values()), 1), **{name: round(times, 1) for name, times in busiest if times >= 0.5}}


def baseline() -> dict[str, float] | None:
    """What was kept for this version of Python on Linux, None where nothing was."""
    if sys.platform != "linux":
        return None
    return json.loads(BASELINE.read_text(encoding="utf-8")).get(VERSION) if BASELINE.exists() else None


def shown(now: dict[str, float], kept: dict[str, float]) -> str:
    """Both, line by line."""
    lines = ["| calls a row | now | baseline |", "| --- | --- | --- |"]
    return "\n".join([*lines, *(f"| {name} | {now.get(name, 0)} | {kept.get(name, 0)} |" for name in {**now, **kept})])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="keep the counts as the baseline of this Python")
    chosen = parser.parse_args()
    now = count()
    print(shown(now, baseline() or {}))
    if chosen.write:
        known = json.loads(BASELINE.read_text(encoding="utf-8")) if BASELINE.exists() else {}
        known[VERSION] = now
        BASELINE.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
