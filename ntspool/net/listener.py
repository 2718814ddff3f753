"""NTS-KE over TCP: accepts clients and carries their sessions' bytes, within one deadline each."""

import asyncio
import contextlib
import errno
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from OpenSSL import SSL

from ntspool.net.geo import Places, locator, nowhere
from ntspool.net.session import Outcome, Report, Session
from ntspool.net.tls import server_context
from ntspool.pool.model import SessionRules, Snapshot
from ntspool.pool.negotiation import Negotiator

ACCEPT_BATCH = 64
"""Clients accepted in one turn of the loop, so that a flood of them cannot hold up the sessions under way."""

ACCEPT_BACK_OFF = 0.1
"""Seconds to leave the queue alone when the system has no descriptor or memory for another connection."""

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_SWEEP = 0.1
_READ_SIZE = 16384
_READS = 4

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What new sessions are served by, made ready from one Snapshot."""

    rules: SessionRules
    context: SSL.Context
    negotiator: Negotiator
    locate: Callable[[bytes], Places]


def prepare(snapshot: Snapshot, before: Rulebook | None) -> Rulebook:
    """Make a snapshot ready to serve from, with the TLS context of `before` where that is still good."""
    context = before.context if before else server_context(snapshot.certificates)
    selection = snapshot.selection
    locate = locator(selection.database) if selection.database else nowhere
    return Rulebook(snapshot.rules, context, Negotiator(snapshot.serving, selection), locate)


class Listener:
    """Serves NTS-KE on listening sockets that stay the caller's.

    `start` begins to accept, by the rulebook that `rulebook` returns at that moment for each new session; `stop`
    ends that and returns once the running sessions have ended, each by its deadline. Every session that sent
    anything is reported to `on_end` with the client's address and its duration in seconds.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        rulebook: Callable[[], Rulebook],
        on_end: Callable[[Report, str, float], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sockets = sockets
        self._rulebook = rulebook
        self._on_end = on_end
        # In the order of their deadlines, but for a moment after the timeout was changed.
        self._open: dict[Connection, float] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._accepting = False
        self._idle = asyncio.Event()

    @property
    def open_sessions(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def start(self) -> None:
        """Begin to accept clients."""
        self._accepting = True
        self._watch()
        self._sweep()

    async def stop(self) -> None:
        """Accept nobody any more, and return once every session has ended."""
        self._accepting = False
        self._unwatch()
        self._check_idle()
        await self._idle.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _watch(self) -> None:
        if self._accepting:
            for each in self._sockets:
                self._loop.add_reader(each, self._accept, each)

    def _unwatch(self) -> None:
        for each in self._sockets:
            self._loop.remove_reader(each)

    def _accept(self, listening: socket.socket) -> None:
        rulebook = self._rulebook()
        for _ in range(ACCEPT_BATCH):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._back_off(error)
                return
            if len(self._open) >= rulebook.rules.limit:
                # Closed before TLS, a chrony client comes again in 16 s; after an error it would in 1024 s.
                accepted.close()
            else:
                self._begin(accepted, peer[0], rulebook)

    def _back_off(self, error: OSError) -> None:
        if error.errno not in _NO_RESOURCES:
            # The network errors of accept(2) belong to the one client that is gone.
            log.info("accept failed", error=error.strerror)
            return
        log.warning("accept paused", error=error.strerror, seconds=ACCEPT_BACK_OFF)
        self._unwatch()
        self._loop.call_later(ACCEPT_BACK_OFF, self._watch)

    def _begin(self, accepted: socket.socket, peer: str, rulebook: Rulebook) -> None:
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(self._loop, accepted, peer, rulebook, self._end)
        self._open[connection] = self._loop.time() + rulebook.rules.timeout

    def _end(self, connection: "Connection", report: Report | None) -> None:
        del self._open[connection]
        self._check_idle()
        if report is not None:
            self._on_end(report, connection.peer, time.monotonic() - connection.began)

    def _check_idle(self) -> None:
        if not self._accepting and not self._open:
            self._idle.set()

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection, deadline in list(self._open.items()):
            if deadline > now:
                break
            connection.expire()
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)


class Connection:
    """A client's TCP connection: one read for each wake-up, one write for each flight.

    After the last flight it waits for the client to close first: closing with bytes unread would send a reset,
    which can overtake the response.
    """

    __slots__ = ("_loop", "_on_end", "_out", "_rulebook", "_session", "_shut", "_socket", "began", "peer")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        accepted: socket.socket,
        peer: str,
        rulebook: Rulebook,
        on_end: "Callable[[Connection, Report | None], None]",
    ) -> None:
        self._loop = loop
        self._socket = accepted
        self._rulebook = rulebook
        self._on_end = on_end
        self._session: Session | None = None
        self._out = b""
        self._shut = False
        self.began = time.monotonic()
        self.peer = peer.removeprefix("::ffff:")
        loop.add_reader(accepted, self._readable)

    def expire(self) -> None:
        """End the connection because its deadline has passed."""
        if self._session is not None and not self._session.finished:
            self._session.report.outcome = Outcome.TIMEOUT
        self._close()

    def _readable(self) -> None:
        # uvloop calls only once for data and a reset that come together: unless there is an answer, whose sending
        # would fail, the reset must be looked for.
        for _ in range(_READS):
            if not self._read():
                return

    def _read(self) -> bool:
        """Take what the client has sent; tell whether to look for more at once."""
        try:
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._close()
            return False
        if self._session is not None and self._session.finished:
            return True
        return not self._receive(data)

    def _receive(self, data: bytes) -> bool:
        """Feed the session and tell whether it has answered."""
        if self._session is None:
            # Made as late as this, a client that connects and says nothing costs no TLS state.
            packed = socket.inet_pton(socket.AF_INET6 if ":" in self.peer else socket.AF_INET, self.peer)
            rulebook = self._rulebook
            self._session = Session(rulebook.context, rulebook.negotiator, packed, os.urandom, rulebook.locate)
        answer = self._session.receive_data(data)
        if answer or self._session.finished:
            self._out += answer
            self._flush()
            return True
        # Most clients hold their request back until the end of their handshake is acknowledged (Nagle's algorithm).
        # Without session tickets nothing of ours carries that ACK, and the kernel would delay it by 40 ms.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return False

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._out) if self._out else 0
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._close()
            return
        self._out = self._out[sent:]
        if self._out:
            self._loop.add_writer(self._socket, self._flush)
            return
        self._loop.remove_writer(self._socket)
        if self._session is not None and self._session.finished and not self._shut:
            self._shut = True
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def _close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._on_end(self, self._session.report if self._session else None)
