"""HTTP: a `ChatRequest` in, a `Completion` or one of our errors out; no exception of a library leaves this room.

It knows connections, redirects, proxies, certificates, timeouts and keys; the JSON is `wire`'s matter. It does not
retry, pace or limit: who calls `send` does, and may have as many in flight as it likes, since nothing here caps them.

Accepted: aiohttp is imported with this room, which is imported only when a run starts.
"""

from __future__ import annotations

from batchchat.transport.notice import post
from batchchat.transport.session import Transport

__all__ = ["Transport", "post"]
