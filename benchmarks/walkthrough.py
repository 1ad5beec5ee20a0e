"""Record docs/walkthrough.md: the loop of a job, walked on the embedded model.

In: nothing but the installed package. Out: the page, with every command as it was typed and what it said. Each command
is one that an earlier step suggested, but for what a person changes in it; where it is not, nothing is written.

    python benchmarks/walkthrough.py docs/walkthrough.md
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROWS = 24
DEMO = Path(__file__).resolve().parents[1] / "batchchat" / "demo"
HEAD = """\
# A walk through

From nothing to a labelled table, and on to next week. Recorded with the embedded model by
`python benchmarks/walkthrough.py docs/walkthrough.md`; figures of time are those of one machine. Every command was
suggested by a step before it.
"""
BETTER = "Classify the sentiment of the sentence as positive or negative. Sentence: {{ sentence }}"


@dataclass
class Walk:
    """The steps so far: the page, and what may be typed next."""

    folder: Path
    page: list[str] = field(default_factory=lambda: [HEAD])
    suggested: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.page.append(text)

    def type(
        self, start: str, *, has: str = "", lacks: str = "\n", change: tuple[str, str] | None = None, status: int = 0
    ) -> None:
        """The last suggested command that begins so, has one word and lacks another; a value of it may be changed."""
        fitting = (one for one in reversed(self.suggested) if one.startswith(f"batchchat {start}"))
        command = next((one for one in fitting if has in one and lacks not in one), None)
        if command is None:
            sys.exit(f"nothing before suggested: batchchat {start} {has}")
        words = shlex.split(command)[1:]
        if change is not None:
            words[words.index(change[0]) + 1] = change[1]
        self.run(words, status)

    def run(self, words: list[str], status: int = 0) -> None:
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("OPENAI_", "BATCHCHAT_"))}
        done = subprocess.run(
            [sys.executable, "-m", "batchchat", *words],
            cwd=self.folder,
            env={**environ, "XDG_CONFIG_HOME": str(self.folder / "none")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != status:
            sys.exit(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stdout}")
        self.suggested += re.findall(r"batchchat (?:[^\n]+)", done.stdout)
        self.page.append(f"```console\n$ {shlex.join(['batchchat', *words])}\n{done.stdout.rstrip()}\n```\n")


def walk(folder: Path) -> str:
    """The page."""
    lines = (DEMO / "reviews.csv").read_text(encoding="utf-8").splitlines(keepends=True)[: ROWS + 1]
    held, table = lines[-3:], folder / "reviews.csv"
    too_long = f"log-1,log,{'disk full, trying again; ' * 2000!r},0.0,negative\n".replace("'", '"')
    table.write_text("".join([*lines[:5], too_long, *lines[6:-3]]), encoding="utf-8")
    steps = Walk(folder)
    steps.say("## The demo\n\nIt runs here, and at its end names a table that lies in this folder.\n")
    steps.run(["demo", "demo"])
    steps.say("## A prompt on three rows\n")
    steps.type("run reviews.csv")
    steps.say("## The same rows, a better prompt\n\nThe old answers stand beside the new ones.\n")
    steps.type("run reviews.csv", has="--sample", change=("--prompt", BETTER))
    steps.say("## What all of it would take\n")
    steps.type("estimate reviews.csv")
    steps.say("## All of it\n")
    steps.type("run reviews.csv", status=3)
    steps.say("## What failed\n")
    steps.type("rows reviews.completions.csv --failed")
    steps.say("Somebody pasted a log into a cell. It is mended with an editor, and only this row is sent again.\n")
    table.write_text("".join(lines[:-3]), encoding="utf-8")
    steps.type("resume reviews.completions.csv", has="--retry")
    steps.say("## Next week\n\nThree rows were added to the table.\n")
    table.write_text("".join([*lines[:-3], *held]), encoding="utf-8")
    steps.type("resume reviews.completions.csv", lacks="--retry")
    steps.say("## The answers\n")
    steps.type("rows reviews.completions.csv", lacks="--failed")
    return "\n".join(steps.page).rstrip() + "\n"


def main(target: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = walk(Path(folder)).replace(folder + os.sep, "")
    Path(target).write_text(page, encoding="utf-8")
    print(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
