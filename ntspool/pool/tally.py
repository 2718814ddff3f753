"""What the probes of one address come to over a time: an hour of it as it is kept, or the period of a report."""

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from ntspool.pool.distribution import Distribution
from ntspool.pool.observation import Measured, Observation

_UNSYNCHRONISED = 3
_STRATA = range(1, 16)


class Source(NamedTuple):
    """What a server says that it follows, and its leap indicator."""

    stratum: int
    leap: int
    reference: str


@dataclass(frozen=True, slots=True)
class Hour:
    """A tally as it is kept: `causes` and `sources` counted, every series packed (see Distribution.pack)."""

    probes: int
    good: int
    observed: float
    up: float
    causes: tuple[tuple[str, int], ...]
    sources: tuple[tuple[int, int, str, int], ...]
    offset: bytes
    pool: bytes
    uncertainty: bytes
    bound: bytes


class Tally:
    """Counts probes of one address, and how its clock was.

    `observed` and `up` are seconds: for how long its state was known, and UP. Of the series, in seconds, `offset` is
    against the gateway's clock, `pool` against the majority, `bound` what `offset` was at most, its uncertainty
    included. An unsynchronised server counts in none: its time is nobody's.
    """

    def __init__(self, *, exact: bool = True) -> None:
        self.probes = 0
        self.good = 0
        self.observed = 0.0
        self.up = 0.0
        self.causes: Counter[str] = Counter()
        self.sources: Counter[Source] = Counter()
        self.offset, self.pool, self.uncertainty, self.bound = (Distribution(exact=exact) for _ in range(4))

    def add(self, seen: Observation) -> None:
        """Count a probe."""
        self.probes += 1
        self.good += seen.good
        self.observed += seen.held
        self.up += seen.held if seen.was_up else 0.0
        if seen.cause:
            self.causes[seen.cause] += 1
        if seen.measured is not None:
            self._measure(seen.measured)

    def absorb(self, hour: Hour) -> None:
        """Count what an hour has counted; raises WireError if it is damaged, and has counted part of it then."""
        self.probes += hour.probes
        self.good += hour.good
        self.observed += hour.observed
        self.up += hour.up
        self.causes.update(dict(hour.causes))
        self.sources.update({Source(stratum, leap, name): count for stratum, leap, name, count in hour.sources})
        self.offset.absorb(hour.offset)
        self.pool.absorb(hour.pool)
        self.uncertainty.absorb(hour.uncertainty)
        self.bound.absorb(hour.bound)

    def hour(self) -> Hour:
        """Return what was counted as it is kept."""
        return Hour(
            self.probes,
            self.good,
            self.observed,
            self.up,
            tuple(sorted(self.causes.items())),
            tuple((*source, count) for source, count in sorted(self.sources.items())),
            self.offset.pack(),
            self.pool.pack(),
            self.uncertainty.pack(),
            self.bound.pack(),
        )

    def _measure(self, found: Measured) -> None:
        self.sources[Source(found.stratum, found.leap, found.reference)] += 1
        if not synchronised(found):
            return
        self.offset.add(found.offset)
        self.uncertainty.add(found.uncertainty)
        self.bound.add(abs(found.offset) + found.uncertainty)
        if found.pool is not None:
            self.pool.add(found.pool)


def synchronised(found: Measured) -> bool:
    """Tell whether a server called its clock good (RFC 5905 figures 10 and 11)."""
    return found.leap != _UNSYNCHRONISED and found.stratum in _STRATA
