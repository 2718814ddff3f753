"""220,000 cases of bytes from outside, mostly mutated good ones: WireError and nothing else comes out, and soon."""

import re
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count

import pytest

from ntspool.errors import WireError
from ntspool.pool import keyfiles, nts
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import CLIENT_AEADS, SERVER_AEAD, Association, CookieFormat, CookieJar, ServerKey, key_id
from ntspool.pool.keyfiles import KeySet
from ntspool.pool.responder import Responder
from ntspool.wire import ntp, records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import ClientExchange, ServerExchange
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Request, Response, error_refusal
from ntspool.wire.ntp import Authenticator, ExtensionField, FieldType, Header, Mode, Packet
from ntspool.wire.poolexchange import MAX_ANSWER, BackendExchange, PoolExchange
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.proxy2 import MAX_HEADER, read_header
from tests import fuzzing, proxying
from tests.fuzzing import Target, field_lengths, record_lengths

# NTS-KE, both roles.

REQUEST = Request((0,), (30, 17, 15), compliant_128gcm=True)
PADDING = records.Record(0x4000, bytes(16_000), critical=False).encode()
KE_REQUESTS = [
    REQUEST.encode(),
    Request((0,), (15,)).encode(),
    Request((0, 0x8001), (17, 15), server="2001:db8::1", port=4123).encode(),
    PADDING + REQUEST.encode(),
]
KE_RESPONSES = [
    *(Response(aead, (bytes(100),) * 8, "2001:db8::1", 4123, aead is Aead.AES_128_GCM_SIV).encode() for aead in Aead),
    Response(Aead.AES_SIV_CMAC_256, (b"c",) * 8, None).encode(),
    *(refusal.encode() for refusal in (NO_COMMON_AEAD, NO_COMMON_PROTOCOL, error_refusal(1))),
]


def cut(rng, data):
    """Yield `data` in pieces; in few when there is much of it, so that the whole run stays short."""
    longest = 1 if len(data) < 200 and rng.randrange(3) == 0 else 1 + rng.randrange(len(data) + 1)
    at = 0
    while at < len(data):
        length = rng.randint(1, longest) if len(data) < 4000 else longest + 400
        yield data[at : at + length]
        at += length


def outcome(exchange, data, pieces):
    """Return what the exchange yields, None for nothing yet, or the WireError; data after the end is one too."""
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            answer = exchange.receive_data(piece)
        except WireError as error:
            return error
        if answer is not None:
            return answer if taken == len(data) else WireError("data after the end")
    return None


def check_exchange(side, data, rng, limit=records.MAX_MESSAGE):
    whole, cut_up = outcome(side(), data, [data]), outcome(side(), data, cut(rng, data))
    if isinstance(whole, WireError):
        assert isinstance(cut_up, WireError)
        raise whole
    assert cut_up == whole
    assert len(data) <= limit
    return whole


# The KE pool protocol, both roles.

QUERY = SupportQuery("f0" * 32)
FIXED = FixedKeyRequest("f0" * 32, 15, bytes(32), bytes(32))
POOL_QUESTIONS = [QUERY.encode(), FIXED.encode(), FixedKeyRequest(None, 17, bytes(64), bytes(64), False).encode()]
SUPPORT_ANSWERS = [
    Support((0,), ((15, 32), (17, 64)), keep_alive=True).encode(),
    Support((0, 0x8001), ((30, 16),)).encode(),
    error_refusal(1).encode(),
]
FIXED_KEY_ANSWERS = [
    FixedKeyAnswer(Response(Aead.AES_SIV_CMAC_256, (bytes(100),) * 8, None), keep_alive=True).encode(),
    FixedKeyAnswer(Response(Aead.AES_SIV_CMAC_256, (bytes(4),), "ntp.example", 4123)).encode(),
    NO_COMMON_AEAD.encode(),
]


def asked(question):
    exchange = PoolExchange()
    exchange.ask(question)
    return exchange


