"""One probe as it is kept for years: what became of it, and what it measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.fleet import Target
from ntspool.pool.sample import Sample
from ntspool.wire.aead import Aead

HOLDS = 2.0
"""For how many times the pause until the next probe a state is taken to hold, when that probe came late."""


class Where(NamedTuple):
    """Who is probed: a backend by name, at one of its addresses."""

    backend: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What a verified answer told. Seconds; positive offsets are ahead.

    `offset` is the backend's clock minus the gateway's own, `pool` minus what the majority of the backends shows, None
    where none agreed; `uncertainty` is how far off `offset` may be (RFC 5905's root distance, half of the volley's
    delay in it). `reference` is what the backend follows (see `reference_name`).
    """

    offset: float
    pool: float | None
    uncertainty: float
    delay: float
    stratum: int
    leap: int
    reference: str


@dataclass(frozen=True, slots=True)
class Observation:
    """One probe that ended at `time`, in Unix seconds by the gateway's clock.

    `good` tells that a client would have been served with some AEAD, `cause` why not with every one, empty if with
    all. The state before it, `was_up`, held for `held` seconds: since the probe before, or less when that was long
    ago, and not at all before the first.
    """

    where: Where
    time: float
    good: bool
    cause: str
    was_up: bool
    held: float
    measured: Measured | None


class Bearings(NamedTuple):
    """Where the clocks stood when a probe ended, at `now` in Unix seconds.

    `ahead` is how far the gateway's own clock was ahead of the common one that samples are measured against, `middle`
    how far the majority of the backends was; None where none agreed.
    """

    now: float
    ahead: float
    middle: float | None


class Past(NamedTuple):
    """What was known before a probe: when the one before ended (None: never), whether UP, and the pause from there."""

    checked: float | None
    up: bool
    pause: float


def held(now: float, before: float | None, pause: float) -> float:
    """Return for how long a state is known to have held that a probe found at `before`; the next was due in `pause`."""
    return 0.0 if before is None else max(0.0, min(now - before, HOLDS * pause))


def observed(
    target: Target, outcomes: Mapping[Aead, Failure | None], sample: Sample | None, bearings: Bearings, past: Past
) -> Observation:
    """Return what is kept of a probe that found so much with each AEAD."""
    causes = [failure.cause for failure in outcomes.values() if failure]
    return Observation(
        where=Where(target.backend, str(target.address), target.port),
        time=bearings.now,
        good=None in outcomes.values(),
        cause=str(causes[0]) if causes else "",
        was_up=past.up,
        held=held(bearings.now, past.checked, past.pause),
        measured=None if sample is None else measured(sample, bearings),
    )


def measured(sample: Sample, bearings: Bearings) -> Measured:
    """Return what a sample against the common clock says of the clocks that count."""
    return Measured(
        offset=sample.offset - bearings.ahead,
        pool=None if bearings.middle is None else sample.offset - bearings.middle,
        uncertainty=sample.distance,
        delay=sample.delay,
        stratum=sample.stratum,
        leap=sample.leap,
        reference=reference_name(sample.stratum, sample.reference_id),
    )


def reference_name(stratum: int, reference_id: bytes) -> str:
    """Return a reference id as people read it (RFC 5905 figure 12): `GPS`, `192.0.2.1`.

    From stratum 2 on it is the IPv4 address of the server's own source, or looks like one: that of an IPv6 address is a
    hash.
    """
    code = reference_id.rstrip(b"\0")
    if stratum <= 1 and code and code.isascii() and code.decode("ascii").isprintable():
        return code.decode("ascii")
    return str(IPv4Address(reference_id)) if len(reference_id) == 4 else ""


AUTHENTICATION = (Cause.NAK, Cause.BAD_AUTHENTICATOR, Cause.COOKIE, Cause.UNPROTECTED)
"""Causes that mean that NTS did not authenticate the time."""
