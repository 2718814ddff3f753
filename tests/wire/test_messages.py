"""ntspool/wire/messages.py: which records make a request, a response or a refusal (RFC 8915 section 4)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import ErrorCode, WireError
from ntspool.wire import messages, records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import ClientExchange, ServerExchange
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Refusal, RefusalReason, Request, Response
from ntspool.wire.records import Record

SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
PROTOCOL, AEAD = records.next_protocol([0]), records.aead_algorithm([15])
COMPLIANT = records.COMPLIANT_128GCM_EXPORT
SERVER, PORT = records.ntpv4_server("a", critical=False), records.ntpv4_port(1, critical=False)
DENY = records.ntp_server_deny("a")
COOKIE = records.new_cookie(b"c" * 100)
UNRECOGNIZED, BAD_REQUEST = ErrorCode.UNRECOGNIZED_CRITICAL_RECORD, ErrorCode.BAD_REQUEST

u16 = st.integers(0, 0xFFFF)
names = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
foreign = st.integers(8, 0x7FFF).filter(lambda number: number not in (13, 1024))


def record(number, body=b"", critical=True):
    return Record(number, body, critical)


def uncritical(one):
    return replace(one, critical=False)


# Requests.


@given(st.lists(u16).map(lambda others: (0, *others)), st.lists(u16, min_size=1), st.booleans(), st.data())
def test_request_round_trip(protocols, aeads, compliant, data):
    server, port = data.draw(st.none() | names), data.draw(st.none() | u16)
    denied = tuple(data.draw(st.lists(names, max_size=messages.MAX_DENIALS)))
    request = Request(protocols, tuple(aeads), compliant, server, port, denied, aead_critical=data.draw(st.booleans()))
    assert ServerExchange().receive_data(request.encode()) == request


def test_request_bytes():
    request = Request((0,), (30, 15), compliant_128gcm=True, server="::1", port=123)
    encoded = "8001 0002 0000  8004 0004 001e000f  0400 0000  0006 0003 3a3a31  0007 0002 007b  8000 0000"
    assert request.encode() == bytes.fromhex(encoded)


@pytest.mark.parametrize(
    ("offered", "compliant", "usable"),
    [
        ((15,), False, (SIV_256,)),
        ((17, 15), False, (SIV_512, SIV_256)),
        ((30, 15), True, (GCM_SIV, SIV_256)),
        ((15, 30), True, (SIV_256, GCM_SIV)),
        ((30, 15), False, (SIV_256,)),
        ((30,), False, ()),
        ((0, 16, 15, 0x8001), False, (SIV_256,)),
    ],
)
def test_128_gcm_siv_is_usable_only_with_record_1024(offered, compliant, usable):
    assert Request((0,), offered, compliant).usable_aeads == usable


@given(st.permutations([PROTOCOL, AEAD, COMPLIANT, SERVER, PORT, record(0x4000, b"x", critical=False)]))
def test_records_may_come_in_any_order(shuffled):
    assert messages.decode_request(shuffled) == Request((0,), (15,), compliant_128gcm=True, server="a", port=1)


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        ([PROTOCOL, uncritical(AEAD)], Request((0,), (15,), aead_critical=False)),
        ([PROTOCOL, DENY, AEAD, record(13, b"::1")], Request((0,), (15,), denied=("a", "::1"))),
        ([DENY, DENY, PROTOCOL, AEAD], Request((0,), (15,), denied=("a", "a"))),
        ([PROTOCOL, AEAD, replace(COMPLIANT, critical=True)], Request((0,), (15,), compliant_128gcm=True)),
        ([PROTOCOL, AEAD, replace(SERVER, critical=True)], Request((0,), (15,), server="a")),
        ([PROTOCOL, AEAD, replace(PORT, critical=True)], Request((0,), (15,), port=1)),
        ([records.next_protocol([0x8001])], Request((0x8001,), ())),
        ([records.next_protocol([0x8001]), AEAD], Request((0x8001,), (15,))),
    ],
)
def test_requests_that_are_accepted(message, request_):
    assert messages.decode_request(message) == request_


def test_denials_are_bounded_in_number_and_length():
    many = [records.ntp_server_deny(f"n{number}") for number in range(100)]
    decoded = messages.decode_request([PROTOCOL, AEAD, *many])
    assert decoded.denied == tuple(f"n{number}" for number in range(messages.MAX_DENIALS))
    longest, longer = "x" * messages.MAX_SERVER_NAME, "x" * (messages.MAX_SERVER_NAME + 1)
    decoded = messages.decode_request([PROTOCOL, AEAD, *map(records.ntp_server_deny, (longest, longer))])
    assert decoded.denied == (longest,)


@pytest.mark.parametrize("body", [b"", b"a b", b"a\n", b"\xff", b"\0"])
def test_a_denial_that_is_no_name(body):
    with pytest.raises(WireError, match=r"^record 13 holds no printable ASCII name$") as caught:
        messages.decode_request([PROTOCOL, AEAD, record(13, body, critical=False)])
    assert caught.value.code is BAD_REQUEST


@given(foreign, st.binary(max_size=20), st.booleans(), st.integers(0, 3))
def test_unknown_records(number, body, critical, at):
    unknown = record(number, body, critical)
    message = [unknown, PROTOCOL, AEAD]
    message.insert(at, unknown)
    if critical:
        with pytest.raises(WireError, match=f"^unknown critical record {number}$") as caught:
            messages.decode_request(message)
        assert caught.value.code is UNRECOGNIZED
    else:
        assert messages.decode_request(message) == Request((0,), (15,))


@pytest.mark.parametrize(
    "message",
    [
        [],
        [AEAD],
        [PROTOCOL],
        [records.next_protocol([0x8001, 0])],
        [uncritical(PROTOCOL), AEAD],
        [PROTOCOL, PROTOCOL, AEAD],
        [PROTOCOL, AEAD, AEAD],
        [PROTOCOL, AEAD, uncritical(AEAD)],
        [PROTOCOL, AEAD, SERVER, SERVER],
        [PROTOCOL, AEAD, PORT, PORT],
        [PROTOCOL, AEAD, COMPLIANT, COMPLIANT],
        *([record(1, bytes(length)), AEAD] for length in (0, 1, 3)),
        *([PROTOCOL, record(4, bytes(length))] for length in (0, 1, 3)),
        [records.next_protocol([0x8001]), record(4, b"")],
        [PROTOCOL, AEAD, record(1024, b"x", critical=False)],
        *([PROTOCOL, AEAD, record(6, body, critical=False)] for body in (b"", b"a b", b"\xc3\xa4", b"a\0")),
        *([PROTOCOL, AEAD, record(7, bytes(length), critical=False)] for length in (0, 1, 3)),
        *([PROTOCOL, AEAD, record(number, b"\0\0", critical)] for number in (2, 3, 5) for critical in (True, False)),
    ],
)
def test_requests_that_are_refused(message):
    with pytest.raises(WireError) as caught:
        messages.decode_request(message)
    assert caught.value.code is BAD_REQUEST


# Responses.


def response(aead, **settings):
    return Response(aead, tuple(bytes([number]) * 100 for number in range(8)), **settings)


EIGHT_COOKIES = b"".join(b"\0\5\0\x64" + bytes([number]) * 100 for number in range(8))


@pytest.mark.parametrize(
    ("message", "start"),
    [
        (response(SIV_256, server="192.0.2.1"), "800100020000 80040002000f 80060009 3139322e302e322e31"),
        (response(SIV_512, server="::1", port=4123), "800100020000 800400020011 800600033a3a31 80070002101b"),
        (response(GCM_SIV, server="::1", compliant_128gcm=True), "800100020000 80040002001e 04000000 800600033a3a31"),
        (response(SIV_256, server=None), "800100020000 80040002000f"),
    ],
)
def test_response_bytes(message, start):
    assert message.encode() == bytes.fromhex(start) + EIGHT_COOKIES + bytes.fromhex("80000000")


OFFER = Request((0,), (15, 17, 30), compliant_128gcm=True)


@given(st.sampled_from(Aead), st.integers(1, 40).map(lambda words: 4 * words), st.booleans(), st.data())
def test_response_round_trip(aead, length, compliant, data):
    server, port = data.draw(st.none() | names), data.draw(st.none() | u16)
    cookies = data.draw(st.lists(st.binary(min_size=length, max_size=length), min_size=1, max_size=8).map(tuple))
    answer = Response(aead, cookies, server, port, compliant)
    assert ClientExchange(OFFER).receive_data(answer.encode()) == answer


@pytest.mark.parametrize("lengths", [(), (4,) * 9, (4,) * 7 + (8,)])
def test_one_to_eight_cookies_of_equal_length_or_none(lengths):
    with pytest.raises(ValueError, match="one to 8 cookies of equal length"):
        Response(SIV_256, tuple(map(bytes, lengths)), "::1").encode()


def test_the_longest_response():
    cookies = (bytes(244),) * 8
    longest = Response(SIV_256, cookies, server="a" * 44)
    assert len(longest.encode()) == 2048
    with pytest.raises(ValueError, match="at most 2048 bytes, not 2049"):
        replace(longest, server="a" * 45).encode()


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        ([PROTOCOL, AEAD, COOKIE], Response(SIV_256, (COOKIE.body,), None)),
        ([COOKIE, PORT, SERVER, COOKIE, AEAD, PROTOCOL], Response(SIV_256, (COOKIE.body,) * 2, "a", 1)),
        ([PROTOCOL, uncritical(AEAD), replace(COOKIE, critical=True)], Response(SIV_256, (COOKIE.body,), None)),
        ([PROTOCOL, AEAD, COOKIE, record(0x4000, b"x", critical=False)], Response(SIV_256, (COOKIE.body,), None)),
        ([PROTOCOL, AEAD, *[COOKIE] * 9], Response(SIV_256, (COOKIE.body,) * 9, None)),
        ([records.next_protocol([])], NO_COMMON_PROTOCOL),
        ([PROTOCOL, records.aead_algorithm([])], NO_COMMON_AEAD),
        ([records.error(1)], Refusal(RefusalReason.ERROR, 1)),
        ([PROTOCOL, AEAD, COOKIE, records.error(0x8000)], Refusal(RefusalReason.ERROR, 0x8000)),
    ],
)
def test_answers_that_a_client_accepts(message, answer):
    assert messages.decode_response(message, OFFER) == answer


@pytest.mark.parametrize(
    "message",
    [
        [],
        [AEAD, COOKIE],
        [PROTOCOL, COOKIE],
        [PROTOCOL, AEAD],
        [uncritical(PROTOCOL), AEAD, COOKIE],
        [uncritical(records.next_protocol([]))],
        [records.next_protocol([0x8001]), AEAD, COOKIE],
        [records.next_protocol([0, 0x8001]), AEAD, COOKIE],
        [record(1, b"\0"), AEAD, COOKIE],
        [PROTOCOL, records.aead_algorithm([16]), COOKIE],
        [PROTOCOL, records.aead_algorithm([15, 17]), COOKIE],
        [PROTOCOL, record(4, b"\0"), COOKIE],
        [PROTOCOL, AEAD, COOKIE, records.new_cookie(b"")],
        [PROTOCOL, PROTOCOL, AEAD, COOKIE],
        [PROTOCOL, AEAD, AEAD, COOKIE],
        [PROTOCOL, AEAD, SERVER, SERVER, COOKIE],
        [PROTOCOL, AEAD, PORT, PORT, COOKIE],
        [PROTOCOL, AEAD, COOKIE, record(6, b"")],
        [PROTOCOL, AEAD, COOKIE, record(6, b"a b")],
        [PROTOCOL, AEAD, COOKIE, record(7, b"\0")],
        [PROTOCOL, AEAD, COOKIE, record(1024, b"x", critical=False)],
        [PROTOCOL, AEAD, COOKIE, record(2, b"")],
        [PROTOCOL, AEAD, COOKIE, record(2, b"\0\0\0")],
        [PROTOCOL, AEAD, COOKIE, record(3, b"\0\0")],
        [PROTOCOL, AEAD, COOKIE, record(3, b"\0\0", critical=False)],
        [PROTOCOL, AEAD, COOKIE, record(0x4000, b"x")],
        # Of the pool protocol; never sent to a client that did not ask for them.
        *([PROTOCOL, AEAD, COOKIE, record(number)] for number in range(8, 15)),
    ],
)
def test_answers_that_a_client_refuses(message):
    with pytest.raises(WireError):
        messages.decode_response(message, OFFER)


@pytest.mark.parametrize(
    ("request_", "aead"),
    [(Request((0,), (15,)), 17), (Request((0,), (16,)), 16), (Request((0x8001,), (15,)), 15)],
)
def test_answers_with_what_was_not_offered_or_is_not_known(request_, aead):
    with pytest.raises(WireError, match="not offered"):
        messages.decode_response([PROTOCOL, records.aead_algorithm([aead]), COOKIE], request_)


# Refusals.


@pytest.mark.parametrize(
    ("refusal", "encoded"),
    [
        (NO_COMMON_PROTOCOL, "80010000 80000000"),
        (NO_COMMON_AEAD, "800100020000 80040000 80000000"),
        *((messages.error_refusal(code), f"80020002000{code.value} 80000000") for code in ErrorCode),
    ],
)
def test_refusals_byte_for_byte(refusal, encoded):
    assert refusal.encode() == bytes.fromhex(encoded)
    assert ClientExchange(OFFER).receive_data(refusal.encode()) == refusal
