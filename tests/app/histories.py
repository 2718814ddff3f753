"""A month of three backends as a gateway would have recorded it: one good, one with an outage, one far off."""

import math
from contextlib import closing

from ntspool.net.historywriter import Bounds, HistoryWriter
from ntspool.pool.observation import Measured, Observation, Where
from ntspool.pool.view import EventView

DAY = 86400.0
END = 1_704_067_200.0
"""2024-01-01."""
START = END - 31 * DAY
STEP = 900.0
NAMES = ("ntp-1", "ntp-2", "amsterdam-3")

_NTP_1, _NTP_1_V6 = Where("ntp-1", "192.0.2.1", 123), Where("ntp-1", "2001:db8::1", 123)
_NTP_2, _AMSTERDAM = Where("ntp-2", "192.0.2.2", 123), Where("amsterdam-3", "192.0.2.3", 4123)
_CLOCKS = (
    (_NTP_1, 20e-6, 0.0004, (1, 0, "GPS")),
    (_NTP_1_V6, 20e-6, 0.0009, (1, 0, "GPS")),
    (_NTP_2, 80e-6, 0.0061, (2, 0, "192.0.2.99")),
    (_AMSTERDAM, 900e-6, 0.0204, (3, 0, "10.1.2.3")),
)
EVENTS = (
    (START + 3 * DAY, "keys rotated", "info", "epoch 12", "", "", "12"),
    (START + 10 * DAY, "keys rotated", "info", "epoch 13", "", "", "13"),
    (START + 20 * DAY, "backend DOWN", "warning", "ntp-2 192.0.2.2", "no answer", "UP", "DOWN"),
    (START + 20.5 * DAY, "backend UP", "info", "ntp-2 192.0.2.2", "", "DOWN", "UP"),
    (START + 25 * DAY, "configuration changed", "info", "health.interval", "", "64", "16"),
    (START + 26 * DAY, "admin state", "info", "amsterdam-3", "<b>an operator's</b> order", "ready", "drain"),
)


def write(path, *, folded=False):
    """Write the month; with `folded`, but for its last seven days as hours."""
    with closing(HistoryWriter(path)) as writer:
        writer.write(list(_probes()), [EventView(0, *each) for each in EVENTS])
        while folded and writer.tidy(END, Bounds(400 * DAY, 7 * DAY, 2**40)):
            pass


def _probes():
    for turn in range(round(31 * DAY / STEP)):
        time = START + turn * STEP
        if 12 * DAY <= time - START < 12.5 * DAY:  # the gateway did not run
            continue
        for number, (where, reach, delay, source) in enumerate(_CLOCKS):
            down = where == _NTP_2 and 20 * DAY <= time - START < 20.5 * DAY
            nak = where == _AMSTERDAM and turn % 500 == 7
            offset = reach * math.sin(turn / 60 + number) * abs(math.sin(turn * 1.7))
            found = Measured(offset, offset - 1e-6, delay / 2 + 0.0001 * source[0], delay, *source)
            cause = "no answer" if down else "NTS NAK" if nak else ""
            yield Observation(where, time + number, not cause, cause, not down, STEP, None if cause else found)
