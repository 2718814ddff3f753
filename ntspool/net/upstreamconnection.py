"""A TLS connection to a backend's NTS-KE server, for one question of a pool at a time (the KE pool protocol)."""

import asyncio
import os
import socket
from collections.abc import Awaitable
from functools import lru_cache
from ipaddress import ip_address
from typing import TypeVar

from OpenSSL import SSL

from ntspool.errors import RemoteError, WireError
from ntspool.net.clienttls import ClientEnd
from ntspool.net.tls import client_context
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.model import Address, FixedKey
from ntspool.wire.messages import Refusal, RefusalReason
from ntspool.wire.poolexchange import PoolExchange
from ntspool.wire.poolprotocol import FixedKeyAnswer, FixedKeyRequest, Support, SupportQuery
from ntspool.wire.secret import Secret

_READ_SIZE = 16384
_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
)
"""The kernel finds out by itself when the way to an unused connection's other end is gone."""

_TICKET_READS = 4
"""Reads after which no more can be session tickets: a server could go on for ever."""

_BAD_REQUEST = 1

_Found = TypeVar("_Found")


class UpstreamConnection:
    """One connection that stands; `close` it in the end, and at once after a Failure or an answer without `keep_alive`.

    What it is cancelled in is not to be used again either.
    """

    def __init__(self, connected: socket.socket, end: ClientEnd) -> None:
        self._socket = connected
        self._end = end
        self._exchange = PoolExchange()

    def is_fresh(self) -> bool:
        """Tell whether a question can be asked: the server has neither ended it nor said what nobody asked for."""
        try:
            # What came in one flight with the last answer is in OpenSSL's hands already.
            if self._end.receive_data(b"") != b"":
                return False
            for _ in range(_TICKET_READS):
                data = self._socket.recv(_READ_SIZE)
                # Session tickets, which come with the first flight or after it.
                if not data or self._end.receive_data(data) != b"":
                    return False
        except BlockingIOError:
            return True
        except (OSError, RemoteError):
            return False
        return False

    async def support(self, token: Secret) -> Support | Failure:
        """Ask what the backend supports."""
        answer = await self._ask(SupportQuery(token))
        return answer if isinstance(answer, Support | Failure) else _MISMATCH

    async def cookies(self, request: FixedKeyRequest) -> FixedKeyAnswer | Failure:
        """Ask for cookies; the keys in `request` are known to the server from now, whatever is returned."""
        answer = await self._ask(request)
        return answer if isinstance(answer, FixedKeyAnswer | Failure) else _MISMATCH

    def close(self) -> None:
        """End the connection; close_notify goes out if there is room for it."""
        try:
            self._end.close()
            self._socket.send(self._end.data_to_send(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except (OSError, SSL.Error):
            pass
        self._socket.close()

    async def _ask(self, question: SupportQuery | FixedKeyRequest) -> Support | FixedKeyAnswer | Failure:
        loop = asyncio.get_running_loop()
        try:
            self._end.send(self._exchange.ask(question))
            await loop.sock_sendall(self._socket, self._end.data_to_send())
            while data := await self._receive():
                plaintext = self._end.receive_data(data)
                while plaintext:
                    if (answer := self._exchange.receive_data(plaintext)) is not None:
                        return _refused(answer) if isinstance(answer, Refusal) else answer
                    plaintext = self._end.receive_data(b"")
                if plaintext is None:
                    break
        except WireError as error:
            return Failure(Cause.KE_MALFORMED, str(error))
        except (OSError, RemoteError, SSL.Error) as error:
            return Failure(Cause.KE_UNREACHABLE, _words(error))
        return Failure(Cause.KE_UNREACHABLE, "the server closed the connection without an answer")

    async def _receive(self) -> bytes:
        # ntpd-rs writes an answer in small pieces, and holds each back until the one before is acknowledged (Nagle's
        # algorithm). The kernel would delay that by 40 ms, and forgets this order with every segment.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return await asyncio.get_running_loop().sock_recv(self._socket, _READ_SIZE)


@lru_cache(maxsize=64)
def context_for(ca: bytes | None) -> SSL.Context:
    """Return the context for upstreams whose certificates come from `ca` (see FixedKey); raises CertificateError.

    One for all of them: the system's authorities are read once in the life of a process, and take megabytes.
    """
    return client_context(ca)


_MISMATCH = Failure(Cause.KE_MALFORMED, "the answer is to another question")


async def connect(
    peer: FixedKey, address: Address, context: SSL.Context, timeout: float
) -> UpstreamConnection | Failure:
    """Open a connection to the NTS-KE server of the backend's `address`, or return why that is not possible.

    `timeout` in seconds is for all of it; where a name has several addresses, each has its share.
    """
    places = await within(timeout, _places(peer, address))
    if isinstance(places, Failure):
        return places
    failure = Failure(Cause.KE_UNREACHABLE, "no address")
    for family, where in places:
        found = await within(timeout / len(places), _connect(peer, family, where, context))
        if isinstance(found, UpstreamConnection):
            return found
        failure = found
    return failure


async def within(seconds: float, work: Awaitable[_Found]) -> _Found | Failure:
    """Return what comes of `work`, or that it has not answered within so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError:
        return Failure(Cause.KE_NO_ANSWER, f"within {seconds:.2g} s")


async def _places(peer: FixedKey, address: Address) -> list[tuple[int, tuple[object, ...]]] | Failure:
    """Return where to connect to, one after the other: first what is of the family of `address`."""
    host = peer.host or str(address)
    try:
        numeric = ip_address(host)
    except ValueError:
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, peer.port, type=socket.SOCK_STREAM)
        except OSError as error:
            return Failure(Cause.KE_UNREACHABLE, f"{host}: {_words(error)}")
        wanted = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return sorted(((each[0], each[4]) for each in found), key=lambda each: each[0] != wanted)
    return [(socket.AF_INET if numeric.version == 4 else socket.AF_INET6, (host, peer.port))]


async def _connect(
    peer: FixedKey, family: int, where: tuple[object, ...], context: SSL.Context
) -> UpstreamConnection | Failure:
    try:
        connected = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        return Failure(Cause.KE_UNREACHABLE, _words(error))
    found: UpstreamConnection | Failure = Failure(Cause.KE_UNREACHABLE)
    try:
        for level, option, value in _ALIVE:
            connected.setsockopt(level, option, value)
        await asyncio.get_running_loop().sock_connect(connected, where)
        found = await _handshake(connected, ClientEnd(context, peer.name))
    except OSError as error:
        found = Failure(Cause.KE_UNREACHABLE, _words(error))
    finally:
        if isinstance(found, Failure):
            connected.close()
    return found


async def _handshake(connected: socket.socket, end: ClientEnd) -> UpstreamConnection | Failure:
    """Do TLS's handshake over a connected socket; raises OSError."""
    loop = asyncio.get_running_loop()
    data = b""
    while not end.established:
        failure = None
        try:
            if end.receive_data(data) != b"":
                failure = Failure(Cause.KE_MALFORMED, "the server speaks before it is asked")
        except RemoteError as error:
            failure = Failure(Cause.KE_TLS, str(error).removeprefix("TLS failed: "))
        # Even then: an alert may have to go out.
        await loop.sock_sendall(connected, end.data_to_send())
        if failure is not None:
            return failure
        if not end.established and not (data := await loop.sock_recv(connected, _READ_SIZE)):
            return Failure(Cause.KE_UNREACHABLE, "the server closed the connection during TLS's handshake")
    return UpstreamConnection(connected, end)


def _refused(refusal: Refusal) -> Failure:
    if refusal.reason is RefusalReason.NO_COMMON_AEAD:
        return Failure(Cause.KE_AEAD)
    if refusal.reason is RefusalReason.NO_COMMON_PROTOCOL:
        return Failure(Cause.KE_ERROR, "it does not serve NTPv4")
    # ntpd-rs says so to whoever it does not know, and so does the draft.
    if refusal.code == _BAD_REQUEST:
        return Failure(Cause.KE_TOKEN, "NTS-KE error 1")
    return Failure(Cause.KE_ERROR, f"NTS-KE error {refusal.code}")


def _words(error: Exception) -> str:
    """Return the system's words for an error; asyncio's own speak of calls and futures."""
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or not error.errno:
        return getattr(error, "strerror", None) or str(error)
    return os.strerror(error.errno)
