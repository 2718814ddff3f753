"""The gateway as a process that runs until a signal."""

import asyncio
import contextlib
import os
from pathlib import Path

import structlog

from ntspool.app.gateway import Gateway
from ntspool.app.signals import heed_signals
from ntspool.errors import LocalError
from ntspool.net import eventloop
from ntspool.net.system import forbid_core_dumps
from ntspool.net.systemd import Service

log = structlog.get_logger()


def run(path: Path) -> None:
    """Run the gateway of the configuration at `path` until SIGTERM or SIGINT; raises LocalError with what to mend."""
    forbid_core_dumps()
    eventloop.run(_serve(path))


async def _serve(path: Path) -> None:
    service = Service(os.environ)
    gateway = Gateway(path, hand_over=True, service=service)
    started = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    async def reload_once_started() -> None:
        await started.wait()
        with contextlib.suppress(LocalError):  # it is logged, and this process has nobody else to tell
            await gateway.reload()

    def reload() -> None:
        task = asyncio.create_task(reload_once_started())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    told_to_stop = heed_signals(reload)
    try:
        await gateway.start()
        if os.geteuid() == 0:
            log.warning("the gateway runs as root, and needs no privilege: give it a user of its own")
        started.set()
        service.ready(gateway.status)
        telling = asyncio.create_task(service.keep_telling(lambda: gateway.status))
        await told_to_stop.wait()
        telling.cancel()
    finally:
        service.stopping()
        for task in reloads:
            task.cancel()
        await gateway.stop()
