"""Who the backends are: what their names resolve to, each with its keys laid out for an agent, and watched."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from ntspool.app.keykeeper import KeyKeeper
from ntspool.app.operating import Operating
from ntspool.net.checker import Checker
from ntspool.net.resolver import Resolver
from ntspool.pool.model import Backend

RESOLVE_DEADLINE = 5.0
"""Seconds that a start or a reload waits for names to resolve, at most: a dead DNS must not keep clients waiting."""


class Lineup:
    """The backends that there are now, as configured, in `backends`."""

    def __init__(self, resolver: Resolver, keys: KeyKeeper, checker: Checker, operating: Operating) -> None:
        self._resolver = resolver
        self._keys = keys
        self._checker = checker
        self._operating = operating
        self.backends: tuple[Backend, ...] = ()
        self._lay_out(resolver.backends())

    async def resolve(self) -> None:
        """Resolve names that are new, and have keys ready for the agents of all backends that are known by then."""
        await self._resolver.settle(RESOLVE_DEADLINE)
        self._lay_out(self._resolver.backends())

    async def watch(self) -> None:
        """Watch the backends, but for those that are to rest; returns once each new address has been probed."""
        await self._watch(self.backends)

    async def follow_names(
        self, changed: asyncio.Event, changing: asyncio.Lock, on_change: Callable[[], Awaitable[None]]
    ) -> None:
        """Take over what names resolve to whenever that is `changed`, under the lock, and then await `on_change`."""
        while True:
            await changed.wait()
            async with changing:
                changed.clear()
                fresh = self._resolver.backends()
                if fresh == self.backends:
                    continue
                # An address is watched before those go that it takes the place of.
                await self._watch((*self.backends, *fresh))
                self._lay_out(fresh)
                await self._watch(fresh)
                await on_change()

    def _lay_out(self, backends: tuple[Backend, ...]) -> None:
        self.backends = self._keys.backends = backends
        self._keys.lay_out()

    async def _watch(self, backends: Iterable[Backend]) -> None:
        await self._checker.watch(backends, self._operating.resting)
