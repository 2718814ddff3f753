"""Frames between the control process and a worker, over a socket pair that nobody else can reach."""

import asyncio
import copyreg
import pickle
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from ntspool.net.upstreams import Trouble
from ntspool.pool.counts import SessionCounts
from ntspool.pool.limits import TurnedAway
from ntspool.pool.upstreamcounts import UpstreamCounts
from ntspool.wire.secret import Secret

_LENGTH = 4


@dataclass(frozen=True, slots=True)
class Applied:
    """A worker's word that it serves from the Snapshot of this revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class UpstreamTally:
    """What a worker asked of backends that keep their own keys since its last tally, and what it met there.

    `open` are the connections to each now.
    """

    counts: UpstreamCounts
    troubles: tuple[Trouble, ...]
    open: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Tally:
    """What a worker has done since its last tally: `sessions`, `turned_away` by the reason; and the `open` ones now.

    `upstream` is None while no backend keeps its own keys.
    """

    sessions: SessionCounts
    turned_away: Mapping[TurnedAway, int]
    open: int
    upstream: UpstreamTally | None = None


_TO_BE_PICKLED: Final[Mapping[Any, Any]] = {**copyreg.dispatch_table, Secret: lambda each: (Secret, (each.reveal(),))}
"""How values go over the pair, to which alone secrets may go."""


class Channel:
    """One end of the pair: sends and receives whole values.

    Values are pickled, as multiprocessing does: both ends are the same program, and the pair has no name, so
    nobody else can write into it.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> "Channel":
        """Return the channel over one end of a stream socket pair, which it closes in the end."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    async def send(self, value: object) -> None:
        """Send a value; raises ConnectionError when the other end is gone."""
        if self._writer.is_closing():
            # uvloop would raise RuntimeError.
            raise ConnectionResetError
        frame = _pickled(value)
        self._writer.write(len(frame).to_bytes(_LENGTH, "big") + frame)
        await self._writer.drain()

    async def receive(self) -> Any:  # noqa: ANN401  -- whatever the other end sent
        """Return the next value, or None once the other end is gone."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH), "big")
            return pickle.loads(await self._reader.readexactly(length))  # noqa: S301  -- see the class
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def close(self) -> None:
        """Close this end; the other end's `receive` returns None."""
        self._writer.close()


def _pickled(value: object) -> bytes:
    frame = BytesIO()
    pickler = pickle.Pickler(frame)
    pickler.dispatch_table = _TO_BE_PICKLED
    pickler.dump(value)
    return frame.getvalue()
