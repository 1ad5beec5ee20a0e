"""The command that would have been right: for a misspelt name, in the words that were typed or in a file they name."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat.cli import typed

if TYPE_CHECKING:
    from batchchat.errors import Misspelt

_LONGEST_FILE = 1 << 20


def command(error: Misspelt) -> str | None:
    """A command to paste, None where nothing near is known."""
    if error.add:
        return typed.again(add=error.add)
    if not error.wrong or error.meant is None:
        return None
    return replaced(error.wrong, error.meant)


def replaced(wrong: str, meant: str) -> str | None:
    """What was typed with the right name, else a command that puts it into the file where it stands."""
    return typed.replaced(wrong, meant) or _in_a_file(wrong, meant)


def _in_a_file(wrong: str, meant: str) -> str | None:
    """The first line of a named file that has the wrong word, put right by sed."""
    if sys.platform == "win32":
        return None
    for word in typed.words():
        path = Path(word.removeprefix("@"))
        try:
            if not path.is_file() or path.stat().st_size > _LONGEST_FILE:
                continue
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if typed.whole(wrong).search(line) and not line.lstrip().startswith("#"):
                script = f"{number}s/{_escaped(re.escape(wrong))}/{_escaped(meant)}/"
                return f"sed -i.bak {shlex.quote(script)} {shlex.quote(str(path))}"
    return None


def _escaped(text: str) -> str:
    return text.replace("/", "\\/")
