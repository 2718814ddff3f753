"""ntspool/wire/poolexchange.py: several messages over one connection, and not a byte that nobody asked for."""

import pytest

from ntspool.errors import ErrorCode, WireError
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Refusal, RefusalReason, Request, Response, error_refusal
from ntspool.wire.poolexchange import MAX_ANSWER, BackendExchange, PoolExchange
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.records import Record
from ntspool.wire.secret import Secret

TOKEN = Secret(b"f0" * 32)
QUERY, SUPPORT = SupportQuery(TOKEN), Support((0,), ((15, 32),), keep_alive=True)
REQUEST = FixedKeyRequest(TOKEN, 15, Secret(bytes(32)), Secret(bytes(range(32))))
ANSWER = FixedKeyAnswer(Response(Aead.AES_SIV_CMAC_256, (bytes(100),) * 8, "::1", 4123), keep_alive=True)
TALK = [(QUERY, SUPPORT), (REQUEST, ANSWER), (REQUEST, ANSWER), (QUERY, SUPPORT)]


def pieces(data, length):
    return [data[at : at + length] for at in range(0, len(data), length)]


def padded(message, length):
    """Return `message` in `length` bytes, filled up by a record that is not critical."""
    return Record(0x4000, bytes(length - len(message) - 4), critical=False).encode() + message


@pytest.mark.parametrize("length", [1, 3, 10_000])
def test_several_messages_over_one_connection_in_pieces_of_any_size(length):
    pool, backend = PoolExchange(), BackendExchange()
    for question, answer in TALK:
        assert not pool.waiting
        *early, last = pieces(pool.ask(question), length)
        assert pool.waiting
        assert not any(map(backend.receive_data, early))
        assert backend.receive_data(last) == question
        *early, last = pieces(answer.encode(), length)
        assert not any(map(pool.receive_data, early))
        assert pool.receive_data(last) == answer
    assert backend.receive_data(b"") is None
    assert backend.receive_data(Request((0,), (15,)).encode()) == Request((0,), (15,))


def test_one_question_at_a_time():
    pool = PoolExchange()
    pool.ask(QUERY)
    with pytest.raises(ValueError, match="no answer yet"):
        pool.ask(REQUEST)
    assert pool.receive_data(SUPPORT.encode()) == SUPPORT
    assert pool.ask(REQUEST) == REQUEST.encode()


def test_nothing_is_taken_that_nobody_asked_for():
    pool = PoolExchange()
    assert pool.receive_data(b"") is None
    with pytest.raises(WireError, match="nobody asked for"):
        pool.receive_data(b"\0")
    pool.ask(QUERY)
    with pytest.raises(WireError, match="after End of Message"):
        pool.receive_data(SUPPORT.encode() + b"\0")


def test_an_answer_must_be_to_what_was_asked():
    for question, answer in ((QUERY, ANSWER), (REQUEST, SUPPORT)):
        pool = PoolExchange()
        pool.ask(question)
        with pytest.raises(WireError):
            pool.receive_data(answer.encode())


def test_an_error_ends_the_wait():
    pool = PoolExchange()
    pool.ask(REQUEST)
    assert pool.receive_data(error_refusal(ErrorCode.BAD_REQUEST).encode()) == Refusal(RefusalReason.ERROR, 1)
    assert not pool.waiting


def test_a_backend_takes_no_second_question_before_it_answered():
    with pytest.raises(WireError, match="after End of Message") as caught:
        BackendExchange().receive_data(QUERY.encode() * 2)
    assert caught.value.code is ErrorCode.BAD_REQUEST


def test_the_longest_messages():
    pool = PoolExchange()
    pool.ask(REQUEST)
    assert pool.receive_data(padded(ANSWER.encode(), MAX_ANSWER)) == ANSWER
    pool.ask(REQUEST)
    with pytest.raises(WireError, match="longer than 4096 bytes"):
        pool.receive_data(padded(ANSWER.encode(), MAX_ANSWER + 1))
    assert BackendExchange().receive_data(padded(QUERY.encode(), 16384)) == QUERY
    with pytest.raises(WireError, match="longer than 16384 bytes"):
        BackendExchange().receive_data(b"\x40\0\xff\xff")
