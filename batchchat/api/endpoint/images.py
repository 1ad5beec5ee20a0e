"""Images on their way: put into a request when it is sent, so many bytes of them at a time.

Stands between the client and the transport, and only where a job has images: neither of them knows of it. The bound is
on memory, not on the pool: small images are sent as fast as anything, and of large ones as many as fit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from batchchat import defaults
from batchchat.prompt import filled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchchat.records import ChatRequest, Completion

    Send = Callable[[ChatRequest], Awaitable[Completion]]

# An image is held as it is, in base64, in the body, and in what the connection has not sent yet.
_FORMS = 5


def with_images(send: Send, *, room: int = defaults.IMAGE_BYTES) -> Send:
    """Sends a request with its images in it.

    Args:
        send: one HTTP attempt.
        room: bytes of images, in all their forms, that may be in memory at a time; one image always may.
    """
    held = _Room(room)

    async def send_filled(request: ChatRequest) -> Completion:
        if not request.images:
            return await send(request)
        size = _FORMS * sum(image.size for image in request.images)
        await held.enter(size)
        try:
            return await send(await asyncio.to_thread(filled, request))
        finally:
            held.leave(size)

    return send_filled


class _Room:
    """So many bytes; who does not fit waits, in the order of arrival."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def enter(self, size: int) -> None:
        if not self._waiting and self._fits(size):
            self._used += size
            return
        let_in: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((size, let_in))
        try:
            await let_in
        except asyncio.CancelledError:
            if not let_in.cancelled():  # it was let in at the same moment
                self.leave(size)
            self._admit()
            raise

    def leave(self, size: int) -> None:
        self._used -= size
        self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            size, let_in = self._waiting.popleft()
            if not let_in.done():  # who was cancelled is passed by
                self._used += size
                let_in.set_result(None)

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._size
