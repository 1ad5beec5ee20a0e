"""The command page: every command's help as Markdown; `python -m batchchat.cli.manual > docs/cli.md` writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchchat.cli import app, stream
from batchchat.cli.page import PAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchchat.cli.page import Page

_HEAD = """\
# The commands

Written from `batchchat COMMAND --help` by `python -m batchchat.cli.manual`; a test fails when it is stale.

`INPUT` is a table (`.csv`, `.tsv`, `.parquet`, `.jsonl`, each text format also `.gz`), a folder or glob of them, or a
[job file](job-files.md) (`.toml`) that names one. `JOB` is an output, its input, its job file or its checkpoint. Rows
are counted from 1, the first data row. The shell shown is a POSIX one; [platforms.md](platforms.md) says what
PowerShell and cmd.exe want.

stdout carries only what was asked for; messages go to stderr.

`batchchat --install-completion` lets bash, zsh, fish and PowerShell complete commands, options, tables and jobs, and
the input's columns: after `--prompt-column`, and inside a template, as in `--prompt 'Label: {{ re<Tab>`. Open a new
terminal after it.

A run that takes the night can say when it has ended: `--notify` posts the summary (that of `--json`, with a sentence as
`text` and the `exit_status`) to the URL in the variable `BATCHCHAT_NOTIFY`. It takes ten seconds at most and changes
nothing about the job; the URL is shown nowhere. `--ok-failed 0.5%` makes the exit status 0 where no more rows failed.

| exit status | means |
| --- | --- |
| 0 | every row has a completion |
| 1 | stopped before the end; what was paid for is kept, `batchchat resume` goes on |
| 2 | usage: an option, a file, a column, a template or a job file is wrong; nothing was sent |
| 3 | finished; some rows failed, and their `error` column says why |
| 129, 130, 143 | interrupted (SIGHUP, SIGINT, SIGTERM); what was in flight was waited for and kept |
"""


def manual() -> str:
    """The whole page."""
    assert app.COMMANDS.keys() == PAGES.keys()
    return "\n".join([_HEAD, *(line for sheet in PAGES.values() for line in _command(sheet))]).rstrip() + "\n"


def _command(sheet: Page) -> Iterator[str]:
    yield f"## batchchat {sheet.name}"
    yield ""
    yield f"    {sheet.usage}"
    yield ""
    for paragraph in sheet.text.split("\n\n"):
        yield paragraph if paragraph.startswith("    ") else " ".join(paragraph.split())
        yield ""
    for heading, entries in sheet.groups().items():
        yield f"| {heading} | |"
        yield "| --- | --- |"
        for name, text in entries:
            yield f"| `{_cell(name)}` | {_cell(text)} |"
        yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    stream.emit(manual().rstrip())
