"""What reaches the NTS-KE port before there is TLS, and the names that clients ask for in it."""

import os

from ntspool.errors import RemoteError, WireError
from ntspool.net.clientsession import ClientSession
from ntspool.net.servertls import PublicContext, contexts_by_name, server_context
from ntspool.net.session import Outcome, Session
from ntspool.net.tls import client_context
from ntspool.pool.model import Certificate
from ntspool.pool.names import NOTHING, Names
from ntspool.pool.negotiation import Negotiator
from ntspool.wire.messages import Request
from ntspool.wire.secret import Secret
from tests.conftest import V4, make_serving
from tests.fuzz.certificates import CHAIN, SERVER_KEY
from tests.fuzz.engine import Target
from tests.fuzz.negotiation import cut

CERTIFICATES = [Certificate(CHAIN, Secret(SERVER_KEY))]
CONTEXTS = [server_context(CERTIFICATES), PublicContext(*contexts_by_name(CERTIFICATES))]
CLIENT = client_context(CHAIN)
NEGOTIATOR = Negotiator([make_serving(address="192.0.2.7")])
LONGEST_RECORD = 5 + (1 << 14)


def vector(width, data):
    return len(data).to_bytes(width, "big") + data


def client_hello(name=b"pool.example.com", alpn=b"ntske/1", versions=b"\x03\x04"):
    """Return a ClientHello of TLS 1.3 with one cipher suite and a key of X25519, in one record."""
    extensions = {
        0x00: vector(2, b"\0" + vector(2, name)),
        0x0A: vector(2, b"\x00\x1d"),
        0x0D: vector(2, b"\x04\x03\x08\x04"),
        0x10: vector(2, vector(1, alpn)),
        0x2B: vector(1, versions),
        0x33: vector(2, b"\x00\x1d" + vector(2, b"\x09" + bytes(31))),
    }
    told = b"".join(kind.to_bytes(2, "big") + vector(2, each) for kind, each in extensions.items())
    hello = b"\x03\x03" + bytes(32) + vector(1, b"") + vector(2, b"\x13\x01") + vector(1, b"\0") + vector(2, told)
    return b"\x16\x03\x01" + vector(2, b"\x01" + vector(3, hello))


# Without extensions it chooses no key, so TLS fails behind it; another session's key would fail no later.
SERVER_HELLO = bytes.fromhex("160303002a 02000026 0303") + bytes(32) + bytes.fromhex("00 1301 00")
CIPHERTEXT = bytes.fromhex("140303000101 1703030020") + bytes(32)
HELLOS = [
    client_hello() + b"\x14\x03\x03\x00\x01\x01",
    client_hello(b"0.pool.example.com", b"http/1.1"),
    client_hello(versions=b"\x03\x03"),
    client_hello()[:100],
    b"GET / HTTP/1.1\r\n",
]


def talk(context, pieces):
    """Return a session to which these pieces came, and how many bytes it answered."""
    session = Session(context, NEGOTIATOR, V4.packed, os.urandom)
    said = b""
    for piece in pieces:
        said += session.receive_data(piece)
        assert session._early is None or len(session._early) < LONGEST_RECORD + len(piece)
        if session.finished:
            break
    return session, len(said)


def check_client(data, rng):
    context = rng.choice(CONTEXTS)
    session, said = talk(context, [data])
    again, _ = talk(context, cut(rng, data))
    assert (again.finished, again.report.outcome, again.established) == (
        session.finished,
        session.report.outcome,
        session.established,
    )
    assert session.report.server_name.isprintable()
    assert said < 8192
    if session.report.outcome is not Outcome.CLOSED:
        raise WireError(session.report.reason)


def check_server(data, rng):
    sessions = []
    for pieces in ([data], cut(rng, data)):
        session = ClientSession(CLIENT, "pool.example.com", Request((0,), (15,)))
        session.start()
        for piece in pieces:
            if not session.finished:
                session.receive_data(piece)
        sessions.append(session)
    whole, again = sessions
    assert whole.reply is None
    assert (whole.failure is None) == (again.failure is None)
    if whole.failure is not None:
        raise whole.failure


NAMES = Names(("pool.example.com",), {"ntp-1.pool.example.com": "ntp-1"}, {"de.pool.example.com": ("ntp-1", "ntp-2")})


def check_name(data, _):
    name = data.decode("ascii", "backslashreplace").lower()
    found = NAMES.asked(name)
    assert found.slot is None or 0 <= found.slot <= 9
    assert found.group in {"", *NAMES.groups}
    assert found.pin in {"", "ntp-1"}
    if found == NOTHING:
        raise WireError("none of ours")


TARGETS = [
    Target(
        "TLS client's bytes",
        "Whole and in pieces alike: an answer of bounded length, or a failure of TLS; a session never raises.",
        1_000,
        HELLOS,
        check_client,
        lambda data: [3, 7],
    ),
    Target(
        "TLS server's bytes",
        "Whole and in pieces alike: a client's session goes on or fails; it never raises.",
        400,
        [
            SERVER_HELLO,
            SERVER_HELLO + bytes.fromhex("140303000101 1703030020") + bytes(32),
            b"HTTP/1.1 400 Bad Request",
        ],
        check_server,
        lambda data: [3, 7],
        refusals=(RemoteError,),
    ),
    Target(
        "server name",
        "Gives a slot from 0 to 9, a group or a backend that there is, or nothing.",
        3_000,
        [
            b"pool.example.com",
            b"3.pool.example.com",
            b"de.pool.example.com",
            b"0.de.pool.example.com",
            b"ntp-1.pool.example.com",
        ],
        check_name,
    ),
]
