"""A shell asks what a word may become, and is answered in its own way.

The scripts are Typer's (`--install-completion`): they call the program with `_BATCHCHAT_COMPLETE=complete_SHELL` and
the line in further variables. The answers are ours, since a column's name may have spaces, stands inside a quoted
template, and comes from a file; and nothing of Typer has to be loaded for them.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from batchchat.cli import stream
from batchchat.cli.complete import Candidate, candidates

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VARIABLE = "_BATCHCHAT_COMPLETE"
_TO_ESCAPE = re.compile(r"([^\w@%+:,./=~^{}-])")
_BREAKS = frozenset("=:")  # bash cuts words at these too


def asked(environ: Mapping[str, str] = os.environ) -> str | None:
    """The shell that asks, None where none does."""
    mode, _, shell = environ.get(_VARIABLE, "").partition("_")
    return shell if mode == "complete" and shell in _SHELLS else None


def answer(shell: str, environ: Mapping[str, str] = os.environ) -> int:
    """Answer on stdout; the exit status."""
    return _SHELLS[shell](environ)


def split(line: str) -> tuple[list[str], str, str]:
    """The whole words of a line without their quotes, the one at its end, and the quote that is open around that."""
    words: list[str] = []
    current, quote, inside = "", "", False
    at = 0
    while at < len(line):
        character = line[at]
        at += 1
        if character == "\\" and quote != "'" and at < len(line):
            current, inside = current + line[at], True
            at += 1
        elif quote:
            current, quote = (current, "") if character == quote else (current + character, quote)
        elif character in "'\"":
            quote, inside = character, True
        elif character.isspace():
            words += [current] if inside else []
            current, inside = "", False
        else:
            current, inside = current + character, True
    return words, current, quote


def _bash(environ: Mapping[str, str]) -> int:
    line = environ.get("COMP_WORDS", "")
    at = int(environ.get("COMP_CWORD", "0") or 0)
    # The script joins the words by line breaks; whoever writes a line by hand, by spaces.
    raw = line.split("\n") if "\n" in line else shlex.split(line)
    last = raw[at] if at < len(raw) else ""
    quote = last[0] if last[:1] in {"'", '"'} else ""
    plain = last[1:] if quote else _unquoted(last)
    words = _joined([*map(_unquoted, raw[1:at]), plain])
    # Of a word that bash has cut, only the last piece is replaced.
    kept = words[-1].removesuffix("" if plain in _BREAKS else plain)
    found = [one.word.removeprefix(kept) for one in candidates(words[:-1], words[-1], quote=quote)]
    stream.emit("\n".join(found if quote else map(_escaped, found)))
    return 0


def _joined(words: Sequence[str]) -> list[str]:
    """The words as they were before bash cut them at `=` and `:`; one at least."""
    joined: list[str] = []
    glue = False
    for word in words:
        cut = word in _BREAKS
        if joined and (glue or cut):
            joined[-1] += word
        else:
            joined.append(word)
        glue = cut
    return joined


def _zsh(environ: Mapping[str, str]) -> int:
    found = _candidates(environ)
    if not found:
        stream.emit("_files")
        return 0
    specs = "\n".join(_for_zsh(one) for one in found)
    stream.emit(f"_arguments '*: :(({specs}))'")
    return 0


def _for_zsh(one: Candidate) -> str:
    """A word and its sentence, for the two evaluations that they go through: in double quotes, in single ones."""
    word = one.word.replace("\\", "\\\\").replace(":", "\\:")
    text = f"{word}:{one.help}" if one.help else word
    inner = re.sub(r'([\\"$`])', r"\\\1", text)
    return '"' + inner.replace("'", "'\\''") + '"'


def _fish(environ: Mapping[str, str]) -> int:
    found = _candidates(environ)
    if environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        return 0 if found else 1
    stream.emit("\n".join(f"{one.word}\t{one.help}" if one.help else one.word for one in found))
    return 0


def _powershell(environ: Mapping[str, str]) -> int:
    words, _, quote = split(environ.get("_TYPER_COMPLETE_ARGS", ""))
    begun = environ.get("_TYPER_COMPLETE_WORD_TO_COMPLETE", "")
    quote = begun[0] if begun[:1] in {"'", '"'} else quote
    plain = begun.strip("'\"")
    rest = words[1:-1] if words and words[-1] == plain and plain else words[1:]
    for one in candidates(rest, plain, quote=quote):
        word = one.word if re.fullmatch(r"[\w./:\\=,@+-]+", one.word) else "'" + one.word.replace("'", "''") + "'"
        stream.emit(f"{word}:::{one.help or one.word}")
    return 0


def _candidates(environ: Mapping[str, str]) -> list[Candidate]:
    """What the last word of a line may become that begins with the program's name."""
    words, begun, quote = split(environ.get("_TYPER_COMPLETE_ARGS", ""))
    return candidates(words[1:], begun, quote=quote)


def _unquoted(word: str) -> str:
    words, begun, _ = split(word)
    return " ".join([*words, begun])


def _escaped(word: str) -> str:
    """A word as bash reads it outside of quotes."""
    return _TO_ESCAPE.sub(r"\\\1", word)


_SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish, "powershell": _powershell, "pwsh": _powershell}
