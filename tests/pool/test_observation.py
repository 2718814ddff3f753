"""ntspool/pool/observation.py: what is kept of a probe."""

from ipaddress import ip_address

import pytest

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.fleet import Target
from ntspool.pool.observation import Bearings, Observation, Past, Where, held, observed, reference_name
from ntspool.pool.sample import Sample
from ntspool.wire.aead import Aead

TARGET = Target("ntp-1", ip_address("2001:db8::1"), 4123, CookieFormat.CHRONY, "ntp-1")
SAMPLE = Sample(5.25, 0.02, 0.015, 2, 7.0, 1, bytes((192, 0, 2, 99)))
SIV, GCM = Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV


def seen(outcomes, sample=SAMPLE, middle=5.5, past=Past(84.0, up=True, pause=16.0)):  # noqa: B008
    return observed(TARGET, outcomes, sample, Bearings(100.0, 5.0, middle), past)


def test_offsets_are_those_against_the_gateways_clock_and_against_the_majority():
    kept = seen({SIV: None})
    assert (kept.where, kept.time) == (Where("ntp-1", "2001:db8::1", 4123), 100.0)
    assert (kept.good, kept.cause, kept.was_up, kept.held) == (True, "", True, 16.0)
    found = kept.measured
    assert (found.offset, found.pool, found.uncertainty, found.delay) == (0.25, -0.25, 0.015, 0.02)
    assert (found.stratum, found.leap, found.reference) == (2, 1, "192.0.2.99")
    assert seen({SIV: None}, middle=None).measured.pool is None
    assert isinstance(kept, Observation)


def test_a_probe_is_good_with_any_aead_and_its_first_cause_is_kept_all_the_same():
    nak, silence = Failure(Cause.NAK), Failure(Cause.NO_ANSWER)
    assert (seen({SIV: None, GCM: nak}).good, seen({SIV: None, GCM: nak}).cause) == (True, "NTS NAK")
    assert (seen({SIV: silence, GCM: nak}).good, seen({SIV: silence, GCM: nak}).cause) == (False, "no answer")
    assert seen({SIV: silence}, sample=None).measured is None
    assert not seen({}).good


@pytest.mark.parametrize(
    ("now", "before", "pause", "seconds"),
    [(100.0, None, 16.0, 0.0), (100.0, 84.0, 16.0, 16.0), (100.0, 10.0, 16.0, 32.0), (100.0, 101.0, 16.0, 0.0)],
)
def test_a_state_holds_until_the_next_probe_but_not_over_a_gap(now, before, pause, seconds):
    assert held(now, before, pause) == seconds


@pytest.mark.parametrize(
    ("stratum", "reference", "name"),
    [
        (1, b"GPS\0", "GPS"),
        (1, b"PPS0", "PPS0"),
        (0, b"RATE", "RATE"),
        (1, b"\xff\0\0\0", "255.0.0.0"),
        (1, bytes(4), "0.0.0.0"),
        (2, b"GPS\0", "71.80.83.0"),
        (3, bytes((10, 0, 0, 1)), "10.0.0.1"),
        (1, b"a\nb\0", "97.10.98.0"),
    ],
)
def test_references_are_named_as_people_read_them(stratum, reference, name):
    assert reference_name(stratum, reference) == name
