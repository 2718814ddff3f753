"""What a gateway shows of itself: to commands, metrics and the status page. No secret and no client's address is in it.

Times are Unix seconds, durations seconds; None is what is not known or has not happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CheckView:
    """The health of one address with one AEAD: its state, `UP` or `DOWN`, and why, if it is not well."""

    aead: str
    state: str
    cause: str


@dataclass(frozen=True, slots=True)
class AddressView:
    """One address of a backend: its state (`UP`, `DOWN`, `UP 2/3`, `MAINT`), its newest measurement, its probes.

    `cause` is why it is not well, with figures, and `kind` the word of it (see causes.Cause); both are empty if it is.
    `keys` is why it is not minted for under the current epoch, None if it is. An address in `MAINT` has the rest of the
    defaults: it is not probed, and nothing of it is known.
    """

    address: str
    port: int
    state: str
    up: bool
    cause: str = ""
    kind: str = ""
    aeads: tuple[CheckView, ...] = ()
    offset: float | None = None
    delay: float | None = None
    root_distance: float | None = None
    stratum: int | None = None
    checked: float | None = None
    answered: float | None = None
    probes: int = 0
    failures: int = 0
    failures_by_cause: Mapping[str, int] = field(default_factory=dict)
    keys: str | None = None


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend. `state` is `UP`, `DOWN`, `DRAIN`, `MAINT`; `admin` is `ready`, `drain` or `maint`.

    `since` is when it came to be in this state, at the earliest when the gateway started. `weight` is what is declared,
    `effective_weight` what holds now (an operator's `weight`, slow start); `share` is its part of all sessions since
    the gateway's start, `fair_share` the part that its weight would give it now (0 to 1; 0 for who is not UP).
    `minting` is the epoch that clients' cookies are minted under. One that keeps its own keys has none, nor a key
    group; `ke` is then where it is asked for cookies, `HOST:PORT`.
    """

    name: str
    state: str
    admin: str
    cause: str
    since: float
    weight: int
    effective_weight: float
    cookies: str
    key_group: str
    regions: tuple[str, ...]
    addresses: tuple[AddressView, ...]
    sessions: int
    share: float
    fair_share: float
    minting: int | None
    ke: str = ""


