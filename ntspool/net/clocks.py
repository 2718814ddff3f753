"""A clock that nobody sets, and when the kernel got a datagram."""

import socket
import struct
import time
from collections.abc import Callable, Iterable

_SO_TIMESTAMPNS = 35  # <asm-generic/socket.h>; Python has no name for it
_TIMESPEC = struct.Struct("@qq")
_LONGEST_WAIT = 10.0

Ancillary = Iterable[tuple[int, int, bytes]]
"""What `recvmsg` returns beside the data."""

ANCILLARY_SPACE = socket.CMSG_SPACE(_TIMESPEC.size)
"""Bytes to ask `recvmsg` for."""


class SteadyClock:
    """Unix seconds at its making, counted on from there, whatever becomes of the system's clock.

    Neither steps nor slews reach it, so that offsets measured one after the other compare: chronyd slews a clock by up
    to 8 %, and CLOCK_MONOTONIC with it, but not CLOCK_MONOTONIC_RAW.
    """

    def __init__(self) -> None:
        self._base = time.time() - self._raw()

    def __call__(self) -> float:
        """Return the time."""
        return self._base + self._raw()

    @staticmethod
    def _raw() -> float:
        return time.clock_gettime(time.CLOCK_MONOTONIC_RAW)


def stamp_datagrams(udp: socket.socket) -> None:
    """Let the kernel tell when each datagram came, if it can."""
    try:
        udp.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    except OSError:
        return


def keep_stamping() -> socket.socket | None:
    """Return a socket to keep open while datagrams shall be stamped; None if there is none to be had.

    The kernel begins to stamp a moment after the first socket asks for it, and ceases with the last: sockets that live
    for one answer only would get no stamp on a machine where nobody else asks.
    """
    try:
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return None
    stamp_datagrams(udp)
    return udp


def received_at(ancillary: Ancillary, clock: Callable[[], float]) -> float:
    """Return when a datagram came, by `clock`; now, if the kernel has not told.

    It tells in the system's time: what counts is how long ago that was.
    """
    for level, kind, data in ancillary:
        if (level, kind, len(data)) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS, _TIMESPEC.size):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            ago: float = (time.time_ns() - (seconds * 1_000_000_000 + nanoseconds)) / 1e9
            # Otherwise the system's clock was stepped in between.
            if 0 <= ago < _LONGEST_WAIT:
                return clock() - ago
    return clock()
