"""The event loop of every process: uvloop's, which would close some descriptors twice."""

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

import uvloop

T = TypeVar("T")


class Loop(uvloop.Loop):
    """Owns a socket that it is given for a connection alone, from when it has it.

    In uvloop (0.23) the Python object keeps the descriptor's number when the connection is lost before it stands, as to
    a peer that dies in the TLS handshake: once collected, it closes whatever has that number by then.
    """

    async def create_connection(
        self,
        *where: Any,  # noqa: ANN401  -- whatever asyncio takes
        sock: socket.socket | None = None,
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Connect as every event loop does; `sock`, if it is given, is of no use to the caller any more."""
        lost = True
        try:
            transport, protocol = await super().create_connection(*where, sock=sock, **options)
            lost = cast("asyncio.Transport", transport).is_closing()
        finally:
            if lost and sock is not None:
                sock.detach()
        return transport, protocol


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a program's coroutine, as asyncio.run does, and return what it returns."""
    return uvloop.run(main, loop_factory=Loop)
