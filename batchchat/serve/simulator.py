"""The simulator inside another program: a thread with an event loop of its own, for tests and benchmarks.

    with Simulator(latency=0.1, rpm=600) as sim:
        ask(sim.base_url)
        assert sim.stats()["answered"] == 1

What comes in: settings. What goes out: a base URL, counts. Accepted: it shares the interpreter, and so the processor,
with its caller; to measure speed, start `python -m batchchat.serve` as a process instead.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self, TypeVar

from batchchat.serve.http import Listener
from batchchat.serve.refusal import body_of
from batchchat.serve.sim.script import steps
from batchchat.serve.sim.settings import Settings
from batchchat.serve.sim.simulation import Simulation

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")
PATIENCE = 30.0


class Simulator:
    """A simulator in a thread, as a context manager.

    Args:
        host: to listen on.
        port: 0 takes a free one.
        tls: serves https where it is given.
        settings: see `batchchat.serve.sim.settings.Settings`.

    Raises:
        UsageError: there is no such setting, or it cannot have this value.
    """

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None, **settings: Any
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._settings = Settings.of(settings)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._simulation: Simulation | None = None
        self._stopping: asyncio.Event | None = None
        self._ready = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Self:
        """Starts it, and waits until it listens."""
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)
        self._thread.start()
        self._ready.wait(PATIENCE)
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self

    def stop(self) -> None:
        """Closes every connection and ends the thread."""
        if self._thread is None or self._loop is None or self._stopping is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(PATIENCE)
        self._thread = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    @property
    def base_url(self) -> str:
        """What a client is given; it ends in /v1."""
        return f"{self.origin}/v1"

    def stats(self, *, prompts: bool = False) -> dict[str, Any]:
        """All counts since the last reset."""
        return self._ask(lambda simulation: simulation.stats(prompts=prompts))

    def requests(self) -> list[dict[str, Any]]:
        """The last requests, where the setting `record` keeps some."""
        return self._ask(lambda simulation: simulation.tally.records())

    def reset(self, **settings: Any) -> None:
        """Zeroes the counts and empties the script; settings that are named change, the others stay."""
        self._ask(lambda simulation: simulation.reset(simulation.changed(settings)))

    def script(self, replies: list[dict[str, Any]]) -> None:
        """Replies that come before anything else; see `batchchat.serve.sim.script`."""
        made = steps(replies)
        self._ask(lambda simulation: simulation.script.extend(made))

    def drop_connections(self) -> None:
        """Resets every open connection."""
        self._ask(lambda simulation: simulation.listener.drop_all() if simulation.listener else None)

    def _ask(self, what: Callable[[Simulation], T]) -> T:
        loop, simulation = self._loop, self._simulation
        if loop is None or simulation is None or self._thread is None:
            raise RuntimeError("the simulator is not running")

        async def inside() -> T:
            return what(simulation)

        return asyncio.run_coroutine_threadsafe(inside(), loop).result(PATIENCE)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # handed to the thread that started this one
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._simulation = simulation = Simulation(self._settings, loop)
        listener = Listener(app=simulation.routes, refuse=body_of)
        simulation.attach(listener)
        server, self._port = await listener.listen(self._host, self._port, self._tls)
        self._ready.set()
        try:
            await self._stopping.wait()
        finally:
            server.close()
            listener.drop_all()
            await asyncio.sleep(0)
