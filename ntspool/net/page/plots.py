"""Plots as SVG, sized by the style sheet. Time runs from left to right and ends with the newest minute.

All of what is remembered is shown, and at least half an hour.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from math import ceil
from typing import TypeVar

from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import measured, span
from ntspool.pool.history import POINTS, SPAN, Point, Rate

_HEIGHT = 60
_INSET = 4.0
_STEP = SPAN / POINTS
_LEAST = 30
_DRAWN = 120
"""Points of a small plot: more are narrower than what a screen shows, and phones pay for each."""

Sample = TypeVar("Sample", Point, Rate)
Spot = tuple[float, float]
"""A time and a value."""


class _Window:
    """The time from the first of what is remembered to its last, as steps from the left; so many points are drawn."""

    def __init__(self, series: Sequence[Point] | Sequence[Rate], drawn: int) -> None:
        self._last = series[-1].time if series else 0.0
        steps = round((self._last - series[0].time) / _STEP) + 1 if series else 0
        self.step = POINTS / max(steps, _LEAST)
        self._merged = ceil(steps / drawn) * _STEP

    def place(self, time: float) -> float:
        """Return where the minute that began at `time` begins."""
        return POINTS - (round((self._last - time) / _STEP) + 1) * self.step

    def thinned(self, run: Iterable[Spot]) -> Iterator[Spot]:
        """Yield the furthest from zero of what is to be one point."""
        for _, spots in groupby(run, lambda spot: spot[0] // self._merged):
            yield max(spots, key=lambda spot: abs(spot[1]))


def offsets(points: Sequence[Point]) -> Markup:
    """Return the offsets of an address around a line for zero."""
    window, runs = _Window(points, _DRAWN), list(_runs(points, lambda point: point.offset))
    values = [value for run in runs for _, value in run]
    reach = max((abs(value) for value in values), default=0.0) or 1e-6
    told = (
        f"from {measured(min(values), sign=True)} to {measured(max(values), sign=True)}" if values else "not measured"
    )
    zero = element("line", x1=0, x2=POINTS, y1=_HEIGHT / 2, y2=_HEIGHT / 2, class_="zero")
    lines = (_line(_path(window, run, -reach, reach)) for run in runs)
    return _plot(f"Offset, {told}", join(_silence(window, points), zero, *lines), points)


def delays(points: Sequence[Point]) -> Markup:
    """Return the delays of an address above a line for zero."""
    window, runs = _Window(points, _DRAWN), list(_runs(points, lambda point: point.delay))
    values = [value for run in runs for _, value in run]
    told = f"from {measured(min(values))} to {measured(max(values))}" if values else "not measured"
    areas = (_area(window, run, max(values) or 1e-6) for run in runs)
    return _plot(f"Delay, {told}", join(_silence(window, points), *areas), points)


def rates(series: Sequence[Rate]) -> Markup:
    """Return the session rate above a line for zero."""
    window, runs = _Window(series, POINTS), list(_runs(series, lambda each: each.rate))
    highest = max((each.rate for each in series), default=0.0)
    areas = (_area(window, run, highest or 1.0) for run in runs)
    return _plot(f"Sessions a second, at most {highest:.1f}", join(*areas), series)


def bar(part: float, fair: float, label: str) -> Markup:
    """Return a bar for a part of 1, with a mark for what would be fair."""
    reach = min(max(part, 0.0), 1.0) * 100
    mark = min(max(fair, 0.0), 1.0) * 100
    return element(
        "svg",
        element("rect", width=100, height=8, class_="trough"),
        element("rect", width=reach, height=8, class_="filled"),
        element("line", x1=mark, x2=mark, y1=-2, y2=10, class_="mark"),
        viewBox="0 -2 100 12",
        preserveAspectRatio="none",
        class_="bar",
        role="img",
        aria_label=label,
    )


def _plot(label: str, drawn: Markup, series: Sequence[Point] | Sequence[Rate]) -> Markup:
    when = f" over the last {span(series[-1].time - series[0].time + _STEP)}" if series else ""
    return element(
        "svg",
        drawn,
        viewBox=f"0 0 {POINTS} {_HEIGHT}",
        preserveAspectRatio="none",
        class_="plot",
        role="img",
        aria_label=label + when,
    )


def _runs(series: Iterable[Sample], value: Callable[[Sample], float | None]) -> Iterator[list[Spot]]:
    """Yield time and value of what follows each other without a gap."""
    run: list[Spot] = []
    for each in series:
        found = value(each)
        if run and (found is None or each.time > run[-1][0] + 2 * _STEP):
            yield run
            run = []
        if found is not None:
            run.append((each.time, found))
    if run:
        yield run


def _silence(window: _Window, points: Sequence[Point]) -> Markup:
    """Return blocks for the minutes in which the address was not UP all the time."""
    blocks = []
    for up, run in groupby(points, lambda point: point.up):
        times = [point.time for point in run]
        if not up:
            left, right = window.place(times[0]), window.place(times[-1]) + window.step
            blocks.append(element("rect", x=left, y=0, width=right - left, height=_HEIGHT, class_="silent"))
    return join(*blocks)


def _line(path: str) -> Markup:
    return element("path", d=path, class_="line")


def _area(window: _Window, run: Sequence[Spot], top: float) -> Markup:
    path = _path(window, run, 0.0, top)
    return join(element("path", d=f"{path}V{_HEIGHT}H{window.place(run[0][0]):.1f}Z", class_="area"), _line(path))


def _path(window: _Window, run: Sequence[Spot], low: float, high: float) -> str:
    room = _HEIGHT - 2 * _INSET
    places = ((window.place(time), (value - low) / (high - low)) for time, value in window.thinned(run))
    steps = [f"{x:.1f} {_HEIGHT - _INSET - part * room:.1f}" for x, part in places]
    # The last minute has a length, too.
    return f"M{'L'.join(steps)}h{window.step:.1f}"
