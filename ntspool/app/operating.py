"""What operators want of single backends for now: kept in the store, so that it outlives this process."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container, Sequence
from contextlib import suppress
from dataclasses import replace

import structlog

from ntspool.errors import ConflictError, StateError
from ntspool.net.adminroutes import unknown_backend
from ntspool.net.checker import Checker
from ntspool.net.checkstatus import Probed
from ntspool.net.store import Store
from ntspool.pool import admin
from ntspool.pool.admin import AS_DECLARED, Mode, Order, Orders
from ntspool.pool.model import Backend
from ntspool.pool.view import ProbedAeadView, ProbedEpochView, ProbeView

ENTRY = "orders"
"""The entry of the store with the orders."""

# Conflicts come from other gateways that write the same entry; so many in a row do not.
_ATTEMPTS = 20

log = structlog.get_logger()


class Operating:
    """The orders that hold now, by the backends' names; making one raises StateError when they cannot be read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        # One value, for threads keep what others refresh: no orders may be written over a revision that is not theirs.
        self._held: tuple[Orders, str | None] = ({}, None)
        self.refresh()

    def refresh(self) -> bool:
        """Take over what the store holds, and tell whether that is something else; raises StateError."""
        before, held = self._orders, self._store.get(ENTRY)
        try:
            self._held = (admin.decode(held[0]), held[1]) if held else ({}, None)
        except StateError as error:
            raise StateError(f"the entry {ENTRY} of the state directory is {error}; delete it") from error
        return self._orders != before

    @property
    def _orders(self) -> Orders:
        return self._held[0]

    def order(self, name: str) -> Order:
        """Return what is wanted of a backend."""
        return self._orders.get(name, AS_DECLARED)

    @property
    def resting(self) -> Collection[str]:
        """The names of the backends in maintenance, which are not probed."""
        return frozenset(name for name, order in self._orders.items() if order.mode is Mode.MAINT)

    def give(self, name: str, order: Order) -> None:
        """Want `order` of a backend from now; raises StateError, and changes nothing, when that cannot be kept."""
        self._keep(lambda orders: admin.given(orders, name, order))

    def forget(self, names: Container[str]) -> None:
        """Forget what was wanted of backends that are no more."""
        try:
            self._keep(lambda orders: admin.without(orders, names))
        except StateError as error:
            log.error("orders of removed backends not forgotten", reason=str(error))

    def _keep(self, step: Callable[[Orders], Orders]) -> None:
        for _ in range(_ATTEMPTS):
            before, revision = self._held
            orders = step(before)
            if orders == before:
                return
            with suppress(ConflictError):
                self._store.put_if(ENTRY, admin.encode(orders), revision)
                self.refresh()
                return
            self.refresh()
        raise ConflictError(f"the entry {ENTRY} of the store changes all the time; see who writes it")


class Operator:
    """Does to backends what operators ask for.

    `backends` returns those there are now, as declared; `on_change` is awaited after every change of an order, and
    returns once every worker goes by it. Every method raises UnknownError when there is no such backend.
    """

    def __init__(
        self,
        operating: Operating,
        checker: Checker,
        backends: Callable[[], Sequence[Backend]],
        on_change: Callable[[], Awaitable[None]],
    ) -> None:
        self._operating = operating
        self._checker = checker
        self._backends = backends
        self._on_change = on_change
        self._giving = asyncio.Lock()

    async def move(self, name: str, mode: Mode) -> None:
        """Put a backend into a mode; raises StateError when that cannot be kept."""
        await self._give(name, lambda order: replace(order, mode=mode))

    async def weigh(self, name: str, weight: int | None) -> None:
        """Give a backend another weight, None for the declared one; raises StateError when that cannot be kept."""
        await self._give(name, lambda order: replace(order, weight=weight))

    async def follow(self) -> None:
        """Go by what was ordered at another gateway; raises StateError."""
        if self._operating.refresh():
            log.info("orders taken over")
            await self._on_change()

    async def probe(self, name: str) -> list[ProbeView]:
        """Probe every address of a backend now, and return what was found."""
        return [_probe_view(each) for each in await self._checker.probe(self._find(name))]

    def _find(self, name: str) -> Backend:
        backends = self._backends()
        found = next((each for each in backends if each.name == name), None)
        if found is None:
            raise unknown_backend(name, (each.name for each in backends))
        return found

    async def _give(self, name: str, change: Callable[[Order], Order]) -> None:
        self._find(name)
        async with self._giving:
            before = self._operating.order(name)
            after = change(before)
            if after == before:
                return
            # A store that other gateways share may have to be asked over a network.
            await asyncio.to_thread(self._operating.give, name, after)
        log.info("admin state", backend=name, before=str(before), after=str(after), cause="the admin API")
        await self._on_change()


def _probe_view(probed: Probed) -> ProbeView:
    address, result = str(probed.address), probed.result
    if result is None:
        return ProbeView(address, probed.port, sent=False, good=False)
    sample = result.sample
    return ProbeView(
        address=address,
        port=probed.port,
        sent=True,
        good=None in result.outcomes.values(),
        aeads=tuple(
            ProbedAeadView(aead.label, failure is None, "" if failure is None else str(failure), result.cookies[aead])
            for aead, failure in result.outcomes.items()
        ),
        epochs=tuple(ProbedEpochView(each.epoch.number, each.accepted, each.mints) for each in result.findings),
        offset=probed.offset,
        delay=None if sample is None else sample.delay,
        root_distance=None if sample is None else sample.distance,
        stratum=None if sample is None else sample.stratum,
    )
