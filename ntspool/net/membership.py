"""A gateway's place among the others: its lease, what it tells of itself, and the turn to lead."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Final

import structlog

from ntspool.errors import ConflictError
from ntspool.net.etcd import Etcd
from ntspool.net.mirror import Mirror
from ntspool.net.remote import Remote

LEASE: Final = 10
"""Seconds after which a gateway that is not heard of counts as dead."""

LEADER: Final = "leader"
"""The key with whose turn it is to lead: it is the first to write it, and goes with its lease."""

ALIVE: Final = "alive/"
"""What the keys begin with that leases hold, each with a gateway's name."""

log = structlog.get_logger()


class Membership:
    """The gateway `name` of a cluster: call `tell` more often than LEASE, and `leave` in the end.

    `clock` is a steady one, in seconds.
    """

    def __init__(self, remote: Remote, mirror: Mirror, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._remote = remote
        self._mirror = mirror
        self._name = name
        self._clock = clock
        # Of two processes under one name, each must know which one a key is about.
        self._self = f"{name} {os.urandom(8).hex()}".encode()
        self._lease = 0
        self._leased_until = 0.0
        self._told: dict[str, bytes] = {}
        self._twin = False

    @property
    def leads(self) -> bool:
        """Whether this gateway is the one to do what one of them is to do; never later than its lease lasts."""
        return self._mirror.others.get(LEADER) == self._self and self._clock() < self._leased_until

    @property
    def leader(self) -> str:
        """The name of the gateway that leads, as last known; empty while none does."""
        return self._mirror.others.get(LEADER, b"").decode(errors="replace").partition(" ")[0]

    def alive(self, name: str) -> bool:
        """Tell whether the lease of a gateway held when the store was last heard of."""
        return f"{ALIVE}{name}" in self._mirror.others

    async def tell(self, told: Mapping[str, bytes]) -> None:
        """Say that we live, and have the others know `told`, by key; raises StateError when that is not possible."""
        await self._remote.ask(lambda etcd: self._tell(etcd, told))

    async def leave(self, told: Mapping[str, bytes]) -> None:
        """Have the others know `told`, and that we live no more; raises StateError when that is not possible."""
        await self._remote.ask(lambda etcd: self._leave(etcd, told))

    async def forget(self, keys: Iterable[str]) -> None:
        """Delete what another gateway told; raises StateError when that is not possible."""

        async def delete(etcd: Etcd) -> None:
            for key in keys:
                await etcd.delete(key)

        await self._remote.ask(delete)

    async def _tell(self, etcd: Etcd, told: Mapping[str, bytes]) -> None:
        began = self._clock()
        if not self._lease or not await etcd.keep_alive(self._lease):
            self._lease = await etcd.grant(LEASE)
            self._told.clear()
            await etcd.put(ALIVE + self._name, self._self, self._lease)
        elif self._mirror.away is None:
            await self._assert_alive(etcd)
        self._leased_until = began + LEASE
        await self._put(etcd, told)
        if LEADER not in self._mirror.others:
            with suppress(ConflictError):
                await etcd.put_if(LEADER, self._self, 0, self._lease)

    async def _assert_alive(self, etcd: Etcd) -> None:
        """Write our key again if it is missing, since that failed when the lease was new, or another process's."""
        there = self._mirror.others.get(ALIVE + self._name)
        if there == self._self:
            return
        if there is not None and not self._twin:
            log.error("another gateway has this one's name; give each its own (gateway.name)", name=self._name)
            self._twin = True
        await etcd.put(ALIVE + self._name, self._self, self._lease)

    async def _leave(self, etcd: Etcd, told: Mapping[str, bytes]) -> None:
        self._leased_until = 0.0
        await self._put(etcd, told)
        if self._lease:
            await etcd.revoke(self._lease)

    async def _put(self, etcd: Etcd, told: Mapping[str, bytes]) -> None:
        for key, data in told.items():
            if self._told.get(key) != data:
                await etcd.put(key, data)
                self._told[key] = data
