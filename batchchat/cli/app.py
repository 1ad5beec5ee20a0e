"""The commands, and the way from argv to an exit status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from batchchat import defaults
from batchchat.cli import (
    compare,
    demo,
    estimate,
    export,
    failure,
    report,
    resume,
    rows,
    run,
    serve,
    shell,
    show,
    status,
    stream,
    typed,
)
from batchchat.cli.page import HELP_SENTENCE, PAGES, front_page
from batchchat.spelling import did_you_mean, nearest
from batchchat.tables import find_format

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import typer

    from batchchat.cli.option import Commands

_START = """\
batchchat: a chat completion for every row of a table.

Try a prompt on three rows of your own table, with the embedded model:
  batchchat run reviews.csv --prompt "Positive or negative? {{ review }}" -m local --sample 3

Send every row, at most 5 USD, 16 at once; run it again after a crash, and it goes on:
  batchchat run reviews.csv --prompt "Positive or negative? {{ review }}" -m gpt-4o-mini --max-cost 5 -c 16

Look at the request that row 1 would send, without sending it:
  batchchat show reviews.csv --prompt "Positive or negative? {{ review }}" -m gpt-4o-mini --row 1

The key is read from OPENAI_API_KEY; another endpoint is named with --base-url or OPENAI_BASE_URL.
batchchat --help lists the commands, batchchat run --help the options."""
_WHAT = "A chat completion for every row of a table: fast, cheap, and safe to leave alone overnight."
_VERSION = "Print the version"
_ENTRY_OPTIONS = (
    ("--version", _VERSION),
    ("--install-completion", "Install completion for the current shell"),
    ("--show-completion", "Show completion for the current shell, to copy it or customize the installation"),
    ("-h, --help", HELP_SENTENCE),
)
# What is typed for a key where there is no such option: the key is not said again.
_KEYS = frozenset({"--api-key", "--api_key", "--apikey", "--key", "--openai-api-key", "--openai-key", "--token"})

COMMANDS: Commands = {}
"""What adds each command."""

for part in (run, resume, estimate, status, rows, compare, export, report, show, serve, demo):
    part.register(COMMANDS)


def typed_app(words: Sequence[str]) -> typer.Typer:
    """What reads a command line: Typer, with the one command that is named, or with all of them."""
    import typer

    app = typer.Typer(
        name="batchchat",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def tell_version(wanted: bool) -> None:
        if wanted:
            stream.emit(f"batchchat {_version()}")
            raise typer.Exit

    version = typer.Option("--version", is_eager=True, callback=tell_version, help=_VERSION)

    def start(*, version: bool = False) -> None:
        assert not version  # its callback has left

    start.__doc__ = _WHAT
    start.__annotations__["version"] = Annotated[bool, version]
    app.callback()(start)
    for name in words[:1] if words and words[0] in COMMANDS else COMMANDS:
        COMMANDS[name](app)
    return app


def entry(words: Sequence[str] | None = None) -> int:
    """Run the command line; its exit status."""
    if words is None and (asking := shell.asked()) is not None:
        return shell.answer(asking)
    words = sys.argv[1:] if words is None else list(words)
    typed.remember(words)
    if (text := _at_once(words)) is not None:
        stream.emit(text)
        return 0
    import typer

    app = typed_app(words)
    try:
        returned: Any = app(args=words, prog_name="batchchat", standalone_mode=False)
    except typer.Abort:
        return failure.INTERRUPTED + failure.SIGINT
    except Exception as error:
        # Typer's own errors share no public class: those that can be worded and have a status are told apart by that.
        wording = getattr(error, "format_message", None)
        if wording is None:
            raise
        stream.tell(_usage(error, wording()))
        return int(getattr(error, "exit_code", failure.USAGE))
    return returned if isinstance(returned, int) else 0


def _at_once(words: Sequence[str]) -> str | None:
    """The page of a plain question, for which Typer need not be loaded; None where there is more to do."""
    if not words:
        return _START
    if words[0] in {"-h", "--help"}:
        return front_page(_WHAT, _ENTRY_OPTIONS)
    plain = len(words) == 2 and words[0] in PAGES and words[1] in {"-h", "--help"}
    return PAGES[words[0]].render() if plain else None


def _misspelt(said: str, wrong: str, known: Iterable[str], where: str) -> str:
    """The sentence, and the command with the word that is nearest."""
    meant = nearest(wrong, known, cutoff=0.5)
    command = None if meant is None else typed.replaced(wrong, meant)
    return f"{said}{did_you_mean(meant)} ({where})" + (f"\n  {command}" if command else "")


def _version() -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("batchchat")
    except PackageNotFoundError:
        return "(not installed: run from a checkout)"


def _meant_by(word: str) -> str | None:
    """The command of whoever named a file alone; None where the word names none."""
    if word.endswith(defaults.CHECKPOINT_SUFFIX):
        return "status"
    is_input = find_format(word) is not None or word.endswith(".toml") or Path(word).is_dir()
    return "run" if is_input else None


def _no_command(word: str) -> str:
    """What is said where a line begins with what is no command."""
    if word.partition("=")[0] in _spelled("run"):
        return f"batchchat: the command stands first, as run\n  {typed.after('run')}"
    if command := _meant_by(word):
        return f"batchchat: {word} is no command; did you mean {command}?\n  {typed.after(command)}"
    what, known = ("option", ["--version", "--help"]) if word.startswith("-") else ("command", PAGES)
    return _misspelt(f"batchchat: there is no {what} {word}", word, known, "batchchat --help lists them")


def _spelled(command: str) -> set[str]:
    return {spelling for option in PAGES[command].options for spelling in (option.long, option.short) if spelling}


def _usage(error: Exception, message: str) -> str:
    """An error of Typer in a line: what is wrong, what was meant, and where to look."""
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None) or "batchchat"
    wrong = getattr(error, "option_name", None)
    known = [name for parameter in getattr(getattr(context, "command", None), "params", ()) for name in parameter.opts]
    if isinstance(wrong, str) and context is None:  # it is an option of ours, and stands last
        path = " ".join(["batchchat", *(word for word in typed.words()[:1] if word in PAGES)])
        return f"{path}: {wrong} takes a value ({path} --help)"
    if isinstance(wrong, str) and wrong.lower() in _KEYS:
        return f"{path}: a key is never an argument: export OPENAI_API_KEY=... (--api-key-env names another variable)"
    words = typed.words()
    first = words[0] if words else ""
    if isinstance(wrong, str) and wrong not in known and wrong != first:
        return _misspelt(f"{path}: there is no option {wrong}", wrong, known, f"{path} --help lists them")
    if first and first not in PAGES:
        return _no_command(first)
    said = message.rstrip(".")
    return f"{path}: {said[:1].lower()}{said[1:]} ({path} --help)"
