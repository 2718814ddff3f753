"""The control process's side of the workers: start them, feed them, replace those that die."""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Callable, Sequence

import structlog

from ntspool.net.channel import Applied, Channel
from ntspool.pool.limits import TurnedAway
from ntspool.pool.model import Snapshot

FIRST_BACK_OFF = 0.5
"""Seconds before a dead worker is replaced; doubled each time it dies young."""

LONGEST_BACK_OFF = 30.0

TELL_INTERVAL = 10.0
"""Seconds between two lines about clients that were turned away."""

_OLD_ENOUGH = 60.0

log = structlog.get_logger()


class Workers:
    """Keeps worker processes running on listening sockets that stay open here.

    A worker that dies loses its own sessions only: the queue of the sockets lives on with the control process.
    `minted` counts the sessions of all workers by the key id that they were minted under, `turned_away` the clients
    that they turned away before TLS by the reason.
    """

    def __init__(self) -> None:
        self.minted: Counter[int] = Counter()
        self.turned_away: Counter[TurnedAway] = Counter()
        self._sockets: Sequence[socket.socket] = ()
        self._snapshot: Snapshot
        self._news = asyncio.Condition()
        self._applied: dict[int, int] = {}
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now."""
        return tuple(process.pid for process in self._processes.values())

    async def start(self, count: int, sockets: Sequence[socket.socket], snapshot: Snapshot) -> None:
        """Start `count` workers; returns once every one serves `snapshot`."""
        self._sockets, self._snapshot = sockets, snapshot
        self._keepers = [asyncio.create_task(self._keep(index)) for index in range(count)]
        self._keepers.append(asyncio.create_task(self._tell_turned_away()))
        await self._wait_until(lambda: len(self._applied) == count)

    async def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` what is served; returns once every running worker does."""
        async with self._news:
            self._snapshot = snapshot
            self._news.notify_all()
        await self._wait_until(lambda: all(r >= snapshot.revision for r in self._applied.values()))

    async def stop(self, patience: float) -> None:
        """End the workers: they finish their sessions, and are killed after `patience` seconds."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        await asyncio.gather(*(_reap(process, patience) for process in self._processes.values()))

    async def _wait_until(self, condition: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(condition)

    async def _keep(self, index: int) -> None:
        loop = asyncio.get_running_loop()
        back_off = FIRST_BACK_OFF
        while True:
            began = loop.time()
            await self._run_one(index)
            back_off = FIRST_BACK_OFF if loop.time() - began > _OLD_ENOUGH else min(back_off * 2, LONGEST_BACK_OFF)
            await asyncio.sleep(back_off)

    async def _run_one(self, index: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = [theirs.fileno(), *(each.fileno() for each in self._sockets)]
            process = self._processes[index] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ntspool.app.worker", *map(str, descriptors), pass_fds=descriptors
            )
        channel = await Channel.open(ours)
        feeding = asyncio.create_task(self._feed(channel))
        try:
            while (news := await channel.receive()) is not None:
                if isinstance(news, Applied):
                    await self._note(index, news.revision)
                else:
                    self.minted.update(news.minted)
                    self.turned_away.update(news.turned_away)
            log.error("worker died", worker=index, status=await process.wait())
        finally:
            feeding.cancel()
            # A worker ends when its channel does.
            channel.close()
            await self._note(index, None)

    async def _tell_turned_away(self) -> None:
        """Log what was turned away, a line for all of an interval: a flood must not be one in the logs, too."""
        told: Counter[TurnedAway] = Counter()
        while True:
            await asyncio.sleep(TELL_INTERVAL)
            news, told = self.turned_away - told, self.turned_away.copy()
            if news:
                reasons = {str(why): count for why, count in news.items()}
                log.warning("turned away", clients=news.total(), seconds=TELL_INTERVAL, reasons=reasons)

    async def _feed(self, channel: Channel) -> None:
        sent = -1
        while True:
            async with self._news:
                while self._snapshot.revision == sent:
                    await self._news.wait()
                snapshot = self._snapshot
            sent = snapshot.revision
            await channel.send(snapshot)

    async def _note(self, index: int, revision: int | None) -> None:
        async with self._news:
            if revision is None:
                self._applied.pop(index, None)
            else:
                self._applied[index] = revision
            self._news.notify_all()


async def _reap(process: asyncio.subprocess.Process, patience: float) -> None:
    try:
        async with asyncio.timeout(patience):
            await process.wait()
    except TimeoutError:
        log.warning("worker killed", pid=process.pid, seconds=patience)
        process.kill()
        await process.wait()
