"""Keeps bad backends out, and knows what each may be minted under: probes every address as a client would use it."""

import asyncio
import socket
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping

import structlog

from ntspool.net.checklog import CheckLog
from ntspool.net.checksettings import CheckSettings
from ntspool.net.checkstatus import Probed, Status, status_of
from ntspool.net.clocks import SteadyClock, keep_stamping
from ntspool.net.probe import Result
from ntspool.net.probers import prober_for
from ntspool.net.schedule import Schedule
from ntspool.net.watch import Watch
from ntspool.pool import proofs
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.fleet import Condition, Fleet, Mode, Target, targets_of
from ntspool.pool.health import RAMP_STEPS, State
from ntspool.pool.keyring import Epoch, Keyring
from ntspool.pool.model import Address, Backend, FixedKey, UpAddress
from ntspool.pool.observation import Bearings, Observation, Past, observed
from ntspool.pool.proofs import Proof
from ntspool.wire.aead import Aead

PARALLEL = 128
"""Probes under way at the same time: each holds a descriptor, and a burst of them would look like a bad network."""

RESTING = "MAINT"
"""HAProxy's word for the state of an address that is not probed."""

_BROKE = Failure(Cause.MALFORMED, "the probe broke")

log = structlog.get_logger()


class Checker:
    """Probes in the background and knows which addresses are UP and which epochs they have proved.

    `on_change` is called whenever what clients may be given changed: an address or an AEAD of it went UP or DOWN, got
    more of its weight, began or ceased to accept an epoch, or mints under another. `keyring` and `settings` may be
    replaced at any time. `clock` returns Unix seconds; `steady` is the clock that offsets are measured against, and
    that proofs are dated by: a step of the other one makes no cookie older. `probes` counts those that have ended;
    `observer` is told of each.
    """

    def __init__(
        self,
        keyring: Keyring,
        settings: CheckSettings,
        on_change: Callable[[], None],
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] | None = None,
        *,
        observer: Callable[[Observation], None] | None = None,
    ) -> None:
        self.probes = 0
        self._observer = observer
        self._clock = clock
        self._steady = steady or SteadyClock()
        self._settings = settings
        self._keyring = keyring
        self._on_change = on_change
        self._fleet = Fleet(settings.fleet_rules)
        self._log = CheckLog(self._fleet)
        self._watched: dict[Target, Watch] = {}
        self._resting: dict[Target, Watch] = {}
        self._reports: dict[str, str | None] = {}
        self._turn = asyncio.Semaphore(PARALLEL)
        self._schedule = Schedule(self._probe, self._note, lambda target: self._settings.pause(self._fleet[target]))
        self._watching = asyncio.Lock()
        self._stamping: socket.socket | None = None

    @property
    def steady(self) -> Callable[[], float]:
        """The clock that proofs are dated by: Unix seconds as they were at its making, counted on from there."""
        return self._steady

    @property
    def settings(self) -> CheckSettings:
        """How is probed."""
        return self._settings

    @settings.setter
    def settings(self, settings: CheckSettings) -> None:
        self._settings, self._fleet.rules = settings, settings.fleet_rules

    @property
    def keyring(self) -> Keyring:
        """The keyring to mint under; replacing it leaves of every proof what holds for the new one."""
        return self._keyring

    @keyring.setter
    def keyring(self, after: Keyring) -> None:
        for watch in (*self._watched.values(), *self._resting.values()):
            watch.proof = proofs.carried_over(watch.proof, self._keyring, after)
        self._keyring = after

    async def watch(self, backends: Iterable[Backend], resting: Container[str] = ()) -> None:
        """Watch these backends and no others; returns once each new address has been probed for the first time.

        Of an address that is known already everything stays, unless the cookies that it opens are others. Those whose
        names are in `resting` are not probed and not UP; what they have proved stays, for they go on with their keys.
        """
        self._stamping = self._stamping or keep_stamping()
        async with self._watching:
            every = {target: backend for backend in backends for target in targets_of(backend)}
            wanted = {target: backend for target, backend in every.items() if backend.name not in resting}
            known = self._resting | self._watched
            begun = {
                target: Watch(backend, known[target].proof if target in known else Proof(seen=self._steady()))
                for target, backend in every.items()
                if target not in wanted or target not in self._watched
            }
            self._resting = {target: watch for target, watch in begun.items() if target not in wanted}
            await self._forget(wanted)
            for target in wanted.keys() & self._watched.keys():
                watch, before = self._watched[target], self._watched[target].backend
                watch.backend = wanted[target]
                if set(watch.backend.aeads) - set(before.aeads):
                    self._schedule.hurry(target)
            fresh = {target: watch for target, watch in begun.items() if target in wanted}
            self._watched |= fresh
            await self._schedule.begin(list(fresh))

    async def stop(self) -> None:
        """End every probe."""
        if self._stamping:
            self._stamping.close()
            self._stamping = None
        await self._forget({})

    def hurry(self, name: str) -> None:
        """Probe a backend now rather than when its turn comes: it may have new keys."""
        for target in self._watched:
            if target.backend == name:
                self._schedule.hurry(target)

    def report(self, name: str, failure: str | None) -> None:
        """Take note of what a backend's agent says, None for all well, and see for ourselves at once.

        The words are shown and decide nothing: who holds an agent's key may complain, not take others' clients.
        """
        self._reports[name] = failure
        self.hurry(name)

    def fail(self, name: str, failure: Failure, address: str = "") -> None:
        """Take what somebody else met who used a backend as clients do, as if a probe had; then probe at once.

        Without an `address` it holds for all of the backend's.
        """
        for target, watch in list(self._watched.items()):
            if target.backend == name and address in ("", str(target.address)):
                self._settle(target, dict.fromkeys(watch.backend.aeads, failure))
        self.hurry(name)

    def up(self, backend: Backend) -> tuple[UpAddress, ...]:
        """Return the backend's addresses that are UP, each with the AEADs that are and its weight now."""
        now = self._steady()
        return tuple(
            UpAddress(
                target.address,
                tuple(aead for aead in backend.aeads if (check := checks.get(aead)) and check.up),
                backend.weight * self._fleet.share(target, now),
            )
            for target in targets_of(backend)
            if self._is_up(target) and (checks := self._fleet[target].aeads)
        )

    def mint_epoch(self, backend: Backend) -> Epoch | None:
        """Return the epoch to mint under for a backend, None if it is not UP or proved none."""
        up = [self._watched[target].proof for target in targets_of(backend) if self._is_up(target)]
        return proofs.mint_epoch(self.keyring, up)

    def proofs(self) -> Iterator[tuple[Backend, Address, str, Proof]]:
        """Yield every address with its state and what it has proved, in the order of names; at the end, who rests.

        Backends that keep their own keys have nothing to prove.
        """
        for each in self.status():
            if not isinstance(each.backend.cookies, FixedKey):
                yield each.backend, each.address, str(each.condition.health.state), each.proof
        for target, watch in self._resting.items():
            if not isinstance(target.cookies, FixedKey):
                yield watch.backend, target.address, RESTING, watch.proof

    def status(self) -> Iterator[Status]:
        """Yield all that is known of every address that is watched, in the order of names."""
        now = self._steady()
        for target in sorted(self._watched, key=lambda each: (each.backend, str(each.address), each.port)):
            watch, reported = self._watched[target], self._reports.get(target.backend)
            yield status_of(target, watch, self._fleet, now, keys=self._behind(target), reported=reported)

    async def probe(self, backend: Backend) -> list[Probed]:
        """Probe every address of a backend now; what is found decides as any probe does, unless the backend rests."""
        known = self._resting | self._watched
        targets = [target for target in targets_of(backend) if target in known]
        results = await asyncio.gather(*map(self._probe, targets))
        for target, result in zip(targets, results, strict=True):
            self._note(target, result)
        return [
            Probed(target.address, target.port, result, self._fleet.offset(target))
            for target, result in zip(targets, results, strict=True)
        ]

    @property
    def vote(self) -> Mode:
        """Whom the offset vote trusts."""
        return self._fleet.ballot.mode

    @property
    def panicking(self) -> frozenset[int]:
        """The address families (4, 6) in which the pool is silent, which is taken for our own trouble."""
        return self._fleet.panicking

    def lagging(self, epoch: Epoch) -> list[str]:
        """Return the names of backends that are UP but have not proved `epoch`."""
        known = ((backend.name, state, proof) for backend, _, state, proof in self.proofs())
        return sorted({name for name, state, proof in known if state == State.UP and proofs.lagging(proof, epoch)})

    def _is_up(self, target: Target) -> bool:
        return target in self._watched and self._fleet[target].health.up

    def _answers(self, target: Target) -> bool:
        """Tell whether a target is UP, and not for panic's sake alone."""
        health = self._fleet[target].health
        return health.up and health.against < self._settings.rules.fall

    async def _forget(self, kept: Mapping[Target, Backend]) -> None:
        gone = self._watched.keys() - kept.keys()
        for target in gone:
            del self._watched[target]
        await self._schedule.end(gone)
        self._fleet.keep({target: backend.aeads for target, backend in kept.items()})

    async def _probe(self, target: Target) -> Result | None:
        """Probe once and take the measurement; None when there was no socket for it, or it is watched no more."""
        async with self._turn:
            watch = self._watched.get(target) or self._resting.get(target)
            if watch is None:
                return None
            prober = prober_for(
                target,
                watch.backend.aeads,
                self._keyring,
                watch.proof,
                healthy=self._answers(target),
                limits=self._settings.limits,
                timeout=self._settings.timeout,
                clock=self._steady,
            )
            try:
                result = await prober.probe()
            except OSError as error:
                # No socket to be had is our own trouble, and says nothing about the backend.
                log.error("probe not sent", backend=target.backend, reason=error.strerror)
                return None
            except Exception:
                # A mistake of ours, but an answer brought it about: neither a start nor other backends pay for it.
                log.exception("probe broke", backend=target.backend, address=str(target.address))
                return Result(dict.fromkeys(watch.backend.aeads, _BROKE), (), None, {})
        if result.sample and target in self._watched:
            self._fleet.measure(target, result.sample, good=None in result.outcomes.values())
        return result

    def _note(self, target: Target, result: Result | None) -> None:
        watch = self._watched.get(target)
        if result is None or watch is None:
            return
        if watch.prove(result.findings, self._keyring, self._steady()):
            self._on_change()
        # Its AEADs may have been changed while the answer was under way.
        outcomes = {aead: failure for aead, failure in result.outcomes.items() if aead in watch.backend.aeads}
        now = self._steady()
        ahead, before = time.time() - now, self._fleet[target]
        if lie := self._fleet.accuse(target, ahead, now):
            outcomes = {aead: failure or lie for aead, failure in outcomes.items()}
        self._log.vote()
        past = Past(watch.checked, before.health.up, self._settings.pause(before))
        ended = self._clock()
        watch.count(outcomes, ended)
        self.probes += 1
        if self._observer:
            truth = self._fleet.ballot.truth
            bearings = Bearings(ended, ahead, truth.middle if truth else None)
            self._observer(observed(target, outcomes, result.sample, bearings, past))
        self._settle(target, outcomes)
        if (behind := self._behind(target)) != watch.behind:
            watch.behind = behind
            self._log.keys(target, behind)

    def _behind(self, target: Target) -> Failure | None:
        return proofs.behind(self._watched[target].proof, self._keyring) if self._is_up(target) else None

    def _settle(self, target: Target, outcomes: Mapping[Aead, Failure | None]) -> None:
        """Let the fleet decide what was found, and tell whoever must know."""
        now = self._steady()
        for other, before, after in self._fleet.observe(target, outcomes, now):
            self._log.check(other, before, after)
            if _usable(before) != _usable(after):
                self._on_change()
            if after.health.up and not before.health.up and after.health.risen == now:
                self._ramp_up()
        self._log.panic()

    def _ramp_up(self) -> None:
        """Publish a weight that grows at each of its steps."""
        loop, whole = asyncio.get_running_loop(), self._settings.slow_start
        for step in range(1, RAMP_STEPS + 1 if whole else 0):
            loop.call_later(whole * step / RAMP_STEPS, self._on_change)


def _usable(condition: Condition) -> tuple[object, ...]:
    return condition.health.up, {aead for aead, check in condition.aeads.items() if check.up}
