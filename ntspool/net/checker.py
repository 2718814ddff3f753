"""Keeps dead backends out: probes every address of every backend as a client would use it."""

import asyncio
import os
import random
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass

import structlog

from ntspool.errors import RemoteError
from ntspool.net.timequery import query_time
from ntspool.pool.cookies import NONCE_LENGTH, SERVER_AEAD, Association, CookieKey
from ntspool.pool.health import Health, Rules, State, observe
from ntspool.pool.keyring import Epoch, Keyring
from ntspool.pool.model import Address, Backend
from ntspool.wire.ntp import Header

_UNSYNCHRONIZED_LEAP = 3
_MAX_STRATUM = 15

PARALLEL = 128
"""Probes under way at the same time: each holds a descriptor, and a burst of them would look like a bad network."""

Target = tuple[Backend, Address]

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """How often an address is probed and how long an answer may take, in seconds, and what decides."""

    interval: float
    timeout: float
    rules: Rules


class Checker:
    """Probes in the background and knows which addresses are UP and which epochs a backend has proved.

    A backend has proved an epoch when it answered, verifiably, a request whose cookie was minted under it.
    `on_change` is called whenever an address went UP or DOWN. `keyring` and `settings` may be replaced at any time.
    """

    def __init__(self, keyring: Keyring, settings: CheckSettings, on_change: Callable[[], None]) -> None:
        self.keyring = keyring
        self.settings = settings
        self._on_change = on_change
        self._health: dict[Target, Health] = {}
        self._proved: dict[Target, int] = {}
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._turn = asyncio.Semaphore(PARALLEL)

    async def watch(self, backends: Iterable[Backend]) -> None:
        """Watch these backends and no others; returns once each new one has been probed for the first time."""
        wanted = {(backend, address) for backend in backends for address in backend.addresses}
        await self._forget(self._tasks.keys() - wanted)
        fresh = wanted - self._tasks.keys()
        await asyncio.gather(*map(self._probe, fresh))
        for target in fresh:
            self._tasks[target] = asyncio.create_task(self._keep_probing(target))

    async def stop(self) -> None:
        """End every probe."""
        await self._forget(set(self._tasks))

    async def _forget(self, targets: Set[Target]) -> None:
        tasks = [self._tasks.pop(target) for target in targets]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for target in targets:
            self._health.pop(target, None)
            self._proved.pop(target, None)

    def up(self, backend: Backend) -> tuple[Address, ...]:
        """Return the backend's addresses that are UP."""
        return tuple(address for address in backend.addresses if self._is_up((backend, address)))

    def lagging(self, epoch: Epoch) -> list[str]:
        """Return the names of backends that are UP but have not proved `epoch`: to mint under it would harm them."""
        return sorted({t[0].name for t in self._tasks if self._is_up(t) and self._proved.get(t, -1) < epoch.number})

    def _is_up(self, target: Target) -> bool:
        return self._health.get(target, Health()).state is State.UP

    async def _keep_probing(self, target: Target) -> None:
        while True:
            # Jitter spreads the probes of many backends over the interval.
            await asyncio.sleep(self.settings.interval * random.uniform(0.9, 1.1))  # noqa: S311  -- no secret
            await self._probe(target)

    async def _probe(self, target: Target) -> None:
        keyring = self.keyring
        async with self._turn:
            try:
                failure = await self._ask(target, keyring.current)
                asks_next = failure is None and self._proved.get(target, -1) < keyring.next.number
                if asks_next and await self._ask(target, keyring.next) is None:
                    self._proved[target] = keyring.next.number
            except OSError as error:
                # No socket to be had is our own trouble, and says nothing about the backend.
                log.error("probe not sent", backend=target[0].name, reason=error.strerror)
                return
        self._note(target, failure)

    def _note(self, target: Target, failure: str | None) -> None:
        before = self._health.get(target, Health())
        health = self._health[target] = observe(before, failure, self.settings.rules)
        backend, address = target
        words = {"backend": backend.name, "address": str(address)}
        if health.against:
            log.info("check", **words, state=health.describe(self.settings.rules), cause=failure or "answers")
        if health.state is not before.state or not before.probed:
            level = log.info if health.state is State.UP else log.warning
            level("backend " + health.state, **words, cause=health.cause)
            self._on_change()

    async def _ask(self, target: Target, epoch: Epoch) -> str | None:
        """Send one request as a client of ours would; return None, or the cause why it brought no good time."""
        backend, address = target
        aead = backend.aeads[0]
        association = Association(aead, os.urandom(aead.key_length), os.urandom(aead.key_length))
        key = CookieKey(backend.cookies, epoch.key(backend.key_group, SERVER_AEAD[backend.cookies]))
        cookie = key.mint(association, os.urandom(NONCE_LENGTH))
        try:
            answer = await query_time(str(address), backend.port, association, cookie, timeout=self.settings.timeout)
        except RemoteError as error:
            return str(error)
        return _unusable(answer.header)


def _unusable(header: Header) -> str | None:
    if header.leap == _UNSYNCHRONIZED_LEAP or not 1 <= header.stratum <= _MAX_STRATUM:
        return f"unsynchronised (leap {header.leap}, stratum {header.stratum})"
    return None
