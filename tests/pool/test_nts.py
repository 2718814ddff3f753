"""ntspool/pool/nts.py: RFC 8915 section 5.7, client and server against each other and against mutations."""

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool import nts
from ntspool.pool.ciphers import cipher_for
from ntspool.pool.cookies import Association
from ntspool.pool.nts import OpenedRequest, Refusal, Refused, Response, UnverifiedRequest
from ntspool.wire import ntp
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import Authenticator, ExtensionField, FieldType, Header, Mode, Packet
from ntspool.wire.secret import Secret

UID = bytes(range(32))
TRANSMIT = 0x0123456789ABCDEF
COOKIE = b"c" * 100

aeads = st.sampled_from(Aead)


def association_of(aead):
    return Association(aead, Secret(b"\1" * aead.key_length), Secret(b"\2" * aead.key_length))


def request_of(association, cookie=COOKIE, placeholders=0):
    nonce = b"\3" * association.aead.nonce_length
    return nts.build_request(
        association, cookie, unique_id=UID, nonce=nonce, placeholders=placeholders, transmit_timestamp=TRANSMIT
    )


def server_header(**changes):
    return replace(
        Header(
            Mode.SERVER,
            stratum=2,
            origin_timestamp=TRANSMIT,
            receive_timestamp=ntp.ntp_timestamp(1000.5),
            transmit_timestamp=ntp.ntp_timestamp(1000.75),
        ),
        **changes,
    )


def sealed(association, key, header, fields, *, nonce=None, plaintext=b"", padding=0):
    """Seal any packet at all, also those that no build function would make."""
    clear = ntp.encode_header(header) + b"".join(ntp.encode_field(field, 16) for field in fields)
    nonce = b"\4" * association.aead.nonce_length if nonce is None else nonce
    ciphertext = cipher_for(association.aead, key).seal(nonce, plaintext, clear)
    return clear + ntp.encode_field(ntp.encode_authenticator(Authenticator(nonce, ciphertext, padding)))


def opened(data, association, cookie=COOKIE):
    def open_cookie(given_cookie):
        if given_cookie != cookie:
            raise WireError("not this cookie")
        return association

    return nts.open_request(ntp.decode_packet(data), data, open_cookie)


def answered(request, association, cookies=(COOKIE,), **changes):
    to_answer = opened(request.data, association)
    return nts.seal_response(to_answer, server_header(**changes), cookies, b"\5" * association.aead.nonce_length)


SIV = association_of(Aead.AES_SIV_CMAC_256)
UID_FIELD = ExtensionField(FieldType.UNIQUE_IDENTIFIER, UID)
COOKIE_FIELD = ExtensionField(FieldType.NTS_COOKIE, COOKIE)
CLIENT_HEADER = Header(Mode.CLIENT, transmit_timestamp=TRANSMIT)


@given(aeads, st.integers(0, 7), st.sampled_from([64, 68, 96, 100, 104, 168]))
def test_a_whole_volley(aead, placeholders, length):
    association = association_of(aead)
    cookie = b"k" * length
    request = request_of(association, cookie, placeholders)
    to_answer = opened(request.data, association, cookie)
    assert to_answer == OpenedRequest(CLIENT_HEADER, UID, association, 1 + placeholders, len(request.data))
    cookies = [bytes([index]) * length for index in range(1 + placeholders)]
    data = nts.seal_response(to_answer, server_header(), cookies, bytes(aead.nonce_length))
    assert len(data) == len(request.data)
    assert nts.read_response(request, data) == Response(server_header(), tuple(cookies))


@pytest.mark.parametrize(
    ("aead", "cookie_length", "placeholders", "length"),
    [
        (Aead.AES_SIV_CMAC_256, 100, 0, 228),
        (Aead.AES_SIV_CMAC_256, 100, 7, 956),
        (Aead.AES_SIV_CMAC_256, 104, 7, 988),
        (Aead.AES_SIV_CMAC_512, 168, 7, 1500),
        (Aead.AES_128_GCM_SIV, 68, 0, 192),
        (Aead.AES_128_GCM_SIV, 68, 7, 696),
    ],
)
def test_lengths_seen_with_real_daemons(aead, cookie_length, placeholders, length):
    assert len(request_of(association_of(aead), bytes(cookie_length), placeholders).data) == length


