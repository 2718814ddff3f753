"""Percentiles from buckets against those from the values themselves."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.histogram import HIGHEST, LOWEST, RATIO, Histogram

DURATIONS = st.lists(st.floats(LOWEST, HIGHEST), min_size=1, max_size=80)
ROUNDING = 1 + 1e-9


def _exact(durations, percent):
    return sorted(durations)[max(1, math.ceil(len(durations) * percent / 100)) - 1]


@given(DURATIONS, st.floats(0, 100))
def test_a_percentile_is_at_most_a_bucket_above_the_true_one(durations, percent):
    found, exact = Histogram(durations).percentile(percent), _exact(durations, percent)
    assert exact / ROUNDING <= found <= exact * RATIO * ROUNDING
    assert found <= max(durations)


@given(DURATIONS, DURATIONS)
def test_merged_is_as_counted_in_one(first, second):
    merged, one = Histogram(first), Histogram(first + second)
    merged.merge(Histogram(second))
    assert (merged.buckets, merged.count, merged.longest) == (one.buckets, one.count, one.longest)


@given(DURATIONS)
def test_percentiles_never_fall(durations):
    found = [Histogram(durations).percentile(percent) for percent in (0, 10, 50, 90, 99, 100)]
    assert found == sorted(found)


def test_nothing_counted_has_no_percentile():
    assert Histogram().percentile(50) is None


@pytest.mark.parametrize("duration", [0.0, -1.0, LOWEST / 2, HIGHEST * 5])
def test_what_is_out_of_bounds_is_counted_all_the_same(duration):
    histogram = Histogram([duration])
    assert histogram.count == 1
    assert histogram.percentile(50) <= max(duration, LOWEST)


def test_memory_does_not_grow_with_what_is_counted():
    assert len(Histogram([0.001 * n for n in range(5000)]).buckets) == len(Histogram().buckets) < 1000
