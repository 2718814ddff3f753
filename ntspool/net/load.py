"""A load of NTS-KE clients: real sessions, each verified like any client's, as many and as often as a plan says."""

import asyncio
import errno
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from OpenSSL import SSL

from ntspool.net.busy import Busy
from ntspool.net.clientsession import ClientSession
from ntspool.pool.histogram import Histogram
from ntspool.wire.aead import Aead
from ntspool.wire.messages import COOKIES, Refusal, Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4

PATIENCE = 5.0
"""Seconds that a client waits for its cookies: ntpd-rs's patience; chrony has 16."""

FAILURE_PAUSE = 0.1
"""Seconds that a client without a rate waits after a failure, so that a server that turns it away is not hammered."""

REQUEST = Request((PROTOCOL_NTPV4,), (Aead.AES_SIV_CMAC_256,))

_TELL_INTERVAL = 0.1
_READ_SIZE = 16384
_OWN_LIMITS = (errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN)


class Outcome(StrEnum):
    """How a client's session ended."""

    OK = "ok"
    UNREACHABLE = "no connection"
    TURNED_AWAY = "closed before TLS"
    TLS_FAILED = "tls failed"
    REFUSED = "refused"
    BAD_ANSWER = "bad answer"
    TIMEOUT = "timeout"
    OWN_LIMIT = "out of own ports or descriptors"


@dataclass(frozen=True, slots=True)
class Plan:
    """So many clients at once at most, `rate` sessions a second (None: as many as they can), for `duration` seconds.

    `host` is an IP literal, `name` what the certificate must cover, `ca` None the system's authorities.
    """

    host: str
    port: int
    name: str
    ca: Path | None
    connections: int
    rate: float | None
    duration: float


