"""One NTS-KE session of the gateway, without sockets: ciphertext in, ciphertext out."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import structlog

from ntspool.errors import ErrorCode, WireError
from ntspool.net.geo import Places, nowhere
from ntspool.net.servertls import ServerContext, ServerEnd
from ntspool.pool.model import Client
from ntspool.pool.negotiation import RANDOM_LENGTH, Answer, Deferred, Negotiator
from ntspool.wire.exchange import ServerExchange
from ntspool.wire.messages import Refusal, Request, error_refusal
from ntspool.wire.tlsrecords import HEADER_LENGTH, MOST_RECORDS, RecordCounter

_HANDSHAKE = 22
_LONGEST_RECORD = 1 << 14

log = structlog.get_logger()


class Outcome(StrEnum):
    """How a session ended."""

    OK = "ok"
    REFUSED = "refused"
    TLS_FAILED = "tls failed"
    CLOSED = "closed by client"
    TIMEOUT = "timeout"


@dataclass(slots=True)
class Report:
    """What is known of a session once it is over, for the log line and the counters.

    `handshake` is for whoever has a clock to note: seconds until TLS was `established`.
    """

    outcome: Outcome = Outcome.CLOSED
    reason: str = ""
    server_name: str = ""
    answer: Answer | None = None
    handshake: float | None = None


class Session:
    """Speaks TLS and NTS-KE with one client, whose address is `packed` (4 or 16 bytes, network byte order).

    `locate` is asked once, when the client has asked, where that address is.
    Send what `receive_data` returns in one write. Once `finished`, send that last flight, shut the connection's
    writing side and feed nothing more; `report` then says how it went. While an answer is `deferred`, feed nothing and
    have it fetched; `resume` then takes it.
    """

    __slots__ = (
        "_context",
        "_early",
        "_exchange",
        "_locate",
        "_negotiator",
        "_packed",
        "_random",
        "_records",
        "_tls",
        "deferred",
        "established",
        "finished",
        "report",
    )

    def __init__(
        self,
        context: ServerContext,
        negotiator: Negotiator,
        packed: bytes,
        random: Callable[[int], bytes],
        locate: Callable[[bytes], Places] = nowhere,
    ) -> None:
        self._context = context
        self._negotiator = negotiator
        self._packed = packed
        self._random = random
        self._locate = locate
        self._early: bytearray | None = None
        self._records = RecordCounter()
        self._tls: ServerEnd | None = None
        self._exchange: ServerExchange | None = None
        self.established = False
        self.deferred: Deferred | None = None
        self.finished = False
        self.report = Report()

    @property
    def greeted(self) -> bool:
        """Whether a whole ClientHello has come, or what is none."""
        return self._tls is not None or self.finished

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes from the client; return those to send to it, if any. Never raises for what a client sent."""
        tls = self._tls
        if tls is None:
            data = self._collect(data)
            if not data:
                return b""
            tls = self._tls = self._context()
        try:
            self._advance(tls, data)
        except WireError as error:
            self._finish(Outcome.TLS_FAILED, str(error))
        if self.finished:
            self.report.server_name = self.report.server_name or _printable(tls.server_name())
            # Nothing but the client's farewell is to come, and a TLS connection is the dearest part of a session.
            self._tls = None
        return tls.data_to_send()

    def resume(self, answer: Answer) -> bytes:
        """Take the answer that was deferred; return the bytes to send to the client."""
        tls, self._tls, self.deferred = self._tls, None, None
        if tls is None or self.finished:
            return b""
        self._reply(tls, answer)
        return tls.data_to_send()

    def expire(self) -> bytes:
        """Note that the session's deadline has passed; return what tells the client so, if it can be told.

        A client without a whole request gets Error 1 (RFC 8915 section 4.1.3).
        """
        if self.finished:
            return b""
        tls, code = self._tls, ErrorCode.BAD_REQUEST if self.deferred is None else ErrorCode.INTERNAL_SERVER_ERROR
        self._finish(Outcome.TIMEOUT, "")
        if tls is None or not self.established:
            return b""
        tls.send_last(error_refusal(code).encode())
        return tls.data_to_send()

    def _collect(self, data: bytes) -> bytes:
        """Return what came so far once it is worth a TLS connection, nothing before.

        A client that never ends its ClientHello costs the bytes that it sent, not 50 kilobytes of OpenSSL's.
        """
        if self._early is None:
            if _is_ripe(data):
                return data
            self._early = bytearray()
        self._early += data
        return bytes(self._early) if _is_ripe(self._early) else b""

    def _advance(self, tls: ServerEnd, data: bytes) -> None:
        if self._records.receive_data(data) > MOST_RECORDS:
            raise WireError("more TLS records than a session has")
        plaintext = tls.receive_data(data)
        self.established = tls.established
        while plaintext:
            self._receive_request(tls, plaintext)
            if self.finished or self.deferred is not None:
                return
            plaintext = tls.receive_data(b"")
        if plaintext is None:
            self._finish(Outcome.CLOSED, "close_notify before the request")

    def _receive_request(self, tls: ServerEnd, plaintext: bytes) -> None:
        if self._exchange is None:
            self._exchange = ServerExchange()
        try:
            request = self._exchange.receive_data(plaintext)
        except WireError as error:
            self._reply(tls, Answer(error_refusal(error.code), reason=str(error)))
            return
        if request is None:
            return
        answer = self._answer(tls, request)
        if isinstance(answer, Deferred):
            self.deferred = answer
        else:
            self._reply(tls, answer)

    def _answer(self, tls: ServerEnd, request: Request) -> Answer | Deferred:
        try:
            name = self.report.server_name = _printable(tls.server_name())
            client = Client(self._packed, name, self._locate(self._packed))
            return self._negotiator.answer(request, client, tls.export, self._random(RANDOM_LENGTH))
        except Exception:
            # Our own mistake must neither end the worker nor leave the client without an answer.
            log.exception("answering failed")
            return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), reason="our own failure")

    def _reply(self, tls: ServerEnd, answer: Answer) -> None:
        # Response and close_notify leave in one flight: alone, close_notify would wait for a delayed ACK of 40 ms.
        tls.send_last(answer.message.encode())
        self.report.answer = answer
        self._finish(Outcome.REFUSED if isinstance(answer.message, Refusal) else Outcome.OK, answer.reason)

    def _finish(self, outcome: Outcome, reason: str) -> None:
        self.finished = True
        self.report.outcome = outcome
        self.report.reason = reason


def _is_ripe(data: bytes | bytearray) -> bool:
    """Tell whether OpenSSL should see this: a whole TLS record, or what is none or far too long."""
    if data and data[0] != _HANDSHAKE:
        return True
    if len(data) < HEADER_LENGTH:
        return False
    length = data[3] << 8 | data[4]
    return length > _LONGEST_RECORD or len(data) >= HEADER_LENGTH + length


@lru_cache(maxsize=256)
def _printable(name: bytes) -> str:
    # A client's own words: nothing in them may reach a terminal or a log as anything but text.
    text = name.decode("ascii", "backslashreplace").lower()
    return text if text.isprintable() else ascii(text)
