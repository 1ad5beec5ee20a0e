"""Where the programs of others are installed for these tests: under build/peers, by their names, once.

In comes what a test wants to talk to; out goes the path of its command. A newer list of requirements installs anew.
What cannot be installed fails the test that needs it: nothing is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PEERS = PROJECT / "build" / "peers"
PYTHONS = {
    "llmock": ("llmock>=0.2.2,<0.3",),
    "openai": ("openai>=3,<4",),
    "litellm": ("litellm[proxy]>=1.100,<2",),
    "readers": ("datasette>=0.65,<1", "duckdb==1.5.5", "duckdb-extension-sqlite-scanner==1.5.5"),
}
MODULES = {"@copilotkit/aimock": "^1", "openai": "^6"}
PATIENCE = 280


def python_of(name):
    """The interpreter of a virtual environment that holds one program of others and what it needs."""
    folder = PEERS / name
    wanted = "\n".join(PYTHONS[name])
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    if _stamp(folder) != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, symlinks=os.name != "nt")
        pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input", "-qq"]
        _run([*pip, "install", "--no-compile", *PYTHONS[name]], folder)  # most of it is never imported
        _stamped(folder, wanted)
    return python


def command_of(name, command):
    """A command that such an environment has."""
    return python_of(name).with_name(command)


def node_folder():
    """A folder in which Node finds the modules of others."""
    folder = PEERS / "node"
    wanted = json.dumps({"private": True, "dependencies": MODULES})
    if _stamp(folder) != wanted:
        npm = needed("npm", "Node.js with npm")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(wanted)
        _run([npm, "install", "--no-fund", "--no-audit", "--no-package-lock", "--loglevel=error"], folder)
        _stamped(folder, wanted)
    return folder


def needed(command, what):
    """The path of a command that this machine has to have."""
    path = shutil.which(command)
    assert path, f"{command} is missing, and the tests against other projects need it: install {what}"
    return path


def surroundings(**more):
    """An environment in which nothing but what is named here says how a program runs, and loopback is not proxied."""
    told = ("BATCHCHAT", "OPENAI", "AZURE", "LITELLM", "LLMOCK", "AIMOCK")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(told)}
    return {**kept, "OPENAI_API_KEY": "sk-test-not-a-key", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **more}


def foreign(**more):
    """`surroundings` for a program of others: without the modules that lie on our path."""
    return {name: value for name, value in surroundings(**more).items() if name != "PYTHONPATH"}


def _run(command, folder):
    ran = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=foreign(),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout}{ran.stderr}"


def _stamp(folder):
    stamp = folder / ".installed"
    return stamp.read_text() if stamp.exists() else None


def _stamped(folder, wanted):
    """Written last: a broken installation is begun again."""
    (folder / ".installed").write_text(wanted)
