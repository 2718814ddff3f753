"""Keeps the history of probes and events on disk, without anybody waiting for the disk."""

import asyncio
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import structlog

from ntspool.errors import StateError
from ntspool.net.historywriter import Bounds, HistoryWriter
from ntspool.pool.observation import Observation
from ntspool.pool.view import EventView, HistoryView

WRITE_INTERVAL = 10.0
"""Seconds from one batch to the next: what a process that is killed has not on disk."""

TIDY_INTERVAL = 60.0
"""Seconds between two looks at what is old."""

MOST_WAITING = 50_000
"""Probes and events that wait for a disk that does not take them; what is beyond that is lost."""

_TROUBLE = (StateError, sqlite3.Error, OSError, ValueError, LookupError, TypeError, OverflowError)
"""What a disk, a database and what is damaged in it bring; it must end neither the recorder nor the gateway."""

T = TypeVar("T")

log = structlog.get_logger()


class Recorder:
    """Takes probes and events from the event loop and writes them in batches, in a thread of its own.

    What cannot be written is tried again; the log says so once, and `view` counts what was lost. `bounds` may be
    replaced at any time. `clock` returns Unix seconds. `start` it, and `stop` it after the last event.
    """

    def __init__(self, path: Path, bounds: Bounds, clock: Callable[[], float] = time.time) -> None:
        self.bounds = bounds
        self._clock = clock
        self._writer = HistoryWriter(path)
        # One thread of its own: a disk that hangs blocks nobody else's.
        self._thread = ThreadPoolExecutor(1, "history")
        self._probes: list[Observation] = []
        self._events: list[EventView] = []
        self._waiting = 0
        self._writing: asyncio.Task[None] | None = None
        self._failed = False
        self._tidied = float("-inf")
        self._written = self._lost = self._size = 0

    @property
    def view(self) -> HistoryView:
        """How it goes."""
        return HistoryView(self._written, self._lost, self._size, self._failed)

    def probe(self, seen: Observation) -> None:
        """Keep a probe."""
        if self._admit():
            self._probes.append(seen)

    def event(self, event: EventView) -> None:
        """Keep an event."""
        if self._admit():
            self._events.append(event)

    def start(self) -> None:
        """Begin to write."""
        self._writing = asyncio.create_task(self._keep_writing())

    async def stop(self) -> None:
        """Write what waits, and close the database."""
        if self._writing is not None:
            self._writing.cancel()
            with suppress(asyncio.CancelledError):
                await self._writing
        await self.write()
        await self._in_thread(self._writer.close)
        self._thread.shutdown(wait=False)

    async def write(self) -> None:
        """Write what waits; returns when it is on disk, or has to wait for the next time."""
        probes, events, bounds, now = self._probes, self._events, self.bounds, self._clock()
        if bounds.keep is None:
            return
        self._probes, self._events = [], []
        try:
            await self._in_thread(self._writer.write, probes, events)
        except _TROUBLE as error:
            # At the end: the database has them in the order of their times.
            self._probes += probes
            self._events += events
            self._fail(error)
            return
        self._waiting -= len(probes) + len(events)
        self._written += len(probes) + len(events)
        try:
            if abs(now - self._tidied) >= TIDY_INTERVAL:
                await self._in_thread(self._writer.tidy, now, bounds)
                self._tidied = now
            self._size = await self._in_thread(self._writer.size)
        except _TROUBLE as error:
            self._fail(error)
            return
        if self._failed:
            self._failed = False
            log.info("history is written again", lost=self._lost)

    def _admit(self) -> bool:
        if self.bounds.keep is None:
            return False
        if self._waiting >= MOST_WAITING:
            self._lost += 1
            return False
        self._waiting += 1
        return True

    def _fail(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            log.error("history cannot be written", reason=str(error), effect="what does not fit into memory is lost")

    async def _keep_writing(self) -> None:
        while True:
            await asyncio.sleep(WRITE_INTERVAL)
            await asyncio.shield(self.write())

    async def _in_thread(self, call: Callable[..., T], *words: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *words)
