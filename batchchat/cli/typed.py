"""The command line that was typed, with a word changed: so that the next command can be pasted."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from batchchat.cli.page import PAGES

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_words: list[str] = []


def remember(words: Sequence[str]) -> None:
    """Keep what was typed."""
    _words[:] = words


def words() -> tuple[str, ...]:
    """What was typed."""
    return tuple(_words)


def whole(word: str) -> re.Pattern[str]:
    """Finds the word where it is no part of another."""
    return re.compile(rf"(?<![\w-]){re.escape(word)}(?![\w-])")


def replaced(wrong: str, meant: str) -> str | None:
    """The same command line with another word in it, also inside a template or a list; None where it is not in it."""
    changed = [whole(wrong).sub(lambda _: meant, word) for word in _words]
    return None if changed == _words else shlex.join(["batchchat", *changed])


def after(command: str) -> str:
    """The same words behind a command."""
    return shlex.join(["batchchat", command, *_words])


def again(*, command: str | None = None, without: Collection[str] = (), add: Sequence[str] = ()) -> str:
    """The same command line for a shell.

    Args:
        command: another command.
        without: options that are left out, as they are typed in full, with their values.
        add: words at its end.
    """
    name, *rest = _words or [""]
    kept: list[str] = []
    options = PAGES[name].options if name in PAGES else ()
    spelled = {spelling: option for option in options for spelling in (option.long, option.short) if spelling}
    while rest:
        word = rest.pop(0)
        option = spelled.get(word.partition("=")[0]) or spelled.get(word[:2] if word[:2] != "--" else "")
        takes = option is not None and option.kind is not bool and word in spelled
        value = [rest.pop(0)] if takes and rest else []
        if option is None or option.long not in without:
            kept += [word, *value]
    return shlex.join(["batchchat", command or name, *kept, *add])
