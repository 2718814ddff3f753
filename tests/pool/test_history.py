"""What is remembered for the plots: the worst of each minute, for six hours and no longer."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.history import POINTS, SPAN, History, Point, Rate
from ntspool.pool.observation import Measured, Observation, Where
from tests.net.page.views import NOW, address, backend, gateway, sessions

MINUTE = 60.0


def seen(history, now, rate=1.0, **more):
    """Let `history` see one backend at one address."""
    history.observe(gateway([backend(addresses=(address(**more),))], now=now, sessions=sessions(rate=rate)))


def points(history):
    return history.points("ntp-1", "192.0.2.1", 123)


def test_a_minute_shows_the_worst_of_it():
    history = History()
    seen(history, NOW, rate=3.0, offset=1e-3, delay=0.1)
    seen(history, NOW + 20, rate=9.0, offset=-2e-3, delay=0.3, up=False)
    seen(history, NOW + 40, rate=5.0, offset=None, delay=None)
    assert points(history) == (Point(NOW, -2e-3, 0.3, up=False),)
    assert history.rates() == (Rate(NOW, 9.0),)


def test_what_was_measured_before_an_address_went_silent_is_not_plotted():
    history = History()
    seen(history, NOW, kind="no answer", up=False)
    seen(history, NOW + MINUTE, kind="offset vote", up=False, offset=0.7)
    assert [each.offset for each in points(history)] == [None, 0.7]


def test_six_hours_are_kept_even_if_not_each_minute_was_seen():
    history = History()
    for minute in range(0, 1000, 3):
        seen(history, NOW + minute * MINUTE)
    kept = points(history)
    assert kept[-1].time - kept[0].time < SPAN
    assert len(kept) == POINTS // 3
    assert history.rates()[0].time == kept[0].time


def test_an_address_that_is_gone_is_forgotten():
    history = History()
    seen(history, NOW)
    history.observe(gateway([backend(addresses=(address("192.0.2.9"),))]))
    assert points(history) == ()


def test_a_clock_that_is_set_back_takes_the_future_with_it():
    history = History()
    for minute in range(5):
        seen(history, NOW + minute * MINUTE)
    seen(history, NOW + MINUTE)
    assert [each.time for each in points(history)] == [NOW, NOW + MINUTE]


@given(st.lists(st.floats(0, 1e6), max_size=50))
def test_time_only_goes_forward_and_memory_is_bounded(times):
    history = History()
    for time in times:
        seen(history, NOW + time)
        kept = [each.time for each in points(history)]
        assert kept == sorted(set(kept))
        assert len(kept) <= POINTS
        assert kept[-1] <= NOW + time < kept[-1] + MINUTE


def test_backends_of_one_address_are_told_apart():
    history = History()
    first = backend("a", addresses=(address(port=1, offset=1.0),))
    second = replace(first, name="b", addresses=(address(port=2, offset=2.0),))
    history.observe(gateway([first, second]))
    assert [history.points(*where)[0].offset for where in (("a", "192.0.2.1", 1), ("b", "192.0.2.1", 2))] == [1.0, 2.0]


def recalled(time, **more):
    where = Where("ntp-1", "192.0.2.1", 123)
    measured = Measured(5.0, 1e-3, 0.01, 0.02, 2, 0, "GPS")
    told = {"good": True, "cause": "", "was_up": True, "held": 16.0, "measured": measured}
    return Observation(where, time, **{**told, **more})


def test_what_was_before_is_taken_up_and_goes_on():
    history = History()
    history.recall(recalled(NOW - 2 * MINUTE))
    history.recall(recalled(NOW - 2 * MINUTE + 16, was_up=False, measured=None))
    history.recall(recalled(NOW - MINUTE, was_up=False, held=0.0))
    seen(history, NOW, offset=2e-3, delay=0.03)
    assert points(history) == (
        Point(NOW - 2 * MINUTE, 1e-3, 0.02, up=False),
        Point(NOW - MINUTE, 1e-3, 0.02, up=True),
        Point(NOW, 2e-3, 0.03, up=True),
    )
