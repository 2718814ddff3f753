"""ntspool/wire/exchange.py: framing, limits and both roles, however the bytes are cut (RFC 8915 section 4)."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import ErrorCode, WireError
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import EXPORTER_LABEL, ClientExchange, MessageBuffer, ServerExchange, exporter_contexts
from ntspool.wire.messages import NO_COMMON_AEAD, Request, Response
from ntspool.wire.records import MAX_MESSAGE, Record

PROTOCOL, END = "8001 0002 0000", "8000 0000"
GOOD = bytes.fromhex(f"{PROTOCOL} 8004 0002 000f {END}")
REQUEST = Request((0,), (15,))


def feed(exchange, pieces):
    """Return the answer or the error's code, and how many bytes it took to get there; None while there is none."""
    taken = 0
    for piece in pieces:
        taken += len(piece)
        try:
            answer = exchange.receive_data(piece)
        except WireError as error:
            return error.code, taken
        if answer is not None:
            return answer, taken
    return None, taken


def bytewise(data):
    return [data[at : at + 1] for at in range(len(data))]


def padded(length):
    """Return a good request of `length` bytes, filled up by unknown records that are not critical."""
    filler = length - len(GOOD) - 4
    return Record(0x4000, bytes(filler), critical=False).encode() + GOOD


def test_what_waits_for_its_end_costs_little_more_than_its_bytes():
    tracemalloc.start()
    try:
        exchange = ServerExchange()
        assert exchange.receive_data(bytes.fromhex("40000000") * 4095) is None
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2 * MAX_MESSAGE


# Captured from unmodified daemons.


@pytest.mark.parametrize(
    ("request_bytes", "aeads", "compliant", "usable"),
    [
        pytest.param(f"{PROTOCOL} 8004 0002 000f {END}", (15,), False, [15], id="chrony 4.3"),
        pytest.param(f"{PROTOCOL} 8004 0004 001e000f {END}", (30, 15), False, [15], id="chrony 4.5"),
        pytest.param(f"{PROTOCOL} 8004 0004 001e000f 0400 0000 {END}", (30, 15), True, [30, 15], id="chrony 4.9"),
        pytest.param(f"{PROTOCOL} 0004 0002 000f {END}", (15,), False, [15], id="ntpsec 1.2"),
        pytest.param(f"{PROTOCOL} 0004 0004 0011000f {END}", (17, 15), False, [17, 15], id="ntpd-rs 1.4"),
        pytest.param(f"{PROTOCOL} 8004 0004 0011000f {END}", (17, 15), False, [17, 15], id="ntpd-rs 1.9"),
        pytest.param(
            f"{PROTOCOL} 8004 0004 0011000f 000d 0004 6e747031 {END}", (17, 15), False, [17, 15], id="ntpd-rs 1.9 pool"
        ),
    ],
)
def test_requests_of_known_clients(request_bytes, aeads, compliant, usable):
    data = bytes.fromhex(request_bytes)
    request = ServerExchange().receive_data(data)
    denied = ("ntp1",) if "000d" in request_bytes else ()
    assert request == Request((0,), aeads, compliant, denied=denied, aead_critical=" 8004 " in request_bytes)
    assert list(request.usable_aeads) == usable
    assert feed(ServerExchange(), bytewise(data)) == (request, len(data))


# Any fragmentation gives the same result.

any_record = st.builds(
    Record,
    st.sampled_from([1, 2, 3, 4, 5, 6, 7, 8, 13, 1024, 0x7FFF]),
    st.sampled_from([b"", b"\0\0", b"\0\x0f", b"\0\x1e\0\x0f", b"\0"]) | st.binary(max_size=20),
    st.booleans(),
).map(Record.encode)
any_request = st.lists(any_record, max_size=5).map(lambda encoded: b"".join(encoded) + bytes.fromhex(END))
good_request = st.builds(
    Request, st.just((0,)), st.lists(st.sampled_from([15, 17, 30, 16]), min_size=1).map(tuple), st.booleans()
).map(Request.encode)
good_response = st.builds(
    Response, st.just(Aead.AES_SIV_CMAC_256), st.binary(min_size=1, max_size=9).map(lambda body: (body,) * 8), st.none()
).map(Response.encode)


def cut(data, places):
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(good_request | good_response | any_request, st.lists(st.integers(0, 2**16), max_size=12))
def test_any_fragmentation_gives_the_same_result(data, places):
    for side in (ServerExchange, lambda: ClientExchange(REQUEST)):
        whole = feed(side(), [data])
        assert whole[0] is not None
        assert feed(side(), cut(data, places)) == whole
        assert feed(side(), bytewise(data)) == whole


@given(good_request, st.integers(1, 200))
def test_nothing_is_yielded_before_the_end_of_message(data, missing):
    part = data[:-missing]
    assert feed(ServerExchange(), [part]) == (None, len(part))
    assert feed(ServerExchange(), [b"", part, b""]) == (None, len(part))


