"""The agent beside a backend: it carries the keys from the gateways into the daemon, and proves that they are there."""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf

import structlog

from ntspool.errors import LocalError, RemoteError, ShutOutError, StateError
from ntspool.net.agentclient import AgentClient
from ntspool.net.daemons.local import LocalDaemon
from ntspool.net.keydesk import Delivery
from ntspool.net.prove import Proof, prove
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet

FAILURE_LENGTH = 500
"""Characters of a failure that a gateway takes."""

_WAITS = "waits for its turn to restart the daemon"
_NOTHING = Proof((), {}, frozenset(), synchronized=False)
_ROUNDS = 3
_LONGEST_SLEEP = 3600.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How long the agent waits, in seconds.

    `answer`: for one answer of the daemon; `settle`: until a daemon that has loaded keys has proved them; `between`:
    from one attempt of that to the next; `turn`: until it asks for its turn again; `recheck`: until it proves again
    what was proved; `retry` to `longest_retry`, doubling: after a failure.
    """

    answer: float = 1.0
    settle: float = 20.0
    between: float = 0.5
    turn: float = 5.0
    recheck: float = 60.0
    retry: float = 5.0
    longest_retry: float = 300.0


class Agent:
    """Call `run`; what the daemon holds stays with it when the agent ends or no gateway answers.

    `daemon_for` returns the daemon that takes keys of a cookie format, and raises LocalError if that is not the one
    here; `ntp`, an IP literal and a port, is where that daemon serves time. `clock` returns Unix seconds.
    """

    def __init__(
        self,
        client: AgentClient,
        daemon_for: Callable[[CookieFormat], LocalDaemon],
        ntp: tuple[str, int],
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._daemon_for = daemon_for
        self._ntp = ntp
        self._pace = pace or Pace()
        self._clock = clock
        self._newest: Delivery | None = None
        self._arrived = asyncio.Event()
        self._format: CookieFormat | None = None
        self._loaded: KeySet | None = None
        self._installed: str | None = None
        self._restarted_for: str | None = None
        self._turn_taken = False
        self._reported: tuple[str, tuple[int, ...], str | None] | None = None
        self._told = False
        self._failures = 0

    async def run(self) -> None:
        """Work until cancelled; raises LocalError when the gateways want nothing to do with this agent any more."""
        tasks = [asyncio.create_task(each) for each in (self._fetch(), self._work(), self._renew())]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                await task
        except ShutOutError as error:
            raise LocalError(f"{error}; the daemon keeps its keys, enrol this agent again to get new ones") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def status(self) -> str:
        """How it goes, in one line."""
        if self._reported is None:
            return "waits for keys" if self._newest is None else "has keys, which are not proved yet"
        _, proved, failure = self._reported
        return f"epochs proved: {', '.join(map(str, proved)) or 'none'}" + (f"; {failure}" if failure else "")

    async def _fetch(self) -> None:
        while True:
            try:
                delivery = await self._client.keyring(self._newest.revision if self._newest else None)
            except ShutOutError:
                raise
            except RemoteError as error:
                # The client waits before the next call by itself. A gateway that starts anew knows of no report.
                self._told = False
                log.warning("no gateway answers, the daemon keeps its keys", reason=str(error))
                continue
            if delivery is not None:
                self._newest = delivery
                self._arrived.set()

    async def _work(self) -> None:
        await self._arrived.wait()
        while self._newest is not None:
            self._arrived.clear()
            pause = await self._attend(self._newest)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._arrived.wait()

    async def _renew(self) -> None:
        while True:
            wait = self._client.renewal_due - self._clock()
            if wait > 0:
                # In short spans: the clock of a time server may be set.
                await asyncio.sleep(min(wait, _LONGEST_SLEEP))
                continue
            try:
                await self._client.renew()
                log.info("certificate renewed")
            except ShutOutError:
                raise
            except (RemoteError, StateError) as error:
                log.warning("certificate not renewed", reason=str(error))
                await asyncio.sleep(self._pace.recheck)

    async def _attend(self, delivery: Delivery) -> float:
        """Do what can be done now to have the daemon hold `delivery`; return after how many seconds to go on."""
        try:
            proof, waits = await self._bring(delivery)
            proved, failure = proof.proved, _WAITS if waits and not proof.proved else proof.failure
        except LocalError as error:
            proved, failure, waits = (), str(error), False
        except ShutOutError:
            raise
        except RemoteError as error:
            log.warning("no gateway answers, no turn to restart the daemon", reason=str(error))
            return self._back_off()
        told = await self._report(delivery, proved, failure)
        if waits or (self._turn_taken and not failure):
            return self._pace.turn * random.uniform(0.5, 1.5)  # noqa: S311 -- no secret
        if failure or not told:
            return self._back_off()
        self._failures = 0
        return self._pace.recheck

    async def _bring(self, delivery: Delivery) -> tuple[Proof, bool]:
        """Load and prove the keys, as far as that can be now; return the proof, and whether only a turn is missing."""
        daemon = self._choose(delivery.cookies)
        if self._loaded is None and self._installed != delivery.revision:
            self._loaded = await self._find(daemon)
        if self._loaded is not None and not daemon.outdated(self._loaded, delivery.keys):
            return await self._check(delivery, self._loaded), False
        if self._restarted_for == delivery.revision:
            # Once more would interrupt its service for nothing.
            return await self._check(delivery, delivery.keys), False
        await self._install(daemon, delivery)
        if not daemon.restarts or await self._client.turn():
            return await self._load(daemon, delivery), False
        return (await self._check(delivery, self._loaded) if self._loaded else _NOTHING), True

    def _back_off(self) -> float:
        self._failures += 1
        return min(self._pace.retry * 2.0 ** min(self._failures - 1, 16), self._pace.longest_retry)

    def _choose(self, cookies: CookieFormat) -> LocalDaemon:
        if cookies is not self._format:
            self._loaded = self._installed = self._restarted_for = None
            self._format = cookies
        return self._daemon_for(cookies)

    async def _find(self, daemon: LocalDaemon) -> KeySet | None:
        """Return the keys that the daemon is proved to hold already: those of its key file, or None."""
        there = daemon.installed()
        if there is None:
            return None
        proof = await self._prove(there.keys, daemon.cookies, _ROUNDS)
        return there if proof.complete else None

    async def _install(self, daemon: LocalDaemon, delivery: Delivery) -> None:
        if self._installed != delivery.revision:
            await daemon.install(delivery.keys, self._clock())
            self._installed = delivery.revision
            log.info("key file written", revision=delivery.revision, restart_needed=daemon.restarts)

    async def _load(self, daemon: LocalDaemon, delivery: Delivery) -> Proof:
        """Make the daemon load its key file and prove every key of it."""
        self._loaded = self._installed = None
        self._turn_taken = daemon.restarts
        await daemon.load()
        if daemon.restarts:
            self._restarted_for = delivery.revision
            log.info("daemon restarted", revision=delivery.revision)
        proof = await self._prove(delivery.keys.keys, delivery.cookies)
        if proof.complete:
            self._loaded, self._installed = delivery.keys, delivery.revision
            log.info("keys proved", revision=delivery.revision, keys=list(proof.proved))
            await self._served(proof)
        return proof

    async def _served(self, proof: Proof) -> None:
        """Take note that the daemon is well, and give the turn back once it serves good time again.

        A turn that is not given back expires; so a daemon that cannot synchronise does not stop the others for ever.
        """
        self._restarted_for = None
        if not self._turn_taken or not proof.synchronized:
            return
        self._turn_taken = False
        try:
            await self._client.turn_done()
        except ShutOutError:
            raise
        except RemoteError as error:
            log.warning("turn not given back, it expires", reason=str(error))

    async def _check(self, delivery: Delivery, held: KeySet) -> Proof:
        """Prove those keys of the delivery that the daemon should hold: not all, while its stock is good."""
        keys = tuple(key for key in delivery.keys.keys if key in held.keys)
        proof = await self._prove(keys, delivery.cookies, _ROUNDS)
        if proof.complete:
            await self._served(proof)
        elif not proof.silent:
            # Somebody gave it other keys; a daemon that is merely silent has not lost them.
            self._loaded = self._installed = None
        return proof

    async def _prove(self, keys: tuple[ServerKey, ...], cookies: CookieFormat, rounds: float = inf) -> Proof:
        """Prove `keys`, and take time over it: the daemon may be starting or loading them, a packet may be lost.

        A daemon that is there and holds only some of them is asked `rounds` times.
        """
        ends = asyncio.get_running_loop().time() + self._pace.settle
        answered = 0
        while True:
            proof = await prove(*self._ntp, cookies, keys, timeout=self._pace.answer)
            answered += not proof.silent
            if proof.complete or answered >= rounds or asyncio.get_running_loop().time() > ends:
                return proof
            await asyncio.sleep(self._pace.between)

    async def _report(self, delivery: Delivery, proved: tuple[int, ...], failure: str | None) -> bool:
        """Tell the gateway what it does not know yet; return whether it knows now."""
        report = (delivery.revision, proved, failure[:FAILURE_LENGTH] if failure else None)
        if report == self._reported and self._told:
            return True
        if failure and report != self._reported:
            log.error("keys not proved", revision=delivery.revision, proved=list(proved), reason=failure)
        try:
            await self._client.report(*report)
        except ShutOutError:
            raise
        except RemoteError as error:
            log.warning("not reported", reason=str(error))
            return False
        self._reported, self._told = report, True
        return True
