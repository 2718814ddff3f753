"""When workers get a Snapshot: one after the other, whenever something changed."""

import asyncio
from collections.abc import Callable

import structlog

from ntspool.app.workers import Workers
from ntspool.pool.model import Snapshot

RETRY = 1.0
"""Seconds until what could not be published is tried again."""

log = structlog.get_logger()


class Snapshots:
    """Makes the present state what workers serve; `make` returns it as the Snapshot of a revision."""

    def __init__(self, make: Callable[[int], Snapshot], workers: Workers) -> None:
        self._make = make
        self._workers = workers
        self._wanted = asyncio.Event()
        self._publishing = asyncio.Lock()
        self.revision = 0
        self.served: Snapshot

    def first(self) -> Snapshot:
        """Return what workers are to be started with, and from then serve."""
        self._wanted.clear()
        self.served = self._next()
        return self.served

    async def publish(self) -> None:
        """Make the present state what is served; returns when every worker serves it."""
        # One after the other: of two under way, the older may be the last to return.
        async with self._publishing:
            self._wanted.clear()
            snapshot = self._next()
            await self._workers.publish(snapshot)
            self.served = snapshot

    def request(self) -> None:
        """Have the present state published soon: something changed."""
        self._wanted.set()

    async def publish_on_change(self) -> None:
        """Publish whenever that was requested, until it is cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self.publish()
            except Exception:
                # Workers that are told no more would send clients to the dead for ever.
                log.exception("snapshot not published")
                self._wanted.set()
                await asyncio.sleep(RETRY)

    def _next(self) -> Snapshot:
        self.revision += 1
        return self._make(self.revision)
