"""A gateway among the others of its pool: what it tells them, what it takes from them, and what they decide."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Final

import structlog

from ntspool import __version__, config
from ntspool.app.publishing import Publisher
from ntspool.app.sharing import SHARED, etcd_settings, gateway_name
from ntspool.errors import LocalError, RefusedError, StateError, UnknownError, WireError
from ntspool.net.checker import Checker
from ntspool.net.checkstatus import Status
from ntspool.net.membership import ALIVE, Membership
from ntspool.net.mirror import Mirror
from ntspool.net.remote import Remote
from ntspool.net.sealed import Seal
from ntspool.net.store import FileStore
from ntspool.pool import cluster, quorum
from ntspool.pool.cluster import GatewayReport, Peer
from ntspool.pool.keyring import Keyring
from ntspool.pool.publishing import Gateway
from ntspool.pool.quorum import Opinion, Verdict
from ntspool.pool.view import ClusterView, PeerView

HEARTBEAT: Final = 2.0
"""Seconds between two reports to the other gateways."""

START_PATIENCE: Final = 8.0
"""Seconds that a start waits for the store; then the last known state has to do."""

NEWCOMERS: Final = 3600.0
"""Seconds without the store after which agents that have no keys get none either: ours may be too old by then."""

_REPORTS, _OPINIONS = "gateways/", "opinions/"
_DIGEST = 12

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Condition:
    """How this gateway is, to tell the others: whether it can serve, its keyring, what it has proved and found."""

    ready: bool
    keyring: Keyring
    reached: Mapping[int, float]
    opinion: Opinion


@dataclass(frozen=True, slots=True)
class Following:
    """What to do about what others change: by the entry; `decided` when the verdict is another, `back` after silence.

    They are awaited one after the other; LocalError is logged. `publisher` is told who else is there.
    """

    entries: Mapping[str, Callable[[], Awaitable[Any]]]
    decided: Callable[[], None]
    back: Callable[[], None]
    publisher: Publisher


class Cluster:
    """One gateway of several: `store` is what they share, from when this is made; then let it `run`, and `stop` it.

    Making one raises StateError when the state directory is another pool's or nothing protects its secrets. `clock`
    returns Unix seconds.
    """

    def __init__(self, declared: config.Config, local: FileStore, seal: Seal, clock: Callable[[], float]) -> None:
        if not seal.encrypts:
            raise StateError(
                "gateways share secrets encrypted only: name the same key on each by `keys: {encryption_key: FILE}`"
            )
        self.name = gateway_name(declared)
        self.declared = declared
        self.verdict = Verdict()
        self._clock = clock
        self._started = clock()
        self._encrypt(local, seal)
        self._remote = Remote(etcd_settings(declared.store))
        self._mirror = Mirror(self._remote, local, SHARED, declared.store.prefix)
        self._membership = Membership(self._remote, self._mirror, self.name)
        self._opinions: dict[str, tuple[bytes, Opinion]] = {}
        self._own = Opinion()
        self._report: GatewayReport | None = None
        self._news: set[str] = set()
        self._arrived = asyncio.Event()
        self._was_away = False
        self._withdrawn = ""
        self._missing_since = inf
        try:
            self._mirror.start(START_PATIENCE)
        except StateError:
            self._remote.close()
            raise

    @property
    def store(self) -> Mirror:
        """The entries of the pool."""
        return self._mirror

    @property
    def leads(self) -> bool:
        """Whether this gateway is the one to rotate when that is due."""
        return self._membership.leads

    @property
    def away(self) -> str | None:
        """Why the others cannot be asked; None if they can."""
        return self._mirror.away

    @property
    def withdrawn(self) -> str:
        """Why this gateway wants no clients though it serves who comes; empty if it wants them."""
        return self._withdrawn

    def holds_back(self, after: str | None) -> bool:
        """Tell whether an agent whose keys have the revision `after`, None for none, is to keep what it has."""
        return self.away is not None and (after is not None or self._clock() - self._mirror.since > NEWCOMERS)

    def obstacles(self, keyring: Keyring, life: float, now: float) -> dict[str, str]:
        """Return the gateways for which a rotation now would break a promise, each with the reason."""
        return cluster.obstacles(keyring, self.peers(), life, now)

    def peers(self) -> tuple[Peer, ...]:
        """Return the other gateways as they are known, those that are no more too."""
        return tuple(each for each in self._everybody() if each.report.name != self.name)

    async def forget(self, name: str) -> None:
        """Make all gateways forget one that is no more, so that it holds no rotation up.

        Raises UnknownError when there is none, RefusedError when it lives, StateError when the store is away.
        """
        found = next((each for each in self._everybody() if each.report.name == name), None)
        if found is None:
            known = ", ".join(each.report.name for each in self._everybody())
            raise UnknownError(f"there is no gateway {name!r}; there are {known}")
        if found.alive or name == self.name:
            raise RefusedError(f"gateway {name} lives; stop it first")
        await self._membership.forget((_REPORTS + name, _OPINIONS + name))
        log.info("gateway forgotten", gateway=name)

    async def run(self, condition: Callable[[], Condition], following: Following) -> None:
        """Tell the others how this gateway is, and follow what they change, until cancelled."""
        loop = asyncio.get_running_loop()
        self._mirror.listen(lambda names: loop.call_soon_threadsafe(self._note, names))
        await asyncio.gather(self._beat(condition, following), self._follow(following))

    async def stop(self) -> None:
        """Tell the others that this gateway ends, if they can be told."""
        if self._report is not None and self.away is None:
            last = replace(self._report, time=self._clock(), ready=False, stopped=True)
            with suppress(StateError):
                await self._membership.leave({_REPORTS + self.name: last.encode()})
        self._mirror.close()
        await asyncio.to_thread(self._remote.close)

    def view(self) -> ClusterView:
        """Return what is shown of the gateways."""
        own = (Peer(self._report, alive=True),) if self._report is not None else ()
        everybody = sorted((*self.peers(), *own), key=lambda peer: peer.report.name)
        return ClusterView(
            name=self.name,
            away=self.away,
            since=self._mirror.since,
            leader=self._membership.leader,
            gateways=tuple(self._peer_view(each, self._report) for each in everybody),
            outvoted=self.verdict.outvoted,
            unreachable=self.verdict.unreachable,
            withdrawn=self.withdrawn,
            calls={f"{operation} {result}": n for (operation, result), n in sorted(self._remote.counts.calls.items())},
            seconds=dict(sorted(self._remote.counts.seconds.items())),
        )

    def _peer_view(self, peer: Peer, own: GatewayReport | None) -> PeerView:
        report = peer.report
        return PeerView(
            name=report.name,
            alive=peer.alive,
            ready=report.ready and not report.withdrawn and peer.alive,
            withdrawn=report.withdrawn,
            stopped=report.stopped,
            leads=report.name == self._membership.leader,
            told=report.time,
            started=report.started,
            version=report.version,
            epoch=report.epoch,
            agrees=own is not None and report.revisions == own.revisions,
            addresses=tuple(map(str, report.published.addresses)) if report.published else (),
            weight=report.published.weight if report.published else None,
        )

    def _everybody(self) -> Iterable[Peer]:
        for key, data in sorted(self._mirror.others.items()):
            if key.startswith(_REPORTS):
                with suppress(WireError):
                    report = cluster.decode(data)
                    yield Peer(report, self._membership.alive(report.name))

    def _note(self, names: frozenset[str]) -> None:
        self._news |= names
        self._arrived.set()

    async def _beat(self, condition: Callable[[], Condition], following: Following) -> None:
        while True:
            try:
                now = condition()
                self._own = now.opinion
                self._judge(following)
                self._report = self._reported(now, following.publisher.own)
                told = {_OPINIONS + self.name: now.opinion.encode(), _REPORTS + self.name: self._report.encode()}
                # The mirror tells what does not work.
                with suppress(StateError):
                    await self._membership.tell(told)
            except Exception:
                # Who reports no more would count as dead, and nobody would know why.
                log.exception("heartbeat broke")
            await asyncio.sleep(HEARTBEAT)

    async def _follow(self, following: Following) -> None:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            news, self._news = self._news, set()
            flipped = self._notice(following)
            for name in sorted(news & following.entries.keys()):
                try:
                    await following.entries[name]()
                except LocalError as error:
                    log.error("not taken over from the cluster", entry=name, reason=str(error))
                except Exception:
                    log.exception("taking over from the cluster broke", entry=name)
            # The rest can wait for the next heartbeat: with many gateways and backends, to judge takes its time.
            if flipped or any(name.startswith((_OPINIONS, ALIVE)) for name in news):
                self._judge(following)

    def _notice(self, following: Following) -> bool:
        """Say that the store is away or back, and tell whether that is new.

        It is said in this thread, for what is logged may become an event.
        """
        away, was_away = self.away, self._was_away
        self._was_away = away is not None
        if away is not None and not was_away:
            log.warning("the cluster's store is away", reason=away, effect="the last known state serves")
        elif away is None and was_away:
            log.info("the cluster's store is back")
            following.back()
        return (away is not None) != was_away

    def _judge(self, following: Following) -> None:
        health = self.declared.health
        before, verdict = self.verdict, quorum.judge(self._own, dict(self._heard()), health.panic / 100)
        # What others found before they fell silent says nothing about a backend now; but who then stops seeing most of
        # what everybody saw had better take himself for the one that is cut off.
        self.verdict = verdict if self.away is None else Verdict(cut_off=verdict.cut_off)
        for name in self.verdict.heeded - before.heeded:
            log.warning("backend outvoted", backend=name, reason=self.verdict.outvoted[name])
        for name in self.verdict.unreachable.keys() - before.unreachable.keys():
            log.warning("backend not reached from here", backend=name, reason=self.verdict.unreachable[name])
        following.publisher.neighbours = cluster.neighbours(self.peers(), current=self.away is None)
        if self._withdraws(max(health.interval, health.down_interval)) or self.verdict.heeded != before.heeded:
            following.decided()

    def _withdraws(self, round_: float) -> bool:
        """Decide whether this gateway wants clients, and tell whether that is new.

        It is to be cut off for a `round_` of probes, in which others that saw a change first are caught up with. The
        last gateway that is ready never withdraws.
        """
        now, before = time.monotonic(), self._withdrawn
        self._missing_since = min(self._missing_since, now) if self.verdict.cut_off else inf
        sure = now - self._missing_since >= round_ + HEARTBEAT
        others = any(each.alive and each.report.ready and not each.report.withdrawn for each in self.peers())
        self._withdrawn = self.verdict.cut_off if sure and others else ""
        if bool(before) == bool(self._withdrawn):
            return False
        if self._withdrawn:
            log.warning("gateway withdrawn", reason=self._withdrawn)
        else:
            log.info("gateway back", before=before)
        return True

    def _heard(self) -> Iterable[tuple[str, Opinion]]:
        """Yield the opinions of the other gateways that live and have not found themselves cut off."""
        for peer in self.peers():
            name = peer.report.name
            data = self._mirror.others.get(_OPINIONS + name)
            if not peer.alive or peer.report.withdrawn or data is None:
                continue
            known = self._opinions.get(name)
            if known is None or known[0] != data:
                try:
                    known = self._opinions[name] = data, quorum.decode(data)
                except WireError as error:
                    log.warning("a gateway's opinion is not understood", gateway=name, reason=str(error))
                    continue
            yield name, known[1]

    def _reported(self, condition: Condition, published: Gateway | None) -> GatewayReport:
        return GatewayReport(
            name=self.name,
            time=self._clock(),
            started=self._started,
            version=__version__,
            published=published,
            ready=condition.ready,
            withdrawn=self.withdrawn,
            epoch=condition.keyring.current.number,
            revisions=self._revisions(),
            reached=condition.reached,
        )

    def _revisions(self) -> dict[str, str]:
        with suppress(StateError):
            held = {name: self._mirror.get(name) for name in SHARED.names}
            return {name: each[1][:_DIGEST] for name, each in sorted(held.items()) if each is not None}
        return {}

    def _encrypt(self, local: FileStore, seal: Seal) -> None:
        """Encrypt the secrets of a gateway that was alone until now, so that they can be shared."""
        for name in SHARED.secret:
            held = local.get(name)
            if held is not None and (opened := seal.open(name, held[0])) == held[0]:
                local.put_if(name, seal.close(name, opened), held[1])


def condition(checker: Checker, life: float, now: float, *, ready: bool) -> Condition:
    """Return how this gateway is at Unix time `now`; `life` is a cookie's, in seconds."""
    known, steady = [proof for _, _, _, proof in checker.proofs()], checker.steady()
    # The others compare it with the time that we tell beside it.
    reached = {
        epoch: since + now - steady for epoch, since in cluster.reached(checker.keyring, known, life, steady).items()
    }
    return Condition(ready, checker.keyring, reached, opinion(checker.status(), checker.settings.rules.fall))


def opinion(statuses: Iterable[Status], fall: int) -> Opinion:
    """Return what probes say; who is UP for the sake of panic alone does not answer."""
    up: set[str] = set()
    down: dict[str, str] = {}
    for each in statuses:
        health, name = each.condition.health, each.backend.name
        if not health.probed:
            continue
        if health.up and health.against < fall:
            up.add(name)
        else:
            down[name] = "" if health.failure is None else str(health.failure.cause)
    return Opinion(frozenset(up), {name: cause for name, cause in down.items() if name not in up})
