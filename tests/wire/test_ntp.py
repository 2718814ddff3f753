"""ntspool/wire/ntp.py: RFC 5905 figure 8, RFC 7822 section 7.5, RFC 8915 section 5."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.wire import ntp
from ntspool.wire.ntp import Authenticator, ExtensionField, FieldType, Header, Mode, Packet

UINT64 = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)
INT8 = st.integers(-128, 127)


def headers(version=4):
    return st.builds(
        Header,
        mode=st.integers(0, 7),
        leap=st.integers(0, 3),
        version=st.just(version),
        stratum=st.integers(0, 255),
        poll=INT8,
        precision=INT8,
        root_delay=UINT32,
        root_dispersion=UINT32,
        reference_id=st.binary(min_size=4, max_size=4),
        reference_timestamp=UINT64,
        origin_timestamp=UINT64,
        receive_timestamp=UINT64,
        transmit_timestamp=UINT64,
    )


def words(least, most):
    return st.integers(least, most).flatmap(lambda n: st.binary(min_size=4 * n, max_size=4 * n))


TYPES = st.sampled_from(FieldType) | st.integers(0, 0xFFFF)


@st.composite
def packets(draw):
    extensions = draw(st.lists(st.builds(ExtensionField, TYPES, words(3, 30)), max_size=4))
    mac = b""
    if draw(st.booleans()):
        length = draw(st.sampled_from([4, 20, 24]))
        mac = draw(st.binary(min_size=length, max_size=length))
        # RFC 7822: with fewer than 28 bytes left, a field would be taken for a MAC.
        if extensions and len(extensions[-1].body) + 4 + len(mac) < 28:
            extensions[-1] = ExtensionField(extensions[-1].type, bytes(24))
    elif extensions and len(extensions[-1].body) < 24:
        extensions[-1] = ExtensionField(extensions[-1].type, bytes(24))
    return Packet(draw(headers()), tuple(extensions), mac)


def test_header_bytes():
    header = Header(
        Mode.SERVER,
        leap=1,
        version=4,
        stratum=2,
        poll=6,
        precision=-20,
        root_delay=0x00010000,
        root_dispersion=0x00008000,
        reference_id=b"GPS\0",
        reference_timestamp=1,
        origin_timestamp=2,
        receive_timestamp=3,
        transmit_timestamp=4,
    )
    data = bytes.fromhex("640206ec000100000000800047505300") + b"".join(n.to_bytes(8, "big") for n in (1, 2, 3, 4))
    assert ntp.encode_header(header) == data
    assert ntp.decode_header(data) == header
    assert header.root_distance == 1.0


@given(headers())
def test_header_round_trip(header):
    assert ntp.decode_header(ntp.encode_header(header)) == header


def test_a_short_header_is_refused():
    with pytest.raises(WireError, match="not 47"):
        ntp.decode_packet(bytes(47))


@pytest.mark.parametrize(
    ("stratum", "reference_id", "code"),
    [
        (0, b"NTSN", "NTSN"),
        (0, b"BCG\0", "BCG"),
        (0, b"\0\0\0\0", None),  # what chronyd says without a time to serve
        (0, b"\x1b[2J", "1b5b324a"),
        (0, "ÄÖ".encode(), "c384c396"),
        (1, b"RATE", None),
    ],
)
def test_kiss_codes(stratum, reference_id, code):
    assert Header(Mode.SERVER, stratum=stratum, reference_id=reference_id).kiss_code == code


@pytest.mark.parametrize(
    ("when", "timestamp"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), 2_208_988_800 << 32),
        (datetime(1900, 1, 1, tzinfo=UTC), 0),
        (datetime(2036, 2, 7, 6, 28, 15, 500_000, tzinfo=UTC), 0xFFFFFFFF_80000000),
        (datetime(2036, 2, 7, 6, 28, 16, tzinfo=UTC), 0),
        (datetime(2036, 2, 7, 6, 28, 17, tzinfo=UTC), 1 << 32),
    ],
)
def test_known_timestamps(when, timestamp):
    assert ntp.ntp_timestamp(when.timestamp()) == timestamp
    assert ntp.unix_seconds(timestamp, when.timestamp() + 1e9) == when.timestamp()
    assert ntp.unix_seconds(timestamp, when.timestamp() - 1e9) == when.timestamp()


@given(st.floats(0, 8e9), st.floats(-2e9, 2e9))
def test_timestamps_survive_era_rollovers(seconds, clock_error):
    assert ntp.unix_seconds(ntp.ntp_timestamp(seconds), seconds + clock_error) == pytest.approx(
        seconds, rel=0, abs=2**-33
    )


@given(UINT64, st.floats(0, 8e9))
def test_every_timestamp_is_within_half_an_era(timestamp, near):
    assert abs(ntp.unix_seconds(timestamp, near) - near) <= 2**31


@given(packets())
def test_packet_round_trip(packet):
    decoded = ntp.decode_packet(ntp.encode_packet(packet))
    assert (decoded.header, decoded.extensions, decoded.mac) == (packet.header, packet.extensions, packet.mac)


@given(packets())
def test_the_authenticator_offset_ends_the_associated_data(packet):
    data = ntp.encode_packet(packet)
    decoded = ntp.decode_packet(data)
    before = []
    for field in packet.extensions:
        if field.type == FieldType.NTS_AUTHENTICATOR:
            clear = ntp.encode_header(packet.header) + b"".join(map(ntp.encode_field, before))
            assert data[: decoded.authenticator_offset] == clear
            break
        before.append(field)
    else:
        assert decoded.authenticator_offset is None


@given(headers(version=3), st.binary(max_size=40))
def test_in_version_3_everything_behind_the_header_is_a_mac(header, rest):
    packet = Packet(header, mac=rest)
    data = ntp.encode_packet(packet)
    assert data == ntp.encode_header(header) + rest
    assert ntp.decode_packet(data) == packet


@pytest.mark.parametrize("version", [0, 1, 2, 5, 6, 7])
def test_other_versions_are_refused(version):
    with pytest.raises(WireError, match=f"version {version}"):
        ntp.decode_packet(ntp.encode_header(Header(Mode.CLIENT, version=version)))


HEADER = ntp.encode_header(Header(Mode.CLIENT))


@pytest.mark.parametrize("length", range(1, 28))
def test_fewer_than_28_bytes_are_a_mac_or_nothing_at_all(length):
    if length in (4, 20, 24):
        assert ntp.decode_packet(HEADER + bytes(length)).mac == bytes(length)
    else:
        with pytest.raises(WireError, match=f"^{length} bytes behind"):
            ntp.decode_packet(HEADER + bytes(length))


@pytest.mark.parametrize("length", [0, 4, 12, 15, 17, 18, 30, 32, 0xFFFC, 0xFFFF])
def test_lengths_that_no_extension_field_has(length):
    with pytest.raises(WireError):
        ntp.decode_packet(HEADER + b"\x01\x04" + length.to_bytes(2, "big") + bytes(24))


def test_padding_and_least_lengths():
    first, last = ExtensionField(0x1234, b"abcde"), ExtensionField(0x5678, b"")
    packet = ntp.decode_packet(ntp.encode_packet(Packet(Header(Mode.CLIENT), (first, last))))
    assert packet.bodies(0x1234) == [b"abcde" + bytes(7)]
    assert packet.bodies(0x5678) == [bytes(24)]
    with_mac = ntp.decode_packet(ntp.encode_packet(Packet(Header(Mode.CLIENT), (first, last), bytes(20))))
    assert with_mac.bodies(0x5678) == [bytes(12)]
    assert ntp.encode_field(ExtensionField(1, b"abcde")) == b"\0\1\0\x0cabcde\0\0\0"


@given(st.lists(st.builds(ExtensionField, TYPES, words(0, 30)), max_size=4))
def test_encrypted_fields_may_be_of_any_length(fields):
    assert ntp.decode_fields(ntp.encode_fields(fields)) == tuple(fields)


@pytest.mark.parametrize("plaintext", [b"\0", b"\1\4\0\0", b"\1\4\0\3", b"\1\4\0\6\0\0", b"\1\4\0\x08"])
def test_malformed_encrypted_fields(plaintext):
    with pytest.raises(WireError):
        ntp.decode_fields(plaintext)


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 5).map(lambda n: 4 * n))
def test_authenticator_round_trip(nonce, ciphertext, padding):
    authenticator = Authenticator(nonce, ciphertext, padding)
    field = ntp.encode_authenticator(authenticator)
    assert field.type == FieldType.NTS_AUTHENTICATOR
    assert len(field.body) % 4 == 0
    assert ntp.decode_authenticator(field.body) == authenticator


@pytest.mark.parametrize(("nonce", "padding", "room"), [(16, 0, 16), (12, 0, 12), (9, 4, 16), (0, 8, 8)])
def test_room_for_the_servers_nonce(nonce, padding, room):
    assert Authenticator(bytes(nonce), b"", padding).nonce_room == room


@pytest.mark.parametrize(
    "body", ["", "0010", "00100010", "00040004 00000000", "00050000 0000000000", "ffffffff 00000000"]
)
def test_authenticators_that_do_not_fit(body):
    with pytest.raises(WireError):
        ntp.decode_authenticator(bytes.fromhex(body))


@given(st.binary(max_size=200) | st.binary(max_size=150).map(lambda rest: HEADER + rest))
@example(HEADER + b"\x04\x04\x00\x1c" + bytes(24))
def test_any_bytes_raise_only_wire_errors(data):
    for decode in (ntp.decode_header, ntp.decode_packet, ntp.decode_fields, ntp.decode_authenticator):
        with suppress(WireError):
            decode(data)


@given(st.binary(max_size=120).map(lambda rest: HEADER + rest) | packets().map(ntp.encode_packet))
def test_what_decodes_encodes_to_the_same_bytes(data):
    with suppress(WireError):
        assert ntp.encode_packet(ntp.decode_packet(data)) == data
