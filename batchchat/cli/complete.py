"""What a word of a command line may become: commands, options, columns of the input, jobs, tables.

In comes a line as words, as far as it was typed; out come words that begin as the last one does. Nothing that is wrong
with the line is said here: where nothing is known there are no candidates, and the shell offers files.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.cli.page import PAGES, sentence
from batchchat.records import ADDED_COLUMNS
from batchchat.tables import find_format

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from batchchat.cli.option import Option
    from batchchat.cli.page import Page

_OF_ALL = {"--help": "Show the commands", "--version": "Print the version"}
_FOR_SHELLS = {
    "--install-completion": "Complete words in this shell from now on",
    "--show-completion": "Print what --install-completion writes",
}
_TEMPLATES = frozenset({"prompt", "system"})
_COLUMNS = frozenset({"gold"})
_LISTS: dict[str, Collection[str]] = {"retry": ("failed", "length", "empty"), "add_columns": ADDED_COLUMNS}
_JOB_SUFFIXES = (".toml", defaults.CHECKPOINT_SUFFIX)
# What is open at the cursor: the name that is being written, plain or as row['name'].
_OPEN = re.compile(r"\{([{%])(?:(?!\}\}|%\}).)*$", re.DOTALL)
_ROW = re.compile(r"""\brow\[(['"])([^'"\]]*)$""")
_NAME = re.compile(r"(?<![\w.'\"])[^\W\d]\w*$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A word, and what it is, in a sentence."""

    word: str
    help: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What was typed before the word in question.

    Attributes:
        page: of the command. said: values of its options, by name. words: its arguments.
        waiting: the option whose value is in question, None where none is.
    """

    page: Page
    said: dict[str, str]
    words: tuple[str, ...]
    waiting: Option | None


def candidates(words: Sequence[str], begun: str, *, quote: str = "") -> list[Candidate]:
    """What the word may become.

    Args:
        words: before it, without the program's name.
        begun: the word, as far as it is typed, without quotes.
        quote: the quote that is open around it.
    """
    if not words or words[0] not in PAGES:
        known = [Candidate(word=name, help=page.summary) for name, page in PAGES.items()] if not words else []
        more = _OF_ALL | _FOR_SHELLS if not words and begun.startswith("-") else {}
        known += [Candidate(word=name, help=text) for name, text in more.items()]
        return [one for one in known if one.word.startswith(begun)]
    line = _read(words)
    if line.waiting is not None:
        return [Candidate(word=word) for word in _values(line, line.waiting, begun, quote)]
    if begun.startswith("--") and "=" in begun:
        name, _, value = begun.partition("=")
        option = _options(line.page).get(name)
        found = [] if option is None else _values(line, option, value, quote)
        return [Candidate(word=f"{name}={word}") for word in found]
    if begun.startswith("-"):
        return [Candidate(word=name, help=text) for name, text in _spelled(line) if name.startswith(begun)]
    return [Candidate(word=word) for word in _arguments(line, begun)]


def _read(words: Sequence[str]) -> Line:
    page = PAGES[words[0]]
    options = _options(page)
    said: dict[str, str] = {}
    arguments: list[str] = []
    waiting = None
    for word in words[1:]:
        name, equals, value = word.partition("=")
        option = options.get(name)
        if waiting is not None:
            said[waiting.name] = word
            waiting = None
        elif option is not None and equals:
            said[option.name] = value
        elif option is not None:
            waiting = option if option.kind is not bool else None
        elif not word.startswith("-"):
            arguments.append(word)
    return Line(page=page, said=said, words=tuple(arguments), waiting=waiting)


def _options(page: Page) -> dict[str, Option]:
    known = [*page.options, *(page.further() if page.further is not None else ())]
    return {spelling: option for option in known for spelling in (option.long, option.short) if spelling}


def _spelled(line: Line) -> Iterator[tuple[str, str]]:
    """Every option that may still be said, by its long name."""
    for spelling, option in _options(line.page).items():
        if spelling == option.long and (option.name not in line.said or option.kind is list):
            yield spelling, sentence(option)
            if option.negative:
                yield f"--no-{spelling[2:]}", sentence(option)
    yield "--help", "Show this page"


def _values(line: Line, option: Option, begun: str, quote: str) -> list[str]:
    """What the value of an option may become."""
    name = option.name
    if name in _TEMPLATES:
        return list(_in_template(_columns(line), begun, quote))
    if name == "where":
        return list(_named(_columns(line), begun, quote, end=""))
    if name == "param_column":
        return [word for word in _fields(line, begun) if word.startswith(begun)]
    if name in _LISTS:
        return list(_one_more(_LISTS[name], begun))
    known: Sequence[str] = option.metavar.split("|") if "|" in option.metavar else ()
    if name in _COLUMNS or name.endswith("_column"):
        known = _columns(line)
    elif name in {"model", "profile"}:
        known = _settled_by_the_person(name)
    return [word for word in known if word.startswith(begun)]


def _fields(line: Line, begun: str) -> list[str]:
    """A field of the request, and then the column that it is taken from."""
    field, equals, _ = begun.partition("=")
    if equals:
        return [f"{field}={column}" for column in _columns(line)]
    return [f"{option.name}=" for option in line.page.options if option.group == "Request" and option.kind is not list]


def _one_more(known: Collection[str], begun: str) -> Iterator[str]:
    """A list by commas, with one name more."""
    before, comma, last = begun.rpartition(",")
    said = before.split(",")
    return (before + comma + name for name in known if name.startswith(last) and name not in said)


def _in_template(columns: Sequence[str], begun: str, quote: str) -> Iterator[str]:
    """The template with a column: in the braces that are open, else in new ones."""
    found = _OPEN.search(begun)
    if found is None:
        space = "" if not begun or begun[-1].isspace() else " "
        return (f"{begun}{space}{{{{ {_reference(name, quote)} }}}}" for name in columns)
    return _named(columns, begun, quote, end=" }}" if found[1] == "{" else "")


def _named(columns: Sequence[str], begun: str, quote: str, *, end: str) -> Iterator[str]:
    """The expression with the name that is begun at its end, whole."""
    row = _ROW.search(begun)
    if row is not None:
        start = begun[: row.start(2)]
        yield from (f"{start}{name}{row[1]}]{end}" for name in columns if name.startswith(row[2]))
        return
    name = _NAME.search(begun)
    if name is None and re.search(r"[\w.'\"\])]$", begun):
        return  # a number, an attribute, a text: no column begins here
    start, partial = (begun, "") if name is None else (begun[: name.start()], name[0])
    for column in columns:
        reference = _reference(column, quote)
        if reference.startswith(partial) or (partial and column.lower().startswith(partial.lower())):
            yield f"{start}{reference}{end}"


def _reference(column: str, quote: str) -> str:
    """A column as templates name it; its own quotes are others than those around it."""
    inner = '"' if quote == "'" else "'"
    return column if column.isidentifier() else f"row[{inner}{column}{inner}]"


def _columns(line: Line) -> tuple[str, ...]:
    """The columns of the line's input; none where it cannot be read."""
    from batchchat.dataset import open_dataset

    for word in line.words:
        path = _table_of(word)
        if path is None:
            continue
        try:
            said = line.said
            return open_dataset(path, delimiter=said.get("delimiter"), encoding=said.get("encoding")).columns
        except Exception:
            return ()
    return ()


def _table_of(word: str) -> str | None:
    """The table that a word names: itself, or the input of a job file."""
    if word.endswith(".toml"):
        try:
            named = tomllib.loads(Path(word).read_text(encoding="utf-8-sig")).get("input")
        except (OSError, ValueError):
            return None
        return str(Path(word).parent / named) if isinstance(named, str) else None
    return word if find_format(word) is not None or Path(word).is_dir() else None


def _settled_by_the_person(what: str) -> list[str]:
    """Names of the person's own config: profiles, or aliases and the embedded model."""
    from batchchat.job import known_names

    try:
        profiles, aliases = known_names()
    except Exception:
        profiles, aliases = (), ()
    return sorted(profiles) if what == "profile" else [defaults.LOCAL_MODEL, *sorted(aliases)]


def _arguments(line: Line, begun: str) -> list[str]:
    """Files that the next argument may be; none where there are only folders, since the shell walks those better."""
    at = len(line.words)
    if at >= len(line.page.arguments):
        return []
    meant = line.page.arguments[at].name
    if meant not in {"input", "job"} and line.page.name != "compare":
        return []
    folder = begun[: begun.rfind("/") + 1]
    try:
        entries = sorted(Path(folder or ".").iterdir())
    except OSError:
        return []
    files, folders = [], []
    for entry in entries:
        word = folder + entry.name
        if not word.startswith(begun) or (entry.name.startswith(".") and not begun[len(folder) :]):
            continue
        if entry.is_dir():
            folders.append(f"{word}/")
        elif _may_be(entry, meant):
            files.append(word)
    return [*files, *folders] if files else []


def _may_be(path: Path, meant: str) -> bool:
    if find_format(path) is not None:
        return meant == "input" or _has_job(path)
    return path.name.endswith(".toml" if meant == "input" else _JOB_SUFFIXES)


def _has_job(table: Path) -> bool:
    """Whether a table is the output of a job, or may be its input: then a checkpoint's name begins as its own does."""
    stem = table.name.partition(".")[0]
    return any(table.parent.glob(f"{_plain(stem)}*{defaults.CHECKPOINT_SUFFIX}"))


def _plain(name: str) -> str:
    """The name for a pattern, in which nothing is one."""
    return re.sub(r"([*?[])", r"[\1]", name)
