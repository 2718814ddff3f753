"""The last hours of a pool in bounded memory: what the plots of the status page show."""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from ntspool.pool.causes import Cause
from ntspool.pool.observation import Observation
from ntspool.pool.view import AddressView, GatewayView

SPAN = 6 * 3600.0
"""Seconds that are remembered."""

POINTS = 360
"""Points that are kept of each series, one for each minute."""

_STEP = SPAN / POINTS
_SILENCE = {Cause.NOT_PROBED, Cause.NO_ANSWER, Cause.REFUSED, Cause.UNREACHABLE}


@dataclass(frozen=True, slots=True)
class Point:
    """One address in the minute that began at `time`: the worst of what was seen. None is what was not measured."""

    time: float
    offset: float | None
    delay: float | None
    up: bool


@dataclass(frozen=True, slots=True)
class Rate:
    """Sessions a second in the minute that began at `time`, at their most."""

    time: float
    rate: float


Where = tuple[str, str, int]
"""Whose series it is: the backend's name, address and port."""

Sample = TypeVar("Sample", Point, Rate)


class History:
    """What was seen of one gateway. Call `observe` at a steady pace, several times a minute.

    Times are those of the views; when the clock was set back, what lies in the future is forgotten. A backend's
    address that is in the view no more is forgotten with all its points.
    """

    def __init__(self) -> None:
        self._points: dict[Where, deque[Point]] = {}
        self._rates: deque[Rate] = deque(maxlen=POINTS)

    def observe(self, view: GatewayView) -> None:
        """Remember what `view` shows."""
        began = view.now - view.now % _STEP
        seen: dict[Where, deque[Point]] = {}
        for backend in view.backends:
            for each in backend.addresses:
                where = (backend.name, each.address, each.port)
                seen[where] = self._points.get(where, deque(maxlen=POINTS))
                _add(seen[where], _point(began, each), _worst)
        self._points = seen
        _add(self._rates, Rate(began, view.sessions.rate), _most)

    def recall(self, seen: Observation) -> None:
        """Remember a probe of an earlier run; the oldest first, and before what is observed."""
        began = seen.time - seen.time % _STEP
        found = seen.measured
        offset, delay = (None, None) if found is None else (found.pool, found.delay)
        # Of the first probe of a run it is not known what was before.
        point = Point(began, offset, delay, seen.was_up or not seen.held)
        _add(self._points.setdefault(seen.where, deque(maxlen=POINTS)), point, _worst)

    def copy(self) -> "History":
        """Return one that stays as this is now."""
        same = History()
        same._points = {where: series.copy() for where, series in self._points.items()}
        same._rates = self._rates.copy()
        return same

    def covers(self) -> float:
        """Return how many seconds it reaches back."""
        kept = self.rates()
        return kept[-1].time - kept[0].time + _STEP if kept else 0.0

    def points(self, backend: str, address: str, port: int) -> tuple[Point, ...]:
        """Return what is remembered of an address, oldest first."""
        return _recent(self._points.get((backend, address, port), ()))

    def rates(self) -> tuple[Rate, ...]:
        """Return what is remembered of the session rate, oldest first."""
        return _recent(self._rates)


def answers(address: AddressView) -> bool:
    """Tell whether the newest measurement is one of now, and not from before the address went silent."""
    return address.checked is not None and address.kind not in _SILENCE


def _point(began: float, address: AddressView) -> Point:
    offset, delay = (address.offset, address.delay) if answers(address) else (None, None)
    return Point(began, offset, delay, address.up)


def _add(series: deque[Sample], fresh: Sample, merge: Callable[[Sample, Sample], Sample]) -> None:
    while series and series[-1].time > fresh.time:
        series.pop()
    if series and series[-1].time == fresh.time:
        fresh = merge(series.pop(), fresh)
    series.append(fresh)


def _recent(series: Iterable[Sample]) -> tuple[Sample, ...]:
    kept = tuple(series)
    return tuple(each for each in kept if each.time > kept[-1].time - SPAN)


def _worst(before: Point, fresh: Point) -> Point:
    offset = max((before.offset, fresh.offset), key=lambda value: -1.0 if value is None else abs(value))
    delay = max((before.delay, fresh.delay), key=lambda value: -1.0 if value is None else value)
    return Point(fresh.time, offset, delay, before.up and fresh.up)


def _most(before: Rate, fresh: Rate) -> Rate:
    return max(before, fresh, key=lambda each: each.rate)
