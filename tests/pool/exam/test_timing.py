"""Authenticated NTP: what is thought of replies, of their absence, and of clocks that differ."""

from dataclasses import replace

import pytest

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.exam.timing import agree, judge_agreement, judge_visit
from ntspool.pool.exam.volleys import Purpose, Target, reference, server_facts
from tests.pool.exam.seen import HEADER, ids, reply, visit

NAK, NOTHING = Failure(Cause.NAK), Failure(Cause.NO_ANSWER)
RATE = Failure(Cause.KISS, "RATE")
ODD = (
    (Purpose.PLACEHOLDERS, reply(cookies=(100,) * 8)),
    (Purpose.RETURNED, reply()),
    (Purpose.REUSED, reply()),
    (Purpose.DAMAGED, NAK),
    (Purpose.FORGED, NAK),
)


def test_a_server_that_is_well():
    found = ids(judge_visit(visit(reply(), reply(), *ODD)))
    assert set(found.values()) == {"pass"}
    assert len(found) == 9


@pytest.mark.parametrize(
    ("name", "verdict", "results"),
    [
        ("ntp.answers", "fail", [NOTHING, NOTHING]),
        ("ntp.answers", "fail", [reply(), NAK]),
        ("ntp.answers", "fail", [NAK]),
        ("ntp.answers", "note", [reply(), NOTHING]),
        ("ntp.answers", "note", [reply(), RATE]),
        ("ntp.answers", "skip", [RATE, RATE]),
        ("ntp.time", "fail", [reply(header=replace(HEADER, leap=3))]),
        ("ntp.time", "note", [reply(header=replace(HEADER, leap=1))]),
        ("ntp.time", "fail", [reply(header=replace(HEADER, stratum=16))]),
        ("ntp.time", "fail", [reply(header=replace(HEADER, root_dispersion=5 << 16))]),
        ("ntp.new-cookie", "fail", [reply(cookies=())]),
        ("ntp.new-cookie", "fail", [reply(cookies=(100, 100))]),
        ("ntp.placeholders", "note", [(Purpose.PLACEHOLDERS, reply(cookies=(100,) * 7))]),
        ("ntp.placeholders", "fail", [(Purpose.PLACEHOLDERS, reply(cookies=(100,) * 9))]),
        ("ntp.reply-size", "fail", [reply(reply_length=229)]),
        ("ntp.returned-cookie", "fail", [reply(), (Purpose.RETURNED, NAK)]),
        ("ntp.returned-cookie", "skip", [reply(), (Purpose.RETURNED, NOTHING)]),
        ("ntp.spent-cookie", "note", [reply(), (Purpose.REUSED, NAK)]),
        ("ntp.damaged-cookie", "note", [reply(), (Purpose.DAMAGED, NOTHING)]),
        ("ntp.damaged-cookie", "fail", [reply(), (Purpose.DAMAGED, Failure(Cause.UNPROTECTED))]),
        ("ntp.forged-request", "fail", [reply(), (Purpose.FORGED, reply())]),
    ],
)
def test_what_is_wrong_is_found(name, verdict, results):
    found = ids(judge_visit(visit(*results)))
    assert found.pop(name) == verdict
    assert "fail" not in found.values()


def test_facts_are_those_of_the_reply_that_says_most():
    facts = server_facts(visit(reply(offset=1.0, delay=0.5), reply(offset=0.001), NAK, NOTHING, *ODD))
    assert (facts.requests, facts.replies, facts.naks, facts.cookies) == (6, 4, 1, 11)
    assert (facts.offset, facts.delay, facts.stratum, facts.reference) == (0.001, 0.01, 2, "192.0.2.1")
    assert facts.uncertainty == pytest.approx(0.02, abs=0.001)
    assert (facts.request_length, facts.reply_length, facts.cookie_length) == (228, 228, 100)
    assert facts.failures == (("NTS NAK", 1), ("no answer", 1))


def test_facts_of_a_server_that_says_nothing():
    facts = server_facts(visit(NOTHING))
    assert (facts.requests, facts.replies, facts.offset, facts.reference) == (1, 0, None, None)


def test_reference_ids():
    assert reference(replace(HEADER, stratum=1, reference_id=b"PPS\0")) == "PPS"
    assert reference(replace(HEADER, stratum=1, reference_id=b"\x01\x02\x03\x04")) == "1.2.3.4"
    assert reference(replace(HEADER, stratum=3, reference_id=b"ABCD")) == "65.66.67.68"


def clocks(*offsets):
    return [
        visit(reply(offset=offset), target=Target(f"192.0.2.{number}", f"192.0.2.{number}", 123))
        for number, offset in enumerate(offsets)
    ]


def test_clocks_that_agree():
    agreement = agree(clocks(0.01, 0.02, 0.03))
    assert (agreement.voters, agreement.falsetickers) == (3, ())
    assert agreement.spread == pytest.approx(0.02)
    assert ids(judge_agreement(agreement)) == {"ntp.agreement": "pass"}


def test_a_falseticker_is_named():
    agreement = agree(clocks(0.0, 0.0, 9.0))
    assert agreement.falsetickers == ("192.0.2.2 port 123",)
    assert ids(judge_agreement(agreement)) == {"ntp.agreement": "fail"}


def test_two_who_differ_accuse_nobody_and_three_all():
    assert ids(judge_agreement(agree(clocks(0.0, 9.0)))) == {"ntp.agreement": "note"}
    assert ids(judge_agreement(agree(clocks(0.0, 9.0, 18.0)))) == {"ntp.agreement": "fail"}
    assert agree(clocks(0.0)) is None


def test_when_all_differ_from_us_it_is_our_clock():
    assert ids(judge_agreement(agree(clocks(9.0, 9.0)))) == {"ntp.agreement": "pass", "ntp.own-clock": "note"}


def test_who_is_not_synchronised_has_no_vote():
    visits = [*clocks(0.0, 0.0), visit(reply(offset=5.0, header=replace(HEADER, leap=3)))]
    assert agree(visits).voters == 2
