"""What an answer tells of a server's clock, and whether a client would take it."""

from dataclasses import dataclass

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.nts import Measurement
from ntspool.wire.ntp import Header

PHI = 15e-6
"""How fast clocks drift apart, at most, in seconds a second (RFC 5905 section 4)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client would put up with: the highest stratum, and the greatest root distance in seconds."""

    max_stratum: int = 15
    max_distance: float = 1.5


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement, in seconds, `taken` at a time of the clock that it was measured against.

    `offset` is the server's clock minus that clock, `distance` how far off the offset may be (RFC 5905's root distance,
    the volley's own delay included). `leap` and `reference_id` are the server's own.
    """

    offset: float
    delay: float
    distance: float
    stratum: int
    taken: float
    leap: int = 0
    reference_id: bytes = bytes(4)

    def distance_at(self, now: float) -> float:
        """Return the distance at a later time: clocks drift apart (RFC 5905 section 11.2.1)."""
        return self.distance + PHI * max(0.0, now - self.taken)


def sample(header: Header, measurement: Measurement, taken: float) -> Sample:
    """Return what a verified answer tells."""
    delay = max(0.0, measurement.delay)
    return Sample(
        offset=measurement.offset,
        delay=delay,
        distance=header.root_distance + delay / 2,
        stratum=header.stratum,
        taken=taken,
        leap=header.leap,
        reference_id=header.reference_id,
    )


def judge(header: Header, found: Sample, limits: Limits) -> Failure | None:
    """Return why a client would not take the time of a verified answer, None if it would."""
    if not header.synchronized:
        return Failure(Cause.UNSYNCHRONISED, f"leap {header.leap}, stratum {header.stratum}")
    if header.stratum > limits.max_stratum:
        return Failure(Cause.STRATUM, f"{header.stratum} of at most {limits.max_stratum}")
    if found.distance > limits.max_distance:
        return Failure(Cause.ROOT_DISTANCE, f"{found.distance:.3f} s of at most {limits.max_distance:g} s")
    return None
