"""A time server that says what a test wants it to say, for daemons that follow it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ntspool.wire.ntp import Header, Mode, decode_header, encode_header, ntp_timestamp

_DATAGRAM = 2048
_END = b""


@dataclass
class Upstream:
    """An NTP server at 127.0.0.1, without NTS; change at any time what it says.

    `shift` is how many seconds its time is ahead, `root_dispersion` is in seconds, too. A `silent` one only listens.
    """

    port: int
    shift: float = 0.0
    root_dispersion: float = 0.0
    silent: bool = False

    def speak_the_truth(self) -> None:
        """Say the right time again, and that it is good."""
        self.shift, self.root_dispersion, self.silent = 0.0, 0.0, False

    def answer(self, request: Header) -> Header:
        """Return what a client gets."""
        now = ntp_timestamp(time.time() + self.shift)
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
    """Run one, in a thread."""
    with socket.socket(type=socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        server = Upstream(udp.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(udp, server))
        thread.start()
        try:
            yield server
        finally:
            udp.sendto(_END, udp.getsockname())
            thread.join()


def _serve(udp: socket.socket, server: Upstream) -> None:
    while True:
        request, client = udp.recvfrom(_DATAGRAM)
        if request == _END:
            return
        if not server.silent:
            udp.sendto(encode_header(server.answer(decode_header(request))), client)
