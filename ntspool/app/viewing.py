"""Fills what a gateway shows of itself (see pool/view.py) from those who know."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate

from ntspool import __version__, config
from ntspool.app.cluster import Cluster
from ntspool.app.keykeeper import KeyKeeper
from ntspool.app.operating import Operating
from ntspool.app.workers import Workers
from ntspool.net.checker import RESTING, Checker
from ntspool.net.checkstatus import Status
from ntspool.net.recorder import Recorder
from ntspool.net.session import Outcome
from ntspool.net.tls import dns_names, not_after
from ntspool.pool.admin import Mode
from ntspool.pool.counts import BOUNDS, Durations
from ntspool.pool.health import Health
from ntspool.pool.limits import TurnedAway
from ntspool.pool.model import Address, Backend, FixedKey, Serving, Snapshot
from ntspool.pool.view import (
    AddressView,
    BackendView,
    CertificateView,
    CheckView,
    GatewayView,
    HistogramView,
    PublishingView,
    SessionsView,
    UpstreamsView,
    UpstreamView,
    WorkersView,
)
from ntspool.wire.aead import Aead

_FAMILIES = {4: "IPv4", 6: "IPv6"}


class Viewer:
    """Makes views of one gateway, as of the snapshot that was noted last: `note` every one that is published.

    `clock` returns Unix seconds.
    """

    def __init__(
        self,
        checker: Checker,
        workers: Workers,
        keys: KeyKeeper,
        operating: Operating,
        clock: Callable[[], float],
        *,
        recorder: Recorder,
        cluster: Cluster | None = None,
    ) -> None:
        self._checker = checker
        self._workers = workers
        self._keys = keys
        self._operating = operating
        self._recorder = recorder
        self._clock = clock
        self._cluster = cluster
        self._started = clock()
        self._since: dict[str, tuple[str, float]] = {}
        self._snapshot: Snapshot

    def note(self, snapshot: Snapshot) -> None:
        """Take note of what is published from now."""
        now, self._snapshot = self._clock(), snapshot
        states = {each.backend.name: self._state(each) for each in snapshot.serving}
        self._since = {
            name: held if (held := self._since.get(name)) and held[0] == state else (state, now)
            for name, state in states.items()
        }

    @property
    def ready(self) -> bool:
        """Whether the gateway can serve some client, and wants to."""
        return any(each.up for each in self._snapshot.serving) and not (self._cluster and self._cluster.withdrawn)

    def gateway(
        self,
        declared: config.Config,
        listening: Iterable[config.Listen],
        backends: Sequence[Backend],
        publishing: PublishingView | None,
    ) -> GatewayView:
        """Return the whole view; `backends` are those of the configuration, with the weights that stand there."""
        snapshot = self._snapshot
        return GatewayView(
            version=__version__,
            now=self._clock(),
            started=self._started,
            revision=snapshot.revision,
            ready=self.ready,
            names=declared.pool.names,
            listen=tuple(str(each.address) for each in listening),
            workers=WorkersView(self._workers.wanted, self._workers.pids, self._workers.deaths, self._workers.replaced),
            backends=self._backends(backends),
            sessions=self.sessions(),
            certificates=tuple(CertificateView(dns_names(each), not_after(each)) for each in snapshot.certificates),
            panicking=tuple(_FAMILIES[family] for family in sorted(self._checker.panicking)),
            vote=str(self._checker.vote),
            keys=self._keys.status(),
            cluster=self._cluster.view() if self._cluster else None,
            publishing=publishing,
            history=self._recorder.view,
            upstreams=self._upstreams(backends),
        )

    def sessions(self) -> SessionsView:
        """Return what became of all sessions."""
        counts, turned_away = self._workers.sessions, self._workers.turned_away
        return SessionsView(
            outcomes={str(each): counts.outcomes[each] for each in Outcome},
            reasons=dict(counts.reasons),
            turned_away={str(each): turned_away[each] for each in TurnedAway},
            aeads={Aead(number).label: count for number, count in sorted(counts.aeads.items())},
            duration=_histogram(counts.durations),
            handshake=_histogram(counts.handshakes),
            rate=self._workers.rate,
            open=self._workers.open_sessions,
        )

    def _upstreams(self, backends: Sequence[Backend]) -> UpstreamsView | None:
        asked = [each.name for each in backends if isinstance(each.cookies, FixedKey)]
        counts, connections = self._workers.upstream, self._workers.connections
        return (
            UpstreamsView(
                tuple(
                    UpstreamView(
                        backend=name,
                        connections=connections[name],
                        opened=counts.opened[name],
                        answered=counts.answered[name],
                        avoided=counts.unsent[name],
                        failures={cause: number for (of, cause), number in sorted(counts.failed.items()) if of == name},
                    )
                    for name in asked
                ),
                waits=_histogram(counts.waits),
                answers=_histogram(counts.answers),
            )
            if asked
            else None
        )

    def _backends(self, backends: Sequence[Backend]) -> tuple[BackendView, ...]:
        known = {(each.backend.name, each.address): each for each in self._checker.status()}
        serving = {each.backend.name: each for each in self._snapshot.serving}
        weights = {name: _weight(each) if each.up else 0.0 for name, each in serving.items()}
        whole = sum(weights.values())
        return tuple(
            self._backend(each, serving[each.name], known, weights[each.name] / whole if whole else 0.0)
            for each in backends
            if each.name in serving
        )

    def _backend(
        self,
        backend: Backend,
        serving: Serving,
        known: Mapping[tuple[str, Address], Status],
        fair_share: float,
    ) -> BackendView:
        name, sessions = backend.name, self._workers.sessions.backends
        mode = self._operating.order(name).mode
        addresses = tuple(_address(each, backend, known.get((name, each))) for each in backend.addresses)
        state, since = self._since[name]
        epoch = self._checker.mint_epoch(backend)
        return BackendView(
            name=name,
            state=state,
            admin=str(mode),
            cause=self._outvoted(name) or _cause(state, addresses),
            since=since,
            weight=backend.weight,
            effective_weight=_weight(serving),
            cookies=str(backend.cookies),
            key_group=backend.key_group,
            regions=backend.regions,
            addresses=addresses,
            sessions=sessions[name],
            share=sessions[name] / (sessions.total() or 1),
            fair_share=fair_share,
            minting=None if epoch is None else epoch.number,
            ke=_key_exchange(backend.cookies) if isinstance(backend.cookies, FixedKey) else "",
        )

    def _outvoted(self, name: str) -> str:
        """Return why a backend that answers here is not given out, empty if it is."""
        if self._cluster is None or name not in self._cluster.verdict.heeded:
            return ""
        return f"outvoted: it {self._cluster.verdict.outvoted[name]}"

    def _state(self, serving: Serving) -> str:
        mode = self._operating.order(serving.backend.name).mode
        if mode is not Mode.READY:
            return mode.upper()
        return "UP" if serving.up else "DOWN"


def _key_exchange(peer: FixedKey) -> str:
    host = peer.host or peer.name
    return f"[{host}]:{peer.port}" if ":" in host else f"{host}:{peer.port}"


def _weight(serving: Serving) -> float:
    """Return the weight of a backend now: that of its addresses that are UP, its own if none is."""
    weights = [each.weight for each in serving.up]
    return sum(weights) / len(weights) if weights else float(serving.backend.weight)


def _cause(state: str, addresses: Sequence[AddressView]) -> str:
    """Return why a backend gets no clients, or fewer than all of its addresses would."""
    if state in (Mode.DRAIN.upper(), Mode.MAINT.upper()):
        return "an operator's order"
    causes = [each.cause or each.keys for each in addresses]
    found = next((cause for cause in causes if cause), "")
    if state == "UP":
        return "" if all(each.up for each in addresses) else found
    return found or "its addresses have proved no epoch that they share"


def _address(address: Address, backend: Backend, status: Status | None) -> AddressView:
    if status is None:
        return AddressView(str(address), backend.port, state=RESTING, up=False)
    condition = status.condition
    failure, sample = condition.health.failure, condition.sample
    return AddressView(
        address=str(address),
        port=backend.port,
        state=status.shown,
        up=condition.health.up,
        cause=condition.health.cause,
        kind="" if failure is None else str(failure.cause),
        aeads=tuple(_check(aead, condition.aeads.get(aead, Health())) for aead in backend.aeads),
        offset=status.offset,
        delay=None if sample is None else sample.delay,
        root_distance=None if sample is None else sample.distance,
        stratum=None if sample is None else sample.stratum,
        checked=status.checked,
        answered=status.answered,
        probes=status.probes,
        failures=status.failures,
        failures_by_cause={str(cause): count for cause, count in status.causes.items()},
        keys=None if status.keys is None else str(status.keys),
    )


def _check(aead: Aead, health: Health) -> CheckView:
    return CheckView(aead.label, str(health.state), health.cause)


def _histogram(durations: Durations) -> HistogramView:
    upward = tuple(accumulate(durations.buckets))
    return HistogramView(BOUNDS, upward[:-1], upward[-1], durations.seconds)
