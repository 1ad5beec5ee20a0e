"""The way to a job's endpoint, opened when something is to be sent.

A finished job that is run again starts no model, asks no command for a key and opens no connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from batchchat import defaults
from batchchat.api.endpoint.credential import printed_key
from batchchat.api.endpoint.descriptors import connections
from batchchat.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

    from batchchat.job import Job
    from batchchat.records import ChatRequest, Completion
    from batchchat.serve.local import LocalModel


class Connection:
    """Sends a job's requests once it is open; use it as an async context manager.

    Raises:
        UsageError: the embedded model is asked for and not installed.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stack = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._transport: Transport | None = None
        self._local: LocalModel | None = None
        if job.embedded:
            from batchchat.serve.local import LocalModel

            self._local = LocalModel(job.model or defaults.LOCAL_MODEL)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def open(self) -> Transport:
        """The transport; the embedded model is started first where it is asked for.

        Raises:
            EndpointDown: it does not start.
            KeyRefused: the command that prints the key fails.
        """
        async with self._opening:
            if self._transport is None:
                self._transport = await self._stack.enter_async_context(await self._made())
            return self._transport

    def send(self, request: ChatRequest) -> Coroutine[Any, Any, Completion]:
        """The answer to one request; the connection is opened for the first one, where nobody has."""
        transport = self._transport
        return self._send_first(request) if transport is None else transport.send(request)

    async def _send_first(self, request: ChatRequest) -> Completion:
        return await (await self.open()).send(request)

    async def _made(self) -> Transport:
        job = self._job
        base_url = None
        if self._local is not None:
            base_url = (await asyncio.to_thread(self._stack.enter_context, self._local)).base_url
        record = job.endpoint.record(base_url=base_url, deployment=job.model)
        renew = None
        if job.endpoint.key_command is not None:
            renew = partial(printed_key, job.endpoint.key_command)
            record = replace(record, key=await renew())
        return Transport(
            record,
            connections=connections(job),
            timeout=job.pool.timeout,
            stream=job.stream,
            renew_key=renew,
        )
