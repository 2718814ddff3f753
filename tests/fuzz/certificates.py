"""Certificates, requests for them and private keys: from strangers, from peers and from disk."""

import base64
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography.x509 import load_der_x509_certificate

from ntspool.errors import CertificateError, RemoteError, StateError
from ntspool.net import agentstate, authority, mutualtls, tls
from ntspool.net.agentclient import AgentClient
from ntspool.net.clienttls import covers_name
from ntspool.pool.exam.certificates import certificate_facts
from ntspool.pool.exam.conversation import Conversation
from ntspool.pool.unreadable import UNREADABLE
from ntspool.wire.secret import Secret
from tests.fuzz.engine import Target
from tests.fuzz.kept import Held

SAMPLES = Path(__file__).parent / "pem"
AUTHORITY, REQUEST, AGENT, SERVER = (
    (SAMPLES / f"{name}.pem").read_bytes() for name in ("authority", "request", "agent", "server")
)


def parts(pem):
    """Return the parts of a text in PEM, each with its lines of dashes."""
    return [b"-----BEGIN " + each for each in pem.split(b"-----BEGIN ")[1:]]


def der(pem):
    return base64.b64decode(b"".join(pem.splitlines()[1:-1]))


def armour(what, data):
    """Return bytes in PEM: a fuzzer would hardly get past base64."""
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (what, base64.encodebytes(data), what)


AUTHORITY_KEY, TRUSTED = parts(AUTHORITY)
agents_key, CSR = parts(REQUEST)
AGENT_KEY = Secret(agents_key)
SERVER_KEY, CHAIN = parts(SERVER)
PINNED = authority.fingerprint(load_der_x509_certificate(der(TRUSTED)))
CERTIFICATES = [der(each) for each in (TRUSTED, AGENT, CHAIN)]


def check_request(data, _):
    authority.read_csr(armour(b"CERTIFICATE REQUEST", data))


def check_pinned(data, _):
    assert authority.check_pinned(armour(b"CERTIFICATE", data), PINNED) == TRUSTED


def check_issued(data, _):
    assert authority.check_issued(armour(b"CERTIFICATE", data), AGENT_KEY, TRUSTED) == "ntp-1"


def check_examined(data, _):
    found = certificate_facts(Conversation("192.0.2.1", "pool.example.com", chain=(data,)), 1.8e9)
    try:
        covers_name(load_der_x509_certificate(data), "pool.example.com")
    except UNREADABLE:
        assert found is None
    if found is None:
        raise StateError("not readable")
    assert all(each.isprintable() for each in (found.subject, found.issuer, *found.names, *found.chain, found.key))


FOLDER = TemporaryDirectory()
CHAIN_FILE, KEY_FILE = Path(FOLDER.name) / "fullchain.pem", Path(FOLDER.name) / "privkey.pem"


def check_server(data, _):
    key, _, chain = data.partition(b"\0")
    for path, content in ((KEY_FILE, key), (CHAIN_FILE, chain)):
        path.write_bytes(content)
        path.chmod(0o600)
    found = tls.read_certificate(CHAIN_FILE, KEY_FILE)
    tls.dns_names(found)
    assert tls.not_after(found) > 0


def check_authorities(data, _):
    tls.client_context(data)


def check_authority(data, _):
    found = authority.load_or_create(Held(data), 1.8e9)
    assert authority.load_or_create(Held(found.encode()), 1.8e9).pem == found.pem


IDENTITY = agentstate.Identity("ntp-1", ("gw.example.com:4461", "[2001:db8::1]:4461"), TRUSTED, AGENT_KEY, AGENT)
STATE = Path(FOLDER.name) / "agent"
agentstate.write(STATE, IDENTITY)


def check_identity(data, _):
    # Not through FileStore, which waits for the disk.
    (STATE / agentstate.ENTRY).write_bytes(data)
    assert AgentClient(STATE).expires > 0
    found = agentstate.read(STATE)
    mutualtls.client_context(found.pem, found.authority)


TARGETS = [
    Target(
        "certificate request",
        "Gives a P-256 key, or WireError.",
        3_000,
        [der(CSR)],
        check_request,
    ),
    Target(
        "authority's certificate",
        "Gives the certificate whose SHA-256 is known, or RemoteError.",
        2_000,
        [der(TRUSTED)],
        check_pinned,
        refusals=(RemoteError,),
    ),
    Target(
        "agent's certificate",
        "Gives the name that our authority signed for our key, or WireError.",
        2_000,
        [der(AGENT), der(TRUSTED)],
        check_issued,
    ),
    Target(
        "examined certificate",
        "Gives facts that are printable, or none; and what cannot be read covers no name.",
        2_000,
        CERTIFICATES,
        check_examined,
        refusals=(StateError,),
    ),
    Target(
        "server's certificate",
        "Gives a chain and its key, with names and an end, or CertificateError.",
        300,
        [SERVER_KEY + b"\0" + CHAIN, SERVER_KEY + b"\0" + CHAIN + TRUSTED],
        check_server,
        refusals=(CertificateError,),
    ),
    Target(
        "authorities of servers",
        "Gives what TLS trusts, or CertificateError.",
        1_000,
        [CHAIN + TRUSTED],
        check_authorities,
        refusals=(CertificateError,),
    ),
    Target(
        "authority's file",
        "Gives an authority that is read again from what it writes, or StateError.",
        1_000,
        [AUTHORITY],
        check_authority,
        refusals=(StateError,),
    ),
    Target(
        "agent's identity",
        "Gives what TLS and the agent's client take, or StateError.",
        300,
        [(STATE / agentstate.ENTRY).read_bytes()],
        check_identity,
        refusals=(StateError,),
    ),
]
