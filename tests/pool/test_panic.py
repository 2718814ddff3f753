"""ntspool/pool/panic.py: how much silence is our own trouble."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.panic import Standing, panics

SINCE = 100.0
UP, SILENT, FRESHLY_DOWN = (True, None), (True, 101.0), (False, 101.0)
KEPT, LONG_DOWN, EVIDENT = (True, 1.0), (False, 1.0), (False, None)


def standings(*stands):
    return [Standing(f"ntp-{number}", *stand) for number, stand in enumerate(stands)]


@pytest.mark.parametrize(
    ("stands", "expected"),
    [
        ([UP, UP, SILENT], False),
        ([UP, SILENT, SILENT], True),
        ([UP, SILENT], False),
        ([UP, FRESHLY_DOWN, SILENT], True),
        ([UP, LONG_DOWN, SILENT], False),
        ([UP, EVIDENT, EVIDENT, SILENT], False),
        ([SILENT], True),
        ([KEPT, KEPT, UP], True),
        ([KEPT, UP], False),
        ([LONG_DOWN, EVIDENT], False),
        ([], False),
    ],
)
def test_more_than_half(stands, expected):
    assert panics(standings(*stands), 0.5, SINCE) is expected


def test_a_backend_counts_once_and_is_silent_only_if_all_of_it_is():
    one = [Standing("ntp-1", *SILENT)] * 5
    others = [Standing("ntp-2", *UP), Standing("ntp-3", *UP)]
    assert not panics([*one, *others], 0.5, SINCE)
    half = [Standing("ntp-2", *SILENT), Standing("ntp-2", *UP)]
    assert not panics([*one, *half], 0.5, SINCE), "one of two"


stands = st.lists(st.sampled_from([UP, SILENT, FRESHLY_DOWN, KEPT, LONG_DOWN, EVIDENT]), max_size=20)


@given(stands)
def test_a_share_of_one_is_never(stands):
    assert not panics(standings(*stands), 1.0, SINCE)


@given(stands)
def test_a_share_of_nought_is_at_any_silence(stands):
    silent = any(stand in (SILENT, FRESHLY_DOWN, KEPT) for stand in stands)
    assert panics(standings(*stands), 0.0, SINCE) is silent


@given(stands, st.floats(0, 1))
def test_one_more_that_answers_never_makes_a_panic(stands, share):
    assert panics(standings(*stands), share, SINCE) or not panics(standings(*stands, UP), share, SINCE)


@given(stands, st.floats(0, 1))
def test_the_pool_is_never_emptied_by_silence_below_one(stands, share):
    """Who is silent is let go only while somebody answers."""
    silent = any(stand in (SILENT, FRESHLY_DOWN, KEPT) for stand in stands)
    if silent and share < 1.0 and UP not in stands:
        assert panics(standings(*stands), share, SINCE)
