"""How long a table of finished rows takes to appear, beside reading and writing the same table without a checkpoint.

    python benchmarks/publish.py ours FOLDER     FOLDER as `finished.py` makes it; writes FOLDER/out.parquet
    python benchmarks/publish.py plain FOLDER    reads FOLDER/out.parquet with pyarrow and writes it again

Out: one line of JSON: seconds of the wall and of the processor, imports not counted, and the file's size. Ours is the
step that ends a run: every row's checksum is verified, the file is digested and synced.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def plain(folder: Path) -> Path:
    from pyarrow import parquet

    yield
    target = folder / "plain.parquet"
    parquet.write_table(parquet.read_table(folder / "out.parquet"), target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    yield target


def ours(folder: Path) -> Path:
    from finished import the_job
    from pyarrow import parquet  # noqa: F401 - its import is no part of the figure

    from batchchat.api.input.columns import Reader
    from batchchat.api.input.table import open_table
    from batchchat.api.kept.find import begun_chain
    from batchchat.api.run.finish import write_table
    from batchchat.checkpoint import read_journal

    job = the_job(folder)
    yield
    journal = read_journal(job.checkpoint_path)
    write_table(open_table(job), Reader(job, journal, begun_chain(journal)), job.output_path, whole=True)
    journal.close()
    yield Path(job.output_path)


def main(what: str, folder: str) -> None:
    steps = {"ours": ours, "plain": plain}[what](Path(folder))
    next(steps)
    began, cpu = time.perf_counter(), time.process_time()
    target = next(steps)
    spent = {"wall": time.perf_counter() - began, "cpu": time.process_time() - cpu}
    print(json.dumps({**spent, "bytes": target.stat().st_size}))


if __name__ == "__main__":
    main(*sys.argv[1:])
