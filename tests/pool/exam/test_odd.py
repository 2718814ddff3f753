"""Odd requests: what is asked, and what is thought of what servers do about it."""

from dataclasses import replace

import pytest

from ntspool.errors import ErrorCode, WireError
from ntspool.pool.exam import odd
from ntspool.pool.exam.conversation import Ending, Kind
from ntspool.pool.exam.model import Verdict
from ntspool.pool.exam.plan import ODD_SESSIONS
from ntspool.wire import records
from ntspool.wire.exchange import ServerExchange
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL
from ntspool.wire.records import END_OF_MESSAGE
from tests.pool.exam.seen import CLOSED, GOOD, HANGING, UNREACHED, answered, said

CASES = {each.id: each for each in odd.cases("pool.test")}
REFUSALS = [replace(GOOD, data=each.encode()) for each in (NO_COMMON_PROTOCOL, NO_COMMON_AEAD)]
ERRORS = [said(records.error(code), END_OF_MESSAGE) for code in (0, 1, 2)]


def server_says(case):
    """Return what our own server makes of a request."""
    exchange = ServerExchange()
    try:
        requests = [request for piece in case.pieces if (request := exchange.receive_data(piece)) is not None]
    except WireError as error:
        return ERRORS[error.code]
    if requests[-1].protocols == (0x7FFF,):
        return REFUSALS[0]
    return answered() if 15 in requests[-1].aeads else REFUSALS[1]


@pytest.mark.parametrize("name", CASES)
def test_our_own_server_does_what_is_expected(name):
    finding = odd.judge(CASES[name], server_says(CASES[name]))
    assert finding.verdict is Verdict.PASS, finding.text
    assert finding.id == name
    assert finding.rfc.startswith("RFC 8915 4")


def test_the_requests_are_as_many_as_the_plan_says():
    # Two ways to greet, and silence.
    assert len(CASES) + 3 == ODD_SESSIONS


@pytest.mark.parametrize("name", CASES)
def test_who_is_not_let_in_tries_nothing(name):
    assert odd.judge(CASES[name], UNREACHED).verdict is Verdict.SKIP


@pytest.mark.parametrize("name", CASES)
def test_a_connection_that_hangs_is_never_right(name):
    assert odd.judge(CASES[name], HANGING).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("name", "seen", "verdict"),
    [
        ("ke.unknown-critical-record", answered(), Verdict.FAIL),
        ("ke.unknown-critical-record", ERRORS[ErrorCode.BAD_REQUEST], Verdict.NOTE),
        ("ke.unknown-critical-record", CLOSED, Verdict.NOTE),
        ("ke.unknown-record", ERRORS[0], Verdict.FAIL),
        ("ke.unknown-record", CLOSED, Verdict.FAIL),
        ("ke.uncritical-aead", ERRORS[1], Verdict.FAIL),
        ("ke.long-request", CLOSED, Verdict.FAIL),
        ("ke.fragmented", CLOSED, Verdict.NOTE),
        ("ke.no-common-protocol", answered(), Verdict.FAIL),
        ("ke.no-common-protocol", ERRORS[1], Verdict.NOTE),
        ("ke.no-common-aead", answered(), Verdict.NOTE),
        ("ke.oversized", replace(CLOSED, ending=Ending.RESET), Verdict.PASS),
        ("ke.empty", CLOSED, Verdict.NOTE),
        ("ke.empty", answered(), Verdict.NOTE),
    ],
)
def test_what_servers_do_otherwise(name, seen, verdict):
    finding = odd.judge(CASES[name], seen)
    assert (finding.verdict, finding.deviation) == (verdict, verdict is Verdict.NOTE), finding.text


@pytest.mark.parametrize(
    ("seen", "verdict", "deviation"),
    [
        (ERRORS[1], Verdict.PASS, False),
        (HANGING, Verdict.NOTE, False),
        (CLOSED, Verdict.NOTE, True),
        (answered(), Verdict.FAIL, False),
        (UNREACHED, Verdict.SKIP, False),
    ],
)
def test_silence(seen, verdict, deviation):
    finding = odd.judge_silence(seen)
    assert (finding.verdict, finding.deviation) == (verdict, deviation)


def test_outcomes_are_told_apart():
    kinds = [each.outcome.kind for each in (answered(), ERRORS[0], *REFUSALS, CLOSED, HANGING, UNREACHED)]
    assert kinds == [
        Kind.COOKIES,
        Kind.ERROR,
        Kind.NO_PROTOCOL,
        Kind.NO_AEAD,
        Kind.CLOSED,
        Kind.HANGS,
        Kind.UNREACHED,
    ]
    assert replace(GOOD, data=b"HTTP/1.1 400 Bad").outcome.kind is Kind.MALFORMED
    assert said(END_OF_MESSAGE).outcome.kind is Kind.MALFORMED
    assert str(ERRORS[0].outcome) == "answers with NTS-KE error 0"
