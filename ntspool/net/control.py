"""The control port: HTTPS for agents, TLS 1.3, held against peers that are slow, many or not who they should be."""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

import structlog
from aiohttp import web

from ntspool.errors import LocalError
from ntspool.net import authority
from ntspool.net.controlcalls import Call, Calls, Reply
from ntspool.net.controlmessages import MAX_LENGTH, POLL
from ntspool.net.keydesk import KeyDesk
from ntspool.net.mutualtls import server_context
from ntspool.net.sealed import Seal
from ntspool.net.store import Store
from ntspool.net.system import listen
from ntspool.wire.secret import Secret

HEAR_DEADLINE: Final = 5.0
"""Seconds in which a new peer must have finished its TLS handshake and sent its whole request."""

STRANGERS: Final = 64
"""Connections behind which no agent is known yet; one more, and the oldest is cut off."""

CONNECTIONS: Final = 2048
"""Connections of all; one more is closed at once."""

RECHECK_INTERVAL: Final = 1.0
"""Seconds after which a revocation by another process cuts an agent off at the latest."""

_LIFE = POLL + 15.0
_GOODBYE = 2.0
_EXHAUSTED_PAUSE = 0.2

log = structlog.get_logger()
# aiohttp logs what it cannot parse, and that may be a secret; what matters is logged here.
_nowhere = logging.Logger("ntspool.net.control", logging.CRITICAL + 1)


