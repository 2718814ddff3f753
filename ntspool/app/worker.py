"""A worker process: takes Snapshots from the control process and serves NTS-KE sessions from the last one."""

import asyncio
import contextlib
import gc
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from ntspool.net import eventloop
from ntspool.net.admission import Admission
from ntspool.net.channel import Applied, Channel, Tally, UpstreamTally
from ntspool.net.connection import RandomBytes, Rulebook
from ntspool.net.handover import Handover
from ntspool.net.listener import Listener, prepare
from ntspool.net.session import Outcome, Report
from ntspool.net.sessionlog import SessionLog
from ntspool.net.system import raise_descriptor_limit, set_up_logs
from ntspool.net.tide import Tide
from ntspool.net.tls import library
from ntspool.net.upstreams import Upstreams
from ntspool.pool.counts import SessionCounts
from ntspool.pool.model import Snapshot
from ntspool.pool.upstreamcounts import UpstreamCounts

TALLY_INTERVAL = 1.0
"""Seconds between two tallies; what a worker that dies has not told is lost."""

log = structlog.get_logger()


class Worker:
    """Serves on `sockets` from whatever Snapshot came last over `channel`; each one is acknowledged by its revision.

    On SIGTERM it finishes: it accepts nobody any more, and ends once the running sessions have. When the control
    process is gone, it goes on serving with `handover` until the next control process has others serve in its place,
    and finishes at once without.
    """

    def __init__(self, channel: Channel, sockets: Sequence[socket.socket], handover: Handover | None) -> None:
        self._channel = channel
        self._sockets = sockets
        self._handover = handover
        self._admission = Admission()
        self._listener = Listener(sockets, lambda: self._rulebook, self._end_session, self._admission)
        self._upstreams = Upstreams(RandomBytes())
        self._told_upstream: Mapping[str, int] = {}
        self._log: SessionLog
        self._tide = Tide()
        self._rulebook: Rulebook
        self._counts = SessionCounts()
        self._told_open = 0

    async def run(self) -> None:
        """Serve until told to finish; raises what made it impossible to go on."""
        serving = asyncio.create_task(self._serve())
        telling = asyncio.create_task(self._tell_regularly())
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        # The terminal sends Ctrl-C to the whole group; the control process decides what it means.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        await asyncio.wait([serving])
        telling.cancel()
        await self._finish()
        if not serving.cancelled():
            serving.result()

    async def _serve(self) -> None:
        serves = await self._follow()
        if serves and self._handover is not None:
            log.warning("the control process is gone; serving what it said last until there is another")
            await self._handover.run()

    async def _follow(self) -> bool:
        """Serve what the control process says, as long as it lives; tell whether it said anything."""
        before: Snapshot | None = None
        with contextlib.suppress(ConnectionError):
            while (snapshot := await self._channel.receive()) is not None:
                self._adopt(snapshot, before)
                if before is None:
                    self._listener.start()
                    log.info("worker serving", tls=library())
                before = snapshot
                await self._channel.send(Applied(snapshot.revision))
        return before is not None

    async def _finish(self) -> None:
        if self._handover is not None:
            self._handover.withdraw()
        stopping = asyncio.create_task(self._listener.stop())
        await asyncio.sleep(0)
        # Nobody may wait in a queue that no process serves any more.
        for each in self._sockets:
            each.close()
        await stopping
        self._upstreams.close()
        with contextlib.suppress(ConnectionError):
            await self._tell()
        self._channel.close()

    async def _tell_regularly(self) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                await asyncio.sleep(TALLY_INTERVAL)
                self._log.sweep()
                self._tide.watch(self._listener.open_sessions, time.monotonic())
                await self._tell()

    async def _tell(self) -> None:
        """Tell the control process what was done, if there is something to tell; raises ConnectionError."""
        turned_away, still_open = self._admission.take_counts(), self._listener.open_sessions
        upstream = self._upstream_tally()
        if self._counts.outcomes or turned_away or still_open != self._told_open or upstream:
            counts, self._counts = self._counts, SessionCounts()
            self._told_open = still_open
            await self._channel.send(Tally(counts, turned_away, still_open, upstream))

    def _upstream_tally(self) -> UpstreamTally | None:
        """Return what is new about the backends that are asked for cookies, None if nothing is."""
        counts, troubles = self._upstreams.take_news()
        connections = self._upstreams.open
        if counts == UpstreamCounts() and not troubles and connections == self._told_upstream:
            return None
        self._told_upstream = connections
        return UpstreamTally(counts, troubles, connections)

    def _adopt(self, snapshot: Snapshot, before: Snapshot | None) -> None:
        if before is None or snapshot.log != before.log:
            set_up_logs(snapshot.log)
            self._log = SessionLog(snapshot.log, asyncio.get_running_loop().call_soon)
        same = before is not None and snapshot.certificates == before.certificates
        self._upstreams.adopt(snapshot.serving)
        self._rulebook = prepare(snapshot, self._rulebook if same else None, self._upstreams.fetch)
        self._admission.adopt(snapshot.rules)
        if before is None:
            # What was made so far stays: no collection need look at it again.
            gc.collect()
            gc.freeze()

    def _end_session(self, report: Report, peer: str, seconds: float) -> None:
        counts, choice = self._counts, report.answer.choice if report.answer is not None else None
        counts.end(report.outcome.value, seconds, report.handshake)
        if report.outcome is not Outcome.OK:
            counts.fail(report.reason or report.outcome.value)
        elif choice is not None:
            key = choice.serving.key
            counts.assign(choice.serving.backend.name, choice.aead.value, None if key is None else key.id)
        self._log.write(report, peer, seconds)


async def _serve(channel: int, listening: Sequence[int], directory: Path | None) -> None:
    sockets = [socket.socket(fileno=descriptor) for descriptor in listening]
    handover = None if directory is None else Handover(directory, sockets)
    await Worker(await Channel.open(socket.socket(fileno=channel)), sockets, handover).run()


def main() -> None:
    """Run a worker. The command line names the descriptors of the channel and, with commas, of the listening sockets.

    Then comes the state directory, if the worker is to outlive the control process.
    """
    channel, listening, *directory = sys.argv[1:]
    raise_descriptor_limit()
    descriptors = [int(each) for each in listening.split(",")]
    eventloop.run(_serve(int(channel), descriptors, Path(directory[0]) if directory else None))


if __name__ == "__main__":
    main()
