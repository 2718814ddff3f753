"""Keeps backends resolved: asks when it is time, keeps last good answers on disk, tells when the backends change."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from math import inf

import structlog

from ntspool.errors import StateError
from ntspool.net.store import FileStore
from ntspool.pool import discovery, resolving
from ntspool.pool.discovery import Entry
from ntspool.pool.model import Backend
from ntspool.pool.resolvedfile import decode, encode
from ntspool.pool.resolving import NEVER, UNKNOWN, Failure, Known, Outcome, Question, RecordType

ENTRY = "resolved"
"""The entry of the state directory with what names last resolved to."""

PARALLEL = 64
"""Questions under way at the same time; each holds two descriptors at most."""

SAVE_DELAY = 1.0
"""Seconds from a change until it is on disk: at the start of a large pool there is one a millisecond."""

SAVE_AGAIN = 10.0
"""Seconds until what could not be written is tried again."""

LookUp = Callable[[Question], Awaitable[Mapping[RecordType, Outcome]]]

log = structlog.get_logger()


def recall(store: FileStore) -> dict[Question, Known]:
    """Return what names last resolved to, nothing if there is no such entry; raises StateError."""
    held = store.get(ENTRY)
    if held is None:
        return {}
    try:
        return decode(held[0])
    except StateError as error:
        raise StateError(f"the entry {ENTRY} of the state directory is {error}; delete it") from error


class Resolver:
    """Knows the backends that `entries` stand for: `start` it, and `stop` it in the end.

    `look_up` asks the DNS. `on_change` is called when the backends may have changed. `entries` may be replaced at any
    time. `clock` returns seconds that no step of the time of day moves.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        look_up: LookUp,
        store: FileStore,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._entries = tuple(entries)
        self._look_up = look_up
        self._store = store
        self._on_change = on_change
        self._clock = clock
        self._knowledge: dict[Question, Known] = {}
        self._wanted: tuple[Question, ...] = ()
        self._left_out: dict[str, str] = {}
        self._asking: dict[Question, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(PARALLEL)
        self._news = asyncio.Event()
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._saving: asyncio.TimerHandle | None = None
        self._unsaved = False

    @property
    def entries(self) -> Sequence[Entry]:
        """What is to be resolved; names that are new are asked for at once."""
        return self._entries

    @entries.setter
    def entries(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)
        self._want()
        self._news.set()

    def backends(self) -> tuple[Backend, ...]:
        """Return the backends as far as they are known now; logs which discovered ones it had to leave out."""
        found, left_out = discovery.backends(self._entries, self._knowledge)
        for name, reason in left_out.items():
            if self._left_out.get(name) != reason:
                log.warning("DNS: discovered backend left out", backend=name, reason=reason)
        self._left_out = left_out
        return found

    async def start(self) -> None:
        """Begin with the last good answers of an earlier run, and ask for everything."""
        try:
            self._knowledge = recall(self._store)
        except StateError as error:
            log.error("DNS: last good answers lost", reason=str(error))
        self._want()
        self._task = asyncio.create_task(self._keep_asking())

    async def stop(self) -> None:
        """Ask no more."""
        tasks = [*self._asking.values(), *([self._task] if self._task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._saving:
            self._saving.cancel()
            self._save()
        if self._saving:
            self._saving.cancel()

    async def settle(self, timeout: float) -> None:
        """Return once everything has been asked for since the start, or `timeout` seconds are over; logs what lacks."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._unasked():
                    await self._answered.wait()
        lacking = [each.name for each in self._wanted if not any(self._known(each).records.values())]
        if lacking:
            log.warning("DNS: not resolved yet", names=lacking)

    def _known(self, question: Question) -> Known:
        return self._knowledge.get(question, UNKNOWN)

    def _unasked(self) -> list[Question]:
        return [each for each in self._wanted if self._known(each).due == NEVER]

    async def _keep_asking(self) -> None:
        while True:
            self._news.clear()
            for question in resolving.due(self._wanted, self._knowledge, self._clock()):
                if question not in self._asking:
                    self._asking[question] = asyncio.create_task(self._ask(question))
            idle = [each for each in self._wanted if each not in self._asking]
            pause = resolving.next_due(idle, self._knowledge) - self._clock()
            try:
                async with asyncio.timeout(None if pause == inf else max(pause, 0.0)):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def _ask(self, question: Question) -> None:
        try:
            self._note(question, await self._outcomes(question))
        finally:
            del self._asking[question]
            self._news.set()
            self._answered.set()
            self._answered = asyncio.Event()

    async def _outcomes(self, question: Question) -> Mapping[RecordType, Outcome]:
        try:
            async with self._turn:
                return await self._look_up(question)
        except Exception:
            # Were it still due, it would be asked again at once, for ever.
            log.exception("DNS: look-up broke", name=question.name)
            return dict.fromkeys(question.types, Failure("a mistake of our own"))

    def _note(self, question: Question, outcomes: Mapping[RecordType, Outcome]) -> None:
        before = self._known(question)
        after = self._knowledge[question] = resolving.learn(before, outcomes, self._clock())
        kept, had = _spelt(after), _spelt(before)
        if after.trouble and not before.trouble:
            log.warning("DNS: trouble", name=question.name, reason=after.trouble, kept=kept)
        elif before.trouble and not after.trouble:
            log.info("DNS: trouble is over", name=question.name)
        if kept != had:
            level = log.info if kept else log.warning
            level("DNS: changed", name=question.name, before=had, after=kept)
            if RecordType.SRV in question.types:
                self._want()
            self._save_soon(SAVE_DELAY)
            self._on_change()

    def _want(self) -> None:
        """Find out anew what is to be asked, and forget what no more is."""
        self._wanted = discovery.wanted(self._entries, self._knowledge)
        self._knowledge = {each: self._knowledge[each] for each in self._wanted if each in self._knowledge}

    def _save_soon(self, delay: float) -> None:
        self._saving = self._saving or asyncio.get_running_loop().call_later(delay, self._save)

    def _save(self) -> None:
        self._saving = None
        try:
            held = self._store.get(ENTRY)
            self._store.put_if(ENTRY, encode(self._wanted, self._knowledge), held and held[1])
        except StateError as error:
            if not self._unsaved:
                log.error("DNS: answers not kept for the next start", reason=str(error))
            self._unsaved = True
            self._save_soon(SAVE_AGAIN)
            return
        if self._unsaved:
            log.info("DNS: answers are kept again")
        self._unsaved = False


def _spelt(known: Known) -> list[str]:
    return [str(each) for records in known.records.values() for each in records]
