"""The tables that benchmarks run on: numbered prompts of a realistic length, the same every time.

python benchmarks/tables.py PATH ROWS
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

TASK = (
    "Read what a customer wrote about a bicycle lamp and say whether it is praise, blame or both, in one word; then "
    "quote the words that decided it. The customer: it was bright enough for the forest road all winter and the clip "
    "held, but the switch stuck when it rained, and the charger that came with it is too short to reach my shelf."
)


def prompt(row: int) -> str:
    return f"[{row}] {TASK}"


def write_csv(path: Path, rows: int) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt"])
        writer.writerows((row, prompt(row)) for row in range(rows))


def write_parquet(path: Path, rows: int, *, group: int = 1 << 17) -> None:
    """Row groups of 131,072 rows; made a group at a time, so that the maker needs little memory too."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([("id", pa.int64()), ("prompt", pa.string())])
    with parquet.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, group):
            numbers = range(start, min(start + group, rows))
            columns = [pa.array(numbers, pa.int64()), pa.array([prompt(row) for row in numbers], pa.string())]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def write(path: Path, rows: int) -> None:
    (write_csv if path.suffix == ".csv" else write_parquet)(path, rows)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))
