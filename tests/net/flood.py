"""A flood of connections, as a process: python flood.py PORT SOURCES WINDOW FIRST_BYTES

Connects to PORT of 127.0.0.1 from one of SOURCES (with commas) after the other, as fast as it can, says FIRST_BYTES
(hexadecimal), and keeps the last WINDOW connections open, until standard input ends.
"""

import contextlib
import itertools
import select
import socket
import struct
import sys
from collections import deque

RESET = struct.pack("ii", 1, 0)


def flood(port: int, sources: list[str], window: int, first: bytes) -> None:
    held: deque[socket.socket] = deque()
    for number, source in enumerate(itertools.cycle(sources)):
        if number % 64 == 0 and select.select([sys.stdin], [], [], 0)[0]:
            return
        connection = socket.socket()
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        with contextlib.suppress(OSError):
            connection.bind((source, 0))
            connection.connect_ex(("127.0.0.1", port))
            connection.send(first)
        held.append(connection)
        if len(held) > window:
            held.popleft().close()


if __name__ == "__main__":
    flood(int(sys.argv[1]), sys.argv[2].split(","), int(sys.argv[3]), bytes.fromhex(sys.argv[4]))