def test_the_request_as_section_5_7_wants_it():
    request = request_of(SIV, placeholders=2)
    packet = ntp.decode_packet(request.data)
    assert [field.type for field in packet.extensions] == [0x0104, 0x0204, 0x0304, 0x0304, 0x0404]
    assert packet.bodies(FieldType.NTS_COOKIE_PLACEHOLDER) == [bytes(100)] * 2
    assert packet.header == CLIENT_HEADER


@pytest.mark.parametrize("wrong", [{"unique_id": bytes(31)}, {"placeholders": 8}, {"placeholders": -1}, {"nonce": b""}])
def test_requests_that_must_not_be_built(wrong):
    right = {"unique_id": UID, "nonce": bytes(16), "placeholders": 0, "transmit_timestamp": 1}
    with pytest.raises(ValueError, match=r"at least|placeholders|nonce"):
        nts.build_request(SIV, COOKIE, **(right | wrong))


def test_secrets_stay_out_of_reprs():
    request = request_of(SIV)
    response = nts.read_response(request, answered(request, SIV))
    for shown in (repr(request), repr(response)):
        assert "ccc" not in shown
        assert "\\x01\\x01" not in shown


# What a client makes of an answer.


def nak(**changes):
    request = UnverifiedRequest(CLIENT_HEADER, UID)
    return nts.build_nak(request, server_header(**changes))


def test_a_nak():
    assert len(nak()) == 84
    header = ntp.decode_packet(nak()).header
    assert (header.stratum, header.leap, header.reference_id) == (0, 3, b"NTSN")
    assert nts.read_response(request_of(SIV), nak()) == Refused(Refusal.NAK, "NTSN", authentic=False)


def unprotected(header, *fields):
    return ntp.encode_packet(Packet(header, fields))


RATE = server_header(stratum=0, reference_id=b"RATE")
OTHER_UID = ExtensionField(FieldType.UNIQUE_IDENTIFIER, b"x" * 32)


@pytest.mark.parametrize(
    ("data", "refused"),
    [
        (nak(origin_timestamp=TRANSMIT + 1), Refused(Refusal.ORIGIN_MISMATCH)),
        (unprotected(RATE, UID_FIELD), Refused(Refusal.KISS, "RATE")),
        (unprotected(RATE), Refused(Refusal.UNPROTECTED)),
        (unprotected(RATE, OTHER_UID), Refused(Refusal.UNIQUE_ID_MISMATCH)),
        (unprotected(RATE, UID_FIELD, UID_FIELD), Refused(Refusal.UNIQUE_ID_MISMATCH)),
        (unprotected(server_header()), Refused(Refusal.UNPROTECTED)),
        (unprotected(server_header(), UID_FIELD), Refused(Refusal.UNPROTECTED)),
        (sealed(SIV, SIV.s2c.reveal(), server_header(), []), Refused(Refusal.UNIQUE_ID_MISMATCH)),
        (sealed(SIV, SIV.s2c.reveal(), server_header(), [OTHER_UID]), Refused(Refusal.UNIQUE_ID_MISMATCH)),
        (
            sealed(SIV, SIV.s2c.reveal(), server_header(origin_timestamp=0), [UID_FIELD]),
            Refused(Refusal.ORIGIN_MISMATCH),
        ),
        (sealed(SIV, SIV.c2s.reveal(), server_header(), [UID_FIELD]), Refused(Refusal.BAD_AUTHENTICATOR)),
        (sealed(SIV, SIV.s2c.reveal(), RATE, [UID_FIELD]), Refused(Refusal.KISS, "RATE", authentic=True)),
        (
            sealed(SIV, SIV.s2c.reveal(), replace(RATE, reference_id=b"NTSN"), [UID_FIELD]),
            Refused(Refusal.KISS, "NTSN", authentic=True),
        ),
    ],
)
def test_refusals_are_told_apart(data, refused):
    assert nts.read_response(request_of(SIV), data) == refused


