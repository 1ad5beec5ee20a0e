"""The title of the terminal's window while a job runs, and the bell at its end.

Both go where the progress goes, and only to a terminal. The title that was there before is set again by the shell, at
its next prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import IO

    from batchchat.cli.tally import Tally

_LONGEST = 80
BELL = "\a"


class Window:
    """The window of a job.

    Args:
        file: the terminal.
        name: of the job, as it is to be read in the title.
    """

    def __init__(self, file: IO[str], name: str) -> None:
        self._file = file
        # A file's name may hold anything, and must not command the terminal.
        self._name = "".join(character for character in name if character.isprintable())[:_LONGEST]
        self._shown = ""

    def draw(self, tally: Tally) -> None:
        """How far the job is, in whole per cents."""
        share = f" {100 * tally.done // tally.total} %" if tally.total else ""
        self._title(f"batchchat: {self._name}{share}")

    def end(self, tally: Tally) -> None:
        """That it has ended; the bell rings where something was worked on."""
        failed = f", {tally.failed:,} failed" if tally.failed else ""
        whole = tally.total is not None and tally.done >= tally.total
        self._title(f"batchchat: {self._name} {'done' if whole else 'stopped'}{failed}")
        if tally.settled_rows:
            self._write(BELL)

    def _title(self, text: str) -> None:
        if text != self._shown:
            self._shown = text
            self._write(f"\x1b]0;{text}\x07")

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()
