"""An attacker, as a process: python -m tests.abuse.attack ATTACKS PORT SOURCES WINDOW RATE PACE

Keeps WINDOW connections open to PORT of 127.0.0.1, each from another of SOURCES, and opens at most RATE a second; those
that the gateway ends are replaced. What is said on each, by one of ATTACKS (with commas) after the other, is said as
fast as the gateway takes it, or a piece every PACE seconds. Nothing is ever read but what a handshake needs. A line
tells when WINDOW connections have been opened. Standard input tells when to end, by its end; then a line of JSON says
what was done.
"""

import heapq
import itertools
import json
import os
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
_AT_ONCE = 20
_GONE = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


def sources(words: str) -> Iterator[str]:
    """Yield addresses without end: those of a network, or one of each of 14,000 networks, for `everywhere`.

    The number behind that is which of them is the first.
    """
    if words.startswith("everywhere"):
        everywhere = [f"127.{second}.{third}.1" for third in range(250) for second in range(70, 126)]
        start = int(words.removeprefix("everywhere")) % len(everywhere)
        return itertools.cycle(everywhere[start:] + everywhere[:start])
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

    attacks: list[Attack]
    port: int
    sources: Iterator[str]
    window: int
    rate: float
    pace: float
    held: dict[int, Held] = field(default_factory=dict)
    due: list[tuple[float, int]] = field(default_factory=list)
    opened: int = 0
    sent: int = 0
    seconds: float = 0.0

    def run(self) -> None:
        self.epoll = select.epoll()
        self.epoll.register(sys.stdin, select.EPOLLHUP | select.EPOLLIN)
        began = time.monotonic()
        told = False
        while True:
            now = time.monotonic()
            self.seconds = now - began
            if not told and self.opened >= self.window:
                told = True
                print("attacking", flush=True)  # noqa: T201
            for _ in range(min(self.window - len(self.held), int((now - began) * self.rate) - self.opened, _AT_ONCE)):
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
            pieces = self.attacks[self.opened % len(self.attacks)](new, self.opened // len(self.attacks))
            first = next(pieces, b"")
        except (OSError, SSL.Error):
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
    # An attacker takes processor time of his own.
    os.nice(9)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names, port, where, window, rate, pace = sys.argv[1:]
    says = [getattr(attacks, name) for name in names.split(",")]
    attacker = Attacker(says, int(port), sources(where), int(window), float(rate), float(pace))
    attacker.run()
    told = {"opened": attacker.opened, "sent": attacker.sent, "seconds": attacker.seconds}
    print(json.dumps(told))  # noqa: T201


if __name__ == "__main__":
    main()
