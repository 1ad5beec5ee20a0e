"""The clients that are measured, as commands; the servers that they ask; and the official client's own environment."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rounds import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent / "build" / "bench"
OFFICIAL = ("openai==3.54.0", "httpx-aiohttp==0.2.0", "aiohttp==3.14.5", "orjson", "pyarrow==26.0.1")
# As where uvloop is not installed.
WITHOUT_UVLOOP = "import sys; sys.modules['uvloop'] = None; from batchchat.__main__ import main; main()"


def batchchat(table: Path, output: Path, url: str, concurrency: int, *options: str, loop: str = "uvloop") -> list[str]:
    how = ["-m", "batchchat"] if loop == "uvloop" else ["-c", WITHOUT_UVLOOP]
    job = ["run", str(table), "-o", str(output), "-m", "sim", "--base-url", url, "-c", str(concurrency), "--quiet"]
    return [sys.executable, *how, *job, *options]


def bare(table: Path, output: Path, url: str, concurrency: int, *, loop: str = "uvloop") -> list[str]:
    return [sys.executable, str(HERE / "bare_loop.py"), str(table), str(output), url, str(concurrency), loop]


def official(table: Path, output: Path, url: str, concurrency: int, *, transport: str = "default") -> list[str]:
    script = str(HERE / "official_client.py")
    return [str(official_python()), script, str(table), str(output), url, str(concurrency), transport]


def official_python() -> Path:
    """The interpreter of the official client's environment, which is made where it is missing."""
    folder = BUILD / "official"
    python, made = folder / "bin" / "python", folder / ".made"
    if not made.exists():
        print(f"installing {' '.join(OFFICIAL)}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "-qq", "install"]
        subprocess.run([*pip, *OFFICIAL], check=True)
        made.touch()
    return python


@contextlib.contextmanager
def server(*options: str) -> Iterator[str]:
    """The base URL of a fast server of its own."""
    arguments = [sys.executable, str(HERE / "fast_server.py"), *options]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def counts(url: str) -> dict[str, Any]:
    """What a fast server counted."""
    with urllib.request.urlopen(f"{url}/stats", timeout=30) as answer:
        return json.load(answer)
