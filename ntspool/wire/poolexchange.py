"""The pool protocol's two sides as state machines without I/O: several messages over one connection."""

from ntspool.errors import WireError
from ntspool.wire.exchange import MessageBuffer
from ntspool.wire.messages import MAX_RESPONSE, Refusal, Request
from ntspool.wire.poolprotocol import (
    FixedKeyAnswer,
    FixedKeyRequest,
    Support,
    SupportQuery,
    decode_fixed_key_answer,
    decode_query,
    decode_support,
)
from ntspool.wire.records import MAX_MESSAGE

MAX_ANSWER = 2 * MAX_RESPONSE
"""Longest answer of a backend that a pool reads, in bytes; what is of use to a client has half of that."""


class PoolExchange:
    """The pool's side of one connection: one question at a time, and no byte that nobody asked for.

    After a WireError or a Refusal, and after an answer without `keep_alive`, the connection is not to be used again
    (ntpd-rs alone goes on listening after a Support without it).
    """

    __slots__ = ("_asked", "_buffer")

    def __init__(self) -> None:
        self._asked: SupportQuery | FixedKeyRequest | None = None
        self._buffer = MessageBuffer(MAX_ANSWER)

    @property
    def waiting(self) -> bool:
        """Whether a question was asked that has not been answered."""
        return self._asked is not None

    def ask(self, question: SupportQuery | FixedKeyRequest) -> bytes:
        """Return the bytes to send; raises ValueError while the question before has no answer."""
        if self._asked is not None:
            raise ValueError("the question before has no answer yet")
        self._asked = question
        self._buffer = MessageBuffer(MAX_ANSWER)
        return question.encode()

    def receive_data(self, data: bytes) -> Support | FixedKeyAnswer | Refusal | None:
        """Take bytes from the backend; return its answer once it is whole, None until then. Raises WireError.

        A SupportQuery gets no FixedKeyAnswer, a FixedKeyRequest no Support.
        """
        asked = self._asked
        if asked is None:
            if data:
                raise WireError("data that nobody asked for")
            return None
        message = self._buffer.receive_data(data)
        if message is None:
            return None
        self._asked = None
        if isinstance(asked, SupportQuery):
            return decode_support(message, asked)
        return decode_fixed_key_answer(message, asked)


class BackendExchange:
    """The backend's side of one connection. Answer each question before more bytes are fed; it knows no pipelining.

    On WireError send `error_refusal(error.code)`, and end the connection. What `receive_data` returned last says in
    its `keep_alive` whether the pool would have it stay; an ordinary client's Request ends it.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = MessageBuffer(MAX_MESSAGE)

    def receive_data(self, data: bytes) -> SupportQuery | FixedKeyRequest | Request | None:
        """Take bytes from the peer; return its question once it is whole, None until then. Raises WireError."""
        message = self._buffer.receive_data(data)
        if message is None:
            return None
        self._buffer = MessageBuffer(MAX_MESSAGE)
        return decode_query(message)
