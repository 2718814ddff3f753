"""Processes that run until a signal: the gateway and the embedded time server."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop

from ntspool.app.gateway import Gateway
from ntspool.net.system import set_up_logs
from ntspool.net.timeserver import TimeServer
from ntspool.pool.model import LogSettings


def run(path: Path) -> None:
    """Run the gateway of the configuration at `path` until SIGTERM or SIGINT; raises LocalError with what to mend."""
    uvloop.run(_serve(path))


def run_timeserver(listen: Sequence[tuple[str, int]], keys: Path, stratum: int) -> None:
    """Run the embedded time server until SIGTERM or SIGINT; raises LocalError with what to mend."""
    uvloop.run(_serve_time(listen, keys, stratum))


async def _serve(path: Path) -> None:
    gateway = Gateway(path)
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.create_task(gateway.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    await gateway.start()
    await _until_told(reload)
    await gateway.stop()


async def _serve_time(listen: Sequence[tuple[str, int]], keys: Path, stratum: int) -> None:
    set_up_logs(LogSettings())
    async with TimeServer(listen, keys, stratum) as server:
        await _until_told(server.reload)


async def _until_told(reload: Callable[[], None]) -> None:
    """Wait for SIGTERM or SIGINT, and call `reload` on every SIGHUP."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
