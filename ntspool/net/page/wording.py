"""Figures as people read them."""

from datetime import UTC, datetime

from ntspool.net.page.markup import Markup, element, join

NONE = "\N{EN DASH}"
"""Stands where there is no figure."""

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_SCALES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))


def span(seconds: float) -> str:
    """Return a duration in its largest unit, and nothing finer than a minute: `12 d`, `3 h`, `<1 min`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{seconds / size:.0f}\N{NO-BREAK SPACE}{unit}"
    return "<1\N{NO-BREAK SPACE}min"


def measured(seconds: float | None, *, sign: bool = False) -> str:
    """Return a measurement with three digits at most, in s, ms, µs or ns.

    With `sign` it tells ahead from behind.
    """
    if seconds is None:
        return NONE
    size, unit = next((each for each in _SCALES if abs(seconds) >= each[0]), _SCALES[-1])
    value = seconds / size
    digits = 0 if abs(value) >= 100 or unit in {"µs", "ns"} else 1 if abs(value) >= 10 else 2
    text = f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return f"{text}\N{NO-BREAK SPACE}{unit}"


def percent(part: float) -> str:
    """Return a part of 1 in percent."""
    return f"{part * 100:.1f}\N{NO-BREAK SPACE}%"


def count(number: int) -> str:
    """Return a whole number with its thousands apart."""
    return f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def moment(time: float, *, date: bool = True) -> Markup:
    """Return a time of day in UTC, behind its date if that is wanted."""
    try:
        when = datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return Markup(NONE)
    clock = f"{when:%H:%M:%S}"
    shown = join(element("span", f"{when:%Y-%m-%d}"), " ", element("span", clock)) if date else clock
    return element("time", shown, datetime=f"{when:%Y-%m-%dT%H:%M:%SZ}")
