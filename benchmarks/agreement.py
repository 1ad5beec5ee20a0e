"""How many labels of a finished table agree with a column that people filled in.

    python benchmarks/agreement.py OUTPUT --gold COLUMN

In: an output of `batchchat run` (CSV). Its completions are labels as plain text, or JSON objects with one value.
Out: one line on stdout. A row without a completion counts as one that does not agree.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path


def label(completion: str) -> str:
    """The label in a completion, in lower case."""
    text = completion.strip()
    if text.startswith("{"):
        try:
            (value,) = json.loads(text).values()
        except ValueError:  # cut, or with more than one value: agrees with nothing
            return ""
        text = str(value)
    return text.strip().strip("\"'.").lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--gold", required=True, metavar="COLUMN", help="the column with the people's labels")
    arguments = parser.parse_args()
    try:
        with arguments.output.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        sys.exit(f"{arguments.output}: {error.strerror}")
    if not rows or arguments.gold not in rows[0] or "completion" not in rows[0]:
        sys.exit(f"{arguments.output}: no rows, or no columns '{arguments.gold}' and 'completion'")
    agreed = sum(label(row["completion"]) == row[arguments.gold].strip().lower() for row in rows)
    print(f"{agreed} of {len(rows)} labels agree ({100 * agreed / len(rows):.0f} %)")


if __name__ == "__main__":
    main()
