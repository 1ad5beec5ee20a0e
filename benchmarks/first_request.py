"""How soon `batchchat run` sends its first request, beside the bare import of the libraries that it needs.

    python benchmarks/first_request.py TABLE     one run of each; one line of JSON

The clock starts with the process and stops when the endpoint, a socket of this script, has the request's first bytes.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIBRARIES = "import typer, aiohttp, pyarrow.parquet, pydantic, jinja2"


def imports(code: str = LIBRARIES) -> float:
    """Seconds of a process that imports, and ends."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def first_request(table: Path) -> float:
    """Seconds from the start of the process to its first request; then it is killed."""
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as folder:
        server.settimeout(60)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        job = [str(table), "-o", f"{folder}/out.parquet", "-m", "sim", "--base-url", url, "-c", "64", "--quiet"]
        environ = os.environ | {"OPENAI_API_KEY": "none"}
        began = time.perf_counter()
        client = subprocess.Popen([sys.executable, "-m", "batchchat", "run", *job], env=environ)
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                if not connection.recv(1):
                    sys.exit("the connection was closed before a request came")
                return time.perf_counter() - began
        finally:
            client.kill()
            client.wait()


if __name__ == "__main__":
    print(json.dumps({"imports": imports(), "first request": first_request(Path(sys.argv[1]))}))
