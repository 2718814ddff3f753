"""ntspool/pool/report.py and tally.py, against a reference that keeps every probe and counts it by itself."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.pool.observation import Measured, Observation, Where
from ntspool.pool.report import POINTS, Examiner, Period, about
from ntspool.pool.tally import Tally
from ntspool.pool.view import EventView
from tests.pool.test_distribution import near, ranked

HOUR = 3600.0
PERIOD = Period(10 * HOUR, 20 * HOUR)
LIMITS = (1e-4, 1e-3)
WHERES = [Where("ntp-1", "192.0.2.1", 123), Where("ntp-1", "2001:db8::1", 123), Where("ntp-2", "192.0.2.2", 123)]

MEASURED = st.builds(
    Measured,
    offset=st.floats(-1e-2, 1e-2),
    pool=st.none() | st.floats(-1e-2, 1e-2),
    uncertainty=st.floats(0, 1e-2),
    delay=st.floats(0, 1e-2),
    stratum=st.integers(0, 16),
    leap=st.integers(0, 3),
    reference=st.sampled_from(["GPS", "PPS", "192.0.2.99"]),
)
PROBES = st.lists(
    st.builds(
        Observation,
        where=st.sampled_from(WHERES),
        time=st.floats(PERIOD.start, PERIOD.end, exclude_max=True),
        good=st.booleans(),
        cause=st.sampled_from(["", "NTS NAK", "no answer", "bad authenticator"]),
        was_up=st.booleans(),
        held=st.floats(0, 32),
        measured=st.none() | MEASURED,
    ),
    max_size=60,
)


def examined(probes, folded_until):
    """Return what is reported when everything before a time is in hours."""
    exact = folded_until <= PERIOD.start
    examiner, hours = Examiner(PERIOD, exact=True, hourly=not exact), {}
    for seen in probes:
        if seen.time < folded_until:
            start = seen.time // HOUR * HOUR
            hours.setdefault((start, seen.where), Tally(exact=False)).add(seen)
        else:
            examiner.add(seen)
    for (start, where), tally in hours.items():
        examiner.absorb(start, where, tally.hour())
    return examiner, {each.where: each for each in examiner.addresses(LIMITS)}


def valid(probes):
    return [
        each.measured
        for each in probes
        if each.measured and each.measured.leap < 3 and 1 <= each.measured.stratum <= 15
    ]


@settings(max_examples=150)
@given(PROBES, st.integers(0, 10))
def test_every_figure_is_that_of_the_probes_themselves(probes, hours):
    _, reported = examined(probes, PERIOD.start + hours * HOUR)
    assert reported.keys() == {each.where for each in probes}
    for where, found in reported.items():
        ours = [each for each in probes if each.where == where]
        measured = valid(ours)
        assert (found.probes, found.good) == (len(ours), sum(each.good for each in ours))
        assert found.observed == pytest.approx(math.fsum(each.held for each in ours))
        assert found.up == pytest.approx(math.fsum(each.held for each in ours if each.was_up))
        assert dict(found.causes) == {
            cause: number
            for cause in {each.cause for each in ours} - {""}
            if (number := sum(each.cause == cause for each in ours))
        }
        assert found.authentication_failures == sum(each.cause in ("NTS NAK", "bad authenticator") for each in ours)
        assert sum(number for _, number in found.sources) == sum(each.measured is not None for each in ours)
        assert (found.offset is None) == (not measured)
        if measured:
            check_offsets(found, measured)


def check_offsets(found, measured):
    offsets = [each.offset for each in measured]
    sizes = [abs(each) for each in offsets]
    figures = [
        (found.offset.median, ranked(offsets, 0.5)),
        (found.offset.p95, ranked(sizes, 0.95)),
        (found.offset.p99, ranked(sizes, 0.99)),
        (found.uncertainty[0], ranked([each.uncertainty for each in measured], 0.5)),
    ]
    for figure, true in figures:
        assert figure == true if found.exact else near(figure, true)
    assert found.offset.furthest == pytest.approx(max(sizes), rel=1e-6, abs=1e-30)
    assert (found.pool is None) == all(each.pool is None for each in measured)
    for within in found.within:
        bounds = [abs(each.offset) + each.uncertainty for each in measured]
        for part, values in ((within.measured, sizes), (within.surely, bounds)):
            least = sum(each <= within.limit * (1 if found.exact else 0.9) for each in values)
            most = sum(
                each <= within.limit * (1 if found.exact else 1.1) + (0 if found.exact else 1.1e-9) for each in values
            )
            assert least - 1e-6 <= part * len(measured) <= most + 1e-6


@given(PROBES, st.integers(0, 10))
def test_the_points_of_a_plot_hold_all_that_there_is(probes, hours):
    examiner, reported = examined(probes, PERIOD.start + hours * HOUR)
    assert examiner.step == (HOUR if hours else PERIOD.length / POINTS)
    for where, found in reported.items():
        ours = [each for each in probes if each.where == where]
        assert len(found.points) == math.ceil(PERIOD.length / examiner.step)
        assert sum(each.observed for each in found.points) == pytest.approx(math.fsum(each.held for each in ours))
        assert sum(each.count for each in found.points) == len(valid(ours))
        for point in found.points:
            if point.count:
                assert point.lowest - 1e-9 <= point.mean <= point.highest + 1e-9


def event(subject):
    return EventView(1, 5.0, "backend DOWN", "warning", subject, "", "", "")


def test_events_of_other_backends_are_left_out_and_those_of_none_are_not():
    told = [event("ntp-1 192.0.2.1"), event("ntp-2"), event("epoch 7"), event("")]
    known = {"ntp-1", "ntp-2"}
    assert about(told, (), known) == tuple(told)
    assert [each.subject for each in about(told, ("ntp-2",), known)] == ["ntp-2", "epoch 7", ""]
