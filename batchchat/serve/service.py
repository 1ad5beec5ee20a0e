"""The server as a program: it listens, says where, and ends by a signal.

What comes in: which model, host and port, settings. What goes out: the base URL as the first line on stdout, and an
exit status: 0 after SIGTERM, 130 after SIGINT. Requests in flight are waited for a little, but not after a second
signal, and not by the simulator, whose answers may stall for ever.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import sys
from typing import TYPE_CHECKING, Any

from batchchat.errors import UsageError
from batchchat.serve.http import Listener
from batchchat.serve.local import NAME as LOCAL
from batchchat.serve.local import LocalModel
from batchchat.serve.refusal import body_of
from batchchat.serve.relay import Relay
from batchchat.serve.routes import Door, Routes
from batchchat.serve.sim.settings import Settings
from batchchat.serve.sim.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

SIMULATOR = "sim"
DRAIN_SECONDS = 10.0
# A name with two addresses would be given two ports.
NUMBERS = {"localhost": "127.0.0.1"}
# What the embedded model can be told, with how each is read.
LOCAL_SETTINGS = {"slots": int, "context": int, "want_key": bool, "key": str, "strict": bool}


def serve(model: str = SIMULATOR, *, host: str = "127.0.0.1", port: int = 0, **settings: Any) -> int:
    """Serves until a signal, and gives the exit status.

    Args:
        model: `sim`, `local` or `local:PATH.gguf`.
        host: to listen on; other than loopback is said on stderr.
        port: 0 takes a free one.
        settings: for `sim` those of `batchchat.serve.sim.settings.Settings`; for `local` slots, context, want_key, key
            and strict.

    Raises:
        UsageError: a model or setting that there is none of, or an address that cannot be listened on.
        EndpointDown: the embedded model did not start.
    """
    if model == SIMULATOR:
        chosen = Settings.of(settings)
        return _run(lambda: _simulate(host, port, chosen))
    if model.partition(":")[0] != LOCAL:
        raise UsageError(f"there is no model {model!r} to serve: it is 'sim', 'local' or 'local:PATH.gguf'")
    unknown = settings.keys() - LOCAL_SETTINGS.keys()
    if unknown:
        raise UsageError(f"the embedded model has no setting {min(unknown)!r}; it has {', '.join(LOCAL_SETTINGS)}")
    bounds = {name: settings[name] for name in ("slots", "context") if settings.get(name)}
    with LocalModel(model, **bounds) as running:
        door = Door(
            models=(LOCAL,),
            want_key=bool(settings.get("want_key")),
            key=settings.get("key") or None,
            strict=bool(settings.get("strict")),
        )
        return _run(lambda: _relay(host, port, running, door))


def _run(program: Callable[[], Any]) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return int(runner.run(program()))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The faster loop, where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _simulate(host: str, port: int, settings: Settings) -> int:
    simulation = Simulation(settings, asyncio.get_running_loop())
    listener = Listener(app=simulation.routes, refuse=body_of)
    simulation.attach(listener)
    return await _until_signal(listener, host, port, tasks=set)


async def _relay(host: str, port: int, running: LocalModel, door: Door) -> int:
    relay = Relay(running.base_url)
    listener = Listener(app=Routes(relay, door), refuse=body_of)
    return await _until_signal(listener, host, port, tasks=lambda: relay.tasks)


async def _until_signal(
    listener: Listener, host: str, port: int, *, tasks: Callable[[], set[asyncio.Task[None]]]
) -> int:
    ended: asyncio.Queue[int] = asyncio.Queue()
    _on_signals(ended)
    try:
        server, got = await listener.listen(NUMBERS.get(host, host), port)
    except (OSError, OverflowError) as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error}") from None
    if not is_loopback(host):
        _say(f"batchchat serve listens on {host}, port {got}: whoever reaches this machine can use it")
    sys.stdout.write(f"http://{_reachable(host)}:{got}/v1\n")
    sys.stdout.flush()
    number = await ended.get()
    server.close()
    await _drain(ended, tasks)
    listener.drop_all()
    return 130 if number == signal.SIGINT else 0


def _reachable(host: str) -> str:
    """The host of a URL that works on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    return f"[{host}]" if ":" in host else host


async def _drain(ended: asyncio.Queue[int], tasks: Callable[[], set[asyncio.Task[None]]]) -> None:
    """Waits for the tasks, for a while, or for a second signal."""
    running = tasks()
    if running:
        waits = {asyncio.ensure_future(asyncio.wait(running)), asyncio.ensure_future(ended.get())}
        await asyncio.wait(waits, timeout=DRAIN_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _on_signals(ended: asyncio.Queue[int]) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, ended.put_nowait, int(number))
        except NotImplementedError:  # Windows: the loop has no such thing
            signal.signal(number, lambda got, _: loop.call_soon_threadsafe(ended.put_nowait, got))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
