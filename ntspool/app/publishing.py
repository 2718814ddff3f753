"""Keeps a gateway in the DNS under the pool's names while it is ready; it serves on, whatever goes wrong here."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from ntspool.errors import LocalError, RemoteError
from ntspool.net.primary import Primary, connected
from ntspool.net.store import FileStore
from ntspool.net.tsig import read_key
from ntspool.pool import publishedfile
from ntspool.pool.publishing import (
    ALONE,
    Change,
    Found,
    Gateway,
    Key,
    Kind,
    Neighbours,
    Publication,
    Record,
    is_shown,
    plan,
    questions,
    remembered,
)
from ntspool.pool.resolving import Server
from ntspool.pool.view import PublishingView

ENTRY = "published"
"""The entry of the state directory with the records that this gateway has added."""

INTERVAL = 60.0
"""Seconds between two looks at what the server has, when nothing happens here."""

QUIET = 2.0
"""Seconds at least from one look to the next: readiness that flutters must not make a zone transfer a second."""

SHORTEST_RETRY, LONGEST_RETRY = 5.0, 300.0
"""Seconds; retries begin with the one and double up to the other."""

DEADLINE = 10.0
"""Seconds in which the server must have answered all there is to ask, and done all there is to change."""

FAREWELL = 5.0
"""The same at the end of the gateway: a dead server must not hold up a stop."""

ROUNDS = 5
"""How often is read and planned again because another gateway was faster, or a change had no effect."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """Where to publish what: `zone` is that of every name, "" to have the server asked; `key` is a TSIG key file.

    If it is `withdrawn`, the gateway is taken for one that is not ready.
    """

    server: Server
    key: Path
    zone: str
    publication: Publication
    withdrawn: bool = False


class Publisher:
    """Publishes what `settings` say, which may be replaced at any time; None: nothing.

    `ready` tells whether clients are to come; `notice` makes it look at that again. `neighbours` may be replaced
    whenever a cluster knows better. `clock` returns Unix seconds. `run` it, and `withdraw` in the end.
    """

    def __init__(
        self,
        settings: PublishSettings | None,
        store: FileStore,
        ready: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._store = store
        self._ready = ready
        self._clock = clock
        self._neighbours = ALONE
        self._was_ready = False
        self._insists = self._renews = True
        self._zones: dict[str, str] = {}
        self._news = asyncio.Event()
        self._failures = 0
        self._trouble, self._since = "", 0.0
        self._stuck: tuple[Key, ...] = ()
        self._checked: float | None = None
        self._shown = False
        self._updates: Counter[str] = Counter()

    @property
    def settings(self) -> PublishSettings | None:
        """What is published where."""
        return self._settings

    @settings.setter
    def settings(self, settings: PublishSettings | None) -> None:
        if settings != self._settings:
            self._settings, self._zones, self._failures = settings, {}, 0
            self._insists = self._renews = True
            self._news.set()

    @property
    def neighbours(self) -> Neighbours:
        """The other gateways of the cluster."""
        return self._neighbours

    @neighbours.setter
    def neighbours(self, neighbours: Neighbours) -> None:
        if neighbours != self._neighbours:
            self._neighbours = neighbours
            self._news.set()

    @property
    def own(self) -> Gateway | None:
        """What the neighbours should know of this gateway, None if it is not to be published."""
        return replace(self._settings.publication.own, ready=self._comes()) if self._settings else None

    def notice(self) -> None:
        """Look at once whether readiness has changed."""
        if self._comes() != self._was_ready:
            self._news.set()

    def _comes(self) -> bool:
        """Tell whether clients are to come, by the DNS."""
        return self._settings is not None and not self._settings.withdrawn and self._ready()

    def view(self) -> PublishingView | None:
        """Return what is shown of it, None if nothing is published."""
        if self._settings is None:
            return None
        return PublishingView(
            server="{} port {}".format(*self._settings.server),
            names=self._settings.publication.names,
            shown=self._shown,
            checked=self._checked,
            trouble=self._trouble,
            since=self._since if self._trouble else None,
            stuck=tuple(dict.fromkeys(key.name for key in self._stuck)),
            updates={each: self._updates[each] for each in ("done", "overtaken", "failed")},
        )

    async def run(self) -> None:
        """Keep the DNS as it should be, for ever."""
        while True:
            self._news.clear()
            if self._settings is not None:
                await self._look(self._settings, self._comes(), DEADLINE)
            await asyncio.sleep(QUIET)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._news.wait()

    async def withdraw(self) -> None:
        """Take this gateway out of the DNS, unless nothing else is there; `run` must have ended."""
        if self._settings is not None and self._checked is not None:
            await self._look(self._settings, False, FAREWELL)

    def _pause(self) -> float | None:
        if self._settings is None:
            return None
        if not self._failures:
            return INTERVAL
        return min(SHORTEST_RETRY * 2.0 ** min(self._failures - 1, 16), LONGEST_RETRY)

    async def _look(self, settings: PublishSettings, ready: bool, deadline: float) -> None:
        """Read and change once, and tell how that went."""
        if ready and not self._was_ready:
            self._insists = True
        self._was_ready = ready
        publication = replace(settings.publication, own=replace(settings.publication.own, ready=ready))
        try:
            async with connected(settings.server, read_key(settings.key), deadline) as primary:
                await self._reconcile(primary, settings.zone, publication)
        except (RemoteError, LocalError) as error:
            self._updates["failed"] += 1
            self._failures += 1
            self._note_trouble(str(error), settings.server)
        except Exception:
            self._failures += 1
            log.exception("DNS publishing broke")
        else:
            self._failures, self._checked = 0, self._clock()
            self._note_trouble("", settings.server)

    async def _reconcile(self, primary: Primary, zone: str, publication: Publication) -> None:
        """Read and change until nothing is left to do; raises RemoteError, and StateError before it would forget."""
        neighbours, keys, earlier = self._neighbours, questions(publication), self._recall()
        adds = self._insists or neighbours.current
        for _ in range(ROUNDS):
            found = await primary.read(keys)
            todo = plan(publication, neighbours, earlier, found, adds=adds, renew=self._renews)
            if not todo.changes:
                break
            added = {(each.key, value) for each in todo.changes for value in each.adds}
            self._keep(earlier | {(key, value) for key, value in added if _is_shared(key, publication)})
            for change in todo.changes:
                await self._change(primary, zone, publication.ttl, change, found[change.key])
        else:
            raise RemoteError(f"it took the updates, yet did not do them all: {_spelt(todo.changes[0])}")
        self._keep(remembered(publication, earlier, found))
        self._shown, self._insists, self._renews = is_shown(publication, found), neighbours.current, False
        self._note_stuck(todo.stuck, found)

    async def _change(self, primary: Primary, zone: str, ttl: int, change: Change, there: Found) -> None:
        name = change.key.name
        if not zone and name not in self._zones:
            self._zones[name] = await primary.zone_of(name)
        done = await primary.change(zone or self._zones[name], change, ttl)
        self._updates["done" if done else "overtaken"] += 1
        if done:
            after = (there.values | change.adds) - change.removes
            words = {"name": name, "type": str(change.key.kind)}
            log.info("DNS records changed", **words, before=sorted(there.values), after=sorted(after))

    def _note_trouble(self, reason: str, server: Server) -> None:
        where = "{} port {}".format(*server)
        if reason and reason != self._trouble:
            self._since = self._since if self._trouble else self._clock()
            log.warning("DNS publishing: trouble", server=where, reason=reason)
        elif self._trouble and not reason:
            log.info("DNS publishing: trouble is over", server=where)
        self._trouble = reason

    def _note_stuck(self, stuck: tuple[Key, ...], found: dict[Key, Found]) -> None:
        for key in stuck:
            if key not in self._stuck:
                values = sorted(found[key].values)
                log.warning("DNS publishing: last records stay", name=key.name, type=str(key.kind), records=values)
        self._stuck = stuck

    def _recall(self) -> frozenset[Record]:
        held = self._store.get(ENTRY)
        return publishedfile.decode(held[0]) if held else frozenset()

    def _keep(self, records: frozenset[Record]) -> None:
        data = publishedfile.encode(records)
        held = self._store.get(ENTRY)
        if held is None or held[0] != data:
            self._store.put_if(ENTRY, data, held and held[1])


def _is_shared(key: Key, publication: Publication) -> bool:
    return key.kind is not Kind.CNAME and key.name != publication.own.host


def _spelt(change: Change) -> str:
    words = [*(f"add {each}" for each in sorted(change.adds)), *(f"remove {each}" for each in sorted(change.removes))]
    return f"{', '.join(words)} at {change.key.name} {change.key.kind}"
