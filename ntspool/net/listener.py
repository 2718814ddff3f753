"""NTS-KE over TCP: accepts clients and carries their sessions' bytes, within one deadline each."""

import asyncio
import errno
import select
import socket
import time
from collections.abc import Callable, Sequence

import structlog

from ntspool.net.admission import Admission, packed_address
from ntspool.net.connection import Accepted, Connection, Fetch, Rulebook, fetch_nothing
from ntspool.net.geo import locator, nowhere
from ntspool.net.proxied import Anteroom
from ntspool.net.roster import Roster
from ntspool.net.servertls import server_context
from ntspool.net.session import Report
from ntspool.pool.limits import Place, TurnedAway
from ntspool.pool.model import Snapshot
from ntspool.pool.negotiation import Negotiator

ACCEPT_BATCH = 4
"""Clients let in in one turn of the loop: a flood of them must not hold up the sessions under way.

Few, so that of several workers each takes what it can serve soon; what waits in the queue the others can take.
"""

TAKE_BATCH = 64
"""Clients taken from the queue in one turn, those who are turned away too: each costs a fiftieth of a session."""

ACCEPT_BACK_OFF = 0.1
"""Seconds to leave the queue alone when the system has no descriptor or memory for another connection."""

_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_NO_RESOURCES = (*_NO_DESCRIPTOR, errno.ENOBUFS, errno.ENOMEM)
_SWEEP = 0.1
_EVENTS = 256

log = structlog.get_logger()


def prepare(snapshot: Snapshot, before: Rulebook | None, fetch: Fetch = fetch_nothing) -> Rulebook:
    """Make a snapshot ready to serve from, with the TLS context of `before` where that is still good.

    `fetch` fetches the answers that backends must be asked for.
    """
    context = before.context if before else server_context(snapshot.certificates)
    selection = snapshot.selection
    locate = locator(selection.database) if selection.database else nowhere
    return Rulebook(snapshot.rules, context, Negotiator(snapshot.serving, selection), locate, fetch)


class _Listening(socket.socket):
    """A listening socket that accepts without making enums for each client."""

    def __init__(self, shared: socket.socket, index: int) -> None:
        super().__init__(fileno=shared.fileno())
        self.index = index
        self._numbers = int(shared.family), int(shared.type)

    @property
    def family(self) -> int:  # type: ignore[override]
        return self._numbers[0]

    @property
    def type(self) -> int:  # type: ignore[override]
        return self._numbers[1]


