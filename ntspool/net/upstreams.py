"""What a worker's sessions get their deferred answers from: the backends that keep their own keys."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import structlog

from ntspool.errors import CertificateError
from ntspool.net.upstream import Upstream
from ntspool.net.upstreamconnection import context_for, within
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.model import Address, FixedKey, Serving
from ntspool.pool.negotiation import RANDOM_LENGTH, Answer, Deferred
from ntspool.pool.reservoir import BOUNDS, Bounds
from ntspool.pool.upstreamcounts import UpstreamCounts

LONGEST_WAIT = 2.0
"""Seconds that a client waits for a connection before it gets another backend; never more than half of its time."""

RESERVE = 0.1
"""Seconds before a session's deadline when its client is told that there is nothing: later it would be cut off."""

FAIR_TIME = 1.0
"""Seconds that a backend must have had for an answer before its silence is held against it.

Else clients who come to their question late would have it taken for dead.
"""

TRIES = 4
"""Backends that are tried for one client."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a worker met when it asked a backend for cookies at `address`, or for a connection."""

    backend: str
    address: str
    failure: Failure


class Upstreams:
    """Fetches answers that are deferred, from the backends of the Snapshot that was adopted last.

    `random` returns random bytes that nobody has had before.
    """

    def __init__(self, random: Callable[[int], bytes], bounds: Bounds = BOUNDS) -> None:
        self._random = random
        self._bounds = bounds
        self._upstreams: dict[tuple[str, str], Upstream] = {}
        self._counts = UpstreamCounts()
        self._troubles: dict[tuple[str, str], Trouble] = {}
        self._fetching: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> Mapping[str, int]:
        """How many connections there are to each backend."""
        found: dict[str, int] = {}
        for (name, _), upstream in self._upstreams.items():
            found[name] = found.get(name, 0) + upstream.open
        return found

    def take_news(self) -> tuple[UpstreamCounts, tuple[Trouble, ...]]:
        """Return what was counted since the last call, and the newest trouble with each address."""
        counts, self._counts = self._counts, UpstreamCounts()
        troubles, self._troubles = self._troubles, {}
        return counts, tuple(troubles.values())

    def adopt(self, serving: Iterable[Serving]) -> None:
        """Keep connections to the addresses that are UP of backends that keep their own keys, and to no others."""
        wanted: dict[tuple[str, str], tuple[FixedKey, Address]] = {}
        for each in serving:
            peer = each.backend.cookies
            if isinstance(peer, FixedKey):
                wanted |= {(each.backend.name, str(up.address)): (peer, up.address) for up in each.up}
        for key, upstream in list(self._upstreams.items()):
            if key not in wanted or wanted[key][0] != upstream.peer:
                self._upstreams.pop(key).close()
                self._troubles.pop(key, None)
        for key, (peer, address) in wanted.items():
            if key not in self._upstreams:
                self._add(key, peer, address)

    def close(self) -> None:
        """End everything."""
        self.adopt(())
        for task in self._fetching:
            task.cancel()

    def fetch(self, deferred: Deferred, deadline: float, done: Callable[[Answer], None]) -> Callable[[], object]:
        """Call `done` with the answer before `deadline`, a time of time.monotonic; return what gives that up."""
        reserve = min(RESERVE, (deadline - time.monotonic()) / 4)
        task = asyncio.create_task(self._fetch(deferred, deadline - reserve, done))
        self._fetching.add(task)
        task.add_done_callback(self._fetching.discard)
        return task.cancel

    async def _fetch(self, deferred: Deferred, deadline: float, done: Callable[[Answer], None]) -> None:
        answer: Answer | Deferred = deferred
        try:
            for _ in range(TRIES):
                if isinstance(answer, Deferred):
                    answer = await self._try(answer, deadline)
        except Exception:
            # Our own mistake must not leave the client without an answer.
            log.exception("fetching cookies failed")
            answer = deferred.fail("our own failure")
        done(answer if isinstance(answer, Answer) else answer.fail("no backend could be asked for cookies"))

    async def _try(self, deferred: Deferred, deadline: float) -> Answer | Deferred:
        """Have one backend make cookies; what fails before it has the client's keys leads to another backend."""
        choice, began = deferred.choice, time.monotonic()
        key = choice.serving.backend.name, choice.address
        upstream = self._upstreams.get(key)
        if upstream is None:
            # The snapshot has changed since the choice.
            return self._elsewhere(deferred)
        patience = min(LONGEST_WAIT, (deadline - began) / 2)
        connection = await upstream.acquire(patience)
        if isinstance(connection, Failure):
            return self._elsewhere(deferred)
        if choice.aead not in upstream.aeads:
            upstream.release(connection, keep_alive=True)
            self._counts.failed[key[0], str(Cause.KE_AEAD)] += 1
            return self._elsewhere(deferred)
        ready, keep_alive = time.monotonic(), False
        try:
            asked = deferred.ask()
            # The choice may be from before a reload: its token is none of this server's.
            request = replace(asked.request, token=upstream.peer.token)
            found = await within(deadline - ready, connection.cookies(request))
            keep_alive = not isinstance(found, Failure) and found.keep_alive
        finally:
            upstream.release(connection, keep_alive=keep_alive)
        self._counts.waits.add(ready - began)
        if isinstance(found, Failure):
            if found.cause is not Cause.KE_NO_ANSWER or deadline - ready >= FAIR_TIME:
                self._blame(upstream, key, found)
            return asked.fail(str(found.cause))
        self._counts.answers.add(time.monotonic() - ready)
        self._counts.answered[key[0]] += 1
        return asked.answer(found)

    def _blame(self, upstream: Upstream, key: tuple[str, str], failure: Failure) -> None:
        if self._upstreams.get(key) is not upstream:
            # A reload has come between: this says nothing of the backend as it is now.
            self._counts.failed[key[0], str(failure.cause)] += 1
            return
        self._note(key, failure)
        # A connection may end in the moment when it is used; a new one will tell if that was more than chance.
        if failure.cause is not Cause.KE_UNREACHABLE:
            upstream.fail(failure)

    def _elsewhere(self, deferred: Deferred) -> Answer | Deferred:
        self._counts.unsent[deferred.choice.serving.backend.name] += 1
        broken = frozenset(name for (name, _), upstream in self._upstreams.items() if upstream.failure is not None)
        return deferred.elsewhere(self._random(RANDOM_LENGTH), broken)

    def _add(self, key: tuple[str, str], peer: FixedKey, address: Address) -> None:
        try:
            context = context_for(peer.ca)
        except CertificateError as error:
            log.error("upstream not usable", backend=key[0], reason=str(error))
            return
        self._upstreams[key] = Upstream(
            key[0], peer, address, context, bounds=self._bounds, on_open=lambda failure: self._note_opened(key, failure)
        )

    def _note_opened(self, key: tuple[str, str], failure: Failure | None) -> None:
        if failure is None:
            self._counts.opened[key[0]] += 1
        else:
            self._note(key, failure)

    def _note(self, key: tuple[str, str], failure: Failure) -> None:
        name, address = key
        self._counts.failed[name, str(failure.cause)] += 1
        self._troubles[key] = Trouble(name, address, failure)
