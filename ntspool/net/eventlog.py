"""What has happened, to look back at: chosen lines of the log in memory, and on disk for the next start."""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, MutableMapping
from dataclasses import asdict
from math import isfinite
from typing import Any

import structlog

from ntspool.errors import StateError
from ntspool.net.store import FileStore
from ntspool.pool.events import happened
from ntspool.pool.view import EventView

ENTRY = "events"
"""The entry of the state directory with the events, one JSON object a line."""

KEPT = 1000
"""Events that are kept; the oldest goes when there is one more."""

SAVE_DELAY = 1.0
"""Seconds from an event until it is on disk: when a large pool loses its network, there are hundreds at once."""

SAVE_AGAIN = 10.0
"""Seconds until what could not be written is tried again."""

log = structlog.get_logger()


class EventLog:
    """Keeps what `record` is told that counts as an event, numbered from 1 and on over restarts.

    Begin with `recall`; in the end, `release` those who wait and `close` it. `clock` returns Unix seconds;
    `listener` is told of each event as it happens.
    """

    def __init__(
        self,
        store: FileStore,
        clock: Callable[[], float] = time.time,
        listener: Callable[[EventView], None] | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._listener = listener
        self._events: deque[EventView] = deque(maxlen=KEPT)
        self._last = 0
        self._news = asyncio.Event()
        self._saving: asyncio.TimerHandle | None = None
        self._failed = False
        self._released = False
        self._closed = False

    def recall(self) -> None:
        """Take up the events of an earlier run; what is damaged is left out, and the log says so."""
        try:
            held = self._store.get(ENTRY)
            for line in held[0].splitlines() if held else ():
                self._add(_read(line, self._last))
        except (StateError, ValueError, TypeError, OverflowError, RecursionError) as error:
            log.error("events of an earlier run lost", reason=str(error))

    def record(self, _logger: object, _method: str, words: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Keep a line of the log if it tells an event; a processor of structlog's, behind `add_log_level`."""
        event = None if self._closed else happened(words, self._last + 1, self._clock())
        if event is not None:
            self._add(event)
            self._save_soon()
            if self._listener is not None:
                self._listener(event)
        return words

    def after(self, number: int) -> list[EventView]:
        """Return the events with a higher number, as far as they are kept, the oldest first."""
        return [each for each in self._events if each.number > number]

    async def wait(self, number: int, seconds: float) -> list[EventView]:
        """Return the events with a higher number; if there is none, wait for one for so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while not self.after(number) and not self._released:
                    await self._news.wait()
        except TimeoutError:
            pass
        return self.after(number)

    def release(self) -> None:
        """Let nobody wait any more."""
        self._released = True
        self._news.set()

    def close(self) -> None:
        """Write what is not on disk, and keep nothing more."""
        self._closed = True
        if self._saving is not None:
            self._saving.cancel()
            self._save()

    def _add(self, event: EventView) -> None:
        self._events.append(event)
        self._last = event.number
        self._news.set()
        if not self._released:
            self._news = asyncio.Event()

    def _save_soon(self, delay: float = SAVE_DELAY) -> None:
        if self._saving is None:
            self._saving = asyncio.get_running_loop().call_later(delay, self._save)

    def _save(self) -> None:
        self._saving = None
        lines = [json.dumps(asdict(each), separators=(",", ":")) + "\n" for each in self._events]
        try:
            held = self._store.get(ENTRY)
            self._store.put_if(ENTRY, "".join(lines).encode(), held and held[1])
        except StateError as error:
            if not self._failed:
                log.error("events not kept for the next start", reason=str(error))
            self._failed = True
            if not self._closed:
                self._save_soon(SAVE_AGAIN)
            return
        if self._failed:
            log.info("events are kept again")
        self._failed = False


def _read(line: bytes, before: int) -> EventView:
    event = EventView(**json.loads(line))
    if not isinstance(event.number, int) or event.number <= before:
        raise ValueError(f"event {event.number!r} after {before}")
    words = (event.event, event.level, event.subject, event.cause, event.before, event.after)
    if not isfinite(event.time) or not all(isinstance(each, str) for each in words):
        raise TypeError(f"event {event.number} has a part of another type")
    return event
