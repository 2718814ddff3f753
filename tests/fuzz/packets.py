"""NTP packets and what is in them, as a server and as a client get them."""

from contextlib import suppress
from functools import partial
from itertools import count

from ntspool.errors import WireError
from ntspool.pool import nts
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.pool.responder import Responder
from ntspool.wire import ntp
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import Authenticator, ExtensionField, FieldType, Header, Mode, Packet
from ntspool.wire.secret import Secret
from tests.fuzz.engine import Target, field_lengths

UID, TRANSMIT = bytes(range(32)), 77
UID_FIELD = ExtensionField(FieldType.UNIQUE_IDENTIFIER, UID)
CLIENT = Header(Mode.CLIENT, transmit_timestamp=TRANSMIT)
SERVER = Header(Mode.SERVER, stratum=2, origin_timestamp=TRANSMIT)
KEYS = [ServerKey(number, Secret(bytes([number]) * 32)) for number in range(4)]
JAR = CookieJar(CookieFormat.NTSPOOL, KEYS, 2)
ASSOCIATIONS = [Association(aead, Secret(b"\1" * aead.key_length), Secret(b"\2" * aead.key_length)) for aead in Aead]
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
NTS_RESPONSES = [sealed(each, each.s2c.reveal(), SERVER, [UID_FIELD], COOKIES_PLAINTEXT) for each in ASSOCIATIONS]
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


def check_fields(data, _):
    assert ntp.encode_fields(ntp.decode_fields(data)) == data


def check_authenticator(data, _):
    found = ntp.decode_authenticator(data)
    assert len(found.nonce) + len(found.ciphertext) + found.padding <= len(data) - 4


def check_response(data, _):
    refusals = []
    for association in ASSOCIATIONS:
        try:
            answer = nts.read_response(request_of(association), data)
        except WireError as error:
            refusals.append(error)
        else:
            assert not isinstance(answer, nts.Response) or answer.cookies == (bytes(104),) * 3
    if len(refusals) == len(ASSOCIATIONS):
        raise refusals[0]


def check_request(data, _):
    opened = nts.open_request(ntp.decode_packet(data), data, JAR.open)
    assert isinstance(opened, nts.UnverifiedRequest) or opened.association in ASSOCIATIONS


def check_sealed_response(plaintext, rng):
    association = rng.choice(ASSOCIATIONS)
    data = sealed(association, association.s2c.reveal(), SERVER, [UID_FIELD], plaintext)
    assert isinstance(nts.read_response(request_of(association), data), nts.Response | nts.Refused)


def check_sealed_request(plaintext, rng):
    association = rng.choice(ASSOCIATIONS)
    fields = [UID_FIELD, ExtensionField(FieldType.NTS_COOKIE, COOKIES[association])]
    data = sealed(association, association.c2s.reveal(), CLIENT, fields, plaintext)
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


packet_lengths = partial(field_lengths, at=48)
TARGETS = [
    Target(
        "NTP packet",
        "Gives a packet that is written as it was read, or WireError.",
        12_000,
        PLAIN + NTS_REQUESTS + NTS_RESPONSES,
        check_packet,
        packet_lengths,
    ),
    Target(
        "encrypted fields",
        "Gives fields that are written as they were read, or WireError.",
        8_000,
        PLAINTEXTS,
        check_fields,
        field_lengths,
    ),
    Target(
        "authenticator",
        "Gives a nonce and a ciphertext that fit into it, or WireError.",
        8_000,
        AUTHENTICATORS,
        check_authenticator,
        lambda _: [0, 2],
    ),
    Target(
        "NTS response",
        "Gives a response only if it is authentic, a refusal, or WireError.",
        4_000,
        NTS_RESPONSES + PLAIN,
        check_response,
        packet_lengths,
    ),
    Target(
        "NTS request",
        "Gives a request under keys of ours, or one that cannot be verified, or WireError.",
        8_000,
        NTS_REQUESTS + PLAIN,
        check_request,
        packet_lengths,
    ),
    Target(
        "sealed NTS response",
        "What is authentic gives a response or a refusal, or WireError.",
        5_000,
        PLAINTEXTS,
        check_sealed_response,
        field_lengths,
    ),
    Target(
        "sealed NTS request",
        "What is authentic wants 1 to 8 cookies, or WireError.",
        5_000,
        PLAINTEXTS,
        check_sealed_request,
        field_lengths,
    ),
    Target(
        "responder",
        "Gives no answer, or one that is no longer than the request; never raises.",
        10_000,
        NTS_REQUESTS + PLAIN,
        check_responder,
        packet_lengths,
    ),
]
