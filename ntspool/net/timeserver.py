"""The embedded NTS time server: UDP sockets and a watched key file around pool/responder.py."""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from struct import Struct
from typing import Final, Self

import structlog

from ntspool.errors import ConfigError, StateError, WireError
from ntspool.net.secretfile import read_secret
from ntspool.pool.cookies import CookieFormat, CookieJar
from ntspool.pool.keyfiles import parse
from ntspool.pool.responder import ReplyKind, Responder

POLL_INTERVAL: Final = 0.5
"""Seconds between two looks at whether the key file has changed."""

# Linux; the socket module has these only in later Pythons, if at all.
_SO_TIMESTAMPNS = 35
_IP_PKTINFO = 8
_TIMESPEC = Struct("@qq")
_IN_PKTINFO = Struct("@i4s4s")
_IN6_PKTINFO = Struct("@16si")
_ANCILLARY_LENGTH = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_IN6_PKTINFO.size)

# The longest sensible request, eight cookies of 168 bytes (AEAD 17), has 1500.
_DATAGRAM_LENGTH = 2048
# Datagrams taken at a time, so that a flood on one socket starves neither the others nor the key file.
_BATCH = 64

_Address = tuple[str, int] | tuple[str, int, int, int]
_Ancillary = list[tuple[int, int, bytes]]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class TimeServerCounters:
    """Datagrams since the start: all that came, those answered with NTS, with an NTS NAK, and not at all."""

    requests: int = 0
    nts: int = 0
    naks: int = 0
    dropped: int = 0


class TimeServer:
    """Serves the system clock over NTP, with and without NTS, until stopped; use it with `async with`.

    `listen` holds IP address literals and ports (0: any free one, see `addresses`), `key_file` is in ntspool's
    format and must not be accessible to others; it is loaded again whenever it changes. Call `reload` on SIGHUP.
    Raises StateError when the key file cannot be used and ValueError unless `stratum` is 1 to 15.
    """

    def __init__(
        self,
        listen: Sequence[tuple[str, int]],
        key_file: Path,
        stratum: int,
        *,
        poll_interval: float = POLL_INTERVAL,
    ) -> None:
        self.counters = TimeServerCounters()
        self._listen = tuple(listen)
        self._key_file = key_file
        self._poll_interval = poll_interval
        self._signature = _signature(key_file)
        self._responder = Responder(load_cookie_jar(key_file), stratum, time.time, os.urandom)
        self._sockets: list[socket.socket] = []
        self._poll_timer: asyncio.TimerHandle | None = None

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The addresses that are bound, in the order of `listen`, with the real ports."""
        return [sock.getsockname()[:2] for sock in self._sockets]

    @property
    def jar(self) -> CookieJar:
        """The keys that it opens cookies under now."""
        return self._responder.jar

    async def start(self) -> None:
        """Bind and begin to answer; raises ConfigError, with nothing bound, when an address cannot be."""
        loop = asyncio.get_running_loop()
        try:
            for host, port in self._listen:
                self._sockets.append(_bind(host, port))
        except ConfigError:
            await self.stop()
            raise
        for sock in self._sockets:
            loop.add_reader(sock, self._readable, sock)
        self._poll_timer = loop.call_later(self._poll_interval, self._poll)
        log.info("time server started", sockets=len(self._sockets), stratum=self._responder.stratum)

    async def stop(self) -> None:
        """Close the sockets; what was received and not yet answered stays unanswered."""
        loop = asyncio.get_running_loop()
        if self._poll_timer:
            self._poll_timer.cancel()
        for sock in self._sockets:
            loop.remove_reader(sock)
            sock.close()
        self._sockets.clear()
        log.info("time server stopped", **asdict(self.counters))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def reload(self) -> None:
        """Load the key file now; when it cannot be used, that is logged and the old keys stay."""
        # Looked at before it is read: a change in between is found at the next poll.
        self._signature = _signature(self._key_file)
        try:
            jar = load_cookie_jar(self._key_file)
        except StateError as error:
            log.warning("new keys not loaded, the old ones stay", reason=str(error))
            return
        self._responder = replace(self._responder, jar=jar)
        log.info("new keys loaded")

    def _poll(self) -> None:
        if _signature(self._key_file) != self._signature:
            self.reload()
        self._poll_timer = asyncio.get_running_loop().call_later(self._poll_interval, self._poll)

    def _readable(self, sock: socket.socket) -> None:
        for _ in range(_BATCH):
            try:
                data, ancillary, flags, peer = sock.recvmsg(_DATAGRAM_LENGTH, _ANCILLARY_LENGTH)
            except OSError:
                return
            self.counters.requests += 1
            if not flags & socket.MSG_TRUNC and self._answer(sock, data, ancillary, peer):
                continue
            self.counters.dropped += 1

    def _answer(self, sock: socket.socket, data: bytes, ancillary: _Ancillary, peer: _Address) -> bool:
        reply = self._responder.respond(data, _received_at(ancillary))
        if reply is None:
            return False
        try:
            sock.sendmsg([reply.data], _source(ancillary), 0, peer)
        except OSError as error:
            log.debug("answer not sent", reason=error.strerror)
            return False
        self.counters.nts += reply.kind is ReplyKind.NTS
        self.counters.naks += reply.kind is ReplyKind.NAK
        return True


def load_cookie_jar(path: Path) -> CookieJar:
    """Return the keys in a key file of ntspool's format, ready for use.

    Raises StateError, saying what to do, when the file cannot be read, is accessible to others or is malformed.
    """
    data = read_secret(path)
    try:
        keys = parse(CookieFormat.NTSPOOL, data.reveal())
    except WireError as error:
        raise StateError(f"{path} is not a key file of ntspool: {error}") from error
    return CookieJar(CookieFormat.NTSPOOL, keys.keys, keys.current)


def _signature(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever the file is replaced, rewritten or given other permissions; None without it."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _bind(host: str, port: int) -> socket.socket:
    try:
        numeric = socket.AI_NUMERICHOST | socket.AI_PASSIVE
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=numeric)
        family, kind, protocol, _, address = found[0]
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    except OSError as error:
        raise ConfigError([f"cannot listen on {host} port {port}: {error.strerror}"]) from error
    try:
        # A sandboxed kernel may not know it; `_received_at` then has to make do.
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        # An answer must come from the address that was asked, which a wildcard address does not tell.
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        sock.bind(address)
    except OSError as error:
        sock.close()
        raise ConfigError([f"cannot listen on {host} port {port}: {error.strerror}"]) from error
    return sock


def _received_at(ancillary: _Ancillary) -> float:
    """Return the Unix time at which the kernel received a datagram, or the time now if it did not say."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS) and len(value) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(value)
            return float(seconds + nanoseconds * 1e-9)
    return time.time()


def _source(ancillary: _Ancillary) -> _Ancillary:
    """Return the control message that sends an answer from the address that the request was sent to."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, local, _ = _IN_PKTINFO.unpack(value)
            # No interface: the routing table knows better than the way the request came.
            return [(level, kind, _IN_PKTINFO.pack(0, local, bytes(4)))]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, interface = _IN6_PKTINFO.unpack(value)
            link_local = address[:2] == b"\xfe\x80"
            return [(level, kind, _IN6_PKTINFO.pack(address, interface if link_local else 0))]
    return []
