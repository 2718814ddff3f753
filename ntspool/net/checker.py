"""Keeps dead backends out, and knows what each may be minted under: probes every address as a client would use it."""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass

import structlog

from ntspool.errors import KissOfDeathError, NtsNakError, RemoteError
from ntspool.net.timequery import TimeAnswer, query_time
from ntspool.pool import proofs
from ntspool.pool.cookies import NONCE_LENGTH, SERVER_AEAD, Association, CookieKey, key_id
from ntspool.pool.health import Health, Rules, State, observe
from ntspool.pool.keyring import Epoch, Keyring
from ntspool.pool.model import Address, Backend
from ntspool.pool.proofs import Proof

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
    """Probes in the background and knows which addresses are UP and which epochs they have proved.

    `on_change` is called whenever an address went UP or DOWN, began or ceased to accept an epoch, or mints under
    another. `keyring` and `settings` may be replaced at any time. `clock` returns Unix seconds.
    """

    def __init__(
        self,
        keyring: Keyring,
        settings: CheckSettings,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        self.settings = settings
        self._keyring = keyring
        self._on_change = on_change
        self._health: dict[Target, Health] = {}
        self._proofs: dict[Target, Proof] = {}
        self._tasks: dict[Target, asyncio.Task[None]] = {}
        self._hurries: dict[Target, asyncio.Event] = {}
        self._turn = asyncio.Semaphore(PARALLEL)

    @property
    def keyring(self) -> Keyring:
        """The keyring to mint under; replacing it leaves of every proof what holds for the new one."""
        return self._keyring

    @keyring.setter
    def keyring(self, after: Keyring) -> None:
        carried = {each: proofs.carried_over(proof, self._keyring, after) for each, proof in self._proofs.items()}
        self._proofs, self._keyring = carried, after

    async def watch(self, backends: Iterable[Backend]) -> None:
        """Watch these backends and no others; returns once each new one has been probed for the first time."""
        wanted = {(backend, address) for backend in backends for address in backend.addresses}
        await self._forget(self._tasks.keys() - wanted)
        fresh = wanted - self._tasks.keys()
        self._proofs.update((target, Proof(seen=self._clock())) for target in fresh)
        await asyncio.gather(*map(self._probe, fresh))
        for target in fresh:
            self._tasks[target] = asyncio.create_task(self._keep_probing(target))

    async def stop(self) -> None:
        """End every probe."""
        await self._forget(set(self._tasks))

    def hurry(self, name: str) -> None:
        """Probe a backend now rather than when its turn comes: it may have new keys."""
        for target, event in self._hurries.items():
            if target[0].name == name:
                event.set()

    def up(self, backend: Backend) -> tuple[Address, ...]:
        """Return the backend's addresses that are UP."""
        return tuple(address for address in backend.addresses if self._is_up((backend, address)))

    def mint_epoch(self, backend: Backend) -> Epoch | None:
        """Return the epoch to mint under for a backend, None if it is not UP or proved none."""
        up = [self._proofs[backend, address] for address in self.up(backend)]
        return proofs.mint_epoch(self.keyring, up)

    def proofs(self) -> Iterator[tuple[Backend, Address, Health, Proof]]:
        """Yield what is known of every address that is watched, in the order of names."""
        for target in sorted(self._tasks, key=lambda target: (target[0].name, str(target[1]))):
            yield *target, self._health.get(target, Health()), self._proofs[target]

    def lagging(self, epoch: Epoch) -> list[str]:
        """Return the names of backends that are UP but have not proved `epoch`."""
        return sorted(
            {
                backend.name
                for backend, _, health, proof in self.proofs()
                if health.state is State.UP and proofs.lagging(proof, epoch)
            }
        )

    async def _forget(self, targets: Set[Target]) -> None:
        tasks = [self._tasks.pop(target) for target in targets]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for target in targets:
            self._health.pop(target, None)
            self._proofs.pop(target, None)
            self._hurries.pop(target, None)

    def _is_up(self, target: Target) -> bool:
        return self._health.get(target, Health()).state is State.UP

    async def _keep_probing(self, target: Target) -> None:
        hurry = self._hurries[target] = asyncio.Event()
        while True:
            # Jitter spreads the probes of many backends over the interval.
            pause = self.settings.interval * random.uniform(0.9, 1.1)  # noqa: S311  -- no secret
            try:
                async with asyncio.timeout(pause):
                    await hurry.wait()
            except TimeoutError:
                pass
            hurry.clear()
            await self._probe(target)

    async def _probe(self, target: Target) -> None:
        before = self._proofs[target]
        async with self._turn:
            try:
                failure = await self._check(target)
            except OSError as error:
                # No socket to be had is our own trouble, and says nothing about the backend.
                log.error("probe not sent", backend=target[0].name, reason=error.strerror)
                return
        self._note(target, failure)
        after = self._proofs[target]
        if (after.accepts.keys(), after.mints) != (before.accepts.keys(), before.mints):
            self._on_change()

    async def _check(self, target: Target) -> str | None:
        """Probe under the current epoch, and as it turns out under others; return None, or why it is no good."""
        keyring = self.keyring
        current = keyring.current
        try:
            failure = await self._ask(target, current)
        except RemoteError as error:
            failure = str(error)
            healthy = self._is_up(target) and not proofs.lagging(self._proofs[target], current)
            if healthy and not isinstance(error, NtsNakError):
                return failure
            return await self._ask_older(target, keyring, failure)
        if proofs.lagging(self._proofs[target], keyring.next):
            try:
                await self._ask(target, keyring.next)
            except RemoteError as error:
                log.debug("next epoch not proved", backend=target[0].name, cause=str(error))
        return failure

    async def _ask_older(self, target: Target, keyring: Keyring, failure: str) -> str | None:
        """Probe under the epochs before the current one, for a backend whose key file is late."""
        for epoch in keyring.mintable[1:]:
            try:
                older_failure = await self._ask(target, epoch)
            except RemoteError:
                continue
            # It answers, only not to the current epoch: NTPsec says so by silence.
            self._refuse(target, keyring.current)
            return older_failure
        return failure

    async def _ask(self, target: Target, epoch: Epoch) -> str | None:
        """Send one request as a client of ours would; return None or why the time is no good; raises RemoteError."""
        backend, address = target
        aead = backend.aeads[0]
        association = Association(aead, os.urandom(aead.key_length), os.urandom(aead.key_length))
        key = CookieKey(backend.cookies, epoch.key(backend.key_group, SERVER_AEAD[backend.cookies]))
        cookie = key.mint(association, os.urandom(NONCE_LENGTH))
        try:
            answer = await query_time(str(address), backend.port, association, cookie, timeout=self.settings.timeout)
        except NtsNakError:
            self._refuse(target, epoch)
            raise
        except KissOfDeathError as error:
            # NTPsec says so while it is not synchronised, and proves by it that it opened the cookie.
            self._accept(target, epoch, self._proofs[target].mints)
            return str(error)
        self._accept(target, epoch, _minted_under(answer, backend, self.keyring))
        header = answer.header
        return None if header.synchronized else f"unsynchronised (leap {header.leap}, stratum {header.stratum})"

    def _accept(self, target: Target, epoch: Epoch, minted: int | None) -> None:
        # The keyring may have been replaced while the answer was under way.
        if epoch in self.keyring.epochs:
            proof = self._proofs[target]
            self._proofs[target] = proofs.accepted(proof, epoch.number, minted, self.keyring, self._clock())

    def _refuse(self, target: Target, epoch: Epoch) -> None:
        if epoch in self.keyring.epochs:
            self._proofs[target] = proofs.refused(self._proofs[target], epoch.number, self.keyring, self._clock())

    def _note(self, target: Target, failure: str | None) -> None:
        before = self._health.get(target, Health())
        health = self._health[target] = observe(before, failure, self.settings.rules)
        backend, address = target
        words = {"backend": backend.name, "address": str(address)}
        if health.against:
            state = health.describe(self.settings.rules)
            log.info("check", **words, state=state, cause=failure or "answers")
        if health.state is not before.state or not before.probed:
            level = log.info if health.state is State.UP else log.warning
            level("backend " + health.state, **words, cause=health.cause)
            self._on_change()


def _minted_under(answer: TimeAnswer, backend: Backend, keyring: Keyring) -> int | None:
    """Return the epoch of the cookies that a backend hands out itself."""
    if not answer.cookies:
        return None
    named = key_id(backend.cookies, answer.cookies[0])
    return next((epoch.number for epoch in keyring.epochs if epoch.key_id == named), None)
