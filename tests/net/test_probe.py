"""One probe: every cause told apart, with each AEAD, and the cookie that comes back."""

import asyncio
import os
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest

from ntspool.net.probe import Prober
from ntspool.pool.causes import Cause
from ntspool.pool.cookies import CookieFormat, CookieJar
from ntspool.pool.fleet import Target
from ntspool.pool.keyring import create
from ntspool.pool.proofs import Proof
from ntspool.pool.responder import Responder
from ntspool.pool.sample import Limits
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import FieldType, Packet, decode_packet, encode_packet
from tests.interop.lab import free_port
from tests.net.scripted import scripted

SIV, GCM = Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV
KEYRING = create(0.0, os.urandom)
KEYS = KEYRING.keys("ntp-1", CookieFormat.NTSPOOL)
JAR = CookieJar(CookieFormat.NTSPOOL, KEYS.keys, KEYS.current)
RESPONDER = Responder(JAR, 2, time.time, os.urandom)


def probe(port, aeads=(SIV,), limits=Limits(), timeout=0.3, host="127.0.0.1", healthy=False):  # noqa: B008
    target = Target("ntp-1", ip_address(host), port, CookieFormat.NTSPOOL, "ntp-1")
    prober = Prober(
        target, aeads, KEYRING, Proof(0.0), healthy=healthy, limits=limits, timeout=timeout, clock=time.time
    )
    return asyncio.run(prober.probe())


def honest(request):
    return [RESPONDER.respond(request, time.time()).data]


def spoiled(request):
    """Return a request whose cookie nobody can open."""
    return request[:100] + bytes([request[100] ^ 1]) + request[101:]


def saying(**words):
    header = Responder._header
    responder = type("R", (Responder,), {"_header": lambda *args: replace(header(*args), **words)})
    answering = responder(JAR, 2, time.time, os.urandom)
    return lambda request: [answering.respond(request, time.time()).data]


def tampering(request):
    [good] = honest(request)
    return [good[:-1] + bytes([good[-1] ^ 1])]


def plain(**words):
    """Return a server that knows nothing of NTS."""

    def answer(request):
        header = decode_packet(request).header
        return [encode_packet(Packet(replace(header, mode=4, origin_timestamp=header.transmit_timestamp, **words)))]

    return answer


def kissing(request):
    packet = decode_packet(request)
    header = replace(
        packet.header, mode=4, stratum=0, reference_id=b"DENY", origin_timestamp=packet.header.transmit_timestamp
    )
    return [encode_packet(Packet(header, packet.extensions[:1]))]


@pytest.mark.parametrize(
    ("server", "cause"),
    [
        (honest, None),
        (lambda _: [], "no answer"),
        (lambda request: honest(spoiled(request)), "NTS NAK"),
        (tampering, "bad authenticator"),
        (kissing, "kiss-o'-death (DENY)"),
        (saying(stratum=0, reference_id=b"RATE"), "kiss-o'-death (RATE)"),
        (plain(stratum=2), "not protected by NTS"),
        (saying(leap=3), "unsynchronised (leap 3, stratum 2)"),
        (saying(stratum=16), "unsynchronised (leap 0, stratum 16)"),
        (saying(root_dispersion=2 * 65536), "root distance (2.0"),
        (lambda _: [b"garbage"], "malformed answer ("),
        (lambda request: [honest(request)[0], b"garbage"], None),
        (lambda request: [b"garbage", *honest(spoiled(request)), b"garbage"], "NTS NAK"),
    ],
)
def test_causes_are_told_apart(server, cause):
    with scripted(server) as port:
        result = probe(port)
    failure = result.outcomes[SIV]
    assert (failure and str(failure)[: len(cause or "")]) == cause


def test_a_refusal_by_icmp():
    assert probe(free_port("127.0.0.1"), timeout=5).outcomes[SIV].cause is Cause.REFUSED


def test_a_network_that_is_not_there():
    # There is no route to this network (RFC 6666), or what is sent there is thrown away.
    failure = probe(123, host="100::1").outcomes[SIV]
    assert not failure.evident


def test_a_stratum_too_high():
    with scripted(honest) as port:
        failure = probe(port, limits=Limits(max_stratum=1)).outcomes[SIV]
    assert str(failure) == "wrong stratum (2 of at most 1)"


def test_the_cookie_that_came_back_is_spent():
    asked = []

    def forgetful(request):
        """Open what the gateway minted, and not what itself did."""
        cookie = decode_packet(request).bodies(FieldType.NTS_COOKIE)[0]
        known = cookie in asked
        [answer] = honest(spoiled(request) if known else request)
        packet = decode_packet(answer)
        if packet.authenticator_offset is not None:
            association = JAR.open(cookie)
            asked.extend(_cookies_in(answer, association))
        return [answer]

    with scripted(forgetful) as port:
        failure = probe(port).outcomes[SIV]
    assert failure.cause is Cause.COOKIE
    assert failure.evident
    assert str(failure) == "returned cookie refused (NTS NAK)"


def _cookies_in(answer, association):
    from ntspool.pool.ciphers import cipher_for
    from ntspool.wire.ntp import decode_authenticator, decode_fields

    packet = decode_packet(answer)
    body = decode_authenticator(packet.bodies(FieldType.NTS_AUTHENTICATOR)[0])
    plaintext = cipher_for(association.aead, association.s2c.reveal()).open(
        body.nonce, body.ciphertext, answer[: packet.authenticator_offset]
    )
    return [each.body for each in decode_fields(plaintext) if each.type == FieldType.NTS_COOKIE]


def test_a_lost_second_answer_is_silence():
    count = iter(range(100))
    with scripted(lambda request: honest(request) if next(count) == 0 else []) as port:
        failure = probe(port).outcomes[SIV]
    assert failure.cause is Cause.NO_ANSWER


def test_each_aead_is_probed_for_itself():
    def without_gcm(request):
        aead = JAR.open(decode_packet(request).bodies(FieldType.NTS_COOKIE)[0]).aead
        return honest(spoiled(request) if aead is GCM else request)

    with scripted(without_gcm) as port:
        result = probe(port, aeads=(GCM, SIV))
    assert list(result.outcomes) == [GCM, SIV]
    assert str(result.outcomes[GCM]) == "NTS NAK"
    assert result.outcomes[SIV] is None
    assert {finding.epoch.number: finding.accepted for finding in result.findings} == {3: True, 4: True}


def test_the_measurement_is_the_best_one_and_against_the_clock_that_is_given():
    with scripted(honest) as port:
        found = probe(port).sample
    assert abs(found.offset) < 0.2
    assert found.stratum == 2
    assert 0 <= found.delay / 2 <= found.distance < 0.5