class _Connection(web.RequestHandler):
    """aiohttp's side of one connection, telling what became of it.

    `heard` is set once its request has come in full, `closed` at its end; `trusted` says that an agent is behind it.
    """

    def __init__(self, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            logger=_nowhere,
            access_log=_nowhere,
            auto_decompress=False,
            max_line_size=4096,
            max_field_size=4096,
            max_headers=32,
            lingering_time=0.0,
            read_bufsize=MAX_LENGTH,
        )
        self.heard = asyncio.Event()
        self.closed = asyncio.Event()
        self.trusted = False

    def connection_lost(self, exc: BaseException | None) -> None:
        """Pass it on to who waits for the end."""
        super().connection_lost(exc)
        self.closed.set()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no HTTP, and say neither what was sent nor by what it was read."""
        del request, exc, message
        return _response(Reply(status))


class ControlServer:
    """The control port at `endpoints` (IP literal, port): `start` it, and `stop` it in the end.

    Agents, tokens, the turn and the authority, whose key `seal` protects, are in `store`; keys are what is laid out
    on `desk`; `clock` returns Unix seconds.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[str, int]],
        store: Store,
        desk: KeyDesk,
        clock: Callable[[], float] = time.time,
        *,
        seal: Seal | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._store = store
        self._desk = desk
        self._clock = clock
        self._seal = seal
        self._sockets: list[socket.socket] = []
        self._routines: list[asyncio.Task[None]] = []
        # In the order in which they came; the value tells when the connection is no stranger's any more.
        self._peers: dict[asyncio.Task[None], _Connection] = {}
        self._made = 0.0
        self._authority: authority.Authority
        self._context: ssl.SSLContext
        self._calls: Calls
        self._http: web.Server

    async def start(self) -> None:
        """Listen and answer; raises LocalError when it cannot listen, StateError when the store refuses."""
        # A store that other gateways share may have to be asked over a network.
        self._authority = await asyncio.to_thread(authority.load_or_create, self._store, self._clock(), self._seal)
        self._calls = Calls(self._store, self._authority, self._desk, self._clock)
        self._http = web.Server(self._handle, handler_cancellation=True)
        self._make_context()
        try:
            for host, port in self._endpoints:
                self._sockets.append(_listen(host, port))
        except LocalError:
            self._close_sockets()
            raise
        self._routines = [asyncio.create_task(self._accept(each)) for each in self._sockets]
        self._routines.append(asyncio.create_task(self._recheck()))

    async def stop(self) -> None:
        """Stop listening and close every connection; agents try another gateway."""
        tasks = [*self._routines, *self._peers]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._close_sockets()
        await self._http.shutdown(_GOODBYE)

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where it listens, in the order of the endpoints; for port 0 the one that the system chose."""
        return tuple(each.getsockname()[:2] for each in self._sockets)

    def recheck(self) -> None:
        """Cut off the agents that were revoked; call it after a revocation in this process, to spare it a second."""
        self._calls.recheck()

    async def _recheck(self) -> None:
        while True:
            await asyncio.sleep(RECHECK_INTERVAL)
            self._calls.recheck()

    def _close_sockets(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets = []

    def _make_context(self) -> None:
        """Renew the certificate when half of its life is over, or the clock was set back to before it was made."""
        now = self._clock()
        if not self._made <= now < self._made + authority.CONTROL_LIFE / 2:
            self._context = server_context(self._authority.issue_control(now), self._authority.pem)
            self._made = now

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, address = await loop.sock_accept(listening)
            except OSError as error:
                log.warning("control: cannot accept", reason=error.strerror)
                await asyncio.sleep(_EXHAUSTED_PAUSE)
                continue
            if len(self._peers) >= CONNECTIONS:
                log.warning("control: too many connections", peer=address[0])
                accepted.close()
                continue
            try:
                self._make_context()
            except OSError as error:
                # It is made without a disk, but not without a descriptor.
                log.warning("control: cannot accept", reason=error.strerror)
                accepted.close()
                continue
            connection = _Connection(self._http)
            task = asyncio.create_task(self._serve(accepted, address[0], connection))
            self._peers[task] = connection
            task.add_done_callback(partial(self._forget, accepted))
            self._limit_strangers()

    def _forget(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        del self._peers[task]
        # A task that is cancelled before it runs has done nothing with its socket.
        accepted.close()

    def _limit_strangers(self) -> None:
        """Cut off the oldest strangers above the limit: an agent is one for milliseconds only, so it is seldom hit."""
        strangers = [task for task, connection in self._peers.items() if not connection.trusted]
        for task in strangers[:-STRANGERS]:
            task.cancel("too many strangers")

    async def _serve(self, accepted: socket.socket, peer: str, connection: _Connection) -> None:
        """Take one connection through its handshake and its one request to its end."""
        transport = None
        notes = log.bind(peer=peer)
        try:
            async with asyncio.timeout(HEAR_DEADLINE):
                transport, _ = await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection, accepted, ssl=self._context, ssl_shutdown_timeout=_GOODBYE
                )
                await _first(connection.heard, connection.closed)
            async with asyncio.timeout(_LIFE):
                await connection.closed.wait()
            if not connection.heard.is_set():
                notes.warning("control: cut off", reason="no whole request came")
        except TimeoutError:
            notes.warning("control: cut off", reason="too slow")
        except OSError as error:
            notes.warning("control: no TLS", reason=_reason(error))
        except asyncio.CancelledError as error:
            if error.args:
                notes.warning("control: cut off", reason=error.args[0])
            raise
        finally:
            if transport is not None:
                # The TLS transport of Python 3.11.2 fails to abort once its connection is lost.
                with suppress(AttributeError):
                    transport.abort()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, _Connection)  # noqa: S101 - no other is made
        body = await _read(request)
        connection.heard.set()
        peer = str(request.remote)
        if body is None:
            log.warning("control: refused", peer=peer, reason="the request is too long")
            reply = Reply(413)
        else:
            after = request.query.get("after")
            call = Call(request.method, request.path, after, _certificate(request), Secret(body), peer)
            reply = await self._calls.answer(call, lambda: setattr(connection, "trusted", True))
        return _response(reply)


def _response(reply: Reply) -> web.Response:
    """Return a response that ends its connection: one request each, and nobody stays without being looked at again."""
    response = web.Response(status=reply.status, body=reply.body.reveal() or None, headers={"Server": "ntspool"})
    response.content_type = "application/json"
    response.force_close()
    return response


def _listen(host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        raise LocalError(f"cannot listen on {host} port {port}: {error.strerror}") from error


def _certificate(request: web.BaseRequest) -> bytes | None:
    tls: ssl.SSLObject | None = request.get_extra_info("ssl_object")
    return None if tls is None else tls.getpeercert(binary_form=True)


async def _read(request: web.BaseRequest) -> bytes | None:
    """Return the body; None, as soon as it shows, when it is too long."""
    if request.content_length is not None and request.content_length > MAX_LENGTH:
        return None
    body = b""
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > MAX_LENGTH:
            return None
    return body


async def _first(*events: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def _reason(error: OSError) -> str:
    """Return why a handshake failed; OpenSSL's word on a certificate is the clearest."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return getattr(error, "reason", None) or error.strerror or "the connection was lost"
