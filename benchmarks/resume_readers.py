"""Other programs that read a checkpoint again and again while a run writes to it."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

QUERY = "SELECT count(*), sum(completion_tokens) FROM results"
# DuckDB's own statements, over the table: its view of the view is typed by the first rows.
DUCKDB = """
import pathlib, sys, duckdb, duckdb_extension_sqlite_scanner as found
(extension,) = pathlib.Path(found.__file__).parent.rglob("sqlite_scanner.duckdb_extension")
with duckdb.connect() as database:
    database.execute(f"LOAD '{extension}'")
    database.execute(f"ATTACH '{sys.argv[1]}' AS job (TYPE sqlite, READ_ONLY)")
    print(database.execute("SELECT count(*), sum(completion_tokens) FROM job.outcomes").fetchone())
"""
PATIENCE = 120


class Readers:
    """Reads in threads of its own as long as the context lasts.

    Args:
        checkpoint: what is read.
        python: an interpreter that has duckdb and datasette, None: neither reads.

    Attributes:
        looks: by program, how often it read the whole.
        locked: how often one was told that the database is locked; wrong: what else was wrong.
    """

    def __init__(self, checkpoint: Path, python: str | None) -> None:
        self._checkpoint = checkpoint
        self._python = python
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._server: subprocess.Popen[bytes] | None = None
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 closed when the context is left
        self.looks: dict[str, int] = {}
        self.locked = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Self:
        if shutil.which("sqlite3"):
            self._read("sqlite3", lambda: _ran(["sqlite3", str(self._checkpoint), QUERY]))
        if self._python is not None:
            duckdb = [self._python, "-c", DUCKDB, str(self._checkpoint)]
            self._read("DuckDB", lambda: _ran(duckdb))
            self._read("datasette", self._serving())
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if self._server is not None:
            self._server.terminate()
            self._server.wait()
        self._said.seek(0)
        self.locked += self._said.read().count(b"locked")
        self._said.close()

    def _read(self, name: str, look: Callable[[], None]) -> None:
        self.looks[name] = 0

        def work() -> None:
            while not self._ending.wait(0.2):
                try:
                    look()
                    self.looks[name] += 1
                except (OSError, subprocess.SubprocessError) as error:
                    said = f"{name}: {error} {getattr(error, 'stderr', '')}"
                    self.locked += "locked" in said
                    self.wrong.append(said)

        self._threads.append(threading.Thread(target=work, daemon=True))
        self._threads[-1].start()

    def _serving(self) -> Callable[[], None]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--port", str(port), "--setting", "sql_time_limit_ms", "60000"]
        command = [str(self._python), "-m", "datasette", "serve", str(self._checkpoint), *options]
        self._server = subprocess.Popen(command, stdout=self._said, stderr=self._said)
        database = re.sub(r"[^A-Za-z0-9_-]", lambda sign: f"~{ord(sign[0]):02X}", self._checkpoint.stem)
        address = f"http://127.0.0.1:{port}/{database}.json?_shape=array&sql={urllib.request.quote(QUERY)}"
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/-/versions.json", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        return lambda: _fetched(address)


def _fetched(address: str) -> None:
    with urllib.request.urlopen(address, timeout=PATIENCE) as reply:
        reply.read()


def _ran(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
