"""The agent of one backend against another's: whatever it sends to the control port, it reaches its own only."""

import asyncio
import json
import socket
import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from ntspool.net import authority, enrolment
from ntspool.net.authority import agent_of
from ntspool.net.mutualtls import client_context
from ntspool.wire.secret import Secret
from tests import secrecy
from tests.net.controlport import control_port, delivery, request

OWN, OTHER = "ntp-1", "ntp-2"
FILLS = {OWN: 0x40, OTHER: 0x80}
OTHERS_KEYS = {f"key {key.id}": key.secret.reveal() for key in delivery(fill=FILLS[OTHER]).keys.keys}
OWN_KEYS = {f"key {key.id}": key.secret.reveal() for key in delivery(fill=FILLS[OWN]).keys.keys}

CALLS = ("keyring", "report", "renew", "turn", "turn/done", "enrol", "ca")
ELSEWHERE = (
    "",
    "/",
    "//",
    "/v1",
    "/v1/",
    "/v2/keyring",
    f"/v1/keyring/{OTHER}",
    f"/v1/{OTHER}/keyring",
    f"/v1/keyring/../keyring/{OTHER}",
    f"/v1/keyring%2f{OTHER}",
    f"/v1/keyring;backend={OTHER}",
    f"/v1/backends/{OTHER}",
    f"/v1/backends/{OTHER}/drain",
    "/v1/keys",
    "/v1/keys/rotate",
    "/v1/status",
    "/v1/events",
    "/v1/reload",
    "/metrics",
    "/state/keyring",
    "/../state/keyring",
    "/..%2fstate%2fkeyring",
    "/%2e%2e/%2e%2e/state/authority",
    "/v1/../../../../../../etc/passwd",
    "/v1/keyring%00",
    "/v1/keyring\\..\\agents",
    "*",
)
BODIES = (
    {"backend": OTHER, "revision": "8", "proved": [0, 1, 2, 3], "failure": None, "csr": ""},
    {"backend": [OWN, OTHER], "key_group": OTHER, "revision": OTHER, "proved": [], "failure": f"{OTHER} is broken"},
)
HEADERS = (f"X-Backend: {OTHER}\r\n", f"Host: {OTHER}\r\nX-Forwarded-For: ::1\r\n", f"Cookie: backend={OTHER}\r\n")


def on_port(tmp_path, scene):
    """Run `scene` with a control port where keys of both backends lie, for agents of both."""

    async def run():
        async with control_port(tmp_path) as port:
            port.desk.publish({name: delivery(fill=fill) for name, fill in FILLS.items()})
            identities = {name: port.identity(name) for name in FILLS}
            return port, await scene(port, identities)

    port, result = asyncio.run(run())
    secrecy.check(OTHERS_KEYS | OWN_KEYS, {"logs": repr(port.logs).encode()})
    return port, result


def others_are_safe(answers):
    secrecy.check(OTHERS_KEYS, {str(at): answer for at, answer in enumerate(answers)})


def status(answer):
    return int(answer.split(b" ")[1])


def body(answer):
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def test_the_search_would_find_them(tmp_path):
    _, answer = on_port(tmp_path, lambda port, ids: port.ask(request("GET", "/v1/keyring"), ids[OTHER]))
    with pytest.raises(AssertionError, match="key 3 as base64"):
        others_are_safe([answer])


def test_no_call_and_no_words_reach_anothers_keys_reports_or_turn(tmp_path):
    """Every call with every name that could be another's; what is done is done for the caller."""
    tried = [
        request(method, f"/v1/{call}{query}", json.dumps(words).encode(), headers)
        for method, call, query, words, headers in product(
            ("GET", "POST"), CALLS, ("", f"?backend={OTHER}&key_group={OTHER}&name={OTHER}"), BODIES, HEADERS[:2]
        )
        # Waiting for what comes is what the long poll is for; here nothing comes.
        if (method, call) != ("GET", "keyring") or words is BODIES[0]
    ]

    async def scene(port, identities):
        return [await port.ask(each, identities[OWN]) for each in tried]

    port, answers = on_port(tmp_path, scene)
    others_are_safe(answers)
    given = [body(answer) for answer in answers if status(answer) == 200 and b'"secret"' in answer]
    assert given
    assert {each["backend"] for each in given} == {OWN}
    assert set(port.desk.reports) <= {OWN}
    assert set(port.desk.seen) == {OWN}
    assert {each.get("backend", OWN) for each in port.logs} == {OWN}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_nothing_else_is_there(tmp_path, method):
    async def scene(port, identities):
        return {path: await port.ask(request(method, path), identities[OWN]) for path in ELSEWHERE}

    port, answers = on_port(tmp_path, scene)
    secrecy.check(OWN_KEYS | OTHERS_KEYS, answers)
    assert {answer.split(b" ", 2)[1] for answer in answers.values()} <= {b"404", b"400"}
    assert b"root:" not in b"".join(answers.values())
    assert set(port.desk.seen) <= {OWN}


