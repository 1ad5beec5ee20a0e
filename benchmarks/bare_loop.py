"""The least that a person would write instead: an aiohttp loop over the rows, without retries, limits or a checkpoint.

    python benchmarks/bare_loop.py INPUT.csv OUTPUT.csv BASE_URL CONCURRENCY

In: a CSV with the column `prompt`. Out: a CSV with prompt and completion. What it loses when it is interrupted is
everything; it is here as the ceiling that batchchat is compared with.
"""

from __future__ import annotations

import asyncio
import csv
import sys
from pathlib import Path

import aiohttp
import orjson

try:
    from uvloop import run
except ImportError:  # Windows
    from asyncio import run


async def complete(prompts: list[str], base_url: str, concurrency: int) -> list[str]:
    """The completions, in order; the first error ends the program."""
    completions = [""] * len(prompts)
    left = iter(enumerate(prompts))
    connector = aiohttp.TCPConnector(limit=concurrency)
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}

    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def work() -> None:
            for number, prompt in left:
                body = orjson.dumps({"model": "sim", "messages": [{"role": "user", "content": prompt}]})
                async with session.post(f"{base_url}/chat/completions", data=body) as response:
                    reply = orjson.loads(await response.read())
                completions[number] = reply["choices"][0]["message"]["content"]

        async with asyncio.TaskGroup() as workers:
            for _ in range(concurrency):
                workers.create_task(work())
    return completions


def main(table: str, output: str, base_url: str, concurrency: str) -> None:
    with Path(table).open(encoding="utf-8", newline="") as file:
        prompts = [row["prompt"] for row in csv.DictReader(file)]
    completions = run(complete(prompts, base_url, int(concurrency)))
    with Path(output).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "completion"])
        writer.writerows(zip(prompts, completions, strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
