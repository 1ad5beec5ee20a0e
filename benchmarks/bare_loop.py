"""The least that a person would write instead: an aiohttp loop over the rows, without retries, limits or a checkpoint.

    python benchmarks/bare_loop.py INPUT OUTPUT BASE_URL CONCURRENCY [asyncio]

In: a table (.csv or .parquet) with the column `prompt`. Out: the same table with the completion, why it ended, and the
tokens. What it loses when it is interrupted is everything; it is here as the ceiling that batchchat is compared with.
"""

from __future__ import annotations

import asyncio
import csv
import sys
from pathlib import Path

import aiohttp
import orjson

NAMES = ("completion", "finish_reason", "prompt_tokens", "completion_tokens")


async def complete(prompts: list[str], base_url: str, concurrency: int) -> list[tuple]:
    """The results, in order; the first error ends the program."""
    results: list[tuple] = [()] * len(prompts)
    left = iter(enumerate(prompts))
    connector = aiohttp.TCPConnector(limit=concurrency)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    timeout = aiohttp.ClientTimeout(total=None)

    async with aiohttp.ClientSession(connector=connector, headers=headers, timeout=timeout) as session:

        async def work() -> None:
            for number, prompt in left:
                body = orjson.dumps({"model": "sim", "messages": [{"role": "user", "content": prompt}]})
                async with session.post(f"{base_url}/chat/completions", data=body) as response:
                    reply = orjson.loads(await response.read())
                choice, usage = reply["choices"][0], reply["usage"]
                results[number] = (
                    choice["message"]["content"],
                    choice["finish_reason"],
                    usage["prompt_tokens"],
                    usage["completion_tokens"],
                )

        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(work())
    return results


def over_csv(table: str, output: str, answer) -> None:
    with Path(table).open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows, names = list(reader), reader.fieldnames
    results = answer([row["prompt"] for row in rows])
    with Path(output).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, *NAMES])
        writer.writerows([*row.values(), *result] for row, result in zip(rows, results, strict=True))


def over_parquet(table: str, output: str, answer) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    read = parquet.read_table(table)
    columns = list(zip(*answer(read.column("prompt").to_pylist()), strict=True))
    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64())
    for name, kind, column in zip(NAMES, kinds, columns, strict=True):
        read = read.append_column(name, pa.array(column, kind))
    parquet.write_table(read, output)


def main(table: str, output: str, base_url: str, concurrency: str, loop: str = "uvloop") -> None:
    if loop == "uvloop":
        from uvloop import run
    else:
        from asyncio import run
    over = over_parquet if table.endswith(".parquet") else over_csv
    over(table, output, lambda prompts: run(complete(prompts, base_url, int(concurrency))))


if __name__ == "__main__":
    main(*sys.argv[1:])
