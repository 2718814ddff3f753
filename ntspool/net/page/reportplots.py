"""The plots of a report as SVG with axes: offset and its uncertainty over time, and when an address was UP."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from math import asinh

from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import measured
from ntspool.pool.report import Period, Point

WIDTH, LEFT, RIGHT = 960.0, 76.0, 948.0
_TOP, _BOTTOM = 8.0, 188.0
_STRIP = 18.0
_LINEAR = 10.0
"""Into how many parts the smallest limit is divided where the scale is linear; beyond them it is logarithmic."""

_STEPS = tuple(hours * 3600.0 for hours in (0.25, 1, 3, 6, 12, 24, 48, 168, 336, 720, 2160, 8760))
_TICKS = 8
_ROOM = 18.0
"""Between the labels of two lines, at least."""


Bounds = Callable[[Point], tuple[float, float]]


class _Scale:
    """Where times and offsets lie in the plot."""

    def __init__(self, period: Period, reach: float, unit: float) -> None:
        self._period = period
        self._unit = unit
        self._reach = asinh(reach / unit)

    def x(self, time: float) -> float:
        """Return where a time lies; what is outside of the period, at its edge."""
        part = (time - self._period.start) / self._period.length
        return LEFT + min(max(part, 0.0), 1.0) * (RIGHT - LEFT)

    def y(self, offset: float) -> float:
        """Return where an offset lies; what is out of reach, at the edge."""
        part = min(max(asinh(offset / self._unit) / self._reach, -1.0), 1.0)
        return (_TOP + _BOTTOM) / 2 - part * (_BOTTOM - _TOP) / 2


def offsets(points: Sequence[Point], period: Period, step: float, limits: Sequence[float]) -> Markup:
    """Return the offset over time: its mean, from its lowest to its highest, and the mean's uncertainty around it.

    Around zero the scale is linear, up to a tenth of the smallest limit, and from there on logarithmic.
    """
    unit = min(limits) / _LINEAR
    scale = _Scale(period, _reach(points, limits) * 1.1, unit)
    runs = [list(run) for known, run in groupby(points, lambda point: point.count > 0) if known]
    drawn = [
        *(_band(scale, run, step, _around, "uncertainty") for run in runs),
        *(_band(scale, run, step, _extremes, "extremes") for run in runs),
        *_lines(scale, limits, _reach(points, limits)),
        *(_mean(scale, run, step) for run in runs),
        *_times(scale, period, _BOTTOM),
    ]
    return _plot("Offset over time", _BOTTOM + 22, drawn)


def availability(points: Sequence[Point], period: Period, step: float) -> Markup:
    """Return a strip: when the address was UP, was not, was both in turn, and when nobody looked."""
    scale, strip = _Scale(period, 1.0, 1.0), []
    for state, run in groupby(points, _state):
        times = [point.start for point in run]
        left, right = scale.x(times[0]), scale.x(times[-1] + step)
        top, height = (_STRIP / 2, _STRIP / 2) if state == "down" else (0.0, _STRIP)
        strip.append(element("rect", x=left, y=top, width=right - left, height=height, class_=state))
    label = element("text", "UP", x=LEFT - 8, y=_STRIP / 2 + 4, text_anchor="end")
    return _plot("When it was UP", _STRIP, [label, *strip])


def _state(point: Point) -> str:
    if point.observed <= 0:
        return "unknown"
    if point.up >= point.observed:
        return "up"
    return "partly" if point.up > 0 else "down"


def _reach(points: Sequence[Point], limits: Sequence[float]) -> float:
    found = [max(abs(low), abs(high)) for point in points for low, high in (_around(point), _extremes(point))]
    return max([*found, min(limits)])


def _around(point: Point) -> tuple[float, float]:
    mean, uncertainty = point.mean or 0.0, point.uncertainty or 0.0
    return mean - uncertainty, mean + uncertainty


def _extremes(point: Point) -> tuple[float, float]:
    return point.lowest or 0.0, point.highest or 0.0


def _band(scale: _Scale, run: Sequence[Point], step: float, bounds: Bounds, name: str) -> Markup:
    """Return the area between two bounds of each point, which holds for all of its time."""
    above, below = [], []
    for point in run:
        low, high = bounds(point)
        for time in (point.start, point.start + step):
            above.append(f"{scale.x(time):.1f} {scale.y(high):.1f}")
            below.append(f"{scale.x(time):.1f} {scale.y(low):.1f}")
    return element("path", d=f"M{'L'.join([*above, *reversed(below)])}Z", class_=name)


def _mean(scale: _Scale, run: Sequence[Point], step: float) -> Markup:
    spots = [f"{scale.x(point.start + step / 2):.1f} {scale.y(point.mean or 0.0):.1f}" for point in run]
    # A single one has a width, too.
    return element("path", d=f"M{'L'.join(spots)}h.1", class_="mean")


def _lines(scale: _Scale, limits: Sequence[float], reach: float) -> Iterator[Markup]:
    """Yield a line at zero, at each limit, and at powers of ten between, with labels where there is room for them."""
    tens = [10.0**power for power in range(-9, 3) if min(limits) / _LINEAR < 10.0**power <= reach]
    wanted = [0.0, *(limit for limit in limits if limit <= reach * 1.1), *tens]
    labelled: list[float] = []
    for distance in wanted:
        kind = "zero" if not distance else "limit" if distance in limits else "ten"
        for offset in (distance, -distance) if distance else (0.0,):
            y = scale.y(offset)
            yield element("line", x1=LEFT, x2=RIGHT, y1=y, y2=y, class_=kind)
            if all(abs(y - other) >= _ROOM for other in labelled):
                labelled.append(y)
                text = measured(offset, sign=True) if offset else "0"
                yield element("text", text, x=LEFT - 8, y=y + 4, text_anchor="end")


def _times(scale: _Scale, period: Period, bottom: float) -> Iterator[Markup]:
    step = next((each for each in _STEPS if period.length / each <= _TICKS), _STEPS[-1])
    form = "%H:%M" if step < 86400 else "%Y-%m-%d"
    if step < 86400 < period.length:
        form = "%m-%d %H:%M"
    time = period.start - period.start % -step
    while time < period.end:
        x = scale.x(time)
        yield element("line", x1=x, x2=x, y1=_TOP, y2=bottom + 4, class_="time")
        text = datetime.fromtimestamp(time, UTC).strftime(form)
        yield element("text", text, x=x, y=bottom + 18, text_anchor="middle")
        time += step


def _plot(label: str, height: float, drawn: Sequence[Markup]) -> Markup:
    return element(
        "svg", join(*drawn), viewBox=f"0 0 {WIDTH:.0f} {height:.0f}", class_="plot", role="img", aria_label=label
    )
