"""Line charts as SVG, by the standard library: what the benches put into docs/."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 76, 250, 44, 58
COLOURS = ("#1b6ca8", "#d1495b", "#2e8b57", "#c77d00", "#6a4c93", "#444444", "#008b8b", "#b5179e", "#8a5a00", "#5c7a00")
DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its label, and its bounds; a logarithmic one must begin above 0."""

    label: str
    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies, 0 at the low end and 1 at the high one; what is outside is put on the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Return the values to be marked: round ones, and powers of ten on a logarithmic axis."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        raw = (self.high - self.low) / 6
        unit = 10.0 ** math.floor(math.log10(raw))
        step = unit * min((each for each in (1, 2, 5, 10) if each * unit >= raw), default=10)
        first = math.ceil(self.low / step - 1e-9)
        return [step * n for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points, in the order given; `marked` puts a dot on each."""

    label: str
    points: Sequence[tuple[float, float]]
    marked: bool = False


def chart(title: str, x: Axis, y: Axis, lines: Sequence[Line]) -> str:
    """Return an SVG picture with a legend at its right."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        across, down = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
        return LEFT + across * x.place(point[0]), HEIGHT - BOTTOM - down * y.place(point[1])

    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        _text(LEFT, 24, title, 'font-size="15" font-weight="bold"'),
    ]
    for value in x.ticks():
        across = at((value, y.low))[0]
        parts.append(_rule(across, TOP, across, HEIGHT - BOTTOM))
        parts.append(_text(across, HEIGHT - BOTTOM + 18, _number(value), 'text-anchor="middle"'))
    for value in y.ticks():
        down = at((x.low, value))[1]
        parts.append(_rule(LEFT, down, WIDTH - RIGHT, down))
        parts.append(_text(LEFT - 8, down + 4, _number(value), 'text-anchor="end"'))
    parts += [
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#222"/>',
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, x.label, 'text-anchor="middle"'),
        f'<g transform="translate(20 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">'
        + _text(0, 0, y.label, 'text-anchor="middle"')
        + "</g>",
    ]
    for index, line in enumerate(lines):
        parts += _line(index, line, [at(point) for point in line.points])
    return "\n".join([*parts, "</svg>", ""])


def _line(index: int, line: Line, points: Sequence[tuple[float, float]]) -> list[str]:
    colour = COLOURS[index % len(COLOURS)]
    style = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{DASHES[index % len(DASHES)]}"'
    left, down = WIDTH - RIGHT + 14, TOP + 10 + 22 * index
    path = " ".join(f"{across:.1f},{height:.1f}" for across, height in points)
    parts = [
        f'<polyline points="{path}" {style}/>',
        f'<path d="M{left} {down}h26" {style}/>',
        _text(left + 32, down + 4, line.label),
    ]
    if line.marked:
        parts += [f'<circle cx="{across:.1f}" cy="{height:.1f}" r="3" fill="{colour}"/>' for across, height in points]
    return parts


def _rule(*ends: float) -> str:
    return '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="#ddd"/>'.format(*ends)


def _text(across: float, down: float, words: str, more: str = "") -> str:
    return f'<text x="{across:.1f}" y="{down:.1f}" {more}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 else f"{value:g}"
