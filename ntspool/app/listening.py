"""The sockets that clients connect to: systemd's, those of a gateway that is no more, and new ones."""

import socket
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from ntspool.net.successor import Successor
from ntspool.net.system import Where, listen_on
from ntspool.net.systemd import Service


class Listening:
    """Opens sockets, or takes over what listens already; workers that lost their gateway offer theirs in `state`."""

    def __init__(self, service: Service, state: Path) -> None:
        self._service = service
        self._predecessors = Successor(state)

    async def open(self, wanted: Sequence[Where], running: AsyncExitStack) -> list[socket.socket]:
        """Return a socket for each place, which is open until `running` is closed; raises LocalError."""
        running.push_async_callback(self._predecessors.stop)
        await self._predecessors.start()
        # systemd's sockets first: what waits there outlives the next restart, too.
        opened = self._service.listening(wanted)
        offered = await self._predecessors.gather()
        _close(offered[where] for where in offered.keys() & opened.keys())
        sockets = listen_on(wanted, offered | opened)
        running.callback(_close, sockets)
        return sockets

    def take_over(self, patience: float) -> None:
        """Have workers that have lost their gateway finish, within `patience` seconds; until now they could go on."""
        self._predecessors.finish(patience)


def _close(sockets: Iterable[socket.socket]) -> None:
    for each in sockets:
        each.close()
