"""What reaches a backend's NTS-KE server from pools, and pools from it: the KE pool protocol, in both roles."""

from dataclasses import replace
from functools import partial

from ntspool.wire import records
from ntspool.wire.aead import Aead
from ntspool.wire.exchange import ClientExchange
from ntspool.wire.messages import NO_COMMON_AEAD, Response, error_refusal
from ntspool.wire.poolexchange import MAX_ANSWER, BackendExchange, PoolExchange
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.secret import Secret
from tests.fuzz.engine import Target, record_lengths
from tests.fuzz.negotiation import REQUEST, check_exchange

TOKEN = Secret(b"f0" * 32)
QUERY = SupportQuery(TOKEN)
FIXED = FixedKeyRequest(TOKEN, 15, Secret(bytes(32)), Secret(bytes(32)))
QUESTIONS = [
    QUERY.encode(),
    FIXED.encode(),
    FixedKeyRequest(None, 17, Secret(bytes(64)), Secret(bytes(64)), False).encode(),
]
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


def check_question(data, rng):
    check_exchange(BackendExchange, data, rng)
    assert len(data) <= records.MAX_MESSAGE


def check_answer(question, data, rng):
    answer = check_exchange(partial(asked, question), data, rng)
    assert len(data) <= MAX_ANSWER
    if isinstance(answer, FixedKeyAnswer):
        # What the gateway makes of it can be sent to every client.
        longest = replace(answer.response, server="a" * 255, port=65535, compliant_128gcm=True)
        assert 1 <= len(ClientExchange(REQUEST).receive_data(longest.encode()).cookies) <= 8


STREAMS = {
    "pool's question": BackendExchange,
    "list of support": partial(asked, QUERY),
    "fixed-key answer": partial(asked, FIXED),
}
TARGETS = [
    Target(
        "pool's question",
        "Gives the same question whole and in pieces, or WireError either way.",
        4_000,
        QUESTIONS,
        check_question,
        record_lengths,
    ),
    Target(
        "list of support",
        "Gives the same list whole and in pieces, or WireError either way.",
        3_000,
        SUPPORT_ANSWERS,
        partial(check_answer, QUERY),
        record_lengths,
    ),
    Target(
        "fixed-key answer",
        "Gives the same whole and in pieces, which makes an answer that a client takes, or WireError either way.",
        3_000,
        FIXED_KEY_ANSWERS,
        partial(check_answer, FIXED),
        record_lengths,
    ),
]
