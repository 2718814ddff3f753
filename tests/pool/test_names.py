"""ntspool/pool/names.py: what a server name asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.names import NOTHING, Asked, Names, slots_of

NAMES = Names(
    ("pool.example", "2.other.example"),
    {"ntp-1.example": "ntp-1", "4.pin.example": "ntp-4"},
    {"eu.pool.example": ("ntp-1", "ntp-2")},
)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("pool.example", NOTHING),
        ("0.pool.example", Asked(slot=0)),
        ("9.pool.example", Asked(slot=9)),
        ("10.pool.example", NOTHING),
        ("00.pool.example", NOTHING),
        ("x.pool.example", NOTHING),
        ("\u0663.pool.example", NOTHING),
        (".pool.example", NOTHING),
        ("3.3.pool.example", NOTHING),
        ("2.other.example", NOTHING),
        ("2.2.other.example", Asked(slot=2)),
        ("3.elsewhere.example", NOTHING),
        ("ntp-1.example", Asked(pin="ntp-1")),
        ("3.ntp-1.example", NOTHING),
        ("4.pin.example", Asked(pin="ntp-4")),
        ("eu.pool.example", Asked(group="eu.pool.example")),
        ("3.eu.pool.example", Asked(group="eu.pool.example", slot=3)),
        ("", NOTHING),
        ("3", NOTHING),
    ],
)
def test_what_a_name_asks_for(name, expected):
    assert NAMES.asked(name) == expected


@given(st.text(max_size=20))
def test_any_name_asks_for_something(name):
    assert NAMES.asked(name)
    assert Names().asked(name) == NOTHING


def test_slots_of_a_name():
    assert [NAMES.asked(name).slot for name in slots_of("pool.example")] == list(range(10))
