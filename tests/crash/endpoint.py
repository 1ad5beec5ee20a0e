"""The simulator as a process of its own, which outlives every run that is killed and keeps its own count.

What goes out: a base URL, and what it was asked and answered. Its count is what nothing in batchchat can talk itself
into: the accounting stands on it.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.request


class Endpoint:
    """A running simulator; use it as a context manager.

    Args:
        port: 0 takes a free one.
        settings: of the simulator, by their names.
    """

    def __init__(self, *, port=0, **settings):
        self._port = port
        self._settings = settings
        self._process = None

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def start(self):
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self._settings.items()]
        command = [sys.executable, "-m", "batchchat.serve", "--model", "sim", "--port", str(self._port), *options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the simulator did not start"
        self._port = int(self.url.rsplit(":", 1)[1].split("/")[0])
        return self

    def stop(self):
        """End it, as a machine that goes away: nothing listens on its port any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def stats(self, *, prompts=False):
        return self._ask(f"/sim/stats{'?prompts=1' if prompts else ''}")

    def reset(self, **settings):
        """Count from nothing again, with some settings changed."""
        self._ask("/sim/reset", json.dumps(settings).encode())

    @property
    def answered(self):
        """How many completions went out whole."""
        return self.stats()["answered"]

    def answers(self):
        """How often each prompt was answered whole."""
        return {prompt: count["answered"] for prompt, count in self.stats(prompts=True)["prompts"].items()}

    def _ask(self, path, body=None):
        address = self.url.removesuffix("/v1") + path
        with urllib.request.urlopen(address, data=body, timeout=30) as reply:
            return json.load(reply)


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]
