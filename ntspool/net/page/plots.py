"""Plots as SVG, sized by the style sheet. Time runs from left to right and ends with the newest minute."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import measured, span
from ntspool.pool.history import POINTS, SPAN, Point, Rate

_HEIGHT = 60
_INSET = 4.0
_STEP = SPAN / POINTS

Spot = tuple[int, float]
"""Minutes from the left, and a value."""


def offsets(points: Sequence[Point]) -> Markup:
    """Return the offsets of an address around a line for zero."""
    spots = [_spots(points, run) for run in _runs(points, lambda point: point.offset)]
    values = [value for run in spots for _, value in run]
    reach = max((abs(value) for value in values), default=0.0) or 1e-6
    told = (
        f"from {measured(min(values), sign=True)} to {measured(max(values), sign=True)}" if values else "not measured"
    )
    zero = element("line", x1=0, x2=POINTS, y1=_HEIGHT / 2, y2=_HEIGHT / 2, class_="zero")
    return _plot(f"Offset, {told}", join(_silence(points), zero, *(_line(run, -reach, reach) for run in spots)), points)


def delays(points: Sequence[Point]) -> Markup:
    """Return the delays of an address above a line for zero."""
    spots = [_spots(points, run) for run in _runs(points, lambda point: point.delay)]
    values = [value for run in spots for _, value in run]
    top = max(values, default=0.0) or 1e-6
    told = f"from {measured(min(values))} to {measured(max(values))}" if values else "not measured"
    return _plot(f"Delay, {told}", join(_silence(points), *(_area(run, top) for run in spots)), points)


def rates(series: Sequence[Rate]) -> Markup:
    """Return the session rate above a line for zero."""
    spots = [(POINTS - 1 - round((series[-1].time - each.time) / _STEP), each.rate) for each in series]
    top = max((value for _, value in spots), default=0.0) or 1.0
    highest = max((each.rate for each in series), default=0.0)
    return _plot(f"Sessions a second, at most {highest:.1f}", _area(spots, top), series)


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


def _runs(points: Sequence[Point], value: Callable[[Point], float | None]) -> Iterator[list[tuple[float, float]]]:
    """Yield time and value of what follows each other without a gap."""
    run: list[tuple[float, float]] = []
    for point in points:
        found = value(point)
        if run and (found is None or point.time > run[-1][0] + 2 * _STEP):
            yield run
            run = []
        if found is not None:
            run.append((point.time, found))
    if run:
        yield run


def _spots(points: Sequence[Point], run: Sequence[tuple[float, float]]) -> list[Spot]:
    return [(POINTS - 1 - round((points[-1].time - time) / _STEP), value) for time, value in run]


def _silence(points: Sequence[Point]) -> Markup:
    """Return blocks for the minutes in which the address was not UP all the time."""
    blocks = []
    for up, run in groupby(points, lambda point: point.up):
        spots = _spots(points, [(point.time, 0.0) for point in run])
        if not up:
            first, last = spots[0][0], spots[-1][0]
            blocks.append(element("rect", x=first, y=0, width=last - first + 1, height=_HEIGHT, class_="silent"))
    return join(*blocks)


def _line(spots: Sequence[Spot], low: float, high: float) -> Markup:
    return element("path", d=_path(spots, low, high), class_="line")


def _area(spots: Sequence[Spot], top: float) -> Markup:
    if not spots:
        return Markup()
    path = _path(spots, 0.0, top)
    below = f"{path}V{_HEIGHT}H{spots[0][0]}Z"
    return join(element("path", d=below, class_="area"), element("path", d=path, class_="line"))


def _path(spots: Sequence[Spot], low: float, high: float) -> str:
    room = _HEIGHT - 2 * _INSET
    steps = [f"{x} {_HEIGHT - _INSET - (value - low) / (high - low) * room:.1f}" for x, value in spots]
    # One spot alone would be a line without length.
    return f"M{'L'.join(steps)}h1"
