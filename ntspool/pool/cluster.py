"""What gateways of one pool tell each other of themselves, and what one's rotation owes to the others.

Times are Unix seconds by the clock of whoever wrote them; those of two gateways may differ by seconds.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from ipaddress import ip_address
from math import isfinite
from typing import Any

from ntspool.errors import WireError
from ntspool.pool.keyring import Keyring
from ntspool.pool.proofs import Proof
from ntspool.pool.publishing import Gateway, Neighbours

GONE = 2 * 86400.0
"""Seconds after which a gateway that is not heard of holds no rotation up, or twice a cookie's life if that is more.

It may be cut off from the others and serve on: for as long as that, no cookie that it makes loses its key.
"""

_FORMAT = 1
_LONGEST = 256


@dataclass(frozen=True, slots=True)
class GatewayReport:
    """What a gateway tells of itself, at `time`, as of which all of it holds.

    `published` is what of it is in the DNS, None if nothing is. `ready` tells
    whether it can serve some client; `withdrawn` why it wants none all the same, empty if it does. `stopped` means
    that it ended in good order, and has minted nothing since. `epoch` is what it takes for the current one.
    `revisions` are short digests of the shared entries that it goes by. `reached` tells, by epoch, since when no
    cookie of an older epoch comes into the world for any of its backends, as far as it knows.
    """

    name: str
    time: float
    started: float
    version: str
    published: Gateway | None = None
    ready: bool = False
    withdrawn: str = ""
    stopped: bool = False
    epoch: int = 0
    revisions: Mapping[str, str] = field(default_factory=dict)
    reached: Mapping[int, float] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the report as gateways share it: one JSON object."""
        told = {"format": _FORMAT, **asdict(self)}
        if self.published is not None:
            told["published"]["addresses"] = list(map(str, self.published.addresses))
        return json.dumps(told, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Peer:
    """A gateway as the others know it: its last report, and whether its lease holds."""

    report: GatewayReport
    alive: bool


def decode(data: bytes) -> GatewayReport:
    """Return what `GatewayReport.encode` made bytes of; raises WireError."""
    try:
        told = json.loads(data)
        if told.pop("format") != _FORMAT:
            raise WireError("a gateway's report is of another format")
        report = GatewayReport(
            name=_text(told["name"]),
            time=_time(told["time"]),
            started=_time(told["started"]),
            version=_text(told["version"]),
            published=_published(told["published"]),
            ready=told["ready"] is True,
            withdrawn=_text(told["withdrawn"]),
            stopped=told["stopped"] is True,
            epoch=int(told["epoch"]),
            revisions={_text(entry): _text(digest) for entry, digest in told["revisions"].items()},
            reached={int(epoch): _time(since) for epoch, since in told["reached"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WireError("a gateway's report is malformed") from error
    return report


def neighbours(peers: Iterable[Peer], *, current: bool) -> Neighbours:
    """Return the other gateways as the DNS should show them; `current` tells whether it is known who lives."""
    living, dead = [], []
    for peer in sorted(peers, key=lambda each: each.report.name):
        shown, report = peer.report.published, peer.report
        if shown is not None and peer.alive:
            living.append(replace(shown, ready=report.ready and not report.withdrawn))
        elif shown is not None:
            dead.append(shown)
    return Neighbours(tuple(living), tuple(dead), current)


def reached(keyring: Keyring, proofs: Iterable[Proof], life: float, now: float) -> dict[int, float]:
    """Return for each epoch since when no backend is given or gives a cookie of an older one; missing if some may.

    `proofs` are of all addresses; those that have proved nothing for twice `life` are not asked (see `obstacles`).
    """
    known = [proof for proof in proofs if now - proof.seen <= 2 * life]
    found = {}
    for epoch in keyring.epochs:
        since = [proof.reached.get(epoch.number) for proof in known]
        if None not in since:
            found[epoch.number] = max((each for each in since if each is not None), default=0.0)
    return found


def obstacles(keyring: Keyring, peers: Iterable[Peer], life: float, now: float) -> dict[str, str]:
    """Return the other gateways for which a rotation now would break a promise, each with the reason.

    What each has minted only it knows (see proofs.obstacles), so each tells since when it mints nothing older. One
    that lives must have taken over the last rotation before there is another.
    """
    found = {}
    for peer in peers:
        if reason := _holds_up(keyring, peer, life, now):
            found[f"gateway {peer.report.name}"] = reason
    return found


def _holds_up(keyring: Keyring, peer: Peer, life: float, now: float) -> str:
    report, forgotten = peer.report, keyring.epochs[0].number
    silent = now - report.time
    if not peer.alive and silent > (life if report.stopped else max(2 * life, GONE)):
        return ""
    if peer.alive and report.epoch != keyring.current.number:
        return f"it has not taken over epoch {keyring.current.number} yet"
    if forgotten < keyring.first:
        return ""
    since = report.reached.get(keyring.epochs[1].number)
    if since is None and report.stopped:
        since = report.time
    if since is None:
        whose = "its backends have not" if peer.alive else f"it has not been heard of for {silent:.0f} s and had not"
        return f"{whose} moved on to epoch {keyring.epochs[1].number} or a newer one"
    if peer.alive:
        # By a clock that is behind ours, what happened looks longer ago than it is.
        since += max(0.0, silent)
    if now - since < life:
        return f"cookies of epoch {forgotten} may be in use for another {life - (now - since):.0f} s"
    return ""


def _published(told: Mapping[str, Any] | None) -> Gateway | None:
    if told is None:
        return None
    return Gateway(
        addresses=tuple(ip_address(_text(each)) for each in told["addresses"]),
        host=_text(told["host"]),
        port=int(told["port"]),
        priority=int(told["priority"]),
        weight=int(told["weight"]),
        ready=told["ready"] is True,
    )


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or not value.isprintable():
        raise ValueError("no short text")
    return value


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError("no time")
    return float(value)
