"""ntspool/pool/responder.py: RFC 8915 section 5.7 from the server's side, and plain NTP."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool import nts
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.pool.nts import Measurement, Refusal, Refused, Response
from ntspool.pool.responder import Reply, ReplyKind, Responder
from ntspool.wire import ntp
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import ExtensionField, FieldType, Header, Mode, Packet
from ntspool.wire.secret import Secret

KEYS = [ServerKey(number, Secret(bytes([number]) * 32)) for number in (1, 2, 3)]
JAR = CookieJar(CookieFormat.NTSPOOL, KEYS, 1)
RECEIVED, SENT = 1_800_000_000.25, 1_800_000_000.5
UID = bytes(range(32))
UID_FIELD = ExtensionField(FieldType.UNIQUE_IDENTIFIER, UID)
CLIENT_HEADER = Header(Mode.CLIENT, poll=6, transmit_timestamp=77)

aeads = st.sampled_from(Aead)


def responder(stratum=3, jar=JAR):
    numbers = count()

    def random(length):
        return next(numbers).to_bytes(length, "big")

    return Responder(jar, stratum, lambda: SENT, random)


def respond(data, **settings):
    return responder(**settings).respond(data, RECEIVED)


def association_of(aead):
    return Association(aead, Secret(b"\1" * aead.key_length), Secret(b"\2" * aead.key_length))


SIV = association_of(Aead.AES_SIV_CMAC_256)


def request_of(association, placeholders=0, jar=JAR, **changes):
    cookie = jar.mint(association, b"n" * 16)
    nonce = b"\3" * association.aead.nonce_length
    return nts.build_request(
        replace(association, **changes),
        cookie,
        unique_id=UID,
        nonce=nonce,
        placeholders=placeholders,
        transmit_timestamp=77,
    )


def plain(header, *fields, mac=b""):
    return ntp.encode_packet(Packet(header, fields, mac))


@pytest.mark.parametrize("stratum", [-1, 0, 16])
def test_strata_that_no_server_has(stratum):
    with pytest.raises(ValueError, match="stratum"):
        responder(stratum)


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize(("stratum", "reference_id"), [(1, b"LOCL"), (2, b"\x7f\x7f\1\1"), (15, b"\x7f\x7f\1\1")])
def test_plain_ntp(version, stratum, reference_id):
    reply = respond(plain(replace(CLIENT_HEADER, version=version)), stratum=stratum)
    assert reply.kind is ReplyKind.PLAIN
    assert len(reply.data) == 48
    header = ntp.decode_packet(reply.data).header
    assert header == Header(
        Mode.SERVER,
        leap=0,
        version=version,
        stratum=stratum,
        poll=6,
        precision=-20,
        root_delay=0,
        root_dispersion=66,
        reference_id=reference_id,
        reference_timestamp=ntp.ntp_timestamp(1_800_000_000),
        origin_timestamp=77,
        receive_timestamp=ntp.ntp_timestamp(RECEIVED),
        transmit_timestamp=ntp.ntp_timestamp(SENT),
    )
    assert header.root_distance == pytest.approx(0.001, rel=0.01)


def test_plain_ntp_echoes_a_unique_identifier_and_ignores_what_it_does_not_know():
    unknown = ExtensionField(0x7777, bytes(40))
    reply = respond(plain(CLIENT_HEADER, unknown, UID_FIELD))
    assert ntp.decode_packet(reply.data).extensions == (UID_FIELD,)
    assert respond(plain(CLIENT_HEADER, unknown)) == respond(plain(CLIENT_HEADER))


@pytest.mark.parametrize("aead", Aead)
@pytest.mark.parametrize("placeholders", [0, 3, 7])
def test_nts(aead, placeholders):
    association = association_of(aead)
    request = request_of(association, placeholders)
    reply = respond(request.data)
    assert reply.kind is ReplyKind.NTS
    assert len(reply.data) == len(request.data)
    response = nts.read_response(request, reply.data)
    assert isinstance(response, Response)
    assert response.header.stratum == 3
    assert len(set(response.cookies)) == 1 + placeholders
    assert {JAR.open(cookie) for cookie in response.cookies} == {association}
    assert nts.measure(response.header, RECEIVED, SENT) == Measurement(0.0, 0.0)


@pytest.mark.parametrize("minted_under", [0, 1, 2])
def test_new_cookies_are_under_the_current_key_whichever_key_the_old_one_was_under(minted_under):
    request = request_of(SIV, jar=CookieJar(CookieFormat.NTSPOOL, KEYS, minted_under))
    response = nts.read_response(request, respond(request.data).data)
    assert [cookie[:4] for cookie in response.cookies] == [KEYS[1].id.to_bytes(4, "big")]


# NTS NAK: exactly when the cookie or the authenticator does not verify.


def check_nak(request):
    reply = respond(request.data)
    assert reply.kind is ReplyKind.NAK
    assert len(reply.data) == 84
    packet = ntp.decode_packet(reply.data)
    assert (packet.header.mode, packet.header.stratum, packet.header.kiss_code) == (4, 0, "NTSN")
    assert packet.extensions == (UID_FIELD,)
    assert nts.read_response(request, reply.data) == Refused(Refusal.NAK, "NTSN", authentic=False)


def test_nak_for_a_cookie_under_an_unknown_key():
    check_nak(request_of(SIV, jar=CookieJar(CookieFormat.NTSPOOL, [ServerKey(9, Secret(bytes(32)))], 0)))


def test_nak_for_a_cookie_under_another_key_of_the_same_id():
    check_nak(request_of(SIV, jar=CookieJar(CookieFormat.NTSPOOL, [ServerKey(2, Secret(bytes(32)))], 0)))


@pytest.mark.parametrize("cookie_format", [CookieFormat.CHRONY, CookieFormat.NTPSEC])
def test_nak_for_a_cookie_of_another_format(cookie_format):
    check_nak(request_of(SIV, jar=CookieJar(cookie_format, KEYS, 1)))


@pytest.mark.parametrize("aead", Aead)
def test_nak_for_an_authenticator_under_another_key(aead):
    check_nak(request_of(association_of(aead), c2s=Secret(bytes(aead.key_length))))


def test_nak_for_a_cookie_of_no_length_at_all():
    request = nts.build_request(SIV, b"", unique_id=UID, nonce=bytes(16), placeholders=0, transmit_timestamp=77)
    check_nak(request)


@pytest.mark.parametrize("field_type", [0x0104, 0x0204, 0x0304])
def test_nak_for_any_authenticated_field_that_was_changed(field_type):
    request = request_of(SIV, placeholders=1)
    offset = request.data.index(field_type.to_bytes(2, "big")) + 20
    reply = respond(request.data[:offset] + b"\xff" + request.data[offset + 1 :])
    assert reply.kind is ReplyKind.NAK


# What is dropped.


def without(data, field_type):
    packet = ntp.decode_packet(data)
    return ntp.encode_packet(
        replace(packet, extensions=tuple(field for field in packet.extensions if field.type != field_type))
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(48),
        plain(CLIENT_HEADER)[:47],
        *(plain(replace(CLIENT_HEADER, mode=mode)) for mode in (0, 1, 2, 4, 5, 6, 7)),
        *(plain(replace(CLIENT_HEADER, version=version)) for version in (0, 1, 2, 5, 6, 7)),
        plain(CLIENT_HEADER, mac=bytes(4)),
        plain(CLIENT_HEADER, mac=bytes(20)),
        plain(replace(CLIENT_HEADER, version=3), mac=bytes(20)),
        plain(CLIENT_HEADER, UID_FIELD, UID_FIELD),
        plain(CLIENT_HEADER, ExtensionField(FieldType.UNIQUE_IDENTIFIER, bytes(28))),
        plain(CLIENT_HEADER, UID_FIELD, ExtensionField(FieldType.NTS_COOKIE_PLACEHOLDER, bytes(104))),
        without(request_of(SIV).data, FieldType.UNIQUE_IDENTIFIER),
        without(request_of(SIV).data, FieldType.NTS_COOKIE),
        without(request_of(SIV).data, FieldType.NTS_AUTHENTICATOR),
        request_of(SIV).data + bytes(20),
        request_of(SIV).data[:-4],
    ],
)
def test_malformed_requests_are_dropped(data):
    assert respond(data) is None


class LongCookieJar(CookieJar):
    """As if a new release made longer cookies than the one that a client still holds."""

    __slots__ = ()

    def mint(self, association, nonce):
        return super().mint(association, nonce) + bytes(40)


def test_no_answer_rather_than_one_longer_than_the_request():
    jar = LongCookieJar(CookieFormat.NTSPOOL, KEYS, 1)
    assert respond(request_of(SIV).data, jar=jar) is None
    request = request_of(SIV, placeholders=7)
    response = nts.read_response(request, respond(request.data, jar=jar).data)
    assert len(response.cookies) == 5


REQUESTS = [
    plain(CLIENT_HEADER),
    plain(CLIENT_HEADER, UID_FIELD),
    *(request_of(association_of(aead), placeholders).data for aead in Aead for placeholders in (0, 1, 7)),
]


@st.composite
def datagrams(draw):
    """Return noise behind a good header, or a good request with some bytes changed, cut out or put in."""
    if draw(st.booleans()):
        return draw(st.sampled_from([b"", plain(CLIENT_HEADER)])) + draw(st.binary(max_size=300))
    data = draw(st.sampled_from(REQUESTS))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(data)))
        data = data[:start] + draw(st.binary(max_size=8)) + data[start + draw(st.integers(0, 40)) :]
    return data


@given(datagrams())
def test_never_raises_and_never_answers_with_more_than_it_got(data):
    reply = respond(data)
    assert reply is None or len(reply.data) <= len(data)
    assert reply is None or ntp.decode_packet(reply.data).header.mode == Mode.SERVER
    # Only the unchanged requests verify.
    assert not (isinstance(reply, Reply) and reply.kind is ReplyKind.NTS) or data in REQUESTS
