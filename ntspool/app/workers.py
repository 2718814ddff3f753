"""All the workers of a gateway, from the control process's side."""

import asyncio
import itertools
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import structlog

from ntspool.app.supervisor import Supervisor
from ntspool.errors import LocalError
from ntspool.net.channel import Tally
from ntspool.net.upstreams import Trouble
from ntspool.pool.counts import Rate, SessionCounts
from ntspool.pool.limits import TurnedAway
from ntspool.pool.model import Snapshot
from ntspool.pool.upstreamcounts import UpstreamCounts

_MALLOC = "glibc.malloc.tcache_count=127"
"""OpenSSL takes and returns hundreds of small pieces a session: more than 7 of a size are kept at hand.

An operator's own setting stands; other C libraries than glibc do not look at it.
"""

START_DEADLINE = 30.0
"""Seconds in which a worker must serve; beyond that something is wrong with the installation."""

TELL_INTERVAL = 10.0
"""Seconds between two lines about clients that were turned away."""

log = structlog.get_logger()


class Workers:
    """Keeps worker processes running on listening sockets that stay open here.

    A worker that dies loses its own sessions only: the queue of the sockets lives on with the control process. With
    `handover`, the state directory, workers outlive the control process until the next one takes over; without, they
    end with it. `sessions` counts those of all workers since the start, those of workers that are no more too, and
    `turned_away` the clients that they turned away before TLS by the reason. `wanted` is how many workers should run,
    `replaced` how many had a fresh one put in their place. `upstream` counts what they asked of backends that keep
    their own keys; what they met there goes to `on_trouble`.
    """

    def __init__(self, handover: Path | None, on_trouble: Callable[[Trouble], None] = lambda _: None) -> None:
        self.sessions = SessionCounts()
        self.upstream = UpstreamCounts()
        self._on_trouble = on_trouble
        self.turned_away: Counter[TurnedAway] = Counter()
        self.wanted = 0
        self.replaced = 0
        self._rate = Rate(time.monotonic())
        self._deaths = 0
        self._handover = handover
        self._sockets: Sequence[socket.socket] = ()
        self._snapshot: Snapshot
        self._numbers = itertools.count()
        self._supervisors: list[Supervisor] = []
        self._telling: asyncio.Task[None] | None = None

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now."""
        return tuple(each.pid for each in self._supervisors if each.pid is not None)

    @property
    def open_sessions(self) -> int:
        """How many sessions are open, as the workers told within the last second."""
        return sum(each.open for each in self._supervisors)

    @property
    def connections(self) -> Counter[str]:
        """How many connections there are to each backend that keeps its own keys."""
        found: Counter[str] = Counter()
        for each in self._supervisors:
            found.update(each.connections)
        return found

    @property
    def deaths(self) -> int:
        """How often a worker ended that nobody had told to."""
        return self._deaths + sum(each.deaths for each in self._supervisors)

    @property
    def rate(self) -> float:
        """How many sessions a second there were over the last minute."""
        return self._rate(time.monotonic())

    async def start(self, count: int, sockets: Sequence[socket.socket], snapshot: Snapshot) -> None:
        """Start `count` workers; returns once every one serves `snapshot`. Raises LocalError if one does not."""
        self._sockets, self._snapshot, self.wanted = sockets, snapshot, count
        await _until_serving([self._add() for _ in range(count)])
        self._telling = asyncio.create_task(self._tell_turned_away())

    async def publish(self, snapshot: Snapshot) -> None:
        """Make `snapshot` what is served; returns once every running worker does."""
        self._snapshot = snapshot
        supervisors = tuple(self._supervisors)
        for each in supervisors:
            each.publish(snapshot)
        await asyncio.gather(*(each.caught_up(snapshot.revision) for each in supervisors))

    async def resize(self, count: int, patience: float) -> None:
        """Run `count` workers from now; those too many finish as in `stop`. Raises LocalError if a new one fails."""
        self.wanted, surplus = count, self._supervisors[count:]
        await asyncio.gather(*(self._finish(each, patience) for each in surplus))
        await _until_serving([self._add() for _ in range(count - len(self._supervisors))])

    async def replace(self, patience: float) -> None:
        """Put a fresh process in each worker's place, one after the other; the old one finishes as in `stop`.

        Raises LocalError when a fresh one does not serve: it is ended, and those not replaced yet go on.
        """
        for old in tuple(self._supervisors):
            fresh = self._add()
            try:
                await _until_serving([fresh])
            except LocalError:
                await self._finish(fresh, patience)
                raise
            await self._finish(old, patience)
            self.replaced += 1

    async def stop(self, patience: float) -> None:
        """End the workers: they finish their sessions, and are killed after `patience` seconds."""
        if self._telling is not None:
            self._telling.cancel()
        await asyncio.gather(*(self._finish(each, patience) for each in tuple(self._supervisors)))

    def _add(self) -> Supervisor:
        supervisor = Supervisor(next(self._numbers), self._spawn, self._snapshot, self._count, self._wanted_now)
        self._supervisors.append(supervisor)
        return supervisor

    def _wanted_now(self, supervisor: Supervisor) -> bool:
        """Tell whether a worker that has died must be replaced at once: nobody serves, and one is enough to try."""
        return supervisor is self._supervisors[0] and not any(each.serves for each in self._supervisors)

    async def _finish(self, supervisor: Supervisor, patience: float) -> None:
        await supervisor.finish(patience)
        self._supervisors.remove(supervisor)
        self._deaths += supervisor.deaths

    async def _spawn(self, channel: socket.socket) -> asyncio.subprocess.Process:
        listening = [each.fileno() for each in self._sockets]
        words = [str(channel.fileno()), ",".join(map(str, listening))]
        if self._handover is not None:
            words.append(str(self._handover))
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ntspool.app.worker",
            *words,
            pass_fds=[channel.fileno(), *listening],
            env={"GLIBC_TUNABLES": _MALLOC, **os.environ},
        )

    def _count(self, tally: Tally) -> None:
        self.sessions.merge(tally.sessions)
        self._rate.add(tally.sessions.total, time.monotonic())
        self.turned_away.update(tally.turned_away)
        if tally.upstream is not None:
            self.upstream.merge(tally.upstream.counts)
            for trouble in tally.upstream.troubles:
                self._on_trouble(trouble)

    async def _tell_turned_away(self) -> None:
        """Log what was turned away, a line for all of an interval: a flood must not be one in the logs, too."""
        told: Counter[TurnedAway] = Counter()
        while True:
            await asyncio.sleep(TELL_INTERVAL)
            news, told = self.turned_away - told, self.turned_away.copy()
            if news:
                reasons = {str(why): count for why, count in news.items()}
                log.warning("turned away", clients=news.total(), seconds=TELL_INTERVAL, reasons=reasons)


async def _until_serving(supervisors: Iterable[Supervisor]) -> None:
    try:
        async with asyncio.timeout(START_DEADLINE):
            await asyncio.gather(*(each.serving() for each in supervisors))
    except TimeoutError:
        log.error("workers do not serve", seconds=START_DEADLINE)
        raise LocalError(f"workers do not serve after {START_DEADLINE:g} s; their log says why") from None