class Listener:
    """Serves NTS-KE on listening sockets that stay the caller's.

    `start` begins to accept whom `admission` lets in, by the rulebook that `rulebook` returns at that moment for each
    new session; `stop` ends that and returns once the running sessions have ended, each by its deadline. Every
    session that sent anything is reported to `on_end` with the client's address and its duration in seconds.

    All descriptors are in one epoll set of our own, which is one reader of the loop: whatever happens on any of them
    is handled in one call, without the loop's machinery for each.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        rulebook: Callable[[], Rulebook],
        on_end: Callable[[Report, str, float], None],
        admission: Admission,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listening = {each.fileno(): _Listening(each, index) for index, each in enumerate(sockets)}
        self._rulebook = rulebook
        self._on_end = on_end
        self._admission = admission
        self._epoll = select.epoll()
        self._anteroom = Anteroom(admission, self._epoll, self._begin)
        self._roster = Roster()
        self._sweeper: asyncio.TimerHandle | None = None
        self._accepting = False
        self._watching = False
        self._idle = asyncio.Event()

    @property
    def open_sessions(self) -> int:
        """How many connections are open now."""
        return len(self._roster.by_descriptor) + len(self._anteroom)

    def start(self) -> None:
        """Begin to accept clients."""
        for each in self._listening.values():
            # Accepted sockets inherit it, which is a system call less for each.
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._accepting = True
        self._watch()
        self._loop.add_reader(self._epoll, self._turn)
        self._sweep()

    async def stop(self) -> None:
        """Accept nobody any more, and return once every session has ended."""
        self._accepting = False
        self._unwatch()
        self._check_idle()
        await self._idle.wait()
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._loop.remove_reader(self._epoll)
        self._epoll.close()
        for each in self._listening.values():
            each.detach()

    def _watch(self) -> None:
        if self._accepting:
            self._watching = True
            for descriptor in self._listening:
                # Of the workers that share a socket, a new client need not wake all.
                self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)

    def _unwatch(self) -> None:
        if self._watching:
            self._watching = False
            for descriptor in self._listening:
                self._epoll.unregister(descriptor)

    def _turn(self) -> None:
        """Handle everything that has happened since the last turn."""
        waiting: list[_Listening] = []
        sessions = self._roster.by_descriptor
        for descriptor, events in self._epoll.poll(0, _EVENTS):
            connection = sessions.get(descriptor)
            if connection is not None:
                self._handle(connection, events)
            elif descriptor in self._listening:
                waiting.append(self._listening[descriptor])
            elif descriptor in self._anteroom:
                self._anteroom.handle(descriptor)
        for each in waiting:
            self._accept(each)

    def _handle(self, connection: Connection, events: int) -> None:
        try:
            connection.handle(events)
        except Exception:
            # Our own mistake costs this client its session, not the others theirs.
            log.exception("session failed")
            connection.close()
        if connection.closed:
            self._end(connection)
        else:
            self._roster.heard(connection)

    def _accept(self, listening: _Listening) -> None:
        proxied, let_in = self._rulebook().rules.trusted(listening.index) is not None, 0
        for _ in range(TAKE_BATCH):
            try:
                accepted, peer = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno in _NO_DESCRIPTOR and self._make_room(time.monotonic()):
                    continue
                self._back_off(error)
                return
            let_in += self._let_in(listening.index, accepted, peer[0], proxied)
            if let_in == ACCEPT_BATCH:
                return

    def _let_in(self, queue: int, accepted: socket.socket, peer: str, proxied: bool) -> bool:
        """Begin a session, or what comes before it, unless the client is turned away; tell whether it was let in."""
        now = time.monotonic()
        full = self.open_sessions >= self._rulebook().rules.limit
        room = not full or self._roster.dispensable(now) is not None
        if proxied:
            let_in = self._anteroom.let_in(queue, accepted, peer, now, room=room)
            if let_in and full:
                self._make_room(now)
            return let_in
        packed = packed_address(peer)
        place = self._admission.admit(queue, accepted, packed, room=room)
        if place is None:
            accepted.close()
            return False
        if full:
            self._make_room(now)
        # In this order: without memory for the second, the deadline gives its place back.
        self._begin(Accepted(accepted, peer, packed, now), place)
        self._epoll.register(accepted.fileno(), select.EPOLLIN)
        return True

    def _begin(self, client: Accepted, place: Place | None) -> None:
        self._roster.add(Connection(client, self._rulebook(), self._epoll, place))

    def _make_room(self, now: float) -> bool:
        """End the session that is dispensable; tell whether there was one."""
        connection = self._roster.dispensable(now)
        if connection is None:
            return False
        if not connection.greeted:
            self._admission.turn_away(TurnedAway.SESSIONS)
        connection.make_room()
        self._end(connection)
        return True

    def _back_off(self, error: OSError) -> None:
        if error.errno not in _NO_RESOURCES:
            # The network errors of accept(2) belong to the one client that is gone.
            log.info("accept failed", error=error.strerror)
            return
        log.warning("accept paused", error=error.strerror, seconds=ACCEPT_BACK_OFF)
        self._unwatch()
        self._loop.call_later(ACCEPT_BACK_OFF, self._watch)

    def _end(self, connection: Connection) -> None:
        self._roster.remove(connection)
        if connection.place is not None:
            self._admission.release(connection.place)
        report = connection.report
        if report is not None:
            self._on_end(report, connection.client.peer, time.monotonic() - connection.client.began)
        self._check_idle()

    def _check_idle(self) -> None:
        if not self._accepting and not self.open_sessions:
            self._idle.set()

    def _sweep(self) -> None:
        # First: whatever fails below, deadlines must go on being kept.
        self._sweeper = self._loop.call_later(_SWEEP, self._sweep)
        now = time.monotonic()
        for connection in self._roster.due(now):
            connection.expire()
            self._end(connection)
        self._anteroom.sweep(now, self._rulebook().rules.timeout)
        self._check_idle()
