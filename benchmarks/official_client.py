"""What users of the official client write: AsyncOpenAI behind a semaphore, a task for each row.

    python benchmarks/official_client.py INPUT OUTPUT BASE_URL CONCURRENCY [aiohttp]

Runs in an environment of its own (`clients.py` makes it), with the client's default transport or its aiohttp one.
"""

from __future__ import annotations

import asyncio
import sys

import bare_loop
import openai


async def complete(prompts: list[str], base_url: str, concurrency: int, transport: str) -> list[tuple]:
    gate = asyncio.Semaphore(concurrency)
    more = {"http_client": openai.DefaultAioHttpClient()} if transport == "aiohttp" else {}
    async with openai.AsyncOpenAI(base_url=base_url, api_key="none", **more) as client:

        async def one(prompt: str) -> tuple:
            async with gate:
                messages = [{"role": "user", "content": prompt}]
                reply = await client.chat.completions.create(model="sim", messages=messages)
            choice, usage = reply.choices[0], reply.usage
            return choice.message.content, choice.finish_reason, usage.prompt_tokens, usage.completion_tokens

        return await asyncio.gather(*map(one, prompts))


def main(table: str, output: str, base_url: str, concurrency: str, transport: str = "") -> None:
    over = bare_loop.over_parquet if table.endswith(".parquet") else bare_loop.over_csv
    over(table, output, lambda prompts: asyncio.run(complete(prompts, base_url, int(concurrency), transport)))


if __name__ == "__main__":
    main(*sys.argv[1:])
