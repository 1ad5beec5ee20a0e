"""The calls of the official client's tutorial, run by an interpreter that has it: python openai_client.py URL MODEL.

It prints one JSON object, what each call gave, and knows nothing of batchchat.
"""

from __future__ import annotations

import asyncio
import json
import sys

import openai

ASKED = [{"role": "user", "content": "Say this is a test."}]


def plain(client, model):
    """A bare request."""
    answer = client.chat.completions.create(model=model, messages=ASKED)
    choice = answer.choices[0]
    usage = answer.usage
    return {
        "object": answer.object,
        "role": choice.message.role,
        "content": choice.message.content,
        "finish_reason": choice.finish_reason,
        "adds_up": usage.total_tokens == usage.prompt_tokens + usage.completion_tokens,
    }


def streamed(client, model):
    """The same as a stream, with its usage at the end."""
    with client.chat.completions.create(
        model=model, messages=ASKED, stream=True, stream_options={"include_usage": True}, max_tokens=20
    ) as stream:
        chunks = list(stream)
    texts = [choice.delta.content for chunk in chunks for choice in chunk.choices if choice.delta.content]
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return {"content": "".join(texts), "pieces": len(texts), "reasons": reasons, "usage": chunks[-1].usage is not None}


async def concurrently(url, model):
    """Six requests at a time, and a stream."""
    async with openai.AsyncOpenAI(base_url=url) as client:
        asking = [client.chat.completions.create(model=model, messages=ASKED, max_tokens=8) for _ in range(6)]
        answers = await asyncio.gather(*asking)
        stream = await client.chat.completions.create(model=model, messages=ASKED, max_tokens=8, stream=True)
        pieces = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
    return {"answers": [answer.choices[0].message.content for answer in answers], "content": "".join(pieces)}


def refused(client, model):
    """What the client raises for requests that are refused."""
    asked = {
        "role": {"model": model, "messages": [{"role": "doctor", "content": "x"}]},
        "range": {"model": model, "messages": ASKED, "temperature": 3},
        "model": {"model": "nobody", "messages": ASKED},
        "empty": {"model": model, "messages": []},
    }
    return {name: _raised(client, request) for name, request in asked.items()}


def _raised(client, request):
    try:
        client.chat.completions.create(**request)
    except openai.APIStatusError as error:
        return [type(error).__name__, error.status_code, error.body["message"]]
    return None


def main(url, model):
    with openai.OpenAI(base_url=url) as client:
        found = {
            "models": [served.id for served in client.models.list()],
            "plain": plain(client, model),
            "stream": streamed(client, model),
            "async": asyncio.run(concurrently(url, model)),
            "refused": refused(client, model),
        }
    sys.stdout.write(json.dumps(found))


main(*sys.argv[1:])
