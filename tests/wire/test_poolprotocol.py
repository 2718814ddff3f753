"""ntspool/wire/poolprotocol.py: the KE pool protocol's messages, a hostile backend's among them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import ErrorCode, WireError
from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.messages import NO_COMMON_AEAD, NO_COMMON_PROTOCOL, Refusal, RefusalReason, Request, Response
from ntspool.wire.poolexchange import BackendExchange, PoolExchange
from ntspool.wire.poolprotocol import (
    FixedKeyAnswer,
    FixedKeyRequest,
    Support,
    SupportQuery,
    decode_fixed_key_answer,
    decode_query,
    decode_support,
)
from ntspool.wire.records import KEEP_ALIVE, Record
from ntspool.wire.secret import Secret

TOKEN = Secret(b"0123456789abcdef" * 4)
TOKEN_RECORD = records.authentication_token(TOKEN.reveal().decode())
PROTOCOL, AEAD = records.next_protocol([0]), records.aead_algorithm([15])
C2S, S2C = bytes([0xC2]) * 32, bytes([0x2C]) * 32
KEYS = records.fixed_key_request(C2S, S2C)
REQUEST = FixedKeyRequest(TOKEN, 15, Secret(C2S), Secret(S2C))
QUERY = SupportQuery(TOKEN)
PROTOCOLS, ALGORITHMS = records.supported_next_protocols([0]), records.supported_algorithms([(15, 32)])
COOKIE = records.new_cookie(b"c" * 100)
UNRECOGNIZED, BAD_REQUEST = ErrorCode.UNRECOGNIZED_CRITICAL_RECORD, ErrorCode.BAD_REQUEST

u16 = st.integers(0, 0xFFFF)
tokens = st.none() | st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128).map(
    lambda text: Secret(text.encode())
)
lists = st.lists(u16, min_size=1, max_size=9).map(tuple)
pairs = st.lists(st.tuples(u16, u16), min_size=1, max_size=9).map(tuple)


def bytes_of(text):
    return bytes.fromhex(text.replace("TOKEN", TOKEN.reveal().hex()))


def record(number, body=b"", critical=True):
    return Record(number, body, critical)


def server(name):
    return record(6, name.encode())


def asked(question):
    exchange = PoolExchange()
    exchange.ask(question)
    return exchange


# Bytes, as nts-pool sends and ntpd-rs answers them.

MESSAGES = [
    (QUERY, "000e 0040 TOKEN  800a 0000  8009 0000  0008 0000  8000 0000"),
    (replace(QUERY, keep_alive=False), "000e 0040 TOKEN  800a 0000  8009 0000  8000 0000"),
    (SupportQuery(None, aeads=False), "8009 0000  0008 0000  8000 0000"),
    (SupportQuery(None, protocols=False), "800a 0000  0008 0000  8000 0000"),
    (
        REQUEST,
        f"000e 0040 TOKEN  800c 0040 {'c2' * 32} {'2c' * 32}  8001 0002 0000  8004 0002 000f  0008 0000  8000 0000",
    ),
    (
        FixedKeyRequest(None, 30, Secret(C2S[:16]), Secret(S2C[:16]), keep_alive=False),
        f"800c 0020 {'c2' * 16} {'2c' * 16}  8001 0002 0000  8004 0002 001e  8000 0000",
    ),
]


@pytest.mark.parametrize(("question", "encoded"), MESSAGES)
def test_questions_byte_for_byte(question, encoded):
    assert question.encode() == bytes_of(encoded)
    assert BackendExchange().receive_data(bytes_of(encoded)) == question


def test_answers_byte_for_byte():
    support = Support((0,), ((15, 32), (17, 64)), keep_alive=True)
    encoded = bytes.fromhex("800a 0008 000f 0020 0011 0040  8009 0002 0000  0008 0000  8000 0000")
    assert support.encode() == encoded
    assert asked(QUERY).receive_data(encoded) == support
    cookies = tuple(bytes([number]) * 100 for number in range(8))
    answer = FixedKeyAnswer(Response(Aead.AES_SIV_CMAC_256, cookies, None), keep_alive=True)
    head, tail = bytes.fromhex("8001 0002 0000  8004 0002 000f"), bytes.fromhex("0008 0000  8000 0000")
    encoded = head + b"".join(b"\0\5\0\x64" + cookie for cookie in cookies) + tail
    assert answer.encode() == encoded
    assert asked(REQUEST).receive_data(encoded) == answer


@given(st.builds(SupportQuery, tokens, st.booleans(), st.booleans(), st.booleans()))
def test_support_query_round_trip(query):
    if query.protocols or query.aeads:
        assert BackendExchange().receive_data(query.encode()) == query


@given(st.builds(Support, lists, pairs, st.booleans()))
def test_support_round_trip(support):
    assert asked(QUERY).receive_data(support.encode()) == support


@given(tokens, u16, st.integers(1, 64), st.booleans(), u16, st.data())
def test_fixed_key_request_round_trip(token, aead, length, keep_alive, protocol, data):
    length = Aead(aead).key_length if aead in set(Aead) else length
    c2s, s2c = (data.draw(st.binary(min_size=length, max_size=length)) for _ in range(2))
    request = FixedKeyRequest(token, aead, Secret(c2s), Secret(s2c), keep_alive, protocol)
    assert BackendExchange().receive_data(request.encode()) == request


@given(
    st.sampled_from(Aead),
    st.integers(1, 8),
    st.integers(1, 45),
    st.none() | st.sampled_from(["::1", "a.example"]),
    st.none() | st.integers(1, 65535),
    st.booleans(),
)
def test_fixed_key_answer_round_trip(aead, cookies, words, server, port, keep_alive):
    request = FixedKeyRequest(TOKEN, aead, Secret(bytes(aead.key_length)), Secret(bytes(aead.key_length)))
    answer = FixedKeyAnswer(Response(aead, (bytes(4 * words),) * cookies, server, port), keep_alive)
    assert asked(request).receive_data(answer.encode()) == answer


@pytest.mark.parametrize("question", [QUERY, REQUEST])
def test_no_secret_is_shown(question):
    assert not any(
        secret in repr(question) for secret in (TOKEN.reveal().decode(), repr(C2S), repr(S2C), "\\xc2", "," * 32)
    )


# What a backend is asked.


def test_an_ordinary_client_is_understood():
    assert decode_query([PROTOCOL, AEAD]) == Request((0,), (15,))
    # What it does not know, as a token or Keep Alive, it ignores.
    assert decode_query([TOKEN_RECORD, PROTOCOL, AEAD, KEEP_ALIVE]) == Request((0,), (15,))


def test_lists_are_answered_whatever_is_negotiated_beside_them():
    assert decode_query([TOKEN_RECORD, PROTOCOL, record(9), AEAD]) == SupportQuery(TOKEN, False, True, False)


def test_a_keep_alive_with_a_body_is_one():
    assert decode_query([TOKEN_RECORD, record(9), record(8, b"x", critical=False)]).keep_alive


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param([record(11)], UNRECOGNIZED, id="names of servers"),
        pytest.param([TOKEN_RECORD, record(9), record(11)], UNRECOGNIZED, id="names of servers beside"),
        pytest.param([TOKEN_RECORD, KEYS, PROTOCOL, AEAD, record(0x4000)], UNRECOGNIZED, id="unknown"),
        pytest.param([TOKEN_RECORD, KEYS, PROTOCOL, AEAD, record(9)], UNRECOGNIZED, id="list beside keys"),
        pytest.param([TOKEN_RECORD, KEYS, AEAD], BAD_REQUEST, id="no protocol"),
        pytest.param([TOKEN_RECORD, KEYS, PROTOCOL], BAD_REQUEST, id="no AEAD"),
        pytest.param([TOKEN_RECORD, KEYS, KEYS, PROTOCOL, AEAD], BAD_REQUEST, id="keys twice"),
        pytest.param([TOKEN_RECORD, KEYS, PROTOCOL, PROTOCOL, AEAD], BAD_REQUEST, id="protocol twice"),
        pytest.param([TOKEN_RECORD, KEYS, PROTOCOL, records.aead_algorithm([15, 17])], BAD_REQUEST, id="two AEADs"),
        pytest.param([TOKEN_RECORD, KEYS, PROTOCOL, records.aead_algorithm([17])], BAD_REQUEST, id="short keys"),
        pytest.param([TOKEN_RECORD, record(12), PROTOCOL, AEAD], BAD_REQUEST, id="empty keys"),
        pytest.param([record(12, bytes(3)), PROTOCOL, records.aead_algorithm([99])], BAD_REQUEST, id="odd keys"),
        pytest.param([KEYS, TOKEN_RECORD, PROTOCOL, AEAD], BAD_REQUEST, id="token behind the keys"),
        pytest.param([PROTOCOL, TOKEN_RECORD, KEYS, AEAD], BAD_REQUEST, id="token behind the protocol"),
        pytest.param([record(9), TOKEN_RECORD], BAD_REQUEST, id="token behind the list"),
        pytest.param([TOKEN_RECORD, TOKEN_RECORD, record(9)], BAD_REQUEST, id="two tokens"),
        pytest.param([record(14, b"a\0b", critical=False), record(9)], BAD_REQUEST, id="NUL in a token"),
        pytest.param([record(14, b"", critical=False), record(9)], BAD_REQUEST, id="empty token"),
        pytest.param([TOKEN_RECORD, record(9), KEEP_ALIVE, KEEP_ALIVE], BAD_REQUEST, id="Keep Alive twice"),
        pytest.param([], BAD_REQUEST, id="nothing"),
    ],
)
def test_questions_that_are_refused(message, code):
    with pytest.raises(WireError) as caught:
        decode_query(message)
    assert caught.value.code is code


# What a backend answers.


@pytest.mark.parametrize(
    ("protocols", "aeads", "usable"),
    [
        ((0,), ((15, 32), (17, 64), (30, 16)), set(Aead)),
        ((0,), ((15, 32), (16, 48)), {Aead.AES_SIV_CMAC_256}),
        ((0,), ((15, 16), (17, 32)), set()),
        ((0x8001,), ((15, 32),), set()),
        ((0, 0x8001), ((15, 0), (15, 32)), {Aead.AES_SIV_CMAC_256}),
        (None, ((15, 32),), set()),
        ((0,), None, set()),
    ],
)
def test_what_is_supported_can_be_used_when_the_keys_have_our_length(protocols, aeads, usable):
    assert Support(protocols, aeads).usable_aeads == usable


@pytest.mark.parametrize(
    ("message", "keep_alive"),
    [
        ([ALGORITHMS, PROTOCOLS, record(0x4000, b"x", critical=False)], False),
        ([KEEP_ALIVE, PROTOCOLS, ALGORITHMS], True),
        ([PROTOCOLS, record(8, b"ignored"), ALGORITHMS], True),
    ],
)
def test_lists_that_are_accepted(message, keep_alive):
    assert decode_support(message, QUERY) == Support((0,), ((15, 32),), keep_alive)


@pytest.mark.parametrize(
    "message",
    [
        [],
        [PROTOCOLS],
        [ALGORITHMS],
        [PROTOCOLS, PROTOCOLS, ALGORITHMS],
        [PROTOCOLS, ALGORITHMS, KEEP_ALIVE, KEEP_ALIVE],
        [PROTOCOLS, record(10)],
        [PROTOCOLS, record(10, bytes(2))],
        [PROTOCOLS, record(10, bytes(5))],
        [record(9), ALGORITHMS],
        [record(9, bytes(3)), ALGORITHMS],
        [PROTOCOLS, ALGORITHMS, PROTOCOL],
        [PROTOCOLS, ALGORITHMS, record(11)],
        [PROTOCOLS, ALGORITHMS, KEYS],
        [PROTOCOLS, ALGORITHMS, record(0x4000)],
        [PROTOCOLS, ALGORITHMS, record(3, bytes(2), critical=False)],
        [PROTOCOLS, ALGORITHMS, record(2)],
    ],
)
def test_lists_that_are_refused(message):
    with pytest.raises(WireError):
        decode_support(message, QUERY)


@pytest.mark.parametrize("decode", [lambda m: decode_support(m, QUERY), lambda m: decode_fixed_key_answer(m, REQUEST)])
@pytest.mark.parametrize("code", [0, 1, 2, 0x8000])
def test_an_error_is_a_refusal_whatever_stands_beside_it(decode, code):
    for message in ([records.error(code)], [PROTOCOLS, ALGORITHMS, PROTOCOL, AEAD, COOKIE, records.error(code)]):
        assert decode(message) == Refusal(RefusalReason.ERROR, code)


@pytest.mark.parametrize(
    ("message", "refusal"),
    [([records.next_protocol([])], NO_COMMON_PROTOCOL), ([PROTOCOL, records.aead_algorithm([])], NO_COMMON_AEAD)],
)
def test_a_server_may_know_neither_protocol_nor_aead(message, refusal):
    assert decode_fixed_key_answer(message, REQUEST) == refusal


@pytest.mark.parametrize(
    ("message", "response", "keep_alive"),
    [
        ([PROTOCOL, AEAD, COOKIE], Response(Aead.AES_SIV_CMAC_256, (COOKIE.body,), None), False),
        (
            [KEEP_ALIVE, COOKIE, *[COOKIE] * 7, server("ntp.example"), record(7, b"\0\x7b"), AEAD, PROTOCOL],
            Response(Aead.AES_SIV_CMAC_256, (COOKIE.body,) * 8, "ntp.example", 123),
            True,
        ),
        # Neither chrony's record nor any other that is not critical reaches a client.
        (
            [
                PROTOCOL,
                AEAD,
                COOKIE,
                records.COMPLIANT_128GCM_EXPORT,
                record(0x4000, b"x", False),
                record(13, b"a", False),
            ],
            Response(Aead.AES_SIV_CMAC_256, (COOKIE.body,), None),
            False,
        ),
    ],
)
def test_cookies_that_are_accepted(message, response, keep_alive):
    assert decode_fixed_key_answer(message, REQUEST) == FixedKeyAnswer(response, keep_alive)


def cookies(count, length):
    return [records.new_cookie(bytes(length))] * count


@pytest.mark.parametrize(
    "message",
    [
        pytest.param([], id="nothing"),
        pytest.param([AEAD, COOKIE], id="no protocol"),
        pytest.param([PROTOCOL, COOKIE], id="no AEAD"),
        pytest.param([records.next_protocol([0x8001]), AEAD, COOKIE], id="wrong protocol"),
        pytest.param([records.next_protocol([0, 1]), AEAD, COOKIE], id="two protocols"),
        pytest.param([PROTOCOL, records.aead_algorithm([17]), COOKIE], id="wrong AEAD"),
        pytest.param([PROTOCOL, records.aead_algorithm([15, 17]), COOKIE], id="two AEADs"),
        pytest.param([PROTOCOL, PROTOCOL, AEAD, COOKIE], id="protocol twice"),
        pytest.param([PROTOCOL, AEAD, AEAD, COOKIE], id="AEAD twice"),
        pytest.param([PROTOCOL, AEAD], id="no cookie"),
        pytest.param([PROTOCOL, AEAD, *cookies(9, 100)], id="nine cookies"),
        pytest.param([PROTOCOL, AEAD, *cookies(1, 0)], id="empty cookie"),
        pytest.param([PROTOCOL, AEAD, *cookies(1, 100), *cookies(1, 104)], id="unequal cookies"),
        pytest.param([PROTOCOL, AEAD, *cookies(8, 101)], id="odd cookies"),
        pytest.param([PROTOCOL, AEAD, *cookies(8, 220)], id="eight cookies too long"),
        pytest.param([PROTOCOL, AEAD, *cookies(1, 1760)], id="one oversized cookie"),
        pytest.param([PROTOCOL, AEAD, *cookies(1, 65532)], id="one huge cookie"),
        pytest.param([PROTOCOL, AEAD, COOKIE, server("a"), server("a")], id="two servers"),
        pytest.param([PROTOCOL, AEAD, COOKIE, server("")], id="empty server"),
        pytest.param([PROTOCOL, AEAD, COOKIE, server("a b")], id="space in a name"),
        pytest.param([PROTOCOL, AEAD, COOKIE, server("192.0.2.300")], id="bad address"),
        pytest.param([PROTOCOL, AEAD, COOKIE, server("0.0.0.0")], id="unspecified address"),
        pytest.param([PROTOCOL, AEAD, COOKIE, server("a" * 64)], id="long label"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(7, b"\0\0")], id="port 0"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(7, b"\0")], id="short port"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(7, b"\0\1"), record(7, b"\0\1")], id="two ports"),
        pytest.param([PROTOCOL, AEAD, COOKIE, KEEP_ALIVE, KEEP_ALIVE], id="Keep Alive twice"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(0x4000)], id="unknown critical record"),
        pytest.param([PROTOCOL, AEAD, COOKIE, KEYS], id="keys back"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(11)], id="names of servers"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(3, b"\0\0", critical=False)], id="warning"),
        pytest.param([PROTOCOL, AEAD, COOKIE, record(2, b"\0")], id="malformed error"),
        pytest.param([PROTOCOLS, ALGORITHMS], id="lists instead"),
    ],
)
def test_cookies_that_are_refused(message):
    with pytest.raises(WireError):
        decode_fixed_key_answer(message, REQUEST)


@pytest.mark.parametrize(("count", "length"), [(8, 216), (1, 1756)])
def test_the_longest_cookies_fit_any_response(count, length):
    answer = decode_fixed_key_answer([PROTOCOL, AEAD, *cookies(count, length)], REQUEST)
    longest = replace(answer.response, server="a" * 255, port=65535, compliant_128gcm=True)
    assert 2044 < len(longest.encode()) <= 2048
    with pytest.raises(WireError, match="too much for a response"):
        decode_fixed_key_answer([PROTOCOL, AEAD, *cookies(count, length + 4)], REQUEST)
