"""Load balancers' connections until the header of the PROXY protocol has told whose they are."""

import select
import socket
from collections.abc import Callable
from itertools import takewhile
from typing import Final

from ntspool.errors import WireError
from ntspool.net.admission import Admission, packed_address
from ntspool.net.connection import Accepted
from ntspool.pool.limits import Place, TurnedAway
from ntspool.wire.proxy2 import MAX_HEADER, ProxyHeader, read_header

HEADER_DEADLINE: Final = 1.0
"""Seconds for the header: a balancer sends it at once, and is not far away."""


class Anteroom:
    """Where balancers' connections wait for their headers, watched by `epoll`; their clients are let in after that.

    `begin` is called with each client that is, the place it holds (None: the connection is the balancer's own), and
    its descriptor still in `epoll`. What the client itself has said is left unread.
    """

    def __init__(
        self, admission: Admission, epoll: select.epoll, begin: Callable[[Accepted, Place | None], None]
    ) -> None:
        self._admission = admission
        self._epoll = epoll
        self._begin = begin
        # By descriptor, in the order of their deadlines.
        self._waiting: dict[int, _Header] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, descriptor: int) -> bool:
        return descriptor in self._waiting

    def let_in(self, queue: int, accepted: socket.socket, peer: str, now: float, *, room: bool) -> bool:
        """Take in a connection that was accepted from `peer` at the listening socket `queue`, or close it.

        `room` tells whether the worker has a place for one more.
        """
        packed = packed_address(peer)
        if not self._admission.admit_balancer(queue, accepted, packed, room=room):
            accepted.close()
            return False
        self._epoll.register(accepted.fileno(), select.EPOLLIN)
        self._waiting[accepted.fileno()] = _Header(Accepted(accepted, peer, packed, now))
        return True

    def handle(self, descriptor: int) -> None:
        """Take what has come on a descriptor of this room."""
        waiting = self._waiting[descriptor]
        try:
            header = waiting.read()
        except (WireError, OSError):
            self._turn_away(descriptor)
            return
        if header is not None:
            del self._waiting[descriptor]
            self._let_through(waiting.connection, header)

    def sweep(self, now: float, timeout: float) -> None:
        """Close the connections whose deadline has passed, which is no later than their sessions' `timeout`."""
        latest = now - min(HEADER_DEADLINE, timeout)
        for descriptor, _ in tuple(takewhile(lambda each: each[1].connection.began <= latest, self._waiting.items())):
            self._turn_away(descriptor)

    def _let_through(self, connection: Accepted, header: ProxyHeader) -> None:
        if header.source is None:
            self._begin(connection, None)
            return
        place = self._admission.admit_behind(header.source)
        if place is None:
            connection.socket.close()
            return
        family = socket.AF_INET if len(header.source) == 4 else socket.AF_INET6
        peer = socket.inet_ntop(family, header.source)
        self._begin(Accepted(connection.socket, peer, header.source, connection.began), place)

    def _turn_away(self, descriptor: int) -> None:
        waiting = self._waiting.pop(descriptor)
        waiting.connection.socket.close()
        # A balancer that says nothing has only looked whether the port is open.
        if waiting.early:
            self._admission.turn_away(TurnedAway.PROXY_HEADER)


class _Header:
    """The header of one connection, as far as it has come."""

    __slots__ = ("connection", "early")

    def __init__(self, connection: Accepted) -> None:
        self.connection = connection
        self.early = b""

    def read(self) -> ProxyHeader | None:
        """Take what has come, but nothing behind the header; return that once it is whole.

        Raises WireError when it is no header or the connection has ended, OSError when that was broken.
        """
        try:
            come = self.connection.socket.recv(MAX_HEADER, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        if not come:
            raise WireError("the connection ended before the PROXY protocol header")
        before, self.early = len(self.early), self.early + come
        header = read_header(self.early)
        self.connection.socket.recv(header.length - before if header else len(come), socket.MSG_DONTWAIT)
        return header