def test_a_whole_url_leads_to_ones_own_keys(tmp_path):
    async def scene(port, identities):
        return await port.ask(request("GET", f"https://{OTHER}/v1/keyring?backend={OTHER}"), identities[OWN])

    _, answer = on_port(tmp_path, scene)
    assert body(answer)["backend"] == OWN
    others_are_safe([answer])


def test_what_waits_for_another_is_not_handed_out(tmp_path):
    """An agent that waits gets nothing when new keys of another are laid out, and no hint of them."""

    async def scene(port, identities):
        waiting = asyncio.create_task(port.ask(request("GET", f"/v1/keyring?after=7&backend={OTHER}"), identities[OWN]))
        while not port.desk.seen:
            await asyncio.sleep(0.01)
        port.desk.publish({OWN: delivery(fill=FILLS[OWN]), OTHER: delivery("8", fill=FILLS[OTHER])})
        other = await port.ask(request("GET", "/v1/keyring?after=7"), identities[OTHER])
        assert not waiting.done()
        port.desk.publish({OWN: delivery("9", fill=FILLS[OWN]), OTHER: delivery("8", fill=FILLS[OTHER])})
        return other, await waiting

    _, (other, own) = on_port(tmp_path, scene)
    assert body(other)["revision"] == "8"
    assert (body(own)["revision"], body(own)["backend"]) == ("9", OWN)
    others_are_safe([own])


def test_while_a_backend_has_no_keys_its_agent_gets_none(tmp_path):
    async def scene(port, identities):
        port.desk.publish({OTHER: delivery("8", fill=FILLS[OTHER])})
        waiting = asyncio.create_task(port.ask(request("GET", "/v1/keyring"), identities[OWN]))
        while OWN not in port.desk.seen:
            await asyncio.sleep(0.01)
        await port.ask(request("GET", "/v1/keyring"), identities[OTHER])
        return waiting.cancel()

    _, waited = on_port(tmp_path, scene)
    assert waited


def test_a_renewal_is_for_who_asks_whatever_the_request_names(tmp_path):
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(f"urn:ntspool:agent:{OTHER}")])
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, OTHER)])
    builder = x509.CertificateSigningRequestBuilder(subject).add_extension(names, critical=False)
    key = ec.generate_private_key(ec.SECP256R1())
    csr = builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()
    words = json.dumps({"csr": csr, "backend": OTHER}).encode()
    _, answer = on_port(tmp_path, lambda port, ids: port.ask(request("POST", "/v1/renew", words), ids[OWN]))
    assert agent_of(x509.load_pem_x509_certificate(body(answer)["certificate"].encode())) == OWN


def test_anothers_token_makes_it_no_one_else_by_its_own_certificate(tmp_path):
    """Whoever has a token is that backend's agent, whatever certificate he shows; the token is used up, and logged."""

    async def scene(port, identities):
        token, csr = port.token(OTHER), authority.make_request()[1]
        words = json.dumps({"token": token.reveal().decode(), "csr": csr.decode(), "backend": OWN}).encode()
        once = await port.ask(request("POST", "/v1/enrol", words), identities[OWN])
        return once, await port.ask(request("POST", "/v1/enrol", words), identities[OTHER])

    port, (once, again) = on_port(tmp_path, scene)
    assert agent_of(x509.load_pem_x509_certificate(body(once)["certificate"].encode())) == OTHER
    assert status(again) == 403
    assert [each["backend"] for each in port.logs if each["event"] == "agent enrolled"] == [OTHER]


