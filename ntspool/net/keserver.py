"""The NTS-KE server of the embedded time server: for its own clients, and for pools (the KE pool protocol)."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self, cast

import structlog

from ntspool.errors import ErrorCode, WireError
from ntspool.net.servertls import ServerContext
from ntspool.net.system import listen_on
from ntspool.pool.backendke import BackendKe, Message
from ntspool.wire.messages import Refusal, Request, Response, error_refusal
from ntspool.wire.poolexchange import BackendExchange
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.tlsrecords import MOST_RECORDS, RecordCounter

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class KeLimits:
    """What peers may take: connections at once, those of them that live on after an answer, and seconds.

    `timeout` bounds the way from the connection to the first answer, `idle` that from one answer to the next.
    """

    connections: int = 256
    kept: int = 64
    timeout: float = 5.0
    idle: float = 60.0


LIMITS: Final = KeLimits()


@dataclass(slots=True)
class KeCounters:
    """Since the start: connections; answers to clients, lists of support, cookies for fixed keys, and refusals."""

    connections: int = 0
    clients: int = 0
    lists: int = 0
    fixed_keys: int = 0
    refused: int = 0


class KeServer:
    """Speaks NTS-KE at `endpoints`, IP address literals and ports (0: any free one); use it with `async with`.

    `context` and `answers` are asked for each connection and each question, so what they return may change.
    Raises LocalError when an address cannot be bound.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, int]],
        context: Callable[[], ServerContext],
        answers: Callable[[], BackendKe],
        limits: KeLimits = LIMITS,
    ) -> None:
        self.counters = KeCounters()
        self.limits = limits
        self.context = context
        self.answers = answers
        self.open: set[_Peer] = set()
        self.kept: set[_Peer] = set()
        self._endpoints = tuple(endpoints)
        self._sockets: list[socket.socket] = []
        self._servers: list[asyncio.Server] = []

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses that are bound, in the order of `endpoints`, with the real ports."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    async def __aenter__(self) -> Self:
        self._sockets = listen_on(self._endpoints, {})
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._servers.append(await loop.create_server(lambda: _Peer(self), sock=sock))
        log.info("NTS-KE server started", sockets=len(self._sockets))
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for peer in tuple(self.open):
            peer.end()
        self._servers.clear()
        self._sockets.clear()
        log.info("NTS-KE server stopped", **asdict(self.counters))


class _Peer(asyncio.Protocol):
    """One connection, of a client or of a pool."""

    def __init__(self, server: KeServer) -> None:
        self._server = server
        self._exchange = BackendExchange()
        self._records = RecordCounter()
        self._answered = 0
        self._is_pool = False
        self._finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._server.counters.connections += 1
        self._server.open.add(self)
        self._deadline = asyncio.get_running_loop().call_later(self._server.limits.timeout, self.end)
        if len(self._server.open) > self._server.limits.connections:
            self.end()
            return
        self._tls = self._server.context()()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._deadline.cancel()
        self._server.open.discard(self)
        self._server.kept.discard(self)

    def end(self) -> None:
        """End the connection at once, whatever is under way."""
        self._finished = True
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        # After its last flight it waits for the peer to close: closing with bytes unread would send a reset.
        if self._finished:
            return
        try:
            self._advance(data)
        except WireError as error:
            log.debug("NTS-KE connection failed", reason=str(error))
            self._finish()
        self._flush()

    def _advance(self, data: bytes) -> None:
        if self._records.receive_data(data) - self._answered > MOST_RECORDS:
            raise WireError("more TLS records than a question has")
        plaintext = self._tls.receive_data(data)
        while plaintext:
            self._take(plaintext)
            if self._finished:
                return
            plaintext = self._tls.receive_data(b"")
        if plaintext is None:
            self._finish()

    def _take(self, plaintext: bytes) -> None:
        try:
            question = self._exchange.receive_data(plaintext)
        except WireError as error:
            self._answer(error_refusal(error.code))
            return
        if question is not None:
            self._answer(self._message(question))

    def _message(self, question: SupportQuery | FixedKeyRequest | Request) -> Message:
        answers = self._server.answers()
        if not isinstance(question, Request):
            self._is_pool = True
            return answers.pool(question, keep_alive=question.keep_alive and self._may_stay())
        if self._is_pool:
            # Keys must not be exported from a connection that carried others' (the draft, on Keep Alive).
            return error_refusal(ErrorCode.BAD_REQUEST)
        return answers.client(question, self._tls.export)

    def _may_stay(self) -> bool:
        return self in self._server.kept or len(self._server.kept) < self._server.limits.kept

    def _answer(self, message: Message) -> None:
        self._count(message)
        self._answered = self._records.count
        if isinstance(message, Support | FixedKeyAnswer) and message.keep_alive:
            self._server.kept.add(self)
            self._tls.send(message.encode())
            self._deadline.cancel()
            self._deadline = asyncio.get_running_loop().call_later(self._server.limits.idle, self.end)
        else:
            self._tls.send_last(message.encode())
            self._finish()

    def _count(self, message: Message) -> None:
        counters = self._server.counters
        match message:
            case Support():
                counters.lists += 1
            case FixedKeyAnswer():
                counters.fixed_keys += 1
            case Response():
                counters.clients += 1
            case Refusal():
                counters.refused += 1

    def _finish(self) -> None:
        self._finished = True
        self._server.kept.discard(self)

    def _flush(self) -> None:
        if data := self._tls.data_to_send():
            self._transport.write(data)
        if self._finished and self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()
