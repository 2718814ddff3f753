"""ntspool/pool/sample.py: what a client would take, and how far off it may be."""

import pytest

from ntspool.pool.nts import Measurement
from ntspool.pool.sample import Limits, judge, sample
from ntspool.wire.ntp import Header, Mode

GOOD = {"stratum": 2, "root_delay": 65536 // 10, "root_dispersion": 65536 // 20}


def judged(limits=Limits(), offset=0.0, delay=0.02, **words):  # noqa: B008
    header = Header(Mode.SERVER, **{**GOOD, **words})
    return judge(header, sample(header, Measurement(offset, delay), 7.0), limits)


def test_the_root_distance_includes_the_volley():
    found = sample(Header(Mode.SERVER, **GOOD), Measurement(0.3, 0.02), 7.0)
    assert (found.offset, found.delay, found.stratum, found.taken) == (0.3, 0.02, 2, 7.0)
    assert found.distance == pytest.approx(0.05 + 0.05 + 0.01, abs=1e-4)
    assert found.distance_at(1007.0) == pytest.approx(found.distance + 0.015)
    assert found.distance_at(0.0) == found.distance


def test_a_delay_below_nought_is_none():
    assert sample(Header(Mode.SERVER, stratum=1), Measurement(0.0, -1e-6), 0.0).distance == 0


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        ({}, None),
        ({"leap": 1}, None),
        ({"offset": 1e6}, None),
        ({"leap": 3}, "unsynchronised (leap 3, stratum 2)"),
        ({"stratum": 16}, "unsynchronised (leap 0, stratum 16)"),
        ({"stratum": 0}, "unsynchronised (leap 0, stratum 0)"),
        ({"limits": Limits(max_stratum=1)}, "wrong stratum (2 of at most 1)"),
        ({"root_dispersion": 2 * 65536}, "root distance (2.060 s of at most 1.5 s)"),
        ({"delay": 3.0}, "root distance (1.600 s of at most 1.5 s)"),
        ({"limits": Limits(max_distance=0.1)}, "root distance (0.110 s of at most 0.1 s)"),
    ],
)
def test_what_a_client_would_not_take(words, cause):
    failure = judged(**words)
    assert (failure and str(failure)) == cause
    assert failure is None or failure.evident
