"""Where the clocks stand: all addresses on one scale, ahead to the right and behind to the left."""

from collections.abc import Sequence
from dataclasses import dataclass

from ntspool.net.page.markup import Markup, element, join
from ntspool.net.page.wording import measured
from ntspool.pool.view import GatewayView

_LANE = 20
_LANES = 3
_DOT = 7.0
_CHARACTER = 0.75
_MARGIN = 6.0


@dataclass(frozen=True, slots=True)
class _Clock:
    name: str
    address: str
    offset: float


def dial(view: GatewayView) -> Markup | None:
    """Return the scale with a dot for each address that is UP; None when no offset is known."""
    clocks = sorted(
        (
            _Clock(backend.name, each.address, each.offset)
            for backend in view.backends
            for each in backend.addresses
            if each.up and each.offset is not None
        ),
        key=lambda clock: clock.offset,
    )
    if not clocks:
        return None
    reach = _reach(max(abs(clock.offset) for clock in clocks))
    told = "; ".join(f"{clock.name} {clock.address} {measured(clock.offset, sign=True)}" for clock in clocks)
    base = _LANES * _LANE + 12
    return element(
        "figure",
        element("figcaption", "Where the clocks stand, behind and ahead of the pool"),
        element(
            "svg",
            _scale(reach, base),
            _dots(clocks, reach, base),
            height=base + 34,
            class_="dial",
            role="img",
            aria_label=f"Offsets: {told}",
        ),
    )


def _reach(most: float) -> float:
    """Return the end of the scale: 1, 2 or 5 of a decimal unit, at least a microsecond."""
    reach = 1e-6
    for factor in (2, 2.5, 2) * 8:
        if reach >= most:
            break
        reach *= factor
    return reach


def _place(offset: float, reach: float) -> float:
    part = min(max(offset / reach, -1.0), 1.0)
    return 50 + part * (50 - _MARGIN)


def _scale(reach: float, base: int) -> Markup:
    drawn = [element("line", x1="0", x2="100%", y1=base, y2=base, class_="axis")]
    for step in range(-10, 11):
        at = f"{_place(reach * step / 10, reach):.2f}%"
        long = step % 5 == 0
        drawn.append(element("line", x1=at, x2=at, y1=base - (8 if long else 4), y2=base + (8 if long else 4)))
        if long:
            label = measured(reach * step / 10, sign=True) if step else "0"
            drawn.append(element("text", label, x=at, y=base + 26, class_="tick"))
    return join(*drawn)


def _dots(clocks: Sequence[_Clock], reach: float, base: int) -> Markup:
    """Return the dots, and names above them in as many lanes as keep them apart; a name without room is left out."""
    taken = [-100.0] * _LANES
    drawn = []
    for clock in clocks:
        spot = _place(clock.offset, reach)
        half = len(clock.name) * _CHARACTER / 2
        lane = next((each for each, end in enumerate(taken) if spot - half > end), None)
        at = f"{spot:.2f}%"
        if lane is not None:
            taken[lane] = spot + half + 1
            top = base - 16 - lane * _LANE
            drawn.append(element("line", x1=at, x2=at, y1=top + 4, y2=base, class_="stem"))
            drawn.append(element("text", clock.name, x=at, y=top, class_="name"))
        title = element("title", f"{clock.name} {clock.address} {measured(clock.offset, sign=True)}")
        drawn.append(element("circle", title, cx=at, cy=base, r=_DOT))
    return join(*drawn)
