from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.wire.proxy2 import FIXED_LENGTH, MAX_HEADER, SIGNATURE, Command, ProxyHeader, Transport, read_header
from tests.proxying import LOCAL, block, header

# As the examples of the specification would have them, from 198.51.100.7 and 2001:db8::7.
TCP4 = bytes.fromhex("0d0a0d0a000d0a515549540a 21 11 000c c6336407 c0000201 9c40 116c")
TCP6 = bytes.fromhex(
    "0d0a0d0a000d0a515549540a 21 21 0024 20010db8000000000000000000000007 20010db8000000000000000000000001 9c40 116c"
)


def test_golden_headers():
    assert read_header(TCP4) == ProxyHeader(ip_address("198.51.100.7").packed, 28)
    assert read_header(TCP6) == ProxyHeader(ip_address("2001:db8::7").packed, 52)
    assert read_header(LOCAL) == ProxyHeader(None, 16)
    assert (header("198.51.100.7"), header("2001:db8::7")) == (TCP4, TCP6)


@given(source=st.ip_addresses(), tlvs=st.binary(max_size=300), behind=st.binary(max_size=300))
def test_a_header_ends_where_it_says_and_is_told_once_it_is_whole(source, tlvs, behind):
    sent = header(str(source), tlvs=tlvs)
    for length in range(len(sent)):
        assert read_header(sent[:length]) is None
    found = read_header(sent + behind)
    assert found == read_header(sent)
    assert (found.length, ip_address(found.source)) == (len(sent), getattr(source, "ipv4_mapped", None) or source)


def test_an_ipv4_client_in_ipv6_notation_is_an_ipv4_client():
    assert read_header(header("::ffff:192.0.2.9")).source == ip_address("192.0.2.9").packed


@pytest.mark.parametrize(
    "sent",
    [
        block(Command.LOCAL, 0x77, b"whatever"),
        block(Command.LOCAL, Transport.TCP4, b""),
        block(Command.PROXY, Transport.UNSPEC, b""),
        block(Command.PROXY, Transport.UNSPEC, bytes(12)),
        block(Command.PROXY, Transport.UNIX, bytes(216)),
    ],
)
def test_without_an_address_of_a_client_the_connections_own_counts(sent):
    assert read_header(sent + b"\x16\x03\x01") == ProxyHeader(None, len(sent))


@pytest.mark.parametrize(
    ("sent", "wrong"),
    [
        (b"\x16\x03\x01\x02\x00", "no PROXY"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "no PROXY"),
        (SIGNATURE[:11] + b"\r", "no PROXY"),
        (SIGNATURE + b"\x11", "version and command 0x11"),
        (SIGNATURE + b"\x22", "version and command 0x22"),
        (block(Command.PROXY, 0x12, bytes(12)), "transport 0x12"),
        (block(Command.PROXY, 0x41, bytes(12)), "transport 0x41"),
        (block(Command.PROXY, Transport.TCP4, bytes(11)), "too short"),
        (block(Command.PROXY, Transport.TCP6, bytes(35)), "too short"),
        (block(Command.PROXY, Transport.UNIX, bytes(215)), "too short"),
        (block(Command.LOCAL, Transport.UNSPEC, bytes(MAX_HEADER))[:FIXED_LENGTH], f"more than {MAX_HEADER}"),
    ],
)
def test_what_is_no_header(sent, wrong):
    with pytest.raises(WireError, match=wrong):
        read_header(sent)


def test_the_longest_header():
    longest = header("192.0.2.9", tlvs=bytes(MAX_HEADER - len(TCP4)))
    assert read_header(longest).length == MAX_HEADER
    with pytest.raises(WireError):
        read_header(header("192.0.2.9", tlvs=bytes(MAX_HEADER - len(TCP4) + 1)))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_a_header_none_yet_or_wrong(garbage, more):
    for start in (b"", SIGNATURE, TCP4[:13], TCP6[:15]):
        try:
            found = read_header(start + garbage)
        except WireError:
            with pytest.raises(WireError):
                read_header(start + garbage + more)
        else:
            assert found is None or (
                found.length <= len(start + garbage) and read_header(start + garbage + more) == found
            )
