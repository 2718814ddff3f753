"""The control process's side of one worker: started, fed, replaced when it dies, finished when that is wanted."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping

import structlog

from ntspool.net.channel import Applied, Channel, Tally
from ntspool.pool.model import Snapshot

FIRST_BACK_OFF = 0.5
"""Seconds before a dead worker is replaced; doubled each time it dies young."""

LONGEST_BACK_OFF = 30.0
"""Seconds, while others serve."""

_OLD_ENOUGH = 60.0

log = structlog.get_logger()


class Supervisor:
    """Keeps one worker process running from when it is made until `finish`.

    `spawn` starts the process on its end of the channel; `count` takes what the worker tells of its work;
    `wanted_now` tells whether no other worker serves, so that this one must not be long in coming. `open` is how many
    sessions it has open, `connections` how many to each backend that keeps its own keys, `deaths` how often it ended by
    itself.
    """

    def __init__(
        self,
        number: int,
        spawn: Callable[[socket.socket], Awaitable[asyncio.subprocess.Process]],
        snapshot: Snapshot,
        count: Callable[[Tally], None],
        wanted_now: Callable[["Supervisor"], bool] = lambda _: False,
    ) -> None:
        self.open = 0
        self.connections: Mapping[str, int] = {}
        self.deaths = 0
        self._number = number
        self._spawn = spawn
        self._snapshot = snapshot
        self._count = count
        self._wanted_now = wanted_now
        self._process: asyncio.subprocess.Process | None = None
        self._applied = -1
        self._changed = asyncio.Condition()
        self._fresh = asyncio.Event()
        self._told_to_finish = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep())

    @property
    def pid(self) -> int | None:
        """The process id of the worker that runs now, if one does."""
        return self._process.pid if self._process else None

    @property
    def serves(self) -> bool:
        """Whether the worker serves."""
        return self._applied >= 0

    def publish(self, snapshot: Snapshot) -> None:
        """Have the worker serve `snapshot`."""
        self._snapshot = snapshot
        self._fresh.set()

    async def serving(self) -> None:
        """Return once the worker serves."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._applied >= 0)

    async def caught_up(self, revision: int) -> None:
        """Return once the worker serves a snapshot of at least `revision`; at once if it does not serve."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._applied < 0 or self._applied >= revision)

    async def finish(self, patience: float) -> None:
        """End the worker for good: it finishes its sessions, and is killed after `patience` seconds."""
        self._told_to_finish.set()
        await self._note(-1)
        self._terminate()
        try:
            async with asyncio.timeout(patience):
                await asyncio.shield(self._keeper)
        except TimeoutError:
            log.warning("worker killed", worker=self._number, pid=self.pid, seconds=patience)
            if self._process is not None:
                self._process.kill()
            await self._keeper

    def _terminate(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        back_off, deaths = FIRST_BACK_OFF, 0
        while True:
            began = loop.time()
            reason = await self._run()
            if self._told_to_finish.is_set():
                return
            self.deaths += 1
            age = loop.time() - began
            back_off, deaths = (FIRST_BACK_OFF, 1) if age > _OLD_ENOUGH else (back_off, deaths + 1)
            words = {"worker": self._number, "reason": reason, "deaths": deaths, "replaced_in": back_off}
            log.error("worker died", age=round(age, 1), **words)
            await self._rest(back_off)
            back_off = min(back_off * 2, LONGEST_BACK_OFF)
            if self._told_to_finish.is_set():
                return

    async def _rest(self, back_off: float) -> None:
        """Wait before the next worker; not for long if there is no other to serve clients meanwhile."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (left := began + back_off - loop.time()) > 0 and not self._told_to_finish.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_finish.wait(), min(left, FIRST_BACK_OFF))
            if self._wanted_now(self):
                return

    async def _run(self) -> str:
        """Run one worker process; return why it ended."""
        try:
            ours, process = await self._start()
        except OSError as error:
            return f"not started: {error.strerror}"
        channel = await Channel.open(ours)
        feeding = asyncio.create_task(self._feed(channel))
        if self._told_to_finish.is_set():
            self._terminate()
        try:
            while (news := await channel.receive()) is not None:
                if not isinstance(news, Applied):
                    self.open = news.open
                    self.connections = news.upstream.open if news.upstream else self.connections
                    self._count(news)
                elif not self._told_to_finish.is_set():
                    await self._note(news.revision)
            return f"pid {process.pid}, {_ending(await process.wait())}"
        finally:
            feeding.cancel()
            channel.close()
            self._process = None
            self.open, self.connections = 0, {}
            await self._note(-1)

    async def _start(self) -> tuple[socket.socket, asyncio.subprocess.Process]:
        """Start one worker process; return our end of the channel to it. Raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                process = self._process = await self._spawn(theirs)
            except OSError:
                ours.close()
                raise
        return ours, process

    async def _feed(self, channel: Channel) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                self._fresh.clear()
                await channel.send(self._snapshot)
                await self._fresh.wait()

    async def _note(self, revision: int) -> None:
        """Note which revision the worker serves; -1 when it serves none, or is no more to be counted on."""
        async with self._changed:
            self._applied = revision
            self._changed.notify_all()


def _ending(status: int) -> str:
    """Return how a process ended, in words for the log."""
    if status >= 0:
        return f"status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
