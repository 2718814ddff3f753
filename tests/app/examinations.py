"""Examinations made up for tests of what is told of them."""

from dataclasses import replace
from pathlib import Path

from ntspool.pool.exam.model import (
    AddressFacts,
    AeadFacts,
    Agreement,
    CertificateFacts,
    Examination,
    Finding,
    Handout,
    Lookup,
    ServerFacts,
    TlsFacts,
    Verdict,
)
from ntspool.pool.exam.plan import Plan

NOW = 1_800_000_000.0
DAY = 86400.0
HOST = "ntp-pool.example.com"
V4, V6 = "192.0.2.10", "2001:db8::10"
PLAN = Plan(HOST, ca=Path("/etc/ssl/example.pem"), resolvers=(("192.0.2.53", 53),))


def good(name: str, text: str, rfc: str = "", address: str = "") -> Finding:
    """Return a PASS."""
    return Finding(name, Verdict.PASS, text, rfc, address)


def bad(name: str, text: str, rfc: str = "", address: str = "") -> Finding:
    """Return a FAIL."""
    return Finding(name, Verdict.FAIL, text, rfc, address)


FINDINGS = (
    good("dns.address", "2 addresses"),
    Finding("dns.srv", Verdict.NOTE, "no SRV records; no client of today asks for them"),
    good("tcp.connect", "port 4460 is open", address=V4),
    good("tcp.connect", "port 4460 is open", address=V6),
    good("tls.version", "TLS 1.3", "RFC 8915 3", V4),
    good("tls.version", "TLS 1.3", "RFC 8915 3", V6),
    good("tls.alpn", "ntske/1", "RFC 8915 4", V4),
    good("ke.aead", "AES-SIV-CMAC-256, which every server must have", "RFC 8915 5.1"),
    good(
        "ke.unknown-critical-record",
        "an unknown critical record: the server answers with NTS-KE error 0",
        "RFC 8915 4.1.3",
        V4,
    ),
    Finding(
        "ke.empty",
        Verdict.NOTE,
        "a message that is empty: the server closes the connection without an answer; expected: it answers with "
        "NTS-KE error 1",
        "RFC 8915 4.1.3",
        V4,
        deviation=True,
    ),
    Finding("ke.silence", Verdict.SKIP, "not tried: no time was left", "RFC 8915 4.1.3", V4),
    good("servers.number", "3 servers"),
    good("ntp.authenticated", "every request was answered", "RFC 8915 5.7", "192.0.2.1 port 123"),
    good("ntp.agreement", "3 of 3 servers agree"),
)

CERTIFICATE = CertificateFacts(
    address=V4,
    subject=f"CN={HOST}",
    names=(HOST, f"*.{HOST}"),
    issuer="CN=R11,O=Let's Encrypt,C=US",
    chain=(f"CN={HOST}", "CN=R11,O=Let's Encrypt,C=US"),
    not_before=NOW - 29 * DAY,
    not_after=NOW + 61 * DAY,
    days_left=61.0,
    key="EC secp256r1",
)


def server(address: str, **more: object) -> ServerFacts:
    """Return what is known of an NTP server that does well."""
    known = ServerFacts(
        server=address,
        address=address,
        port=123,
        requests=8,
        replies=8,
        naks=0,
        cookies=8,
        stratum=1,
        leap=0,
        reference="GPS",
        root_delay=0.0,
        root_dispersion=0.0003,
        root_distance=0.0003,
        offset=0.000123,
        uncertainty=0.0105,
        delay=0.0204,
        request_length=228,
        reply_length=228,
        cookie_length=100,
    )
    return replace(known, **more)


