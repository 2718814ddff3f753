"""ntspool/wire/records.py: the bytes of RFC 8915 section 4 and the IANA numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import ErrorCode, WireError
from ntspool.wire import records
from ntspool.wire.records import Record, RecordType

PORT = RecordType.NTPV4_PORT


def test_the_numbers_of_the_registry_the_pool_draft_and_chrony():
    rfc8915 = ["END_OF_MESSAGE", "NEXT_PROTOCOL", "ERROR", "WARNING", "AEAD_ALGORITHM", "NEW_COOKIE"]
    rfc8915 += ["NTPV4_SERVER", "NTPV4_PORT"]
    pool = ["KEEP_ALIVE", "SUPPORTED_NEXT_PROTOCOL_LIST", "SUPPORTED_ALGORITHM_LIST", "LIST_SERVER_NAMES"]
    pool += ["FIXED_KEY_REQUEST", "NTP_SERVER_DENY", "AUTHENTICATION_TOKEN"]
    numbers = {name: number for number, name in enumerate(rfc8915 + pool)}
    assert {each.name: each.value for each in RecordType} == numbers | {"COMPLIANT_128GCM_EXPORT": 1024}


@pytest.mark.parametrize(
    ("record", "encoded"),
    [
        (records.END_OF_MESSAGE, "8000 0000"),
        (records.next_protocol([0]), "8001 0002 0000"),
        (records.next_protocol([0, 0x8001]), "8001 0004 0000 8001"),
        (records.next_protocol([]), "8001 0000"),
        (records.error(2), "8002 0002 0002"),
        (records.aead_algorithm([30, 15]), "8004 0004 001e 000f"),
        (records.aead_algorithm([]), "8004 0000"),
        (records.new_cookie(b"\xaa\xbb"), "0005 0002 aabb"),
        (records.ntpv4_server("::1", critical=True), "8006 0003 3a3a31"),
        (records.ntpv4_server("::1", critical=False), "0006 0003 3a3a31"),
        (records.ntpv4_port(65535, critical=True), "8007 0002 ffff"),
        (records.ntpv4_port(123, critical=False), "0007 0002 007b"),
        (records.COMPLIANT_128GCM_EXPORT, "0400 0000"),
        (records.KEEP_ALIVE, "0008 0000"),
        (records.supported_next_protocols(), "8009 0000"),
        (records.supported_next_protocols([0, 0x8001]), "8009 0004 0000 8001"),
        (records.supported_algorithms(), "800a 0000"),
        (records.supported_algorithms([(15, 32), (17, 64)]), "800a 0008 000f 0020 0011 0040"),
        (records.fixed_key_request(b"\xaa" * 4, b"\xbb" * 4), "800c 0008 aaaaaaaa bbbbbbbb"),
        (records.authentication_token("f0"), "000e 0002 6630"),
        (Record(0x7FFF, b"x", critical=True), "ffff 0001 78"),
        (Record(0x7FFF, b"x", critical=False), "7fff 0001 78"),
    ],
)
def test_bytes(record, encoded):
    assert record.encode() == bytes.fromhex(encoded)


def test_the_longest_body():
    assert Record(5, bytes(65535), critical=False).encode() == b"\0\5\xff\xff" + bytes(65535)
    with pytest.raises(ValueError, match="at most 65535 bytes, not 65536"):
        Record(5, bytes(65536), critical=False).encode()


@given(st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=40))
def test_lists_of_numbers(numbers):
    assert records.aead_algorithm(numbers).numbers() == tuple(numbers)
    assert records.next_protocol(numbers).numbers() == tuple(numbers)


@pytest.mark.parametrize("length", [0, 1, 3, 255])
def test_bodies_that_are_no_list_of_numbers(length):
    with pytest.raises(WireError, match=f"^record 7 has a body of {length} bytes, not a list") as caught:
        Record(PORT, bytes(length), critical=True).numbers()
    assert caught.value.code is ErrorCode.BAD_REQUEST


@given(st.integers(0, 0xFFFF))
def test_one_number(number):
    assert records.ntpv4_port(number, critical=True).number() == number


@pytest.mark.parametrize("length", [0, 1, 3, 4])
def test_bodies_that_are_not_one_number(length):
    with pytest.raises(WireError, match=f"^record 7 has a body of {length} bytes instead of 2") as caught:
        Record(PORT, bytes(length), critical=True).number()
    assert caught.value.code is ErrorCode.BAD_REQUEST


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_text(name):
    assert records.ntpv4_server(name, critical=True).text() == name


@pytest.mark.parametrize("bad", [*range(0x21), *range(0x7F, 0x100)])
def test_bytes_that_are_no_text(bad):
    for body in (bytes([bad]), b"a" + bytes([bad]), bytes([bad]) + b"a"):
        with pytest.raises(WireError, match="printable ASCII"):
            Record(RecordType.NTPV4_SERVER, body, critical=True).text()


def test_no_text_at_all():
    with pytest.raises(WireError, match="printable ASCII"):
        Record(RecordType.NTPV4_SERVER, b"", critical=True).text()
