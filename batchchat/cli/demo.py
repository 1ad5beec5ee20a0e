"""`batchchat demo [DIR]`."""

from __future__ import annotations

import csv
import json
import shlex
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.cli import launch, stream
from batchchat.cli.grid import plain
from batchchat.cli.option import Argument, command

if TYPE_CHECKING:
    from batchchat.cli.option import Commands

_FILES = ("reviews.csv", "label_reviews.toml", "label.json", "SOURCES.md")
_JOB = "label_reviews.toml"
_SHOWN = 10
_SENTENCE = 56
_DISAGREES = "  (people disagree)"
_FOLDER = Argument(
    name="folder",
    word="DIR",
    help=f"Where the table and the job file are written [default: {defaults.DEMO_FOLDER}]",
    optional=True,
)


def register(commands: Commands) -> None:
    """Add the command."""
    command(commands, "demo", arguments=[_FOLDER])(demo)


def demo(*, folder: str | None) -> int:
    """Label real sentences with the embedded model, and compare with what people said.

    It writes a table and a job file, and runs them here: no key, no account, no network.
    """
    from batchchat.job import resolve
    from batchchat.serve.local import weights

    weights(defaults.LOCAL_MODEL)  # says how to install it, before anything is written
    place = Path(folder or defaults.DEMO_FOLDER)
    _write(place)
    job = resolve({"model": defaults.LOCAL_MODEL}, input=str(place / _JOB))
    status = launch.launch(job, as_json=False, quiet=False)
    if status in {0, 3}:
        _compare(Path(job.output_path))
        stream.tell(_next(place))
    return status


def _write(place: Path) -> None:
    """The files, as far as they are not there: what somebody edited stays."""
    place.mkdir(parents=True, exist_ok=True)
    source = resources.files("batchchat") / "demo"
    for name in _FILES:
        target = place / name
        if not target.exists():
            target.write_bytes((source / name).read_bytes())
            stream.tell(f"wrote {target}")


def _compare(output: Path) -> None:
    """Some rows beside people's ratings, and the share of all that agree."""
    with output.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [f"{'sentence':<{_SENTENCE}}  {'people':<14}  model"]
    agreed = 0
    for nth, row in enumerate(rows):
        said = _label(row["completion"])
        same = said == row["label"]
        agreed += same
        if nth < _SHOWN:
            people = f"{row['label']} {float(row['rating']):+.1f}"
            lines.append(f"{_cut(row['sentence']):<{_SENTENCE}}  {people:<14}  {said}{'' if same else _DISAGREES}")
    share = 100 * agreed / max(1, len(rows))
    lines += ["...", f"{agreed} of {len(rows)} labels agree with people's ({share:.0f} %)"]
    stream.emit("\n".join(lines))


def _label(completion: str) -> str:
    """The one value of the JSON object that was asked for."""
    try:
        (value,) = json.loads(completion).values()
    except (ValueError, AttributeError):
        return "(none)"
    return plain(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SENTENCE else text[: _SENTENCE - 1] + "…"


def _next(place: Path) -> str:
    """The command that may follow, with a table of this folder in it where there is one."""
    table, column = _own_table() or ("YOUR.csv", "your_column")
    named = column if column.isidentifier() else f"row['{column}']"
    words = ["batchchat", "run", table, "--prompt", f"Classify the sentiment of the text. Text: {{{{ {named} }}}}"]
    words += ["-m", defaults.LOCAL_MODEL, "--response-format", f"@{place / 'label.json'}", "--max-tokens", "32"]
    return f"The same on three rows of your own table:\n  {shlex.join([*words, '--sample', '3'])}"


def _own_table() -> tuple[str, str] | None:
    """A table in the working folder and its column with the longest text."""
    from batchchat.dataset import open_dataset
    from batchchat.errors import BatchchatError
    from batchchat.tables import find_format

    for path in sorted(Path().iterdir()):
        if not path.is_file() or find_format(path) is None:
            continue
        try:
            dataset = open_dataset(path, limit=defaults.FIRST_SHOWN)
            batch = next(dataset.batches(dataset.columns), None)
        except BatchchatError:
            continue
        if batch is not None and batch.columns and "finish_reason" not in batch.columns:  # an output of ours is none
            lengths = {name: sum(len(str(value or "")) for value in cells) for name, cells in batch.columns.items()}
            return str(path), max(lengths, key=lambda name: lengths[name])
    return None