WELL = Examination(
    plan=PLAN,
    began=NOW,
    elapsed=21.347,
    connections=41,
    requests=33,
    findings=FINDINGS,
    lookups=(
        Lookup(HOST, "A", (V4,), 300.0, authenticated=True),
        Lookup(HOST, "AAAA", (V6,), 300.0, authenticated=True),
        Lookup(f"_ntske._tcp.{HOST}", "SRV", failure="no such name"),
    ),
    addresses=(AddressFacts(V4, 4, 0.0123), AddressFacts(V6, 6, 0.0118)),
    certificates=(CERTIFICATE, replace(CERTIFICATE, address=V6)),
    tls=(
        TlsFacts(V4, "TLSv1.3", "TLS_AES_128_GCM_SHA256", "X25519", "ntske/1", 0.0251),
        TlsFacts(V6, "TLSv1.3", "TLS_AES_128_GCM_SHA256", None, "ntske/1", 0.0249),
    ),
    aeads=(
        AeadFacts(15, "AES-SIV-CMAC-256", True, "gives cookies", 8, 100, 872, 0.0398, True),
        AeadFacts(30, "AES-128-GCM-SIV", True, "gives cookies", 8, 68, 620, 0.0377, True),
        AeadFacts(17, "AES-SIV-CMAC-512", False, "finds no common AEAD algorithm", elapsed=0.0351),
    ),
    handouts=(
        Handout(HOST, None, 4, "192.0.2.1", 123, 3),
        Handout(HOST, None, 4, "192.0.2.2", 123, 1),
        Handout(HOST, None, 6, "2001:db8::3", 4123, 4),
        Handout(f"0.{HOST}", 0, 4, "192.0.2.2", 123, 1),
        Handout(f"1.{HOST}", 1, 4, "192.0.2.1", 123, 1),
    ),
    servers=(
        server("192.0.2.1"),
        server("192.0.2.2", offset=-0.0021, stratum=2, reference="192.0.2.1", root_distance=0.0123),
        server("2001:db8::3", port=4123, reference="PPS", delay=0.0191),
    ),
    agreement=Agreement(3, -0.0006, 0.0009, (), 0.002223),
)
"""A service as it should be."""

_LIAR, _SILENT = "192.0.2.2 port 123", "2001:db8::3 port 4123"

ILL = replace(
    WELL,
    findings=(
        *FINDINGS[:4],
        bad("tls.certificate", "the certificate is not for ntp-pool.example.com", "RFC 8915 4", V6),
        *FINDINGS[4:8],
        bad(
            "ke.unknown-critical-record",
            "an unknown critical record: the server closes the connection without an answer; expected: it answers with "
            "NTS-KE error 0",
            "RFC 8915 4.1.3",
            V4,
        ),
        *FINDINGS[9:13],
        bad("ntp.falseticker", "its clock is +3.0 s from what the others agree on", "", _LIAR),
        bad("ntp.answers", "no answer to any of 8 requests", "RFC 8915 5.7", _SILENT),
    ),
    addresses=(AddressFacts(V4, 4, 0.0123), AddressFacts(V6, 6, failure="Connection refused")),
    certificates=(replace(CERTIFICATE, names=(), days_left=-2.5, not_after=NOW - 2.5 * DAY, trouble=("it is old",)),),
    aeads=(*WELL.aeads[:1], replace(WELL.aeads[1], usable=False)),
    servers=(
        WELL.servers[0],
        replace(WELL.servers[1], offset=3.0021),
        ServerFacts("ntp-3.example.com", "2001:db8::3", 4123, 8, 0, 2, 0, (("no answer", 6), ("NTS NAK", 2))),
    ),
    agreement=Agreement(2, 0.0001, 0.0002, (_LIAR,), 3.0),
)
"""A service in which much is wrong."""

NOBODY = replace(
    WELL,
    connections=2,
    requests=0,
    elapsed=0.1,
    findings=(bad("tcp.connect", "port 4460: Connection refused", address=V4),),
    lookups=(),
    addresses=(AddressFacts(V4, 4, failure="Connection refused"),),
    certificates=(),
    tls=(),
    aeads=(),
    handouts=(),
    servers=(),
    agreement=None,
)
"""A name behind which nobody answers."""