def check_pool_answer(question, data, rng):
    whole = check_exchange(partial(asked, question), data, rng, MAX_ANSWER)
    if isinstance(whole, FixedKeyAnswer):
        # What the gateway makes of it can be sent to every client.
        head = replace(whole.response, server="a" * 255, port=65535, compliant_128gcm=True)
        assert 1 <= len(ClientExchange(REQUEST).receive_data(head.encode()).cookies) <= 8


# The PROXY protocol.

PROXY_HEADERS = [
    proxying.header("198.51.100.7"),
    proxying.header("2001:db8::7", tlvs=bytes.fromhex("03000401020304") + bytes(600)) + b"\x16\x03\x01",
    proxying.block(0x21, 0x31, bytes(216)),
    proxying.LOCAL + b"\x16\x03\x01",
]


def check_proxy_header(data, rng):
    found = read_header(data)
    early = read_header(data[: rng.randrange(len(data) + 1)])
    if found is None:
        assert early is None
        raise WireError("incomplete")
    assert early in {None, found}
    assert found.length <= min(len(data), MAX_HEADER)
    assert found.source is None or len(found.source) in {4, 16}


# NTP packets and what is in them.

UID, TRANSMIT = bytes(range(32)), 77
UID_FIELD = ExtensionField(FieldType.UNIQUE_IDENTIFIER, UID)
CLIENT = Header(Mode.CLIENT, transmit_timestamp=TRANSMIT)
SERVER = Header(Mode.SERVER, stratum=2, origin_timestamp=TRANSMIT)
KEYS = [ServerKey(number, bytes([number]) * 32) for number in range(4)]
JAR = CookieJar(CookieFormat.NTSPOOL, KEYS, 2)
ASSOCIATIONS = [Association(aead, b"\1" * aead.key_length, b"\2" * aead.key_length) for aead in Aead]
COOKIES = {association: JAR.mint(association, bytes(16)) for association in ASSOCIATIONS}


def request_of(association, placeholders=0):
    nonce, cookie = bytes(association.aead.nonce_length), COOKIES[association]
    return nts.build_request(
        association, cookie, unique_id=UID, nonce=nonce, placeholders=placeholders, transmit_timestamp=TRANSMIT
    )


def sealed(association, key, header, fields, plaintext):
    """Seal what only somebody who has the keys can: a client for its server, a server for its client."""
    clear = ntp.encode_header(header) + b"".join(ntp.encode_field(field, 16) for field in fields)
    nonce = bytes(association.aead.nonce_length)
    ciphertext = cipher_for(association.aead, key).seal(nonce, plaintext, clear)
    return clear + ntp.encode_field(ntp.encode_authenticator(Authenticator(nonce, ciphertext)))


FIELDS = [UID_FIELD, *(ExtensionField(kind, bytes(104)) for kind in (0x0204, 0x0304, 0x7777))]
COOKIES_PLAINTEXT = ntp.encode_fields(FIELDS[1:] * 3)
PLAINTEXTS = [
    b"",
    bytes.fromhex("0204000412340004"),
    ntp.encode_fields(FIELDS),
    COOKIES_PLAINTEXT,
    ntp.encode_fields(FIELDS[2:] * 9),
]
NTS_REQUESTS = [request_of(each, placeholders).data for each in ASSOCIATIONS for placeholders in (0, 2, 7)]
NTS_RESPONSES = [sealed(each, each.s2c, SERVER, [UID_FIELD], COOKIES_PLAINTEXT) for each in ASSOCIATIONS]
PLAIN = [
    ntp.encode_packet(Packet(header, fields, mac))
    for header in (CLIENT, SERVER, Header(Mode.SERVER, reference_id=b"NTSN", origin_timestamp=TRANSMIT))
    for fields, mac in (((), b""), ((UID_FIELD,), b""), ((UID_FIELD,), bytes(20)))
]
AUTHENTICATORS = [
    ntp.encode_authenticator(Authenticator(bytes(nonce), bytes(text), padding)).body
    for nonce, text, padding in ((16, 16, 0), (12, 120, 4), (0, 0, 0))
]


