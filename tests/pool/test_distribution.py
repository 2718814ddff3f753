"""ntspool/pool/distribution.py and sketch.py, against a reference that sorts and counts."""

import contextlib
import math
from struct import Struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool.distribution import Distribution
from ntspool.pool.sketch import ACCURACY, Sketch

VALUES = st.lists(
    st.one_of(st.floats(-1e3, 1e3), st.floats(-1e-3, 1e-3), st.just(0.0), st.sampled_from([1e-9, -1e-9, 1e-4])),
    min_size=1,
    max_size=200,
)
PARTS = st.one_of(st.sampled_from([0.0, 0.5, 0.95, 0.99, 1.0]), st.floats(0, 1))


def ranked(values, part):
    """Return the nearest rank's value, counted one by one."""
    for value in sorted(values):
        if sum(each <= value for each in values) >= max(1, part * len(values)):
            return value
    raise AssertionError


def filled(values, exact):
    made = Distribution(exact=exact)
    for value in values:
        made.add(value)
    return made


def near(found, true):
    return abs(found - true) <= ACCURACY * abs(true) * 1.001 + 1.1e-9


@given(VALUES, PARTS)
def test_with_all_values_at_hand_it_is_exact(values, part):
    made = filled(values, exact=True)
    assert made.exact
    assert made.count == len(values)
    assert made.quantile(part) == ranked(values, part)
    assert made.magnitude(part) == ranked([abs(each) for each in values], part)
    assert (made.lowest, made.highest) == (min(values), max(values))
    assert made.furthest == max(abs(each) for each in values)
    assert made.mean == pytest.approx(math.fsum(values) / len(values), abs=1e-9)
    for limit in (0.0, 1e-4, 1e-3, abs(values[0])):
        assert made.share_within(limit) == sum(abs(each) <= limit for each in values) / len(values)


@given(VALUES, PARTS)
def test_without_them_quantiles_are_right_to_a_twentieth(values, part):
    made = filled(values, exact=False)
    assert not made.exact
    assert near(made.quantile(part), ranked(values, part))
    assert near(made.magnitude(part), ranked([abs(each) for each in values], part))


@given(VALUES, st.floats(1e-7, 1.0))
def test_without_them_only_what_is_next_to_the_limit_counts_on_the_wrong_side(values, limit):
    found = filled(values, exact=False).share_within(limit) * len(values)
    surely = sum(abs(each) <= limit * 0.9 for each in values)
    perhaps = sum(abs(each) <= limit * 1.1 + 1.1e-9 for each in values)
    assert surely - 1e-6 <= found <= perhaps + 1e-6


@given(VALUES, VALUES, PARTS)
def test_what_was_packed_is_counted_beside_what_is_added(packed, added, part):
    made = filled(added, exact=True)
    made.absorb(filled(packed, exact=True).pack())
    both = [*packed, *added]
    assert not made.exact
    assert made.count == len(both)
    assert near(made.quantile(part), ranked(both, part))
    assert made.highest == pytest.approx(max(both), rel=1e-6, abs=1e-30)
    assert made.lowest == pytest.approx(min(both), rel=1e-6, abs=1e-30)
    figures = 16
    assert filled(both, exact=False).pack()[figures:] == made.pack()[figures:]


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_figures_that_are_no_numbers_are_refused(odd):
    with pytest.raises(WireError, match="values that are no numbers"):
        Distribution().absorb(Struct(">fffI").pack(0.0, odd, 0.0, 0))


def test_nothing_has_no_figures():
    for made in (Distribution(), Distribution(exact=False)):
        assert (made.quantile(0.5), made.magnitude(0.5), made.share_within(1.0), made.mean) == (None,) * 4
        assert made.pack() == b""
        made.absorb(b"")
        assert made.furthest is None


@given(VALUES)
def test_a_sketch_survives_being_packed(values):
    sketch = Sketch()
    for value in values:
        sketch.add(value)
    assert Sketch.unpack(sketch.pack()).buckets == sketch.buckets


@given(st.binary(max_size=60))
def test_bytes_that_are_no_distribution_raise_nothing_else(data):
    for take in (Sketch.unpack, Distribution().absorb):
        with contextlib.suppress(WireError):
            take(data)


def test_an_hour_of_usual_probes_is_small():
    sketch = Sketch()
    for number in range(225):
        sketch.add(20e-6 * math.sin(number))
    assert len(sketch.pack()) < 200
