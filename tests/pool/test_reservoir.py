"""ntspool/pool/reservoir.py: when to open connections, which to use, and when to let go of them."""

from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.reservoir import Bounds, Reservoir

GONE = Failure(Cause.KE_UNREACHABLE)
BOUNDS = Bounds(connections=3, age=100, idle=10, waiting=2, pause=2, spare_pause=5)


class Connection:
    pass


def opened(reservoir, now=0.0):
    connection = Connection()
    reservoir.begin(now)
    reservoir.opened(connection, now)
    return connection


def resting(reservoir, now=0.0):
    connection = opened(reservoir, now)
    reservoir.keep(connection)
    return connection


def test_one_is_opened_ahead_of_need():
    reservoir = Reservoir(BOUNDS)
    assert reservoir.wants(0) == 1
    connection = resting(reservoir)
    assert (reservoir.wants(0), reservoir.open) == (0, 1)
    assert reservoir.take() is connection
    assert reservoir.wants(0) == 1, "its place is to be taken at once"


def test_a_spare_that_is_lost_unused_is_not_replaced_over_and_over():
    reservoir = Reservoir(BOUNDS)
    reservoir.discard(resting(reservoir, 0))
    assert [reservoir.wants(now) for now in (0, 4.9, 5)] == [0, 0, 1]


def test_there_are_as_many_as_wait_but_no_more_than_may_be():
    reservoir = Reservoir(BOUNDS)
    reservoir.waiting = 2
    assert reservoir.wants(0) == 2
    reservoir.begin(0)
    assert reservoir.wants(0) == 1
    reservoir.waiting = 9
    assert reservoir.wants(0) == 2
    opened(reservoir)
    opened(reservoir)
    assert reservoir.wants(0) == 0


def test_the_one_used_last_is_used_next():
    reservoir = Reservoir(BOUNDS)
    first, second = resting(reservoir), resting(reservoir, 1)
    assert [reservoir.take(), reservoir.take(), reservoir.take()] == [second, first, None]
    assert reservoir.used(first, 7)
    reservoir.keep(first)
    assert reservoir.take() is first
    assert reservoir.unused_for(first, 9) == 2


def test_old_ones_are_let_go():
    reservoir = Reservoir(BOUNDS)
    first, second = resting(reservoir, 0), resting(reservoir, 50)
    assert reservoir.outdated(9.9) == ()
    assert reservoir.outdated(60) == (first,)
    reservoir.discard(first)
    assert reservoir.outdated(149) == (), "the newest stays unless it is too old"
    assert reservoir.outdated(150) == (second,)
    assert reservoir.take() is second
    assert not reservoir.used(second, 150)
    reservoir.drop(second)
    assert reservoir.open == 0


def test_after_a_failure_nobody_waits_and_one_attempt_is_made_at_a_time():
    reservoir = Reservoir(BOUNDS)
    assert reservoir.may_wait()
    reservoir.waiting = 2
    assert not reservoir.may_wait(), "enough wait already"
    reservoir.begin(0)
    reservoir.not_opened(GONE, 1)
    reservoir.waiting = 0
    assert (reservoir.may_wait(), reservoir.failure) == (False, GONE)
    assert [reservoir.wants(now) for now in (1, 2.9, 3)] == [0, 0, 1]
    reservoir.begin(3)
    assert reservoir.wants(9) == 0
    reservoir.opened(Connection(), 9)
    assert (reservoir.may_wait(), reservoir.failure) == (True, None)


def test_an_attempt_that_is_given_up_is_nobodys_fault():
    reservoir = Reservoir(BOUNDS)
    reservoir.begin(0)
    reservoir.not_opened(None, 0)
    assert (reservoir.may_wait(), reservoir.opening) == (True, 0)


def happen(event, reservoir, taken, now):
    match event:
        case "open" if reservoir.opening:
            taken.append(Connection())
            reservoir.opened(taken[-1], now)
        case "fail" if reservoir.opening:
            reservoir.not_opened(GONE, now)
        case "take" if (connection := reservoir.take()) is not None:
            taken.append(connection)
        case "keep" if taken:
            connection = taken.pop(0)
            (reservoir.keep if reservoir.used(connection, now) else reservoir.drop)(connection)
        case "drop" if taken:
            reservoir.drop(taken.pop())


@given(st.lists(st.tuples(st.sampled_from(["wait", "leave", "open", "fail", "take", "keep", "drop"]), st.floats(0, 5))))
def test_the_bounds_hold_whatever_happens(events):
    reservoir, taken, now = Reservoir(BOUNDS), [], 0.0
    for event, pause in events:
        now += pause
        if event == "wait":
            reservoir.waiting += reservoir.may_wait()
        elif event == "leave":
            reservoir.waiting = max(0, reservoir.waiting - 1)
        else:
            happen(event, reservoir, taken, now)
        for _ in range(reservoir.wants(now)):
            reservoir.begin(now)
        assert 0 <= reservoir.open + reservoir.opening <= BOUNDS.connections
        assert reservoir.open == len(taken) + len(reservoir.unused())
        assert reservoir.waiting <= BOUNDS.waiting
        if reservoir.waiting and reservoir.failure is None:
            assert reservoir.open + reservoir.opening, "who waits is not forgotten"
