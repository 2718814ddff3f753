"""What lets workers outlive their control process: the next one gets their listening sockets, then lets them finish.

A worker without a control process goes on serving and offers its sockets at a Unix socket in the state directory. A
packet is a JSON object, and what a socket listens on the kernel tells: nothing here is unpickled, and both ends see
to it that the other one is the same user, or root.

    worker                       control process
      | offer, with descriptors -->  |
      | <-- taken                    |  from now the control process holds the sockets, too
      |                              |  (it starts workers of its own on them)
      | <-- finish                   |
      | end of the connection -->    |  the worker has ended

Every worker holds a lock in common with the others until its offer is taken: a control process that gets it for
itself knows that nobody is left to wait for.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from ntspool.errors import StateError
from ntspool.net.filelock import FileLock

OFFER_INTERVAL = 0.1
"""Seconds between two looks for a control process."""

SOCKET = "handover.sock"
"""Where offers are made, in the state directory."""

WORKERS_LOCK = "workers.lock"
"""The file whose lock is shared by the workers whose sockets no other control process holds."""

OFFER, TAKEN, FINISH = "offer", "taken", "finish"
MAX_PACKET = 4096

_ROOT = 0


class Handover:
    """A worker's side: until its offer of `sockets` is taken, control processes to come know that it is there.

    At most 253 sockets can be handed over. Making one raises StateError.
    """

    def __init__(self, directory: Path, sockets: Sequence[socket.socket]) -> None:
        self._directory = directory
        self._sockets = sockets
        self._lock = FileLock(directory / WORKERS_LOCK)
        self._lock.take(shared=True)
        self._connection: socket.socket | None = None

    async def run(self) -> None:
        """Look for a control process and return once it says that others serve; keep this until the process ends."""
        while not await self._offer():  # noqa: ASYNC110  -- it is another process that appears
            await asyncio.sleep(OFFER_INTERVAL)

    def withdraw(self) -> None:
        """Make no offer any more: this worker finishes."""
        self._lock.release()

    async def _offer(self) -> bool:
        """Offer the sockets, and tell whether it came to the end."""
        loop = asyncio.get_running_loop()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            with address_in(self._directory) as address:
                connection.connect(address)
            trusted_peer(connection)
            socket.send_fds(connection, [packet(OFFER)], [each.fileno() for each in self._sockets])
            if message_of(await loop.sock_recv(connection, MAX_PACKET)) == TAKEN:
                self._lock.release()
                if message_of(await loop.sock_recv(connection, MAX_PACKET)) == FINISH:
                    # It closes when this process ends, which is what the other side waits for.
                    self._connection = connection
                    return True
        except OSError:
            pass
        finally:
            if self._connection is None:
                connection.close()
        # Whoever had taken the offer is gone.
        with contextlib.suppress(StateError):
            self._lock.take(shared=True)
        return False


@contextlib.contextmanager
def address_in(directory: Path) -> Iterator[str]:
    """Yield a path of the socket that is short enough for any directory: the kernel takes 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)


def trusted_peer(connection: socket.socket) -> int:
    """Return the process id of the other end; raises ConnectionRefusedError if it is another user's."""
    layout = struct.Struct("3i")
    pid, user, _ = layout.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size))
    if user not in (_ROOT, os.geteuid()):
        raise ConnectionRefusedError
    return int(pid)


def packet(message: str) -> bytes:
    """Return the packet that says `message`."""
    return json.dumps({"version": 1, "message": message}).encode()


def message_of(received: bytes) -> str | None:
    """Return what a packet says, if it is one of this version."""
    try:
        match json.loads(received):
            case {"version": 1, "message": str(message)}:
                return message
    except (ValueError, RecursionError):
        pass
    return None
