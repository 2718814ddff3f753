"""Asking DNS servers: every kind of answer, and none of what they may do wrong, is an outcome."""

import asyncio
import os
from ipaddress import ip_address

import dns.message
import dns.resolver
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.net import dns as dns_module
from ntspool.net.dns import look_up, read
from ntspool.pool.resolving import Answer, DnsSettings, Failure, Question, RecordType, Target
from tests.net.dnsserver import Zone, dns_server, truncated

NTP = Question.host("ntp.example")
SERVICE = Question.service("_ntske._tcp.example")
A, AAAA, SRV = RecordType
NONE = Answer((), 30)


def _resolved(zone, question=NTP, timeout=0.2, before=()):
    """Return the outcomes of a look-up at `zone`, which is asked after the servers `before`."""
    with dns_server(zone):
        servers = (*before, (zone.host, zone.port))
        return asyncio.run(look_up(question, DnsSettings(servers, timeout)))


def _addresses(ttl, *texts):
    return Answer(tuple(map(ip_address, texts)), ttl)


def test_addresses_of_both_families_with_their_ttl():
    records = {("ntp.example", "A"): (300, "192.0.2.2", "192.0.2.1"), ("ntp.example", "AAAA"): (60, "2001:db8::1")}
    assert _resolved(Zone(records)) == {
        A: _addresses(300, "192.0.2.1", "192.0.2.2"),
        AAAA: _addresses(60, "2001:db8::1"),
    }


def test_no_data_is_told_from_no_name_by_nobody_and_lasts_as_its_soa_says():
    zone = Zone({("ntp.example", "A"): (300, "192.0.2.1")})
    assert _resolved(zone)[AAAA] == NONE
    assert _resolved(zone, Question.host("nobody.example")) == {A: NONE, AAAA: NONE}
    zone.soa_ttl = 7
    assert _resolved(zone)[AAAA] == Answer((), 7)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_a_server_that_fails_tells_nothing(rcode):
    zone = Zone(rcodes={"ntp.example": rcode})
    with dns_server(zone):
        outcomes = asyncio.run(look_up(NTP, DnsSettings(((zone.host, zone.port),))))
    assert outcomes == {kind: Failure(f"127.0.0.1 port {zone.port}: {rcode}") for kind in (A, AAAA)}
    assert len(zone.asked) == 2 * dns_module.ROUNDS


def test_silence_tells_nothing():
    zone = Zone(mute=True)
    outcomes = _resolved(zone, timeout=0.05)
    assert outcomes == {kind: Failure(f"127.0.0.1 port {zone.port}: no answer") for kind in (A, AAAA)}


def test_the_next_server_is_asked_when_one_fails():
    good = Zone({("ntp.example", "A"): (300, "192.0.2.1")})
    for bad in (Zone(mute=True), Zone(rcodes={"ntp.example": "SERVFAIL"}), Zone(override=lambda *_: os.urandom(40))):
        with dns_server(bad):
            outcomes = _resolved(good, timeout=0.1, before=[(bad.host, bad.port)])
        assert outcomes == {A: _addresses(300, "192.0.2.1"), AAAA: NONE}


def test_nobody_else_is_asked_when_there_is_no_such_name():
    first, second = Zone(), Zone({("ntp.example", "A"): (300, "192.0.2.1")})
    with dns_server(first):
        assert _resolved(second, before=[(first.host, first.port)]) == {A: NONE, AAAA: NONE}
    assert second.asked == []


def test_a_truncated_answer_is_fetched_by_tcp():
    zone = Zone({("ntp.example", "A"): (300, *(f"192.0.2.{number}" for number in range(1, 51)))}, override=truncated)
    outcomes = _resolved(zone)
    assert len(outcomes[A].records) == 50
    assert ("ntp.example", "A", "tcp") in zone.asked


@pytest.mark.parametrize("reply", [b"", b"\0", b"\0" * 12, b"\xff" * 60])
def test_garbage_by_tcp_tells_nothing(reply):
    def override(query, tcp, regular):
        return reply if tcp else truncated(query, tcp, regular)

    outcomes = _resolved(Zone(override=override), timeout=0.1)
    assert all(isinstance(each, Failure) for each in outcomes.values())


def test_a_cname_chain_is_followed_in_one_answer_and_to_the_next():
    records = {
        ("ntp.example", "CNAME"): (300, "a.example"),
        ("a.example", "CNAME"): (20, "b.example"),
        ("b.example", "A"): (60, "192.0.2.1"),
    }
    assert _resolved(Zone(records)) == {A: _addresses(20, "192.0.2.1"), AAAA: Answer((), 20)}
    zone = Zone(records | {("a.example", "beyond"): ()})
    assert _resolved(zone) == {A: _addresses(20, "192.0.2.1"), AAAA: Answer((), 20)}
    assert ("a.example", "A", "udp") in zone.asked