def check_packet(data, _):
    packet = ntp.decode_packet(data)
    assert ntp.encode_packet(packet) == data
    assert packet.header.kiss_code is None or packet.header.kiss_code.isprintable()
    for field in packet.extensions:
        for decode in (ntp.decode_authenticator, ntp.decode_fields):
            with suppress(WireError):
                decode(field.body)


def check_response(data, _):
    for association in ASSOCIATIONS:
        answer = nts.read_response(request_of(association), data)
        assert not isinstance(answer, nts.Response) or answer.cookies == (bytes(104),) * 3


def check_request(data, _):
    opened = nts.open_request(ntp.decode_packet(data), data, JAR.open)
    assert isinstance(opened, nts.UnverifiedRequest) or opened.association in ASSOCIATIONS


def check_sealed_response(plaintext, rng):
    association = rng.choice(ASSOCIATIONS)
    data = sealed(association, association.s2c, SERVER, [UID_FIELD], plaintext)
    assert isinstance(nts.read_response(request_of(association), data), nts.Response | nts.Refused)


def check_sealed_request(plaintext, rng):
    association = rng.choice(ASSOCIATIONS)
    fields = [UID_FIELD, ExtensionField(FieldType.NTS_COOKIE, COOKIES[association])]
    data = sealed(association, association.c2s, CLIENT, fields, plaintext)
    opened = nts.open_request(ntp.decode_packet(data), data, JAR.open)
    assert 1 <= opened.cookies_wanted <= 8


def check_responder(data, _):
    numbers = count()
    responder = Responder(JAR, 2, lambda: 1.8e9, lambda length: next(numbers).to_bytes(length, "big"))
    try:
        reply = responder.respond(data, 1.8e9)
    except WireError as error:
        raise AssertionError("the responder must not raise") from error
    if reply is None:
        raise WireError("dropped")
    assert len(reply.data) <= len(data)


# Cookies and key files.


def key_set(cookie_format):
    length = SERVER_AEAD[cookie_format].key_length
    return KeySet(tuple(ServerKey(n % 2**32, bytes([n % 256]) * length) for n in range(2**32 - 2, 2**32 + 2)), 2)


def start_of_plaintext(cookie_format, aead):
    match cookie_format:
        case CookieFormat.CHRONY:
            return b""
        case CookieFormat.NTPSEC:
            return aead.to_bytes(4, "little")
        case CookieFormat.NTPD_RS:
            return aead.to_bytes(2, "big")
        case CookieFormat.NTSPOOL:
            return aead.to_bytes(2, "big") + bytes(2)


def cookie_target(cookie_format):
    keys = key_set(cookie_format)
    jar = CookieJar(cookie_format, keys.keys, keys.current)
    carried = [each for each in ASSOCIATIONS if each.aead in CLIENT_AEADS[cookie_format]]
    samples = [jar.mint(each, bytes(range(16))) for each in carried]

    def check(cookie, _):
        key_id(cookie_format, cookie)
        assert jar.open(cookie) in carried

    return Target(f"cookie of {cookie_format}", 4_000, samples, check, lambda _: [4, 20])


def sealed_cookie_target(cookie_format):
    """Cookies under the right key that hold anything at all."""
    keys = key_set(cookie_format)
    jar = CookieJar(cookie_format, keys.keys, keys.current)
    key, nonce = jar.mint(ASSOCIATIONS[0], bytes(16))[:4], bytes(16)
    associated = {CookieFormat.NTPSEC: key + nonce, CookieFormat.NTSPOOL: key}.get(cookie_format, b"")
    cipher = cipher_for(SERVER_AEAD[cookie_format], keys.keys[keys.current].secret)
    samples = [start_of_plaintext(cookie_format, aead) + bytes(2 * aead.key_length) for aead in Aead]

    def check(plaintext, _):
        ciphertext = cipher.seal(nonce, plaintext, associated)
        length = len(ciphertext).to_bytes(2, "big") if cookie_format is CookieFormat.NTPD_RS else b""
        assert jar.open(key + length + nonce + ciphertext).aead in CLIENT_AEADS[cookie_format]

    return Target(f"sealed cookie of {cookie_format}", 2_000, samples, check, lambda _: [0, 2])


