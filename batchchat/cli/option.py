"""An option as data, and how a command takes a table of them.

Typer reads a command's options from its signature. Commands here share some fifty options, so the signature is made of
a table; the same table is what `--help` and the command page are written from. Only public names of Typer are used, and
Typer itself is imported when a command line is to be read: a page of help is made without it, in half the time.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, cast

from batchchat.cli import failure, page
from batchchat.errors import Misspelt, UsageError
from batchchat.spelling import did_you_mean, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import typer

    Commands = dict[str, Callable[[typer.Typer], None]]
    """By its name, what adds a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A positional word of a command; `word` is how it is called, if not by its name."""

    name: str
    help: str
    optional: bool = False
    word: str = ""

    @property
    def metavar(self) -> str:
        """As it stands in the usage line."""
        word = self.word or self.name.upper()
        return f"[{word}]" if self.optional else word


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """An option of a command.

    Attributes:
        name: of the parameter; with dashes, the long option.
        help: one sentence, without a full stop.
        kind: str, int, float, bool (a flag), or list (a text, repeatable).
        metavar: what stands for its value.
        default: what holds where it is not given, for the help alone: the value stays None.
        short: `-m`.
        negative: a flag that may be switched off too, `--no-...`; None where it is not given.
        group: heading of the help page.
    """

    name: str
    help: str
    kind: type = str
    metavar: str = ""
    default: object = None
    short: str = ""
    negative: bool = False
    group: str = "Options"

    @property
    def long(self) -> str:
        """The option as it is typed."""
        return "--" + self.name.replace("_", "-")

    def value(self, typed: Any) -> Any:
        """What was typed, as a number where it has to be one.

        Raises:
            UsageError: it is none.
        """
        if typed is None or self.kind not in {int, float}:
            return typed
        try:
            return self.kind(typed)
        except ValueError:
            what = "a whole number" if self.kind is int else "a number"
            raise UsageError(f"{self.long} {typed!r}: must be {what}") from None

    def parameter(self) -> inspect.Parameter:
        """The option as Typer takes it."""
        import typer

        spelled = f"{self.long}/--no-{self.long[2:]}" if self.negative else self.long
        names = [spelled, self.short] if self.short else [spelled]
        # Numbers are taken as text, and read by `value`: one way to say what is wrong with one.
        kinds: dict[type, Any] = {list: list[str] | None, bool: bool | None if self.negative else bool}
        taken: Any = kinds.get(self.kind, str | None)
        settings = typer.Option(*names, metavar=self.metavar or None, help=self.help, show_default=False)
        plain_flag = self.kind is bool and not self.negative
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if plain_flag else None,
            annotation=Annotated[taken, settings],
        )


DEBUG = Option(name="debug", help="Show the traceback of an error", kind=bool, group="Help")


def command(
    commands: Commands,
    name: str,
    *,
    arguments: Sequence[Argument] = (),
    options: Sequence[Option] = (),
    further: Callable[[], Sequence[Option]] | None = None,
) -> Callable[[Callable[..., int | None]], None]:
    """Make a command of a function; `--help` and `--debug` come by themselves.

    The function gets every argument and option by name and returns its exit status (None is 0). What it raises becomes
    a message and a status. `further` gives options that take a while to find out: it is called by this command's help
    and where such an option was typed, not for every command line.
    """

    def register(function: Callable[..., int | None]) -> None:
        taken = (*options, DEBUG)
        text = inspect.getdoc(function) or ""
        sheet = page.Page(name=name, text=text, arguments=arguments, options=taken, further=further)
        page.PAGES[name] = sheet
        commands[name] = functools.partial(_add, sheet=sheet, function=function)

    return register


def _add(app: typer.Typer, *, sheet: page.Page, function: Callable[..., int | None]) -> None:
    """Make a command of a function and its page."""
    import typer

    @functools.wraps(function)
    def invoke(*, ctx: typer.Context, debug: bool, **words: Any) -> None:
        words.pop("help")

        def call() -> int | None:
            read = {option.name: option.value(words[option.name]) for option in sheet.options if option is not DEBUG}
            more = _take(ctx.args, sheet.further()) if sheet.further is not None and ctx.args else {}
            return function(**{**words, **read, **more})

        raise typer.Exit(failure.status_of(call, debug=debug))

    parameters = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    parameters += [_positional(argument) for argument in sheet.arguments]
    parameters += [option.parameter() for option in sheet.options]
    parameters.append(_help(sheet))
    # Typer asks inspect and typing: both are told what the table says.
    cast(Any, invoke).__signature__ = inspect.Signature(parameters)
    invoke.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    open_ended = {"allow_extra_args": True, "ignore_unknown_options": True} if sheet.further is not None else {}
    taken = app.command(
        sheet.name, help=sheet.text, short_help=sheet.summary, add_help_option=False, context_settings=open_ended
    )
    taken(invoke)


def _take(words: Sequence[str], options: Sequence[Option]) -> dict[str, Any]:
    """The words that Typer left, as values of these options.

    Raises:
        UsageError: one is no option, or lacks its value.
    """
    known = {option.long: option for option in options}
    known |= {f"--no-{option.long[2:]}": option for option in options if option.negative}
    found: dict[str, Any] = {}
    rest = list(words)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        option = known.get(name)
        if option is None:
            meant = nearest(name, known)
            raise Misspelt(f"there is no option {name}{did_you_mean(meant)}", wrong=name, meant=meant)
        if option.kind is bool:
            found[option.name] = name == option.long
        elif equals or rest:
            found[option.name] = option.value(value if equals else rest.pop(0))
        else:
            raise UsageError(f"{name} takes a value: {page.spelling(option)}")
    return found


def _positional(argument: Argument) -> inspect.Parameter:
    import typer

    settings = typer.Argument(metavar=argument.metavar, help=argument.help, show_default=False)
    taken: Any = str | None if argument.optional else str
    return inspect.Parameter(
        argument.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None if argument.optional else inspect.Parameter.empty,
        annotation=Annotated[taken, settings],
    )


def _help(sheet: page.Page) -> inspect.Parameter:
    import typer

    def show(value: bool) -> None:
        if value:
            typer.echo(sheet.render())
            raise typer.Exit

    settings = typer.Option("--help", "-h", is_eager=True, callback=show, help=page.HELP_SENTENCE, show_default=False)
    return inspect.Parameter(
        "help", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, settings]
    )