def test_a_cname_chain_without_an_end_tells_nothing():
    zone = Zone()

    def override(query, tcp, regular):
        response = dns.message.make_response(query)
        name = query.question[0].name.to_text()
        response.answer.append(dns.rrset.from_text(name, 9, "IN", "CNAME", f"x{name}"))
        return response.to_wire()

    zone.override = override
    assert "more than 8 CNAME records" in _resolved(zone)[A].reason
    looping = Zone({("ntp.example", "CNAME"): (9, "a.example"), ("a.example", "beyond"): ()})
    looping.records["a.example", "CNAME"] = (9, "ntp.example")
    looping.records["ntp.example", "beyond"] = ()
    assert "more than 8 CNAME records" in _resolved(looping)[A].reason


def test_what_is_no_answer_to_the_query_is_passed_over():
    def override(query, tcp, regular):
        kind = query.question[0].rdtype.name
        if kind == "A":
            regular.id ^= 1
        return regular.to_wire()

    zone = Zone(
        {("ntp.example", "A"): (300, "192.0.2.1"), ("ntp.example", "AAAA"): (300, "2001:db8::1")}, override=override
    )
    outcomes = _resolved(zone, timeout=0.1)
    assert outcomes[A] == Failure(f"127.0.0.1 port {zone.port}: no answer")
    assert outcomes[AAAA] == _addresses(300, "2001:db8::1")


def test_addresses_that_no_client_can_use_are_left_out_and_told():
    zone = Zone(
        {
            ("ntp.example", "A"): (300, "0.0.0.0", "192.0.2.1", "224.0.1.1"),
            ("ntp.example", "AAAA"): (300, "::ffff:192.0.2.1"),
        }
    )
    wrong = "is not one host's address that clients can use"
    assert _resolved(zone) == {
        A: Answer((ip_address("192.0.2.1"),), 300, f"0.0.0.0 {wrong}; 224.0.1.1 {wrong}"),
        AAAA: Answer((), 300, f"{ip_address('::ffff:192.0.2.1')} {wrong}"),
    }


def test_more_addresses_than_a_backend_can_have():
    zone = Zone({("ntp.example", "A"): (300, *(f"192.0.2.{number}" for number in range(1, 101)))})
    answer = _resolved(zone)[A]
    assert answer.records == _addresses(0, *(f"192.0.2.{number}" for number in range(1, 65))).records
    assert answer.remarks == "100 records are too many; 64 are used"


def test_services():
    zone = Zone({("_ntske._tcp.example", "SRV"): (300, "0 5 4460 B.example.", "0 0 4460 a.example.")})
    assert _resolved(zone, SERVICE) == {
        SRV: Answer((Target(0, 0, 4460, "a.example"), Target(0, 5, 4460, "b.example")), 300)
    }
    zone.records["_ntske._tcp.example", "SRV"] = (300, "0 0 0 .")
    assert _resolved(zone, SERVICE) == {SRV: Answer((Target(0, 0, 0, ""),), 300)}


def test_the_servers_of_the_system_are_asked_when_none_are_stated(tmp_path, monkeypatch):
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\nnameserver ::1\n")
    make = dns.resolver.Resolver
    monkeypatch.setattr(dns.resolver, "Resolver", lambda: make(str(path)))
    assert dns_module.system_servers() == (("127.0.0.1", 53), ("::1", 53))
    path.unlink()
    outcomes = asyncio.run(look_up(NTP, DnsSettings()))
    assert outcomes[A] == outcomes[AAAA]
    assert "no DNS server is known" in outcomes[A].reason


def _responses():
    """Return responses of every shape, as bytes."""
    zone = Zone(
        {
            ("ntp.example", "A"): (300, "192.0.2.1", "192.0.2.2"),
            ("alias.example", "CNAME"): (300, "ntp.example"),
            ("_ntske._tcp.example", "SRV"): (300, "0 5 4460 b.example."),
        }
    )
    questions = [("ntp.example", "A"), ("ntp.example", "AAAA"), ("alias.example", "A"), ("_ntske._tcp.example", "SRV")]
    return [(kind, zone.reply(dns.message.make_query(name, kind).to_wire(), tcp=False)) for name, kind in questions]


@given(response=st.sampled_from(_responses()), data=st.data())
def test_no_bytes_raise_anything_else(response, data):
    """What dnspython makes of any bytes, `read` turns into an answer or a WireError."""
    kind, wire = response
    changed = bytearray(wire)
    for _ in range(data.draw(st.integers(1, 6))):
        changed[data.draw(st.integers(2, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = dns.message.from_wire(bytes(changed[: data.draw(st.integers(12, len(changed)))]))
    except dns_module.MALFORMED:
        return
    try:
        answer, ttl, _ = read(message, RecordType(kind), float("inf"))
    except WireError:
        return
    assert isinstance(answer, Answer)
    assert answer.ttl == ttl >= 0


@pytest.mark.parametrize(("kind", "rdclass"), [("A", "HS"), ("TXT", "IN"), ("AAAA", "IN")])
def test_an_answer_to_another_question_is_none(kind, rdclass):
    text = {"TXT": "x", "AAAA": "::1"}.get(kind, "192.0.2.1" if rdclass == "IN" else r"\# 4 c0000201")
    response = dns.message.make_response(dns.message.make_query("ntp.example", kind, rdclass))
    response.answer.append(dns.rrset.from_text("ntp.example.", 9, rdclass, kind, text))
    with pytest.raises(WireError, match="not an answer to the question"):
        read(dns.message.from_wire(response.to_wire()), A, 9.0)