@dataclass(slots=True)
class Tally:
    """What has happened so far. `reasons` holds the first reason of each outcome.

    `latency` is from when a session was due to its eight cookies; `in_time` are those that had them within the first
    `seconds`, the plan's duration. Bytes are TCP payload. `busy` is what the client's own thread did meanwhile.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: dict[Outcome, str] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)
    sent: int = 0
    received: int = 0
    in_time: int = 0
    seconds: float = 0.0
    busy: Busy = field(default_factory=Busy)


class Load:
    """Runs one plan, once, in one thread."""

    def __init__(self, plan: Plan, context: SSL.Context) -> None:
        self.plan = plan
        self.context = context
        self.tally = Tally()
        self.loop = asyncio.get_running_loop()
        found = socket.getaddrinfo(plan.host, plan.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        self._family, self.address = found[0][0], found[0][4]
        # In the order of their deadlines.
        self._open: dict[_Dial, float] = {}
        self._interval = 1 / plan.rate if plan.rate else 0.0
        self._due = self._began = time.monotonic()
        self._late = self._over = False
        self._resting = 0
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, tell: Callable[[Tally], None] = lambda _: None) -> Tally:
        """Run the plan, then wait for the sessions under way; `tell` gets the same tally several times a second."""
        plan, began = self.plan, Busy.now()
        self._due = self._began = time.monotonic()
        self._start_due()
        while (left := self._began + plan.duration - time.monotonic()) > 0:
            await asyncio.sleep(min(left, _TELL_INTERVAL))
            self._expire()
            self._take_stock(began)
            tell(self.tally)
        self._take_stock(began)
        self._over = True
        while self._open:
            await asyncio.sleep(_TELL_INTERVAL / 5)
            self._expire()
        return self.tally

    def _take_stock(self, began: Busy) -> None:
        self.tally.seconds = time.monotonic() - self._began
        self.tally.in_time = self.tally.outcomes[Outcome.OK]
        self.tally.busy = Busy.now() - began

    def _start_due(self) -> None:
        now = time.monotonic()
        while not self._over and self._due <= now and len(self._open) + self._resting < self.plan.connections:
            # When all clients are busy the server is late, and a session's time counts from when it was due. Else
            # the loop's own timer was, which is no fault of the server.
            self._start(self._due if self._late else now, now + PATIENCE)
            self._due = self._due + self._interval if self._interval else now
        self._late = self._interval > 0 and self._due <= now
        if self._due > now and not self._over and self._timer is None:
            self._timer = self.loop.call_later(self._due - now, self._tick)

    def _start(self, due: float, deadline: float) -> None:
        try:
            new = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            self.note(Outcome.OWN_LIMIT, due, os.strerror(error.errno or 0))
            self._rest()
            return
        self._open[_Dial(self, new, due)] = deadline

    def _tick(self) -> None:
        self._timer = None
        self._start_due()

    def _expire(self) -> None:
        now = time.monotonic()
        for dial, deadline in list(self._open.items()):
            if deadline > now:
                break
            dial.expire()

    def note(self, outcome: Outcome, began: float, reason: str) -> None:
        """Count how a session ended that was due at `began`."""
        self.tally.outcomes[outcome] += 1
        if outcome is Outcome.OK:
            self.tally.latency.add(time.monotonic() - began)
        else:
            self.tally.reasons.setdefault(outcome, reason)

    def free(self, dial: "_Dial", outcome: Outcome) -> None:
        """Let the next client have the place of one that is done."""
        del self._open[dial]
        if outcome is Outcome.OK or self._interval:
            self._start_due()
        else:
            self._rest()

    def _rest(self) -> None:
        self._resting += 1
        self.loop.call_later(FAILURE_PAUSE, self._rested)

    def _rested(self) -> None:
        self._resting -= 1
        self._start_due()


class _Dial:
    """One client: a TCP connection, and the session on it.

    Like chrony it waits for the server to close first; so it is the server that keeps the port in TIME_WAIT, as with
    real clients, and this machine does not run out of them.
    """

    __slots__ = ("_began", "_heard", "_load", "_outcome", "_session", "_socket")

    def __init__(self, load: Load, new: socket.socket, began: float) -> None:
        self._load = load
        self._socket = new
        self._began = began
        self._outcome: Outcome | None = None
        self._heard = False
        self._session = ClientSession(load.context, load.plan.name, REQUEST)
        error = new.connect_ex(load.address)
        if error not in {0, errno.EINPROGRESS}:
            load.loop.call_soon(self._lose, error)
        else:
            load.loop.add_writer(new, self._connected)

    def expire(self) -> None:
        """End the session because its time is up."""
        self._end(Outcome.TIMEOUT, f"no cookies within {PATIENCE:g} s")

    def _connected(self) -> None:
        self._load.loop.remove_writer(self._socket)
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._lose(error)
            return
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._load.loop.add_reader(self._socket, self._readable)
        self._send(self._session.start())

    def _lose(self, error: int) -> None:
        self._end(Outcome.OWN_LIMIT if error in _OWN_LIMITS else Outcome.UNREACHABLE, os.strerror(error))

    def _send(self, flight: bytes) -> None:
        if flight:
            try:
                # A flight is far smaller than any send buffer: it goes whole, or the connection is broken.
                self._load.tally.sent += self._socket.send(flight)
            except OSError:
                self._session.receive_eof()

    def _readable(self) -> None:
        session = self._session
        try:
            data = self._socket.recv(_READ_SIZE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._load.tally.received += len(data)
        self._heard = self._heard or bool(data)
        if not data:
            session.receive_eof()
        elif not session.finished:
            self._send(session.receive_data(data))
        if session.finished and self._outcome is None:
            self._judge()
        if not data or session.failure is not None:
            self._close()

    def _judge(self) -> None:
        reply, failure = self._session.reply, self._session.failure
        if isinstance(reply, Response):
            good = len(reply.cookies) == COOKIES
            self._settle(Outcome.OK if good else Outcome.BAD_ANSWER, f"{len(reply.cookies)} cookies")
        elif isinstance(reply, Refusal):
            self._settle(Outcome.REFUSED, reply.reason.value if reply.code is None else f"NTS-KE error {reply.code}")
        elif self._session.established:
            self._settle(Outcome.BAD_ANSWER, str(failure))
        else:
            self._settle(Outcome.TLS_FAILED if self._heard else Outcome.TURNED_AWAY, str(failure))

    def _settle(self, outcome: Outcome, reason: str) -> None:
        self._outcome = outcome
        self._load.note(outcome, self._began, reason)

    def _end(self, outcome: Outcome, reason: str) -> None:
        if self._outcome is None:
            self._settle(outcome, reason)
        self._close()

    def _close(self) -> None:
        self._load.loop.remove_reader(self._socket)
        self._load.loop.remove_writer(self._socket)
        self._socket.close()
        self._load.free(self, self._outcome or Outcome.TIMEOUT)
