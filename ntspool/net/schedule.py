"""When each address is probed: over and over, evenly spread, and at once when there is news of it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from ntspool.net.probe import Result
from ntspool.pool.fleet import Target

log = structlog.get_logger()


class Schedule:
    """Has targets probed from when they are begun until they are ended.

    `probe` probes one, and raises nothing; `take` is told what it found, and `pause` returns the seconds from there to
    the next.
    """

    def __init__(
        self,
        probe: Callable[[Target], Awaitable[Result | None]],
        take: Callable[[Target, Result | None], None],
        pause: Callable[[Target], float],
    ) -> None:
        self._probe = probe
        self._take = take
        self._pause = pause
        self._hurries: dict[Target, asyncio.Event] = {}
        self._tasks: dict[Target, asyncio.Task[None]] = {}

    async def begin(self, fresh: Sequence[Target]) -> None:
        """Probe every new target once, then begin to do so for ever, spread evenly over the interval."""
        self._hurries |= {target: asyncio.Event() for target in fresh}
        results = await asyncio.gather(*map(self._probe, fresh))
        # All votes first: the first backend that answers is not the only clock for ever.
        for target, result in zip(fresh, results, strict=True):
            self._take(target, result)
        # Some may be ended by now: who stops does not wait for probes.
        left = [target for target in fresh if target in self._hurries]
        for place, target in enumerate(left, 1):
            first = self._pause(target) * place / len(left)
            self._tasks[target] = asyncio.create_task(self._keep_probing(target, first))

    def hurry(self, target: Target) -> None:
        """Probe a target now rather than when its turn comes."""
        if target in self._hurries:
            self._hurries[target].set()

    async def end(self, gone: Iterable[Target]) -> None:
        """Probe these targets no more, not even to the end of a probe that is under way."""
        tasks = []
        for target in gone:
            self._hurries.pop(target, None)
            if task := self._tasks.pop(target, None):
                tasks.append(task)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_probing(self, target: Target, pause: float) -> None:
        loop, hurry = asyncio.get_running_loop(), self._hurries[target]
        due = loop.time() + pause
        while True:
            try:
                async with asyncio.timeout_at(due):
                    await hurry.wait()
            except TimeoutError:
                pass
            hurry.clear()
            began = loop.time()
            try:
                self._take(target, await self._probe(target))
            except Exception:
                # Who is not probed any more would keep its state for ever.
                log.exception("result of a probe not taken", backend=target.backend, address=str(target.address))
            # Jitter keeps the probes of many backends, and of many gateways, from falling into step.
            pause = self._pause(target) * random.uniform(0.9, 1.0)  # noqa: S311  -- no secret
            due = began + pause
