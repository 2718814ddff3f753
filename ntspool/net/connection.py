"""A client's TCP connection: one read for each wake-up, one write for each flight."""

import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ntspool.net.geo import Places
from ntspool.net.servertls import ServerContext
from ntspool.net.session import Outcome, Report, Session
from ntspool.pool.limits import Place
from ntspool.pool.model import SessionRules
from ntspool.pool.negotiation import Answer, Deferred, Negotiator

MOST_UNHEARD = 16384
"""Bytes that a client may send when it has been told to go, or waits for its answer; 24 are usual, for its farewell."""

_READ_SIZE = 4096
_FETCHED = 8192


Fetch = Callable[[Deferred, float, Callable[[Answer], None]], Callable[[], object]]
"""Fetches a deferred answer by a time of time.monotonic, and hands it to a function; returns what gives that up."""


def fetch_nothing(deferred: Deferred, _deadline: float, done: Callable[[Answer], None]) -> Callable[[], None]:
    """Answer for a server that has no connections to backends."""
    done(deferred.fail("no backend can be asked for cookies here"))
    return lambda: None


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What new sessions are served by, made ready from one Snapshot."""

    rules: SessionRules
    context: ServerContext
    negotiator: Negotiator
    locate: Callable[[bytes], Places]
    fetch: Fetch = fetch_nothing


class RandomBytes:
    """The system's random bytes, fetched for many sessions at a time. They become nonces, which are no secrets."""

    def __init__(self, source: Callable[[int], bytes] = os.urandom) -> None:
        self._source = source
        self._bytes = b""
        self._taken = 0

    def __call__(self, length: int) -> bytes:
        """Return `length` bytes that nobody has had before."""
        start = self._taken
        self._taken = start + length
        if self._taken > len(self._bytes):
            self._bytes, start, self._taken = self._source(max(_FETCHED, length)), 0, length
        return self._bytes[start : self._taken]


class Accepted(NamedTuple):
    """A connection that was let in, at `began` by time.monotonic, and its client's address in both notations."""

    socket: socket.socket
    peer: str
    packed: bytes
    began: float


class Connection:
    """Carries the bytes of one session.

    Call `handle` with what `epoll`, where the descriptor is registered for EPOLLIN, tells of it, until `closed`; then
    release `place`, if it has one. After its last flight it waits for the client to close first: closing with bytes
    unread would send a reset, which can overtake the response.
    """

    __slots__ = (
        "_blocked",
        "_epoll",
        "_give_up",
        "_out",
        "_rulebook",
        "_session",
        "_socket",
        "_unheard",
        "client",
        "closed",
        "deadline",
        "descriptor",
        "place",
    )

    def __init__(self, client: Accepted, rulebook: Rulebook, epoll: select.epoll, place: Place | None) -> None:
        self._socket = client.socket
        self._rulebook = rulebook
        self._epoll = epoll
        self._session: Session | None = None
        self._out = b""
        self._blocked = False
        self._give_up: Callable[[], object] | None = None
        self._unheard = 0
        self.client = client
        self.place = place
        self.deadline = client.began + rulebook.rules.timeout
        self.closed = False
        self.descriptor = client.socket.fileno()

    @property
    def report(self) -> Report | None:
        """How the session went, None if the client has said nothing."""
        return self._session.report if self._session else None

    @property
    def greeted(self) -> bool:
        """Whether the client has said a whole ClientHello, as an honest one does at once, or what is none."""
        return self._session is not None and self._session.greeted

    def handle(self, events: int) -> None:
        """Take what the client has sent, and send what it could not take before."""
        if events & select.EPOLLOUT:
            self._flush()
            return
        try:
            data = self._socket.recv(_READ_SIZE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        session = self._session
        if session is None or not session.finished:
            if data:
                self._receive(session or self._begin(), data)
            elif session is not None and session.deferred is not None and not events & _GONE:
                # It has said all that it had to say, and waits for the answer.
                self._epoll.modify(self.descriptor, 0)
            else:
                self.close()
        elif len(data) < _READ_SIZE and (not data or events & select.EPOLLHUP):
            # Both sides have ended their streams, and nothing is unread.
            self.close()
        else:
            self._ignore(data)

    def make_room(self) -> None:
        """End the connection because others need its place: as before TLS, so that the client soon comes again."""
        if self._session is not None and not self._session.finished:
            self._session.report.outcome = Outcome.TIMEOUT
            self._session.report.reason = "its place was needed"
        self.close()

    def expire(self) -> None:
        """End the connection because its deadline has passed."""
        if self._session is not None and (farewell := self._session.expire()):
            self._out += farewell
            self._flush()
        self.close()

    def close(self) -> None:
        """End the connection, whatever is under way."""
        if not self.closed:
            self.closed = True
            if self._give_up is not None:
                self._give_up()
            # That takes the descriptor out of the epoll set, too.
            self._socket.close()

    def _begin(self) -> Session:
        # Made as late as this, a client that connects and says nothing costs next to nothing.
        rulebook = self._rulebook
        self._session = Session(rulebook.context, rulebook.negotiator, self.client.packed, _random, rulebook.locate)
        return self._session

    def _receive(self, session: Session, data: bytes) -> None:
        if session.deferred is not None:
            self._ignore(data)
            return
        answer = session.receive_data(data)
        if session.established and session.report.handshake is None:
            session.report.handshake = time.monotonic() - self.client.began
        if session.deferred is not None:
            self._out += answer
            self._give_up = self._rulebook.fetch(session.deferred, self.deadline, self._resume)
            return
        if answer or session.finished:
            self._out += answer
            self._flush()
            return
        # Most clients hold their request back until the end of their handshake is acknowledged (Nagle's algorithm).
        # Without session tickets nothing of ours carries that ACK, and the kernel would delay it by 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def _ignore(self, data: bytes) -> None:
        """Take note of what nobody listens to: read without end, it would cost the others their turns."""
        self._unheard += len(data)
        if self._unheard > MOST_UNHEARD:
            self.close()

    def _resume(self, answer: Answer) -> None:
        """Take the answer that was deferred; it is sent when the epoll set says so, as whoever handles that expects."""
        if not self.closed and self._session is not None:
            self._out += self._session.resume(answer)
            self._blocked = True
            self._epoll.modify(self.descriptor, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self) -> None:
        last = self._session is not None and self._session.finished
        try:
            sent = self._socket.send(self._out, _LAST if last else socket.MSG_DONTWAIT)
            self._out = self._out[sent:]
            if last and not self._out:
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._blocked != bool(self._out):
            self._blocked = not self._blocked
            self._epoll.modify(self.descriptor, select.EPOLLIN | (select.EPOLLOUT if self._blocked else 0))


_GONE = select.EPOLLHUP | select.EPOLLERR

_random = RandomBytes()

_LAST = socket.MSG_DONTWAIT | socket.MSG_MORE
"""How the last flight is sent: it waits for the end of the stream, and both leave in one segment."""