@dataclass(frozen=True, slots=True)
class HistogramView:
    """A cumulative histogram as Prometheus has it: ascending upper bounds, and how many were at most that."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    count: int
    sum: float


@dataclass(frozen=True, slots=True)
class SessionsView:
    """All sessions since the gateway's start, over all workers, those that died too.

    `outcomes` are by Outcome, `reasons` those that were not ok by the reason told in the log (a bounded set of words),
    `turned_away` clients before TLS by TurnedAway. `duration` is from accept to close,
    `handshake` from accept to the end of TLS's handshake; `rate` is sessions a second over the last minute.
    """

    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]
    turned_away: Mapping[str, int]
    aeads: Mapping[str, int]
    duration: HistogramView
    handshake: HistogramView
    rate: float
    open: int


@dataclass(frozen=True, slots=True)
class UpstreamView:
    """What was asked of one backend that keeps its own keys, since the gateway's start and over all workers.

    `connections` are those open now, `opened` all. `answered` clients got its cookies; `avoided` ones got another
    backend, or none, before their keys were sent. `failures` of connections and of questions are by Cause.
    """

    backend: str
    connections: int
    opened: int
    answered: int
    avoided: int
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class UpstreamsView:
    """All backends that keep their own keys.

    `waits` is how long clients waited until a connection was theirs, `answers` from then until the cookies were there.
    """

    backends: tuple[UpstreamView, ...]
    waits: HistogramView
    answers: HistogramView


@dataclass(frozen=True, slots=True)
class CertificateView:
    """A certificate: the names that it covers, and until when it is valid."""

    names: tuple[str, ...]
    not_after: float


@dataclass(frozen=True, slots=True)
class WorkersView:
    """The workers: how many should run, the process ids of those that do, and how often one died or was replaced."""

    wanted: int
    pids: tuple[int, ...]
    deaths: int
    replaced: int


@dataclass(frozen=True, slots=True)
class EventView:
    """One change: what happened (`backend DOWN`, `keys rotated`, `reloaded`), to whom, why, and from what to what."""

    number: int
    time: float
    event: str
    level: str
    subject: str
    cause: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ChangeView:
    """One difference between two configurations, by its key: `health.interval`, `backends.ntp-1.weight`.

    What one of them does not have, or leaves to its default, is empty; a backend that was added or removed is told with
    all its keys at once. Durations are in seconds.
    """

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ReloadView:
    """What a reload did: the differences that it took over, and the keys of those that need a restart."""

    changes: tuple[ChangeView, ...]
    restart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProbedAeadView:
    """What a probe found with one AEAD: `cause` is empty if it is good; `cookies` came with the first answer."""

    aead: str
    good: bool
    cause: str
    cookies: int


@dataclass(frozen=True, slots=True)
class ProbedEpochView:
    """An epoch that a probe tried: whether cookies of it are opened, and the epoch of those that came back."""

    epoch: int
    accepted: bool
    mints: int | None


@dataclass(frozen=True, slots=True)
class ProbeView:
    """What one probe of an address found; `sent` tells whether this machine had a socket for it."""

    address: str
    port: int
    sent: bool
    good: bool
    aeads: tuple[ProbedAeadView, ...] = ()
    epochs: tuple[ProbedEpochView, ...] = ()
    offset: float | None = None
    delay: float | None = None
    root_distance: float | None = None
    stratum: int | None = None


@dataclass(frozen=True, slots=True)
class PeerView:
    """One gateway of a cluster: what it told at `told` of itself, and whether it lives.

    `agrees` tells whether it goes by the same shared state as the gateway that shows this, `withdrawn` why it wants no
    clients (empty if it does), `stopped` that it ended in good order. `addresses` and `weight` are what of it is in the
    DNS; empty and None if nothing is.
    """

    name: str
    alive: bool
    ready: bool
    withdrawn: str
    stopped: bool
    leads: bool
    told: float
    started: float
    version: str
    epoch: int
    agrees: bool
    addresses: tuple[str, ...]
    weight: int | None


@dataclass(frozen=True, slots=True)
class ClusterView:
    """The gateways of a pool as one of them, `name`, knows them.

    `away` is why the store that they share cannot be reached, None while it can, and `since` since when. `outvoted` are
    backends that answer this gateway and not most of the others, `unreachable` those that answer most and not this one,
    both with words; `withdrawn` is why this one wants no clients. `calls` counts those to the store by operation and
    result, `seconds` what they took by operation.
    """

    name: str
    away: str | None
    since: float
    leader: str
    gateways: tuple[PeerView, ...]
    outvoted: Mapping[str, str]
    unreachable: Mapping[str, str]
    withdrawn: str
    calls: Mapping[str, int]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class PublishingView:
    """The gateway's records in the DNS: whether `names` lead to it, as of `checked`, and the DNS server's address.

    `trouble` is why that could not be found out or changed `since` then, empty if it could. `stuck` are names where a
    record only stays because it is the last. `updates` counts those done, overtaken by another gateway's, and failed.
    """

    server: str
    names: tuple[str, ...]
    shown: bool
    checked: float | None
    trouble: str
    since: float | None
    stuck: tuple[str, ...]
    updates: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class HistoryView:
    """The history on disk: records of it written since the start, those lost, its bytes, whether writing fails now."""

    written: int = 0
    lost: int = 0
    size: int = 0
    failing: bool = False


@dataclass(frozen=True, slots=True)
class GatewayView:
    """One gateway as it is now. `keys` is what `ntspool keys status` shows (see KeyKeeper.status).

    `ready` tells whether it can serve some client; `panicking` names the address families in panic; `vote` is the mode
    of the offset vote; `publishing` is None for a gateway that is not published in the DNS, `cluster` for one alone,
    `upstreams` while no backend keeps its own keys.
    """

    version: str
    now: float
    started: float
    revision: int
    ready: bool
    names: tuple[str, ...]
    listen: tuple[str, ...]
    workers: WorkersView
    backends: tuple[BackendView, ...]
    sessions: SessionsView
    certificates: tuple[CertificateView, ...]
    panicking: tuple[str, ...]
    vote: str
    keys: Mapping[str, object]
    cluster: ClusterView | None = None
    publishing: PublishingView | None = None
    history: HistoryView = HistoryView()
    upstreams: UpstreamsView | None = None
