"""The text of a command's `--help`: plain, grouped as the contract groups the options, quick to make."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from batchchat.cli.option import Argument, Option

HELP_SENTENCE = "Show this page"
_NARROWEST, _WIDEST = 60, 120
_COLUMN = 34


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What a command's page says."""

    name: str
    text: str
    arguments: Sequence[Argument]
    options: Sequence[Option]
    further: Callable[[], Sequence[Option]] | None = None

    @property
    def summary(self) -> str:
        """The first sentence, for the list of commands."""
        return self.text.partition("\n")[0].rstrip(".")

    @property
    def usage(self) -> str:
        """The usage line."""
        return " ".join(["batchchat", self.name, *(argument.metavar for argument in self.arguments), "[OPTIONS]"])

    def groups(self) -> dict[str, list[tuple[str, str]]]:
        """Headings, and below each the options: how one is typed, and its sentence."""
        found: dict[str, list[tuple[str, str]]] = {}
        if self.arguments:
            found["Arguments"] = [(argument.metavar, argument.help) for argument in self.arguments]
        for option in [*self.options, *(self.further() if self.further is not None else ())]:
            found.setdefault(option.group, []).append((spelling(option), sentence(option)))
        found["Help"] = [*found.pop("Help", []), ("-h, --help", HELP_SENTENCE)]
        return found

    def render(self, width: int | None = None) -> str:
        """The page as text, as wide as the terminal allows."""
        width = width or _width()
        lines = [f"Usage: {self.usage}", ""]
        for paragraph in self.text.split("\n\n"):
            lines += [*_paragraph(paragraph, width), ""]
        for heading, entries in self.groups().items():
            lines.append(f"{heading}:")
            for name, text in entries:
                lines += _entry(name, text, width)
            lines.append("")
        return "\n".join(lines).rstrip()


PAGES: dict[str, Page] = {}
"""Every command's page, by its name."""


def front_page(text: str, options: Sequence[tuple[str, str]]) -> str:
    """The page of the program itself: what it does, its own options, and its commands."""
    width = _width()
    lines = ["Usage: batchchat COMMAND [ARGS]...", "", *_paragraph(text, width)]
    commands = [(name, sheet.summary) for name, sheet in PAGES.items()]
    for heading, entries in (("Options", options), ("Commands", commands)):
        lines += ["", f"{heading}:"]
        for name, said in entries:
            lines += _entry(name, said, width)
    return "\n".join(lines)


def spelling(option: Option) -> str:
    """The option as it is typed: `-m, --model NAME`."""
    name = f"{option.long}/--no-{option.long[2:]}" if option.negative else option.long
    names = f"{option.short}, {name}" if option.short else name
    return names if option.kind is bool else f"{names} {option.metavar or _METAVARS[option.kind]}"


def sentence(option: Option) -> str:
    """Its help, with what holds where it is not given."""
    return option.help if option.default is None else f"{option.help} [default: {option.default}]"


_METAVARS = {str: "TEXT", int: "N", float: "NUMBER", list: "TEXT"}


def _width() -> int:
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size((100, 24)).columns - 1))


def _paragraph(paragraph: str, width: int) -> Iterator[str]:
    if paragraph.startswith("    "):
        yield from (f"  {line.strip()}" for line in paragraph.splitlines())
    else:
        yield from textwrap.wrap(" ".join(paragraph.split()), width, break_on_hyphens=False, break_long_words=False)


def _entry(name: str, text: str, width: int) -> Iterator[str]:
    wrapped = textwrap.wrap(text, width - _COLUMN, break_on_hyphens=False, break_long_words=False)
    first = f"  {name}"
    if len(first) > _COLUMN - 2:
        yield first
        first = ""
    yield f"{first:<{_COLUMN}}{wrapped[0]}".rstrip()
    yield from (" " * _COLUMN + line for line in wrapped[1:])
