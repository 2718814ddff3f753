"""An attacker, as a process: python -m tests.abuse.attack ATTACK PORT SOURCES WINDOW RATE PACE

Keeps WINDOW connections open to PORT of 127.0.0.1, each from another of SOURCES, and opens at most RATE a second; those
that the gateway ends are replaced. What ATTACK says on each it says as fast as the gateway takes it, or a piece
every PACE seconds. Nothing is ever read but what a handshake needs. Standard input tells when to end, by its end;
then a line of JSON says what was done.
"""

import heapq
import itertools
import json
import resource
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_network

from OpenSSL import SSL

from tests.abuse import attacks
from tests.abuse.attacks import Attack

_RESET = struct.pack("ii", 1, 0)
_GONE = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


def sources(words: str) -> Iterator[str]:
    """Yield addresses without end: those of a network, or, for `everywhere`, one of each of 14,000 networks."""
    if words == "everywhere":
        return itertools.cycle(f"127.{second}.{third}.1" for third in range(250) for second in range(70, 126))
    return itertools.cycle([str(each) for each in ip_network(words).hosts()])


@dataclass
class Held:
    """A connection, what is still to be said on it, and what the gateway has not taken yet."""

    socket: socket.socket
    pieces: Iterator[bytes]
    left: bytes = b""


@dataclass
class Attacker:
    """See the module."""

    says: Attack
    port: int
    sources: Iterator[str]
    window: int
    rate: float
    pace: float
    held: dict[int, Held] = field(default_factory=dict)
    due: list[tuple[float, int]] = field(default_factory=list)
    opened: int = 0
    refused: int = 0
    sent: int = 0

    def run(self) -> None:
        self.epoll = select.epoll()
        self.epoll.register(sys.stdin, select.EPOLLHUP | select.EPOLLIN)
        began = time.monotonic()
        while True:
            now = time.monotonic()
            for _ in range(min(self.window - len(self.held), int((now - began) * self.rate) - self.opened, 200)):
                self._open()
            while self.due and self.due[0][0] <= now:
                _, descriptor = heapq.heappop(self.due)
                if descriptor in self.held:
                    self.epoll.modify(descriptor, select.EPOLLOUT | select.EPOLLRDHUP)
            for descriptor, events in self.epoll.poll(0.002, 256):
                if descriptor == sys.stdin.fileno():
                    return
                self._handle(descriptor, events)

    def _open(self) -> None:
        new = socket.socket()
        new.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        new.setblocking(False)
        self.opened += 1
        try:
            new.bind((next(self.sources), 0))
            new.connect_ex(("127.0.0.1", self.port))
            pieces = self.says(new, self.opened)
            first = next(pieces, b"")
        except (OSError, SSL.Error):
            self.refused += 1
            new.close()
            return
        new.setblocking(False)
        self.held[new.fileno()] = Held(new, pieces, first)
        self.epoll.register(new.fileno(), (select.EPOLLOUT if first else 0) | select.EPOLLRDHUP)

    def _handle(self, descriptor: int, events: int) -> None:
        each = self.held[descriptor]
        try:
            if events & _GONE:
                raise ConnectionError
            sent = each.socket.send(each.left)
        except BlockingIOError:
            return
        except OSError:
            del self.held[descriptor]
            each.socket.close()
            return
        self.sent += sent
        each.left = each.left[sent:] or next(each.pieces, b"")
        if not each.left or self.pace:
            self.epoll.modify(descriptor, select.EPOLLRDHUP)
        if each.left and self.pace:
            heapq.heappush(self.due, (time.monotonic() + self.pace, descriptor))


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    name, port, where, window, rate, pace = sys.argv[1:]
    attacker = Attacker(getattr(attacks, name), int(port), sources(where), int(window), float(rate), float(pace))
    attacker.run()
    print(json.dumps({"opened": attacker.opened, "refused": attacker.refused, "sent": attacker.sent}))  # noqa: T201


if __name__ == "__main__":
    main()
