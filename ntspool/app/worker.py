"""A worker process: takes Snapshots from the control process and serves NTS-KE sessions from the last one."""

import asyncio
import gc
import signal
import socket
import sys
from collections import Counter
from collections.abc import Sequence

import uvloop

from ntspool.net.admission import Admission
from ntspool.net.channel import Applied, Channel, Tally
from ntspool.net.connection import Rulebook
from ntspool.net.listener import Listener, prepare
from ntspool.net.session import Report
from ntspool.net.sessionlog import SessionLog
from ntspool.net.system import set_up_logs
from ntspool.pool.model import Snapshot

TALLY_INTERVAL = 1.0
"""Seconds between two tallies; what a worker that dies has not told is lost."""


class Worker:
    """Serves on `sockets` from whatever Snapshot came last over `channel`; each one is acknowledged by its revision.

    It ends, once the running sessions have, on SIGTERM and when the control process is gone.
    """

    def __init__(self, channel: Channel, sockets: Sequence[socket.socket]) -> None:
        self._channel = channel
        self._admission = Admission()
        self._listener = Listener(sockets, lambda: self._rulebook, self._end_session, self._admission)
        self._log: SessionLog
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
            minted, self._minted = self._minted, Counter()
            turned_away = self._admission.take_counts()
            if minted or turned_away:
                await self._channel.send(Tally(minted, turned_away))

    def _adopt(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        if before is None or snapshot.log != before.log:
            set_up_logs(snapshot.log)
            self._log = SessionLog(snapshot.log, asyncio.get_running_loop().call_soon)
        same = before is not None and snapshot.certificates == before.certificates
        self._rulebook = prepare(snapshot, self._rulebook if same else None)
        self._admission.adopt(snapshot.rules)
        if before is None:
            # What was made so far stays: no collection need look at it again.
            gc.collect()
            gc.freeze()

    def _end_session(self, report: Report, peer: str, seconds: float) -> None:
        if report.answer is not None and report.answer.choice is not None:
            self._minted[report.answer.choice.serving.key.id] += 1
        self._log.write(report, peer, seconds)


async def _serve(channel: int, listening: Sequence[int]) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    await Worker(await Channel.open(socket.socket(fileno=channel)), sockets).run()


def main() -> None:
    """Run a worker on the descriptors named by the command line: the channel's, then the listening sockets'."""
    channel, *listening = map(int, sys.argv[1:])
    uvloop.run(_serve(channel, listening))


if __name__ == "__main__":
    main()