@pytest.mark.parametrize(
    "data",
    [
        b"",
        sealed(SIV, SIV.s2c.reveal(), server_header(mode=3), [UID_FIELD]),
        sealed(SIV, SIV.s2c.reveal(), server_header(), [UID_FIELD], plaintext=b"\2\4\0"),
        sealed(SIV, SIV.s2c.reveal(), server_header(), [UID_FIELD]) + bytes(20),
        sealed(SIV, SIV.s2c.reveal(), server_header(), [UID_FIELD]) + ntp.encode_field(ExtensionField(1, bytes(24))),
        sealed(
            SIV, SIV.s2c.reveal(), server_header(), [UID_FIELD, ExtensionField(FieldType.NTS_AUTHENTICATOR, bytes(40))]
        ),
    ],
)
def test_malformed_answers(data):
    with pytest.raises(WireError):
        nts.read_response(request_of(SIV), data)


def test_only_encrypted_cookies_count():
    fields = [ExtensionField(FieldType.NTS_COOKIE, b"clear-cookie....")]
    hidden = [ExtensionField(FieldType.NTS_COOKIE, b"hidden-cookie..."), ExtensionField(0x7777, b"unknown.")]
    data = sealed(SIV, SIV.s2c.reveal(), server_header(), [UID_FIELD, *fields], plaintext=ntp.encode_fields(hidden))
    assert nts.read_response(request_of(SIV), data) == Response(server_header(), (b"hidden-cookie...",))


@st.composite
def mutations(draw, data):
    """Change, cut out or put in a few bytes."""
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(len(data), start + 8)))
    mutated = data[:start] + draw(st.binary(max_size=8)) + data[end:]
    return mutated if mutated != data else data[:-1]


@pytest.mark.parametrize("aead", Aead)
def test_every_flipped_bit_of_an_answer_is_refused(aead):
    association = association_of(aead)
    request = request_of(association)
    data = answered(request, association)
    assert isinstance(nts.read_response(request, data), Response)
    for bit in range(8 * len(data)):
        mutated = bytearray(data)
        mutated[bit // 8] ^= 1 << bit % 8
        with suppress(WireError):
            assert isinstance(nts.read_response(request, bytes(mutated)), Refused)


@given(st.data(), aeads)
def test_no_mutation_of_an_answer_is_accepted(data, aead):
    association = association_of(aead)
    request = request_of(association)
    mutated = data.draw(mutations(answered(request, association)))
    with suppress(WireError):
        assert isinstance(nts.read_response(request, mutated), Refused)


def test_an_answer_to_another_request_is_refused():
    request = request_of(SIV)
    data = answered(request, SIV)
    assert nts.read_response(replace(request, unique_id=b"y" * 32), data) == Refused(Refusal.UNIQUE_ID_MISMATCH)


def test_measure():
    # The server is 5 s ahead, 0.2 s there, 0.25 s inside, 0.1 s back.
    header = server_header(receive_timestamp=ntp.ntp_timestamp(105.2), transmit_timestamp=ntp.ntp_timestamp(105.45))
    measurement = nts.measure(header, 100.0, 100.55)
    assert measurement.offset == pytest.approx(5.05)
    assert measurement.delay == pytest.approx(0.3)


def test_measure_across_the_era_rollover():
    rollover = 2**32 - 2_208_988_800
    header = server_header(
        receive_timestamp=ntp.ntp_timestamp(rollover - 0.5), transmit_timestamp=ntp.ntp_timestamp(rollover + 0.5)
    )
    measurement = nts.measure(header, rollover - 1.0, rollover + 1.0)
    assert (measurement.offset, measurement.delay) == (0.0, 1.0)


# What a server makes of a request.


def placeholder(length=100):
    return ExtensionField(FieldType.NTS_COOKIE_PLACEHOLDER, bytes(length))


@pytest.mark.parametrize(
    "data",
    [
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [COOKIE_FIELD]),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, UID_FIELD, COOKIE_FIELD]),
        sealed(
            SIV, SIV.c2s.reveal(), CLIENT_HEADER, [ExtensionField(FieldType.UNIQUE_IDENTIFIER, bytes(28)), COOKIE_FIELD]
        ),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD]),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD, COOKIE_FIELD]),
        unprotected(CLIENT_HEADER, UID_FIELD, COOKIE_FIELD),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD, placeholder(96)]),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD]) + ntp.encode_field(placeholder()),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD]) + bytes(20),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD], nonce=bytes(12)),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD], nonce=bytes(9)),
        sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD], plaintext=b"\1\2\3"),
        sealed(
            SIV,
            SIV.c2s.reveal(),
            CLIENT_HEADER,
            [UID_FIELD, COOKIE_FIELD],
            plaintext=ntp.encode_fields([placeholder(96)]),
        ),
        unprotected(CLIENT_HEADER, UID_FIELD, COOKIE_FIELD, ExtensionField(FieldType.NTS_AUTHENTICATOR, b"\xff" * 40)),
    ],
)
def test_requests_that_are_dropped(data):
    with pytest.raises(WireError):
        opened(data, SIV)