def forged(identity, name):
    """Return a certificate for another backend that an agent signs by its own key, and chains to its own."""
    pem = identity.reveal()
    key, mine = load_pem_private_key(pem, None), x509.load_pem_x509_certificate(pem)
    fresh = ec.generate_private_key(ec.SECP256R1())
    uri = x509.UniformResourceIdentifier(f"urn:ntspool:agent:{name}")
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(mine.subject, mine.subject, fresh.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, SHA256())
    )
    private = authority._private_pem(fresh)
    return Secret(private + certificate.public_bytes(Encoding.PEM) + pem[pem.index(b"-----BEGIN CERT") :])


def test_an_agents_certificate_signs_no_other(tmp_path):
    async def scene(port, identities):
        serial = x509.load_pem_x509_certificate(identities[OTHER].reveal()).serial_number
        assert enrolment.is_allowed(port.store, OTHER, serial)
        return await port.ask(request("GET", "/v1/keyring"), forged(identities[OWN], OTHER))

    _, answer = on_port(tmp_path, scene)
    assert b"200" not in answer[:20]
    others_are_safe([answer])


def test_no_session_of_tls_is_resumed_by_anybody(tmp_path):
    """A resumed session would bring its first certificate with it, to another agent or after a revocation."""

    async def scene(port, identities):
        host, where = port.server.addresses[0]
        resumed, answers = [], []
        context = client_context(identities[OTHER], port.authority.pem)
        session = None
        for revoke in (False, False, True):
            if revoke:
                enrolment.revoke(port.store, OTHER, time.time())
            tls, told = await asyncio.to_thread(_connect, context, host, where, session)
            session = tls.session or session
            resumed.append(tls.session_reused)
            answers.append(told)
            tls.close()
        return session, resumed, answers

    _, (session, resumed, answers) = on_port(tmp_path, scene)
    assert session is None or not session.has_ticket
    assert resumed == [False] * 3
    assert [status(each) for each in answers] == [200, 200, 403]


def _connect(context, host, port, session):
    """Ask for the keys by a blocking TLS connection that would take up `session`; return it and the answer."""
    tls = context.wrap_socket(
        socket.create_connection((host, port), 10), server_hostname=authority.CONTROL_NAME, session=session
    )
    tls.sendall(request("GET", "/v1/keyring"))
    answer = b""
    # The end may come without close_notify.
    with suppress(ssl.SSLEOFError, ConnectionResetError):
        while piece := tls.recv(65536):
            answer += piece
    return tls, answer


def test_a_revoked_agent_reaches_nothing_by_any_call(tmp_path):
    async def scene(port, identities):
        enrolment.revoke(port.store, OWN, time.time())
        words = json.dumps(BODIES[0]).encode()
        tried = [request(method, f"/v1/{call}", words) for method in ("GET", "POST") for call in CALLS if call != "ca"]
        own = [await port.ask(each, identities[OWN]) for each in tried]
        return own, await port.ask(request("GET", "/v1/keyring"), identities[OTHER])

    port, (own, other) = on_port(tmp_path, scene)
    assert {status(each) for each in own} <= {403, 400}
    secrecy.check(OWN_KEYS | OTHERS_KEYS, {str(at): each for at, each in enumerate(own)})
    assert body(other)["backend"] == OTHER
    assert set(port.desk.seen) == {OTHER}
    assert not port.desk.reports


def test_more_than_is_allowed_is_refused_whoever_sends_it(tmp_path):
    async def scene(port, identities):
        long = json.dumps({**BODIES[0], "failure": "x" * 20_000}).encode()
        many = json.dumps({**BODIES[0], "proved": list(range(10_000))}).encode()
        tried = [request("POST", "/v1/report", each) for each in (long, many)]
        tried.append(request("GET", f"/v1/keyring?after={'x' * 5000}"))
        return [await port.ask(each, identities[OWN]) for each in tried]

    port, answers = on_port(tmp_path, scene)
    assert {status(each) for each in answers} <= {400, 413}
    others_are_safe(answers)
    assert not port.desk.reports
