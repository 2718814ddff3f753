"""ntspool/pool/vote.py: who lies is found, who is honest never accused.

Times are whole 1024ths of a second, so that a shift rounds nothing.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.vote import Interval, intersect, interval

UNIT = 1 / 1024
TOLERANCE = 100 * UNIT
offsets = st.integers(-5000, 5000).map(lambda number: number * UNIT)
distances = st.integers(0, 2000).map(lambda number: number * UNIT)
voters_ = st.lists(st.builds(interval, offsets, distances, st.just(TOLERANCE)), min_size=1, max_size=12)


@st.composite
def juries(draw, liars=voters_):
    """An honest majority around time zero, everybody else, and the two mixed."""
    honest = []
    for distance in draw(st.lists(distances, min_size=2, max_size=9)):
        reach = round((distance + TOLERANCE / 2) / UNIT)
        honest.append(interval(draw(st.integers(-reach, reach)) * UNIT, distance, TOLERANCE))
    others = draw(liars)[: len(honest) - 1]
    return honest, others, draw(st.permutations(honest + others))


@given(juries())
def test_an_honest_majority_is_never_accused(jury):
    honest, _, everybody = jury
    truth = intersect(everybody)
    assert truth is not None
    assert truth.low <= 0 <= truth.high
    assert all(each.meets(truth) for each in honest)


@given(juries(), st.integers(1, 1000), st.booleans(), distances)
def test_a_liar_beyond_tolerance_and_bounds_is_always_found(jury, beyond, ahead, distance):
    """Whatever the other liars do: that they are a minority is enough."""
    honest, others, _ = jury
    edge = max(each.high for each in honest) if ahead else min(each.low for each in honest)
    far = edge + (1 if ahead else -1) * (distance + TOLERANCE / 2 + beyond * UNIT)
    liar = interval(far, distance, TOLERANCE)
    everybody = [*honest, *others[: len(honest) - 2], liar]
    truth = intersect(everybody)
    assert truth is not None
    assert not liar.meets(truth)


@given(st.data(), voters_)
def test_order_does_not_matter(data, voters):
    assert intersect(data.draw(st.permutations(voters))) == intersect(voters)


@given(voters_, st.integers(-(10**9), 10**9).map(lambda number: number * UNIT))
def test_a_shift_of_all_changes_nothing(voters, shift):
    """So it does not matter whether our own clock is right."""
    truth = intersect(voters)
    shifted = intersect([Interval(each.low + shift, each.high + shift) for each in voters])
    assert shifted == (truth and Interval(truth.low + shift, truth.high + shift))


@given(voters_)
def test_what_is_found_is_the_span_that_more_than_half_share(voters):
    """Said otherwise, by trying every edge."""
    edges = [point for each in voters for point in (each.low, each.high)]
    shared = [point for point in edges if 2 * sum(each.low <= point <= each.high for each in voters) > len(voters)]
    assert intersect(voters) == (Interval(min(shared), max(shared)) if shared else None)


@pytest.mark.parametrize(
    ("clocks", "accused"),
    [
        pytest.param([0.0, 0.01, 0.3], [0.3], id="one of three is 300 ms off"),
        pytest.param([86400.0, 86400.01, 86400.3], [86400.3], id="and our own clock by a day"),
        pytest.param([0.0, 0.05, 0.1], [], id="noise"),
        pytest.param([0.0, 0.0, 0.3, 0.3], [], id="two against two"),
        pytest.param([0.0, 0.3], [], id="one against one"),
        pytest.param([0.0, 0.3, 0.6], [], id="all disagree"),
        pytest.param([0.7], [], id="alone"),
        pytest.param([0.0, 0.0, 0.0, 0.3, -0.3], [0.3, -0.3], id="two liars of five"),
    ],
)
def test_verdicts(clocks, accused):
    votes = {clock: interval(clock, 0.005, 0.1) for clock in clocks}
    truth = intersect([votes[clock] for clock in clocks])
    assert [clock for clock in votes if truth and not votes[clock].meets(truth)] == accused


def test_without_voters_there_is_no_truth():
    assert intersect([]) is None


def test_two_disagree_when_they_are_further_apart_than_tolerance_and_both_distances():
    here = interval(0.0, 10 * UNIT, TOLERANCE)
    assert here.meets(interval(130 * UNIT, 20 * UNIT, TOLERANCE))
    assert not here.meets(interval(131 * UNIT, 20 * UNIT, TOLERANCE))
