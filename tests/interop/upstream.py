"""Where a chronyd gets its time from when a test has to have a say in it: two time servers, of which one lies."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

from ntspool.wire.ntp import Header, Mode, decode_header, encode_header, ntp_timestamp
from tests.interop.daemons import Daemon, chronyd
from tests.interop.lab import free_port

LIE = 0.3
"""Seconds by which the liar is ahead."""

_HONEST, _LIAR = "127.0.0.1", "127.0.0.2"
_DATAGRAM = 2048
_END = b""


@dataclass
class Upstream:
    """Two NTP servers at one port, without NTS; change at any time what they say.

    `root_dispersion` is in seconds. `silent` servers only listen.
    """

    port: int
    root_dispersion: float = 0.0
    silent: bool = False

    @property
    def follower(self) -> partial[object]:
        """What runs a chronyd, of whatever version, that follows the honest one, or the liar if told to."""
        # Sixteen polls a second, of which four count: it is sure of itself a quarter second after its start. That
        # the liar is another server, well known when its turn comes, keeps the change from costing any certainty.
        polls = f"port {self.port} iburst minpoll -4 maxpoll -4 maxsamples 4"
        return partial(chronyd, local=False, extra=f"server {_HONEST} {polls} trust\nserver {_LIAR} {polls}")

    def lie(self, daemon: Daemon) -> None:
        """Have a running follower follow the liar."""
        daemon.chronyc("offline", _HONEST)

    def be_honest(self, daemon: Daemon) -> None:
        """Have it follow the honest one again."""
        daemon.chronyc("online", _HONEST)

    @contextmanager
    def without_the_liar(self, daemon: Daemon) -> Iterator[None]:
        """Keep a running follower from the liar in the block: it would follow him when the honest one is no good."""
        daemon.chronyc("offline", _LIAR)
        yield
        daemon.chronyc("online", _LIAR)

    def serve(self, udp: socket.socket, shift: float) -> None:
        """Answer what comes, `shift` seconds ahead, until told to end."""
        while True:
            request, client = udp.recvfrom(_DATAGRAM)
            if request == _END:
                return
            if not self.silent:
                udp.sendto(encode_header(self._answer(decode_header(request), shift)), client)

    def _answer(self, request: Header, shift: float) -> Header:
        now = ntp_timestamp(time.time() + shift)
        return Header(
            Mode.SERVER,
            stratum=1,
            poll=request.poll,
            precision=-20,
            root_dispersion=round(self.root_dispersion * 65536),
            reference_id=b"TEST",
            reference_timestamp=now,
            origin_timestamp=request.transmit_timestamp,
            receive_timestamp=now,
            transmit_timestamp=now,
        )


@contextmanager
def upstream() -> Iterator[Upstream]:
    """Run both, in threads."""
    with ExitStack() as stack:
        server = Upstream(free_port(_HONEST, _LIAR))
        for host, shift in ((_HONEST, 0.0), (_LIAR, LIE)):
            udp = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
            udp.bind((host, server.port))
            thread = threading.Thread(target=server.serve, args=(udp, shift))
            thread.start()
            stack.callback(_end, udp, thread)
        yield server


def _end(udp: socket.socket, thread: threading.Thread) -> None:
    udp.sendto(_END, udp.getsockname())
    thread.join()