def test_an_unknown_cookie_is_not_verified():
    data = request_of(SIV, cookie=b"?" * 100).data
    assert opened(data, SIV) == UnverifiedRequest(CLIENT_HEADER, UID)


@pytest.mark.parametrize("aead", Aead)
def test_a_wrong_key_does_not_verify(aead):
    association = association_of(aead)
    data = sealed(association, association.s2c.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD])
    assert opened(data, association) == UnverifiedRequest(CLIENT_HEADER, UID)


@pytest.mark.parametrize(("nonce", "padding"), [(12, 4), (9, 4), (8, 8), (17, 0), (16, 40)])
def test_other_nonces_with_enough_padding_are_accepted(nonce, padding):
    fields = [UID_FIELD, COOKIE_FIELD]
    data = sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, fields, nonce=bytes(range(nonce)), padding=padding)
    to_answer = opened(data, SIV)
    assert isinstance(to_answer, OpenedRequest)
    assert len(nts.seal_response(to_answer, server_header(), [COOKIE], bytes(16))) <= len(data)


def test_encrypted_and_longer_placeholders_count():
    hidden = ntp.encode_fields([placeholder(), placeholder(104)])
    data = sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD, placeholder(120)], plaintext=hidden)
    assert opened(data, SIV).cookies_wanted == 4


def test_never_more_than_eight_cookies():
    data = sealed(SIV, SIV.c2s.reveal(), CLIENT_HEADER, [UID_FIELD, COOKIE_FIELD, *[placeholder()] * 12])
    assert opened(data, SIV).cookies_wanted == 8


@given(st.data(), aeads)
def test_no_mutation_of_a_request_is_opened(data, aead):
    association = association_of(aead)
    mutated = data.draw(mutations(request_of(association, placeholders=1).data))
    with suppress(WireError):
        assert isinstance(opened(mutated, association), UnverifiedRequest)


@given(aeads, st.integers(0, 300), st.integers(1, 8), st.integers(1, 60).map(lambda n: 4 * n))
def test_a_response_is_never_longer_than_the_request(aead, length, count, cookie_length):
    request = OpenedRequest(CLIENT_HEADER, UID, association_of(aead), count, length)
    try:
        data = nts.seal_response(request, server_header(), [bytes(cookie_length)] * count, bytes(aead.nonce_length))
    except WireError:
        return
    assert len(data) <= length


def test_cookies_that_do_not_fit_are_left_out():
    request = request_of(SIV, placeholders=3)
    to_answer = opened(request.data, SIV)
    counts = [
        len(
            nts.read_response(request, nts.seal_response(to_answer, server_header(), [bytes(n)] * 4, bytes(16))).cookies
        )
        for n in (100, 104, 136, 140, 204, 208, 412)
    ]
    assert counts == [4, 3, 2, 2, 2, 1, 1]
    assert all(more >= fewer for more, fewer in pairwise(counts))
    with pytest.raises(WireError, match="too short"):
        nts.seal_response(to_answer, server_header(), [bytes(416)] * 4, bytes(16))


@given(st.binary(max_size=300) | st.binary(max_size=250).map(lambda rest: ntp.encode_header(CLIENT_HEADER) + rest))
def test_any_bytes_raise_only_wire_errors(data):
    request = request_of(SIV)
    with suppress(WireError):
        assert isinstance(nts.read_response(request, data), Refused)
    with suppress(WireError):
        assert isinstance(opened(data, SIV), UnverifiedRequest)


@given(aeads, st.binary(max_size=80))
def test_any_authenticator_raises_only_wire_errors(aead, body):
    association = association_of(aead)
    authenticator = ExtensionField(FieldType.NTS_AUTHENTICATOR, body)
    data = unprotected(server_header(), UID_FIELD, COOKIE_FIELD, authenticator)
    with suppress(WireError):
        assert nts.read_response(request_of(association), data) == Refused(Refusal.BAD_AUTHENTICATOR)
    with suppress(WireError):
        assert isinstance(opened(data, association), UnverifiedRequest)
