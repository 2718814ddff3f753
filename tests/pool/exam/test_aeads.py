"""AEAD algorithms, one at a time: who must be served, and under which keys."""

from dataclasses import replace

import pytest

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.exam.aeads import Trial, aead_facts, judge_trial
from ntspool.wire.aead import Aead
from ntspool.wire.messages import NO_COMMON_AEAD
from ntspool.wire.records import COMPLIANT_128GCM_EXPORT
from tests.pool.exam.seen import CLOSED, GOOD, HANGING, UNREACHED, answered, ids, reply

MANDATORY, LONG, SHORT = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
DECLINED = replace(GOOD, data=NO_COMMON_AEAD.encode())
ECHOED = answered(COMPLIANT_128GCM_EXPORT, aead=30)
NAK, NOTHING = Failure(Cause.NAK), Failure(Cause.NO_ANSWER)


@pytest.mark.parametrize(
    ("trial", "verdict"),
    [
        (Trial(MANDATORY, False, answered()), "pass"),
        (Trial(MANDATORY, False, DECLINED), "fail"),
        (Trial(MANDATORY, False, answered(aead=17)), "fail"),
        (Trial(LONG, False, UNREACHED), "skip"),
        (Trial(LONG, False, DECLINED), "note"),
        (Trial(LONG, False, CLOSED), "note!"),
        (Trial(LONG, False, HANGING), "fail"),
        (Trial(LONG, False, answered()), "note!"),
        (Trial(LONG, False, answered(aead=17), (reply(),)), "pass"),
        (Trial(LONG, False, answered(aead=17), (NAK,)), "fail"),
        (Trial(LONG, False, answered(aead=17), (NOTHING,)), "note"),
        (Trial(SHORT, True, ECHOED, (reply(),)), "pass"),
        (Trial(SHORT, True, ECHOED, (NAK, reply())), "fail"),
        (Trial(SHORT, True, ECHOED, (NAK, NAK)), "fail"),
        (Trial(SHORT, True, ECHOED, (NOTHING, NAK)), "note"),
        (Trial(SHORT, True, answered(aead=30), (reply(),)), "note"),
        (Trial(SHORT, True, answered(aead=30), (NAK, reply())), "note!"),
        (Trial(SHORT, False, answered(aead=30), (NAK, reply())), "note!"),
        (Trial(SHORT, False, answered(aead=30), (reply(),)), "note"),
        (Trial(SHORT, False, DECLINED), "pass"),
    ],
)
def test_verdicts(trial, verdict):
    assert ids(judge_trial(trial)) == {trial.id: verdict}


def test_facts():
    facts = aead_facts(Trial(SHORT, True, ECHOED, (NAK, reply())))
    assert (facts.aead, facts.accepted, facts.cookies, facts.cookie_length, facts.usable) == (30, True, 8, 100, True)
    facts = aead_facts(Trial(SHORT, False, DECLINED))
    assert (facts.label, facts.accepted, facts.usable) == ("AES-128-GCM-SIV without record 1024", False, None)
    assert facts.answer == "finds no common AEAD algorithm"
    assert Trial(SHORT, False, DECLINED).id == "ke.aead-30-unannounced"
