"""The gateway's session against a client in memory."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from structlog.testing import capture_logs

from ntspool.net.servertls import server_context
from ntspool.net.session import Outcome, Session
from ntspool.pool.cookies import CookieKey
from ntspool.pool.negotiation import Negotiator
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import ClientExchange, exporter_contexts
from ntspool.wire.messages import Refusal, Request, Response
from ntspool.wire.tlsrecords import MOST_RECORDS
from tests.conftest import V4, V6, make_serving
from tests.net.tlsclient import MemoryClient, make_context

CHRONY_4_3 = bytes.fromhex("80010002 0000 80040002 000f 80000000")
SERVING = make_serving(address="192.0.2.7")


@pytest.fixture(scope="module", params=["fast", "public"])
def context(request, pki):
    return make_context(request.param, [pki.certificate])


@pytest.fixture
def session(context):
    return Session(context, Negotiator([SERVING]), V4.packed, os.urandom)


@pytest.mark.parametrize("piece", [65536, 1000, 7, 1])
def test_a_session_hands_out_cookies_that_open_to_the_exported_keys(session, pki, piece):
    client = MemoryClient(session, pki.ca, piece=piece).handshake()
    reply = ClientExchange(Request((0,), (15,))).receive_data(client.ask(CHRONY_4_3))
    assert isinstance(reply, Response)
    assert reply.server == "192.0.2.7"
    opened = [CookieKey(SERVING.backend.cookies, SERVING.key).open(cookie) for cookie in reply.cookies]
    c2s, s2c = exporter_contexts(Aead.AES_SIV_CMAC_256, compliant_128gcm=False)
    assert {(each.c2s.reveal(), each.s2c.reveal()) for each in opened} == {
        (client.export(c2s, 32), client.export(s2c, 32))
    }
    assert len(set(reply.cookies)) == 8
    assert session.finished
    assert session.report.outcome is Outcome.OK
    assert session.report.server_name == "localhost"
    assert session.report.answer.choice.serving is SERVING


def test_response_and_close_notify_leave_in_one_flight_and_no_ticket_does(session):
    client = MemoryClient(session).handshake()
    assert len(client.flights) == 1, "after the client's Finished the server sends nothing: no session tickets"
    client.ask(CHRONY_4_3)
    assert len(client.flights) == 2
    assert client.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN


def test_where_the_client_is_is_asked_once_and_decides(context):
    asked, near = [], make_serving("near", "192.0.2.8", regions=("de",))

    def locate(packed):
        asked.append(packed)
        return ("de", "europe")

    session = Session(context, Negotiator([SERVING, near]), V4.packed, os.urandom, locate)
    client = MemoryClient(session).handshake()
    assert asked == []
    reply = ClientExchange(Request((0,), (15,))).receive_data(client.ask(CHRONY_4_3))
    assert (reply.server, asked) == ("192.0.2.8", [V4.packed])
    assert session.report.answer.choice.why() == {"region": "de"}


@pytest.mark.parametrize("name", [None, "ntp.elsewhere.test"])
def test_without_sni_or_with_an_unknown_name_the_first_certificate_stands(session, pki, name):
    client = MemoryClient(session, pki.ca, name=name).handshake()
    assert len(client.flights) == 1
    assert client.ask(CHRONY_4_3)


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ("80010002 0000 80040002 000f c0000000 80000000", "80020002 0000 80000000"),
        ("80040002 000f 80000000", "80020002 0001 80000000"),
        ("80010002 8001 80040002 000f 80000000", "80010000 80000000"),
        ("80010002 0000 80040002 0010 80000000", "80010002 0000 80040000 80000000"),
    ],
    ids=["unknown critical record", "no next protocol", "no common protocol", "no common AEAD"],
)
def test_a_refusal_is_one_message_and_close_notify(session, message, answer):
    client = MemoryClient(session).handshake()
    assert client.ask(bytes.fromhex(message)) == bytes.fromhex(answer)
    assert session.report.outcome is Outcome.REFUSED
    assert session.report.reason


def test_our_own_failure_is_answered_with_error_2(context):
    class Broken(Negotiator):
        def answer(self, *_):
            raise RuntimeError("a bug")

    session = Session(context, Broken([SERVING]), V4.packed, os.urandom)
    with capture_logs() as logs:
        assert MemoryClient(session).handshake().ask(CHRONY_4_3) == bytes.fromhex("80020002 0002 80000000")
    assert session.report.outcome is Outcome.REFUSED
    assert [entry["event"] for entry in logs] == ["answering failed"]


def test_a_client_that_asks_for_nothing_is_told_so_at_the_deadline(session, pki):
    client = MemoryClient(session, pki.ca).handshake()
    client.tls.bio_write(session.expire())
    assert client.listen() == bytes.fromhex("80020002 0001 80000000")
    assert session.report.outcome is Outcome.TIMEOUT
    assert session.expire() == b""


def test_without_a_backend_the_client_gets_error_2(context):
    session = Session(context, Negotiator([SERVING]), V6.packed, os.urandom)
    reply = ClientExchange(Request((0,), (15,))).receive_data(MemoryClient(session).handshake().ask(CHRONY_4_3))
    assert isinstance(reply, Refusal)
    assert reply.code == 2
    assert session.report.reason == "no backend has an IPV6 address"


def test_another_alpn_is_refused_by_the_alert_of_rfc_7301(session):
    with pytest.raises(SSL.Error, match=r"(?i)no.application.protocol"):
        MemoryClient(session, alpn=[b"h2", b"http/1.1"]).handshake()
    assert session.report.outcome is Outcome.TLS_FAILED


def test_no_alpn_ends_the_session(session):
    client = MemoryClient(session, alpn=None).handshake()
    assert session.finished
    assert session.report.reason == "the client sends no ALPN"
    assert len(client.flights) == 1


def test_tls_1_2_is_refused(session):
    with pytest.raises(SSL.Error, match=r"(?i)protocol.version"):
        MemoryClient(session, max_version=SSL.TLS1_2_VERSION).handshake()
    assert session.report.outcome is Outcome.TLS_FAILED
    assert "unsupported protocol" in session.report.reason


def test_more_records_than_a_session_has_end_it_before_they_cost_anything(session):
    client = MemoryClient(session).handshake()
    for _ in range(MOST_RECORDS):
        client.tls.send(bytes.fromhex("0fff0000"))
    client._carry()
    assert session.finished
    assert session.report.reason == "more TLS records than a session has"


def test_a_request_may_come_in_a_record_for_each_byte(session):
    client = MemoryClient(session).handshake()
    for byte in bytes.fromhex("80010002 0000 80040002 000f 04000000 80000000"):
        client.tls.send(bytes([byte]))
    client._carry()
    assert session.report.outcome is Outcome.OK


def test_close_notify_instead_of_a_request_ends_the_session(session):
    client = MemoryClient(session).handshake()
    client.tls.shutdown()
    client._carry()
    assert session.finished
    assert session.report.outcome is Outcome.CLOSED


def test_a_name_of_control_characters_is_reported_as_text(session):
    client = MemoryClient(session, name="\x1b[2Jhost").handshake()
    client.ask(CHRONY_4_3)
    assert session.report.server_name == r"'\x1b[2jhost'"


def test_tls_state_is_made_for_a_whole_client_hello_only(pki):
    made = []

    def context():
        made.append(None)
        return server_context([pki.certificate])()

    session = Session(context, Negotiator([SERVING]), V4.packed, os.urandom)
    assert session.receive_data(bytes.fromhex("1603010200010001fc0303")) == b""
    assert not made
    session.receive_data(bytes(0x200))
    assert made


@settings(max_examples=300, deadline=None)
@given(
    data=st.lists(st.binary(max_size=600), max_size=5),
    prefix=st.sampled_from([b"", bytes.fromhex("1603010200010001fc0303")]),
)
def test_no_bytes_make_a_session_raise(context, data, prefix):
    session = Session(context, Negotiator([SERVING]), V4.packed, os.urandom)
    for piece in (prefix, *data):
        if piece and not session.finished:
            session.receive_data(piece)
    assert session.report.outcome in (Outcome.CLOSED, Outcome.TLS_FAILED)