def key_file_target(cookie_format):
    keys = key_set(cookie_format)
    samples = [keyfiles.render(cookie_format, keys, 1_800_000_000)]
    if cookie_format is CookieFormat.CHRONY:
        samples.append(keyfiles.render_chrony_nks1(keys))

    def check(data, _):
        parsed = keyfiles.parse(cookie_format, data)
        assert 0 <= parsed.current < len(parsed.keys) <= len(data) / 32

    return Target(f"key file of {cookie_format}", 4_000, samples, check, lambda _: range(0, 20, 2))


check_ke_request = partial(check_exchange, ServerExchange)
check_ke_response = partial(check_exchange, partial(ClientExchange, REQUEST))
check_pool_question = partial(check_exchange, BackendExchange)
packet_lengths = partial(field_lengths, at=48)
TARGETS = [
    Target("PROXY header", 10_000, PROXY_HEADERS, check_proxy_header, lambda _: [12, 14]),
    Target("NTS-KE request", 30_000, KE_REQUESTS, check_ke_request, record_lengths),
    Target("NTS-KE response", 30_000, KE_RESPONSES, check_ke_response, record_lengths),
    Target("pool's question", 8_000, POOL_QUESTIONS, check_pool_question, record_lengths),
    Target("list of support", 6_000, SUPPORT_ANSWERS, partial(check_pool_answer, QUERY), record_lengths),
    Target("fixed-key answer", 6_000, FIXED_KEY_ANSWERS, partial(check_pool_answer, FIXED), record_lengths),
    Target("NTP packet", 30_000, PLAIN + NTS_REQUESTS + NTS_RESPONSES, check_packet, packet_lengths),
    Target("encrypted fields", 10_000, PLAINTEXTS, lambda data, _: ntp.decode_fields(data), field_lengths),
    Target("authenticator", 10_000, AUTHENTICATORS, lambda data, _: ntp.decode_authenticator(data), lambda _: [0, 2]),
    Target("NTS response", 10_000, NTS_RESPONSES + PLAIN, check_response, packet_lengths),
    Target("NTS request", 10_000, NTS_REQUESTS + PLAIN, check_request, packet_lengths),
    Target("sealed NTS response", 5_000, PLAINTEXTS, check_sealed_response, field_lengths),
    Target("sealed NTS request", 5_000, PLAINTEXTS, check_sealed_request, field_lengths),
    Target("responder", 10_000, NTS_REQUESTS + PLAIN, check_responder, packet_lengths),
    *map(cookie_target, CookieFormat),
    *map(sealed_cookie_target, CookieFormat),
    *map(key_file_target, CookieFormat),
]


def test_there_are_220_000_cases():
    assert sum(target.cases for target in TARGETS) == 220_000


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_but_wire_errors_comes_out(target):
    refused = target.run()
    # Else it would try only one of the two ways.
    assert 0.05 < refused / target.cases < 0.99


def test_an_endless_case_is_ended_and_told(monkeypatch):
    def check(data, _):
        while data:
            pass

    monkeypatch.setattr(fuzzing, "SLOWEST", 0.02)
    with pytest.raises(AssertionError, match=r"^TimeoutError at seed 8915, target 'planted', case 0: "):
        Target("planted", 1, [b"abcd"], check).run()


def test_a_case_that_is_let_down_is_told_and_can_be_made_again():
    def check(data, _):
        if len(data) > 10:
            raise WireError("too long")
        if len(data) > 4:
            raise IndexError

    target = Target("planted", 1000, [b"abcd"], check)
    with pytest.raises(
        AssertionError, match=r"^IndexError at seed 5, target 'planted', case \d+: \d+ bytes, "
    ) as caught:
        target.run(seed=5)
    number, data = re.search(r"case (\d+): .*, ([0-9a-f]+)$", str(caught.value)).groups()
    assert target.case(int(number), seed=5)[0].hex() == data
