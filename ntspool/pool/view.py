"""What a gateway shows of itself: to commands, metrics and the status page. No secret and no client's address is in it.

Times are Unix seconds, durations seconds; None is what is not known or has not happened.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckView:
    """The health of one address with one AEAD: its state as HAProxy shows it, and why, if it is not well."""

    aead: str
    state: str
    cause: str


@dataclass(frozen=True, slots=True)
class AddressView:
    """One address of a backend: its state (`UP`, `DOWN`, `UP 2/3`), its newest measurement, its probes."""

    address: str
    port: int
    state: str
    up: bool
    cause: str
    kind: str
    aeads: tuple[CheckView, ...]
    offset: float | None
    delay: float | None
    root_distance: float | None
    stratum: int | None
    checked: float | None
    answered: float | None
    probes: int
    failures: int
    failures_by_cause: Mapping[str, int]
    keys: str | None


@dataclass(frozen=True, slots=True)
class BackendView:
    """One backend. `state` is `UP`, `DOWN`, `DRAIN`, `MAINT`; `admin` is `ready`, `drain` or `maint`.

    `weight` is what is declared, `effective_weight` what holds now (an operator's `weight`, slow start); `share` is its
    part of all sessions since the gateway's start, `fair_share` the part that its weight would give it now (0 to 1).
    `minting` is the epoch that clients' cookies are minted under.
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
    `turned_away` clients before TLS by TurnedAway. `rate` is sessions a second over the last minute.
    """

    outcomes: Mapping[str, int]
    reasons: Mapping[str, int]
    turned_away: Mapping[str, int]
    aeads: Mapping[str, int]
    duration: HistogramView
    rate: float
    open: int


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
class GatewayView:
    """One gateway as it is now. `keys` is what `ntspool keys status` shows (see KeyKeeper.status).

    `ready` tells whether it can serve some client; `panicking` names the address families in panic; `vote` is the mode
    of the offset vote.
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