# Framing.


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("0000 0000", id="not critical"),
        pytest.param("8000 0001 00", id="with a body"),
        pytest.param("0000 0001 00", id="neither"),
        pytest.param(f"{END} 00", id="one byte after it"),
        pytest.param(f"{END} {END}", id="twice"),
        pytest.param(f"{END} {PROTOCOL}", id="another record after it"),
    ],
)
def test_the_end_of_message_must_be_right(end):
    data = GOOD[:-4] + bytes.fromhex(end)
    assert feed(ServerExchange(), [data]) == (ErrorCode.BAD_REQUEST, len(data))
    assert feed(ClientExchange(REQUEST), [data]) == (ErrorCode.BAD_REQUEST, len(data))


def test_only_an_end_of_message():
    assert feed(ServerExchange(), [bytes.fromhex(END)]) == (ErrorCode.BAD_REQUEST, 4)


def test_the_code_of_an_unknown_critical_record_comes_through():
    data = bytes.fromhex("c000 0000") + GOOD
    assert feed(ServerExchange(), [data]) == (ErrorCode.UNRECOGNIZED_CRITICAL_RECORD, len(data))


def test_bytes_become_records():
    buffer = MessageBuffer(100)
    assert buffer.receive_data(bytes.fromhex("7fff 0001 aa ffff 0000")) is None
    assert buffer.receive_data(bytes.fromhex("0400 0000 8000 0000")) == (
        Record(0x7FFF, b"\xaa", critical=False),
        Record(0x7FFF, b"", critical=True),
        records.COMPLIANT_128GCM_EXPORT,
    )


# The limit, which is chrony's.


@pytest.mark.parametrize("side", [ServerExchange, lambda: ClientExchange(REQUEST)])
@pytest.mark.parametrize("length", [1024, 16000, 16383, 16384])
def test_messages_within_the_limit(side, length):
    data = padded(length)
    assert len(data) == length
    whole = feed(side(), [data])
    assert feed(side(), bytewise(data)) == whole
    assert whole[1] == length
    # The client's side finds no cookies in it, but has read it.
    assert whole[0] == (REQUEST if side is ServerExchange else ErrorCode.BAD_REQUEST)


def test_one_byte_above_the_limit():
    data = padded(MAX_MESSAGE + 1)
    assert feed(ServerExchange(), [data]) == (ErrorCode.BAD_REQUEST, 16385)
    assert feed(ServerExchange(), bytewise(data)) == (ErrorCode.BAD_REQUEST, 16385)
    with pytest.raises(WireError, match="longer than 16384 bytes"):
        ServerExchange().receive_data(data)


@pytest.mark.parametrize("before", [b"", GOOD[:-4]])
def test_an_announced_length_above_the_limit_is_refused_before_it_comes(before):
    fits = MAX_MESSAGE - len(before) - 4
    for length, result in ((fits, None), (fits + 1, ErrorCode.BAD_REQUEST), (0xFFFF, ErrorCode.BAD_REQUEST)):
        head = before + b"\x40\0" + length.to_bytes(2, "big")
        assert feed(ServerExchange(), bytewise(head)) == (result, len(head))


def test_bytes_above_the_limit_are_refused_even_before_they_make_a_record():
    exchange = MessageBuffer(3)
    assert feed(exchange, bytewise(bytes(4))) == (ErrorCode.BAD_REQUEST, 4)


# The client's side and the keys.


def test_the_clients_side_hands_its_request_to_the_decoder():
    request = Request((0,), (17,))
    exchange = ClientExchange(request)
    assert exchange.request is request
    response = Response(Aead.AES_SIV_CMAC_256, (b"c" * 100,) * 8, "::1")
    with pytest.raises(WireError, match="AEAD 15, which was not offered"):
        exchange.receive_data(response.encode())
    assert ClientExchange(request).receive_data(NO_COMMON_AEAD.encode()) == NO_COMMON_AEAD


@pytest.mark.parametrize(
    ("aead", "compliant", "stem"),
    [
        (Aead.AES_SIV_CMAC_256, False, "0000 000f"),
        (Aead.AES_SIV_CMAC_256, True, "0000 000f"),
        (Aead.AES_SIV_CMAC_512, False, "0000 0011"),
        (Aead.AES_SIV_CMAC_512, True, "0000 0011"),
        (Aead.AES_128_GCM_SIV, True, "0000 001e"),
        pytest.param(Aead.AES_128_GCM_SIV, False, "0000 000f", id="as chrony 4.4 to 4.6.0"),
    ],
)
def test_exporter_contexts(aead, compliant, stem):
    both = (bytes.fromhex(stem + "00"), bytes.fromhex(stem + "01"))
    assert exporter_contexts(aead, compliant_128gcm=compliant) == both
    assert EXPORTER_LABEL == b"EXPORTER-network-time-security"
