"""One backend's NTS-KE server as a worker sees it: connections ahead of need, and what it supports."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog
from OpenSSL import SSL

from ntspool.net.upstreamconnection import UpstreamConnection, connect, within
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.model import Address, FixedKey
from ntspool.pool.reservoir import BOUNDS, Bounds, Reservoir
from ntspool.wire.aead import Aead

OPEN_TIMEOUT = 3.0
"""Seconds for a connection with TLS, and as many for the list of what the backend supports."""

SUPPORT_LIFE = 300.0
"""Seconds that such a list is taken for true, as nts-pool does; it is asked for anew in the background."""

PROMISE = 1.0
"""Seconds for which a connection is to last that a server has promised to keep."""

DISTRUST = 30.0
"""Seconds for which connections are used once, after one that did not: the next may end when it has a client's keys."""

LOOK_INTERVAL = 1.0
"""Seconds between two looks at the connections that nobody uses."""

log = structlog.get_logger()

_Waiter = asyncio.Future[UpstreamConnection | Failure]


class Upstream:
    """The NTS-KE server of one address of a backend; `close` it in the end.

    `acquire` a connection for each question, then `release` it. `aeads` are those that the backend supports, empty
    until it has said so, which it has by the time when the first connection can be acquired.
    """

    def __init__(
        self,
        name: str,
        peer: FixedKey,
        address: Address,
        context: SSL.Context,
        *,
        bounds: Bounds = BOUNDS,
        on_open: Callable[[Failure | None], None] = lambda _: None,
    ) -> None:
        self.name = name
        self.peer = peer
        self.address = address
        self.aeads: frozenset[Aead] = frozenset()
        self._context = context
        self._on_open = on_open
        self._reservoir: Reservoir[UpstreamConnection] = Reservoir(bounds)
        self._waiters: deque[_Waiter] = deque()
        self._openings: set[asyncio.Task[None]] = set()
        self._supported_until = float("-inf")
        self._distrusted_until = float("-inf")
        self._closed = False
        self._keeper = asyncio.create_task(self._keep())

    @property
    def failure(self) -> Failure | None:
        """Why the backend cannot be asked now, None if it can."""
        return self._reservoir.failure

    @property
    def open(self) -> int:
        """How many connections there are."""
        return self._reservoir.open

    async def acquire(self, patience: float) -> UpstreamConnection | Failure:
        """Return a connection that was good a moment ago; waits at most `patience` seconds, and only where it helps."""
        reservoir, deadline = self._reservoir, time.monotonic() + patience
        while True:
            found: UpstreamConnection | Failure | None = reservoir.take()
            if found is None:
                if self._closed or not reservoir.may_wait():
                    return reservoir.failure or Failure(Cause.KE_NO_ANSWER, "too many clients wait")
                found = await self._wait(deadline - time.monotonic())
            if isinstance(found, Failure) or found.is_fresh():
                self._open_more()
                return found
            now = time.monotonic()
            if reservoir.unused_for(found, now) < PROMISE:
                self._distrusted_until = now + DISTRUST
            self._drop(found)

    def release(self, connection: UpstreamConnection, *, keep_alive: bool) -> None:
        """Take back a connection; without `keep_alive` it is closed."""
        now = time.monotonic()
        if self._reservoir.used(connection, now) and keep_alive and now >= self._distrusted_until:
            self._provide(connection)
        else:
            self._drop(connection)

    def _provide(self, connection: UpstreamConnection) -> None:
        """Give a connection to who waits the longest, if somebody does."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if self._closed:
            self._drop(connection)
        else:
            self._reservoir.keep(connection)

    def _drop(self, connection: UpstreamConnection) -> None:
        self._reservoir.drop(connection)
        connection.close()
        self._open_more()

    def fail(self, failure: Failure) -> None:
        """Take note that a question was not answered as it must be: nobody is to wait until that works again."""
        self._reservoir.fail(failure, time.monotonic())
        # What was said before may not hold any more, nor are the other connections any better.
        self._supported_until = float("-inf")
        self._close_unused()
        self._disappoint(failure)

    def close(self) -> None:
        """End every connection that is not in use, and the others once they are released."""
        self._closed = True
        self._keeper.cancel()
        for task in self._openings:
            task.cancel()
        self._close_unused()
        self._disappoint(Failure(Cause.KE_UNREACHABLE, "the backend is not used any more"))

    def _close_unused(self) -> None:
        for connection in self._reservoir.unused():
            self._reservoir.discard(connection)
            connection.close()

    async def _wait(self, patience: float) -> UpstreamConnection | Failure:
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._reservoir.waiting += 1
        self._open_more()
        try:
            found = await within(patience, waiter)
        except asyncio.CancelledError:
            if (given := _given(waiter)) is not None:
                self._provide(given)
            raise
        finally:
            self._reservoir.waiting -= 1
            with suppress(ValueError):
                self._waiters.remove(waiter)
        # At the last moment it may have been given one all the same.
        return _given(waiter) or found

    def _disappoint(self, failure: Failure) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(failure)

    def _open_more(self) -> None:
        if self._closed:
            return
        for _ in range(self._reservoir.wants(time.monotonic())):
            self._begin_opening()

    def _begin_opening(self) -> None:
        self._reservoir.begin(time.monotonic())
        task = asyncio.create_task(self._open())
        self._openings.add(task)
        task.add_done_callback(self._openings.discard)

    async def _open(self) -> None:
        found: UpstreamConnection | Failure | None = None
        try:
            found = await self._connect()
        except Exception:
            log.exception("upstream connection broke", backend=self.name)
            found = Failure(Cause.KE_UNREACHABLE, "our own failure")
        finally:
            now = time.monotonic()
            if isinstance(found, UpstreamConnection):
                self._reservoir.opened(found, now)
            else:
                self._reservoir.not_opened(found, now)
        if isinstance(found, UpstreamConnection):
            self._on_open(None)
            self._provide(found)
        else:
            self._on_open(found)
            self._disappoint(found)

    async def _connect(self) -> UpstreamConnection | Failure:
        """Open a connection, and ask first what the backend supports if that is not known or too long ago."""
        found = await connect(self.peer, self.address, self._context, OPEN_TIMEOUT)
        if isinstance(found, Failure) or time.monotonic() < self._supported_until:
            return found
        kept = False
        try:
            support = await within(OPEN_TIMEOUT, found.support(self.peer.token))
            if isinstance(support, Failure):
                return support
            self.aeads = support.usable_aeads
            self._supported_until = time.monotonic() + SUPPORT_LIFE
            kept = support.keep_alive
        finally:
            if not kept:
                found.close()
        return found if kept else await connect(self.peer, self.address, self._context, OPEN_TIMEOUT)

    async def _keep(self) -> None:
        """Look after what nobody uses: close what is old or dead, open what will be needed, ask what has changed."""
        while True:
            self._tidy()
            self._open_more()
            if self._refresh_is_due():
                self._begin_opening()
            await asyncio.sleep(LOOK_INTERVAL)

    def _tidy(self) -> None:
        reservoir = self._reservoir
        outdated = reservoir.outdated(time.monotonic())
        for connection in reservoir.unused():
            if connection in outdated or not connection.is_fresh():
                reservoir.discard(connection)
                connection.close()

    def _refresh_is_due(self) -> bool:
        """Tell whether to ask anew what the backend supports; what is known stands until then."""
        reservoir = self._reservoir
        room = reservoir.failure is None and not reservoir.opening and reservoir.open < reservoir.bounds.connections
        return room and time.monotonic() >= self._supported_until


def _given(waiter: _Waiter) -> UpstreamConnection | None:
    """Return the connection that was handed to a waiter, if one was."""
    found = waiter.result() if waiter.done() and not waiter.cancelled() else None
    return found if isinstance(found, UpstreamConnection) else None
