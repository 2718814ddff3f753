"""A worker process: takes Snapshots from the control process and serves NTS-KE sessions from the last one."""

import asyncio
import signal
import socket
import sys
from collections import Counter
from collections.abc import Sequence

import structlog
import uvloop

from ntspool.net.channel import Applied, Channel, Tally
from ntspool.net.listener import Listener, Rulebook, prepare
from ntspool.net.session import Report
from ntspool.net.system import set_up_logs
from ntspool.pool.model import Snapshot

TALLY_INTERVAL = 1.0
"""Seconds between two tallies; what a worker that dies has not told is lost."""

log = structlog.get_logger()


class Worker:
    """Serves on `sockets` from whatever Snapshot came last over `channel`; each one is acknowledged by its revision.

    It ends, once the running sessions have, on SIGTERM and when the control process is gone.
    """

    def __init__(self, channel: Channel, sockets: Sequence[socket.socket]) -> None:
        self._channel = channel
        self._listener = Listener(sockets, lambda: self._rulebook, self._end_session)
        self._snapshot: Snapshot
        self._rulebook: Rulebook
        self._minted: Counter[int] = Counter()

    async def run(self) -> None:
        """Serve until told to end."""
        following = asyncio.create_task(self._follow())
        telling = asyncio.create_task(self._tell())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, following.cancel)
        # The terminal sends Ctrl-C to the whole group; the control process decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        await asyncio.wait([following])
        await self._listener.stop()
        telling.cancel()
        self._channel.close()

    async def _follow(self) -> None:
        before: Snapshot | None = None
        while (snapshot := await self._channel.receive()) is not None:
            self._adopt(snapshot, before)
            if before is None:
                self._listener.start()
            before = snapshot
            await self._channel.send(Applied(snapshot.revision))

    async def _tell(self) -> None:
        """Tell the control process what was done, whenever there is something to tell."""
        while True:
            await asyncio.sleep(TALLY_INTERVAL)
            if self._minted:
                minted, self._minted = self._minted, Counter()
                await self._channel.send(Tally(minted))

    def _adopt(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        if before is None or snapshot.log != before.log:
            set_up_logs(snapshot.log)
        same = before is not None and snapshot.certificates == before.certificates
        self._rulebook = prepare(snapshot, self._rulebook if same else None)
        self._snapshot = snapshot

    def _end_session(self, report: Report, peer: str, seconds: float) -> None:
        words: dict[str, object] = {"outcome": report.outcome, "ms": round(seconds * 1000, 1)}
        if report.reason:
            words["reason"] = report.reason
        choice = report.answer.choice if report.answer else None
        if choice is not None:
            self._minted[choice.serving.key.id] += 1
            words |= {"backend": choice.serving.backend.name, "address": str(choice.address), "aead": choice.aead.value}
            words |= choice.why()
        if self._snapshot.log.client_addresses:
            words["client"] = peer
        log.info("session", name=report.server_name, **words)


async def _serve(channel: int, listening: Sequence[int]) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    await Worker(await Channel.open(socket.socket(fileno=channel)), sockets).run()


def main() -> None:
    """Run a worker on the descriptors named by the command line: the channel's, then the listening sockets'."""
    channel, *listening = map(int, sys.argv[1:])
    uvloop.run(_serve(channel, listening))


if __name__ == "__main__":
    main()
