"""What an auditor asks of a pool's clocks over a period: each address's availability, offsets and references."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import TypeVar

from ntspool.pool.distribution import Distribution, Figures, figures
from ntspool.pool.observation import AUTHENTICATION, Observation, Where
from ntspool.pool.tally import Hour, Source, Tally, synchronised
from ntspool.pool.view import EventView

POINTS = 240
"""Points of a plot over the whole period."""

_HOUR = 3600.0

T = TypeVar("T", str, Source)


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` until before `end`, in Unix seconds."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Spread:
    """How offsets are distributed, in seconds: the median with its sign, the others by their distance from zero."""

    median: float
    p95: float
    p99: float
    furthest: float


@dataclass(frozen=True, slots=True)
class Within:
    """Which part of all measurements was within a limit in seconds: as measured, and in spite of its uncertainty."""

    limit: float
    measured: float
    surely: float


@dataclass(slots=True)
class Point:
    """A stretch of the period from `start` on. Seconds; None is what was not measured.

    `lowest`, `highest` and `mean` are those of the offset, `uncertainty` is its mean. `observed` and `up` are for how
    long the state was known, and UP.
    """

    start: float
    lowest: float | None = None
    highest: float | None = None
    observed: float = 0.0
    up: float = 0.0
    count: int = 0
    total: float = 0.0
    uncertainties: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean offset."""
        return self.total / self.count if self.count else None

    @property
    def uncertainty(self) -> float | None:
        """The mean uncertainty."""
        return self.uncertainties / self.count if self.count else None

    def take(self, offset: Figures, uncertainty: Figures) -> None:
        """Count measurements."""
        self.lowest = offset.lowest if self.lowest is None else min(self.lowest, offset.lowest)
        self.highest = offset.highest if self.highest is None else max(self.highest, offset.highest)
        self.count += offset.number
        self.total += offset.total
        self.uncertainties += uncertainty.total


@dataclass(frozen=True, slots=True)
class AddressReport:
    """One address of a backend over a period.

    `observed` and `up` are seconds for which its state was known, and UP. `offset` is against the gateway's clock,
    `pool` against the majority of the backends; both and `uncertainty` (median and highest) are None where nothing was
    measured. `sources` and `causes` are counted, the most frequent first. `exact` tells that no figure is approximate.
    """

    where: Where
    probes: int
    good: int
    observed: float
    up: float
    causes: tuple[tuple[str, int], ...]
    sources: tuple[tuple[Source, int], ...]
    offset: Spread | None
    pool: Spread | None
    uncertainty: tuple[float, float] | None
    within: tuple[Within, ...]
    exact: bool
    points: tuple[Point, ...] = ()

    @property
    def authentication_failures(self) -> int:
        """How many probes brought an answer that NTS did not authenticate."""
        return sum(count for cause, count in self.causes if cause in AUTHENTICATION)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole report, `made` at a time in Unix seconds; `since` is when the oldest record of the period was made.

    `limits` are in seconds. `step` is how long each point of the plots is.
    """

    version: str
    made: float
    period: Period
    since: float | None
    limits: tuple[float, ...]
    step: float
    addresses: tuple[AddressReport, ...]
    events: tuple[EventView, ...]

    @property
    def exact(self) -> bool:
        """Whether no figure is approximate."""
        return all(each.exact for each in self.addresses)


@dataclass(slots=True)
class _Examined:
    tally: Tally
    points: dict[int, Point] = field(default_factory=dict)


class Examiner:
    """Counts what was recorded in a period, and reports. `exact` is whether single probes are to be kept in memory.

    `hourly` tells that some of it is in hours: no point of a plot is shorter then.
    """

    def __init__(self, period: Period, *, exact: bool, hourly: bool) -> None:
        self.period = period
        self.step = max(period.length / POINTS, _HOUR if hourly else 1.0)
        self._exact = exact
        self._known: dict[Where, _Examined] = {}

    def add(self, seen: Observation) -> None:
        """Count a probe."""
        known = self._of(seen.where)
        known.tally.add(seen)
        point = self._point(known, seen.time)
        point.observed += seen.held
        point.up += seen.held if seen.was_up else 0.0
        if seen.measured is not None and synchronised(seen.measured):
            offset, uncertainty = seen.measured.offset, seen.measured.uncertainty
            point.take(Figures(offset, offset, offset, 1), Figures(uncertainty, uncertainty, uncertainty, 1))

    def absorb(self, start: float, where: Where, hour: Hour) -> None:
        """Count an hour that began at `start`; raises WireError if it is damaged."""
        known = self._of(where)
        known.tally.absorb(hour)
        point = self._point(known, start)
        point.observed += hour.observed
        point.up += hour.up
        offset, uncertainty = figures(hour.offset), figures(hour.uncertainty)
        if offset is not None and uncertainty is not None:
            point.take(offset, uncertainty)

    def addresses(self, limits: Sequence[float]) -> tuple[AddressReport, ...]:
        """Return what each address comes to, in the order of names."""
        return tuple(
            _reported(where, self._known[where].tally, limits, self._points(where)) for where in sorted(self._known)
        )

    def _of(self, where: Where) -> _Examined:
        known = self._known.get(where)
        if known is None:
            known = self._known[where] = _Examined(Tally(exact=self._exact))
        return known

    def _point(self, known: _Examined, time: float) -> Point:
        number = int((time - self.period.start) / self.step)
        point = known.points.get(number)
        if point is None:
            point = known.points[number] = Point(self.period.start + number * self.step)
        return point

    def _points(self, where: Where) -> tuple[Point, ...]:
        points = self._known[where].points
        last = ceil(self.period.length / self.step)
        return tuple(points.get(number) or Point(self.period.start + number * self.step) for number in range(last))


def about(events: Iterable[EventView], names: Sequence[str], known: Iterable[str]) -> tuple[EventView, ...]:
    """Return the events that are about backends of these `names`, all if there are none, or about no `known` one."""
    others = set(known) - set(names) if names else set()
    return tuple(each for each in events if each.subject.partition(" ")[0] not in others)


def _reported(where: Where, tally: Tally, limits: Sequence[float], points: tuple[Point, ...]) -> AddressReport:
    typical, worst = tally.uncertainty.quantile(0.5), tally.uncertainty.highest
    return AddressReport(
        where=where,
        probes=tally.probes,
        good=tally.good,
        observed=tally.observed,
        up=tally.up,
        causes=_counted(tally.causes),
        sources=_counted(tally.sources),
        offset=_spread(tally.offset),
        pool=_spread(tally.pool),
        uncertainty=None if typical is None or worst is None else (typical, worst),
        within=tuple(_within(tally, limit) for limit in limits) if tally.offset.count else (),
        exact=tally.offset.exact,
        points=points,
    )


def _spread(offsets: Distribution) -> Spread | None:
    found = offsets.quantile(0.5), offsets.magnitude(0.95), offsets.magnitude(0.99), offsets.furthest
    median, p95, p99, furthest = found
    if median is None or p95 is None or p99 is None or furthest is None:
        return None
    return Spread(median, p95, p99, furthest)


def _within(tally: Tally, limit: float) -> Within:
    return Within(limit, tally.offset.share_within(limit) or 0.0, tally.bound.share_within(limit) or 0.0)


def _counted(counts: Mapping[T, int]) -> tuple[tuple[T, int], ...]:
    return tuple(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
