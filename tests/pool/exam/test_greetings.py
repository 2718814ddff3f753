"""TCP, TLS and ALPN: what is right, what is wrong, and what could not be tried."""

from dataclasses import replace

import pytest

from ntspool.pool.exam.conversation import Conversation, Ending, Reached
from ntspool.pool.exam.greetings import (
    address_facts,
    judge_alike,
    judge_connection,
    judge_no_alpn,
    judge_tls12,
    judge_wrong_alpn,
    tls_facts,
)
from ntspool.pool.exam.model import Verdict
from tests.pool.exam.seen import CLOSED, GOOD, HANGING, UNREACHED, answered, ids

NOBODY = Conversation("2001:db8::1", "pool.test", failure="Connection refused")
ALERT = replace(UNREACHED, ending=Ending.ALERT, failure="TLS failed: tlsv1 alert protocol version")


def test_an_ordinary_connection():
    assert ids(judge_connection(GOOD)) == {"tcp.connect": "pass", "tls.handshake": "pass", "tls.alpn": "pass"}
    assert address_facts(GOOD).family == 4
    assert tls_facts(GOOD).group == "X25519"


@pytest.mark.parametrize(
    ("seen", "last"),
    [
        (NOBODY, ("tcp.connect", "fail")),
        (replace(NOBODY, unroutable=True), ("tcp.connect", "skip")),
        (UNREACHED, ("tls.handshake", "fail")),
        (replace(GOOD, alpn=""), ("tls.alpn", "fail")),
    ],
)
def test_what_keeps_a_client_from_talking(seen, last):
    assert list(ids(judge_connection(seen)).items())[-1] == last


def test_whoever_is_closed_on_may_not_be_allowed_in():
    *_, finding = judge_connection(UNREACHED)
    assert "allowed" in finding.text
    assert address_facts(NOBODY).failure == "Connection refused"
    assert address_facts(UNREACHED).failure == ""


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (ALERT, Verdict.PASS),
        (UNREACHED, Verdict.PASS),
        (replace(GOOD, version="TLSv1.2"), Verdict.FAIL),
        (replace(UNREACHED, ending=Ending.OPEN), Verdict.FAIL),
        (NOBODY, Verdict.SKIP),
    ],
)
def test_tls_1_2(seen, verdict):
    assert judge_tls12(seen).verdict is verdict


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (ALERT, Verdict.PASS),
        (CLOSED, Verdict.PASS),
        (HANGING, Verdict.NOTE),
        (answered(), Verdict.NOTE),
        (UNREACHED, Verdict.SKIP),
        (NOBODY, Verdict.SKIP),
    ],
)
def test_alpn_that_is_missing_or_another(seen, verdict):
    assert judge_no_alpn(seen).verdict is verdict
    assert judge_wrong_alpn(seen).verdict is verdict
    assert not judge_no_alpn(seen).deviation
    assert judge_wrong_alpn(seen).deviation is (seen.reached is Reached.TLS and bool(seen.data))


def test_addresses_whose_certificates_differ():
    assert judge_alike([("192.0.2.1", ("a.test",))]) is None
    assert judge_alike([("192.0.2.1", ("a.test", "b.test")), ("::1", ("b.test", "a.test"))]).verdict is Verdict.PASS
    finding = judge_alike([("192.0.2.1", ("a.test",)), ("::1", ("b.test",))])
    assert (finding.verdict, "::1 has b.test" in finding.text) == (Verdict.NOTE, True)
