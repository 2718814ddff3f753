"""What a starting control process gets from workers that have lost theirs, and how these end; see handover.py."""

import asyncio
import contextlib
import os
import signal
import socket
from pathlib import Path

import structlog

from ntspool.errors import LocalError
from ntspool.net.filelock import FileLock
from ntspool.net.handover import (
    FINISH,
    MAX_PACKET,
    OFFER,
    SOCKET,
    TAKEN,
    WORKERS_LOCK,
    address_in,
    message_of,
    packet,
    trusted_peer,
)
from ntspool.net.system import Where

OFFER_DEADLINE = 5.0
"""Seconds in which every worker that has lost its control process must have made its offer to the next one."""

_CONTROL_LOCK = "control.lock"
_MAX_SOCKETS = 253  # SCM_MAX_FD of unix(7)
_LOOK_AGAIN = 0.02

log = structlog.get_logger()


class Successor:
    """The control process's side, in the state directory `directory`.

    `start` makes sure that this is the only control process there, until `stop`; `gather` what workers of earlier ones
    listen on; call `finish` once others serve in their place. Without that, they go on serving after `stop`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._control = FileLock(directory / _CONTROL_LOCK)
        self._workers = FileLock(directory / WORKERS_LOCK)
        self._offered: dict[Where, socket.socket] | None = {}
        self._successors_serve = asyncio.Event()
        self._patience = 0.0
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._meetings: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Begin to take offers; raises LocalError if another control process lives."""
        if not self._control.take():
            raise LocalError(f"another gateway runs with the state directory {self._directory}")
        self._listening = _listen(self._directory)
        self._accepting = asyncio.create_task(self._accept(self._listening))

    async def gather(self) -> dict[Where, socket.socket]:
        """Return the sockets that workers without a control process listen on; they are the caller's to close."""
        try:
            async with asyncio.timeout(OFFER_DEADLINE):
                while not self._workers.take():  # noqa: ASYNC110  -- it is other processes that let go
                    await asyncio.sleep(_LOOK_AGAIN)
        except TimeoutError:
            log.warning("workers of an earlier gateway keep silent", seconds=OFFER_DEADLINE)
        self._workers.release()
        offered, self._offered = self._offered or {}, None
        if offered:
            log.info("taking over", workers=len(self._meetings), listen=[f"{host}:{port}" for host, port in offered])
        return offered

    def finish(self, patience: float) -> None:
        """Tell the workers of earlier gateways to finish, late comers too; each is killed after `patience` seconds."""
        self._patience = patience
        self._successors_serve.set()

    async def stop(self) -> None:
        """Return once those who were told to finish have ended; then another control process may come."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
        if not self._successors_serve.is_set():
            for meeting in self._meetings:
                meeting.cancel()
        await asyncio.gather(*self._meetings, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()
            (self._directory / SOCKET).unlink(missing_ok=True)
        for each in (self._offered or {}).values():
            each.close()
        self._control.release()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            meeting = asyncio.create_task(self._meet(connection))
            self._meetings.add(meeting)
            meeting.add_done_callback(self._meetings.discard)

    async def _meet(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, contextlib.suppress(OSError):
            pid = trusted_peer(connection)
            async with asyncio.timeout(OFFER_DEADLINE):
                await self._take_offer(connection)
            await loop.sock_sendall(connection, packet(TAKEN))
            await self._successors_serve.wait()
            await loop.sock_sendall(connection, packet(FINISH))
            try:
                async with asyncio.timeout(self._patience):
                    await loop.sock_recv(connection, 1)
            except TimeoutError:
                # The connection is open, so the number is still that process's.
                log.warning("worker of an earlier gateway killed", pid=pid, seconds=self._patience)
                os.kill(pid, signal.SIGKILL)
            log.info("worker of an earlier gateway finished", pid=pid)

    async def _take_offer(self, connection: socket.socket) -> None:
        await _readable(connection)
        offer, descriptors, _, _ = socket.recv_fds(connection, MAX_PACKET, _MAX_SOCKETS)
        offered = [socket.socket(fileno=descriptor) for descriptor in descriptors]
        good = message_of(offer) == OFFER and all(map(_listens, offered))
        for each in offered:
            each.set_inheritable(False)
            where: Where = each.getsockname()[:2]
            if good and self._offered is not None and where not in self._offered:
                self._offered[where] = each
            else:
                each.close()
        if not good:
            raise ConnectionAbortedError


def _listen(directory: Path) -> socket.socket:
    """Return the socket for offers; one that a dead control process left is replaced."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        with address_in(directory) as address:
            Path(address).unlink(missing_ok=True)
            listening.bind(address)
            Path(address).chmod(0o600)
        listening.listen()
    except OSError as error:
        listening.close()
        raise LocalError(f"cannot listen on {directory / SOCKET}: {error.strerror}") from error
    return listening


def _listens(each: socket.socket) -> bool:
    inet = each.family in (socket.AF_INET, socket.AF_INET6) and each.type == socket.SOCK_STREAM
    return inet and bool(each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


async def _readable(connection: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
