"""Makes a Python process believe that it is another time, by what the file NTSPOOL_SHIFT holds: seconds, a C double.

For PYTHONPATH. The shift may be changed at any time, which is then a step of the clock. The kernel's times of receipt
are shifted, too, as on a machine whose clock is wrong; the monotonic clocks are not, nor are the times in logs.
"""

import mmap
import os
import socket
import struct
import time
from typing import Any

SO_TIMESTAMPNS = 35
TIMESPEC = struct.Struct("@qq")
SHIFT = struct.Struct("@d")
BILLION = 1_000_000_000

with open(os.environ["NTSPOOL_SHIFT"], "rb") as file:
    memory = mmap.mmap(file.fileno(), SHIFT.size, access=mmap.ACCESS_READ)

true_time_ns, true_recvmsg = time.time_ns, socket.socket.recvmsg


def shift() -> int:
    """Return the shift in nanoseconds."""
    return int(SHIFT.unpack_from(memory)[0] * BILLION)


def time_ns() -> int:
    """Stand in for time.time_ns."""
    return true_time_ns() + shift()


def recvmsg(self: socket.socket, *arguments: Any) -> tuple[Any, Any, Any, Any]:
    """Stand in for socket.recvmsg."""
    data, ancillary, flags, address = true_recvmsg(self, *arguments)
    return data, [(level, kind, _shifted(level, kind, value)) for level, kind, value in ancillary], flags, address


def _shifted(level: int, kind: int, value: bytes) -> bytes:
    if (level, kind) != (socket.SOL_SOCKET, SO_TIMESTAMPNS):
        return value
    seconds, nanoseconds = TIMESPEC.unpack(value)
    return TIMESPEC.pack(*divmod(seconds * BILLION + nanoseconds + shift(), BILLION))


time.time_ns = time_ns
time.time = lambda: time_ns() / BILLION
socket.socket.recvmsg = recvmsg  # type: ignore[method-assign]
