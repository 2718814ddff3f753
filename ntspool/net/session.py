"""One NTS-KE session of the gateway, without sockets: ciphertext in, ciphertext out."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import structlog
from OpenSSL import SSL

from ntspool.errors import ErrorCode, WireError
from ntspool.net.geo import Places, nowhere
from ntspool.net.tls import ALPN_NTSKE, describe
from ntspool.pool.model import Client
from ntspool.pool.negotiation import RANDOM_LENGTH, Answer, Negotiator
from ntspool.wire.exchange import EXPORTER_LABEL, ServerExchange
from ntspool.wire.messages import Refusal, Request, error_refusal

_READ_SIZE = 16384

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
    """What is known of a session once it is over, for the log line and the counters."""

    outcome: Outcome = Outcome.CLOSED
    reason: str = ""
    server_name: str = ""
    answer: Answer | None = None


class Session:
    """Speaks TLS and NTS-KE with one client, whose address is `packed` (4 or 16 bytes, network byte order).

    `locate` is asked once, when the client has asked, where that address is.
    Send what `receive_data` returns in one write. Once `finished`, send that last flight, shut the connection's
    writing side and feed nothing more; `report` then says how it went.
    """

    def __init__(
        self,
        context: SSL.Context,
        negotiator: Negotiator,
        packed: bytes,
        random: Callable[[int], bytes],
        locate: Callable[[bytes], Places] = nowhere,
    ) -> None:
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self._negotiator = negotiator
        self._packed = packed
        self._random = random
        self._locate = locate
        self._exchange = ServerExchange()
        self._established = False
        self.finished = False
        self.report = Report()

    def receive_data(self, data: bytes) -> bytes:
        """Take bytes from the client; return those to send to it, if any. Never raises for what a client sent."""
        self._tls.bio_write(data)
        try:
            self._advance()
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._finish(Outcome.CLOSED, "close_notify before the request")
        except SSL.Error as error:
            self._finish(Outcome.TLS_FAILED, describe(error))
        except WireError as error:
            self._finish(Outcome.TLS_FAILED, str(error))
        return self._pending()

    def _advance(self) -> None:
        if not self._established:
            self._tls.do_handshake()
            self._established = True
            if self._tls.get_alpn_proto_negotiated() != ALPN_NTSKE:
                raise WireError("the client sends no ALPN")
        while not self.finished:
            self._receive_request(self._tls.recv(_READ_SIZE))

    def _receive_request(self, plaintext: bytes) -> None:
        try:
            request = self._exchange.receive_data(plaintext)
        except WireError as error:
            self._reply(Answer(error_refusal(error.code), reason=str(error)))
            return
        if request is not None:
            self._reply(self._answer(request))

    def _answer(self, request: Request) -> Answer:
        try:
            client = Client(self._packed, self._server_name(), self._locate(self._packed))
            return self._negotiator.answer(request, client, self._export, self._random(RANDOM_LENGTH))
        except Exception:
            # Our own mistake must neither end the worker nor leave the client without an answer.
            log.exception("answering failed")
            return Answer(error_refusal(ErrorCode.INTERNAL_SERVER_ERROR), reason="our own failure")

    def _reply(self, answer: Answer) -> None:
        # Response and close_notify leave in one flight: alone, close_notify would wait for a delayed ACK of 40 ms.
        self._tls.send(answer.message.encode())
        self._tls.shutdown()
        self.report.answer = answer
        self._finish(Outcome.REFUSED if isinstance(answer.message, Refusal) else Outcome.OK, answer.reason)

    def _export(self, context: bytes, length: int) -> bytes:
        return self._tls.export_keying_material(EXPORTER_LABEL, length, context)

    def _finish(self, outcome: Outcome, reason: str) -> None:
        self.finished = True
        self.report.outcome = outcome
        self.report.reason = reason
        self.report.server_name = self._server_name()

    def _server_name(self) -> str:
        # A client's own words: nothing in them may reach a terminal or a log as anything but text.
        name = (self._tls.get_servername() or b"").decode("ascii", "backslashreplace").lower()
        return name if name.isprintable() else ascii(name)

    def _pending(self) -> bytes:
        try:
            return self._tls.bio_read(65536)
        except SSL.WantReadError:
            return b""
