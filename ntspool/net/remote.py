"""etcd for those who do not await: its client in a thread with an event loop of its own, and the store over it."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from ntspool.errors import StoreAwayError
from ntspool.net.etcd import DEADLINE, Etcd, EtcdSettings, StoreCounts
from ntspool.net.store import FileStore

T = TypeVar("T")


class Remote:
    """A client of etcd in its own thread, from when it is made until it is closed; any thread may call it.

    An event loop of the process should call `run` through a thread, or await `ask`.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self.counts = StoreCounts()
        self._settings = settings
        self._loop = asyncio.new_event_loop()
        self._etcd: Etcd
        started = threading.Event()
        self._thread = threading.Thread(target=self._turn, args=(started,), name="etcd", daemon=True)
        self._thread.start()
        started.wait()

    def submit(self, call: Callable[[Etcd], Awaitable[T]]) -> concurrent.futures.Future[T]:
        """Begin what `call` does with the client, and return its future."""

        async def called() -> T:
            return await call(self._etcd)

        return asyncio.run_coroutine_threadsafe(called(), self._loop)

    def run(self, call: Callable[[Etcd], Awaitable[T]], deadline: float = 2 * DEADLINE) -> T:
        """Return what `call` returns; raises StoreAwayError after `deadline` seconds."""
        future = self.submit(call)
        try:
            return future.result(deadline)
        except TimeoutError as error:
            future.cancel()
            raise StoreAwayError("the cluster's store does not answer") from error

    async def ask(self, call: Callable[[Etcd], Awaitable[T]]) -> T:
        """Return what `call` returns, to another event loop than the client's."""
        return await asyncio.wrap_future(self.submit(call))

    def close(self) -> None:
        """End every call and the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _turn(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._etcd = self._loop.run_until_complete(Etcd(self._settings, self.counts).__aenter__())
        self._loop.call_soon(started.set)
        self._loop.run_forever()
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._etcd.__aexit__(None, None, None))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class RemoteStore:
    """The store for commands: entries are read and written in etcd, and read from `local` while that is away.

    `local` is the copy that this machine's gateway keeps; what is read from it cannot be changed.
    """

    def __init__(self, remote: Remote, local: FileStore) -> None:
        self._remote = remote
        self._local = local

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return an entry's bytes and its revision, or None when there is none."""
        with suppress(StoreAwayError):
            held = self._remote.run(lambda etcd: etcd.get(name))
            return None if held is None else (held.data, str(held.revision))
        copy = self._local.get(name)
        return None if copy is None else (copy[0], "")

    def put_if(self, name: str, data: bytes, revision: str | None) -> None:
        """Write an entry if it still has `revision` (None: if it does not exist yet); raises ConflictError if not."""
        if revision == "":
            raise StoreAwayError("the cluster's store does not answer, so nothing can be changed")
        self._remote.run(lambda etcd: etcd.put_if(name, data, int(revision or 0)))
