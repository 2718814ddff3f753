"""What the listener asks before a client costs a TLS handshake: may it come in.

The limits hold in each worker by itself: the workers take clients from one queue, so each sees its part of every
prefix, and none has to ask another. What a worker turns away it closes without a byte: a chrony client then comes again
in 16 s, where an error would keep it away for 1024 s.
"""

import os
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable
from math import inf

from ntspool.pool.limits import SALT_LENGTH, UNLIMITED, Limits, Place, TurnedAway
from ntspool.pool.model import SessionRules
from ntspool.pool.shedding import Shedder

WAIT_HOLDS = 0.001
"""Seconds for which the wait of one client stands for those taken after it: to ask costs a tenth of turning away."""

_LAST_DATA_SENT = struct.Struct("=44xI")


class Admission:
    """Lets clients in by the rules that were adopted last, and counts those turned away by their reasons.

    `adopt` rules before anybody comes. A client that is let in, with its Place, must be released when its session
    ends. `clock` returns seconds and never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules: SessionRules
        self._clock = clock
        self._limits = Limits(UNLIMITED, UNLIMITED, os.urandom(SALT_LENGTH))
        # One for each listening socket: each has a queue of its own, and one may be empty while another overflows.
        self._shedders: dict[int, Shedder] = {}
        self._waits: dict[int, tuple[float, float]] = {}
        self._turned_away: Counter[TurnedAway] = Counter()

    def adopt(self, rules: SessionRules) -> None:
        """Go on by these rules; what is known of the prefixes stays."""
        self._rules = rules
        self._limits.addresses.adopt(rules.per_address)
        self._limits.networks.adopt(rules.per_network)
        for each in self._shedders.values():
            each.limit = rules.queue

    def take_counts(self) -> Counter[TurnedAway]:
        """Return how many were turned away since the last call."""
        counts, self._turned_away = self._turned_away, Counter()
        return counts

    def turn_away(self, why: TurnedAway) -> None:
        """Count a client that is turned away."""
        self._turned_away[why] += 1

    def admit(self, queue: int, accepted: socket.socket, packed: bytes, *, room: bool) -> Place | None:
        """Let in a client that was accepted from `packed` (4 or 16 bytes), or count it and return None.

        `queue` is the index of the listening socket, `room` tells whether the worker has a place for one more.
        """
        rules, now = self._rules, self._clock()
        if not rules.access.allows(packed):
            verdict: Place | TurnedAway = TurnedAway.DENIED
        elif not room:
            verdict = TurnedAway.SESSIONS
        # Before the prefixes, which cost more to look at: in overload, what it takes to turn one away is dear.
        elif rules.queue is not None and self._sheds(queue, accepted, now):
            verdict = TurnedAway.OVERLOAD
        else:
            verdict = self._limits.admit(packed, now)
        return self._counted(verdict)

    def admit_balancer(self, queue: int, accepted: socket.socket, packed: bytes, *, room: bool) -> bool:
        """Tell whether a connection from `packed`, which must be a trusted balancer's, may go on to send its header.

        A balancer's connections are those of many clients: its own prefix is under no limit. `admit_behind` the
        client that the header names.
        """
        trusted = self._rules.trusted(queue)
        if trusted is None or not trusted.allows(packed):
            self.turn_away(TurnedAway.UNTRUSTED_PROXY)
        elif not room:
            self.turn_away(TurnedAway.SESSIONS)
        elif self._rules.queue is not None and self._sheds(queue, accepted, self._clock()):
            self.turn_away(TurnedAway.OVERLOAD)
        else:
            return True
        return False

    def admit_behind(self, packed: bytes) -> Place | None:
        """Let in the client that a balancer brings, or count it and return None."""
        if not self._rules.access.allows(packed):
            return self._counted(TurnedAway.DENIED)
        return self._counted(self._limits.admit(packed, self._clock()))

    def release(self, place: Place) -> None:
        """Give back the place of a client whose session has ended."""
        self._limits.release(place)

    def _counted(self, verdict: Place | TurnedAway) -> Place | None:
        if isinstance(verdict, TurnedAway):
            self.turn_away(verdict)
            return None
        return verdict

    def _sheds(self, queue: int, accepted: socket.socket, now: float) -> bool:
        shedder = self._shedders.get(queue)
        if shedder is None:
            shedder = self._shedders[queue] = Shedder(self._rules.queue)
            self._waits[queue] = -inf, 0.0
        asked, waited = self._waits[queue]
        if now - asked >= WAIT_HOLDS:
            waited = seconds_waited(accepted)
            self._waits[queue] = now, waited
        return shedder.sheds(waited, now)


def seconds_waited(accepted: socket.socket) -> float:
    """Return how long a connection that was just accepted, and has sent nothing, has waited in the queue.

    `tcpi_last_data_sent` (struct tcp_info of linux/tcp.h) counts milliseconds from the end of the TCP handshake until
    we send something; the client has no say in it. One that is gone has waited for nothing.
    """
    try:
        info = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_SENT.size)
        (milliseconds,) = _LAST_DATA_SENT.unpack(info)
    except (OSError, struct.error):
        return 0.0
    return float(milliseconds) / 1000


def packed_address(peer: str) -> bytes:
    """Return the address that accept(2) tells, in network byte order: 4 bytes, or 16."""
    literal = peer.removeprefix("::ffff:").partition("%")[0]
    return socket.inet_pton(socket.AF_INET6 if ":" in literal else socket.AF_INET, literal)
