"""The entries that gateways share: etcd holds the truth, the state directory the last that was known of it.

Whatever becomes of etcd, a gateway reads from its own disk; only a change has to reach the others first.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import structlog

from ntspool.errors import ConflictError, StateError, StoreAwayError
from ntspool.net.etcd import Etcd
from ntspool.net.remote import Remote
from ntspool.net.sealed import MARK
from ntspool.net.store import FileStore
from ntspool.wire.etcd import Change, Kept

PATIENCE: Final = 10.0
"""Seconds without a word from the watch after which another one is begun: our own heartbeats come through it."""

JOINED: Final = "cluster"
"""The entry that tells to which cluster a state directory belongs."""

_PAUSE = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Shared:
    """Which entries are shared; those in `secret` are taken and given away encrypted only, `first` is the keyring."""

    names: frozenset[str]
    secret: frozenset[str]
    first: str


@dataclass(frozen=True, slots=True)
class _Held:
    revision: int
    digest: str


class Mirror:
    """A Store over `local` for one gateway of a cluster, which is known by its `prefix`.

    `start` it; `listen` to hear of changes; `close` it. What is not shared stays in `local` alone.
    """

    def __init__(self, remote: Remote, local: FileStore, shared: Shared, prefix: str) -> None:
        self._remote = remote
        self._local = local
        self._shared = shared
        self._mark = prefix.encode() + b"\n"
        self._held: dict[str, _Held] = {}
        self._others: Mapping[str, bytes] = {}
        self._following: concurrent.futures.Future[None] | None = None
        self._unheard: set[str] = set()
        self._tell: Callable[[frozenset[str]], object] = self._unheard.update
        self._away: str | None = "it has not been asked yet"
        self._since = time.time()

    @property
    def away(self) -> str | None:
        """Why the store cannot be reached, None while it can."""
        return self._away

    @property
    def since(self) -> float:
        """Since when it can be reached or not, in Unix seconds."""
        return self._since

    @property
    def others(self) -> Mapping[str, bytes]:
        """What lies in the store beside the shared entries, as last known: what gateways tell of themselves."""
        return self._others

    def start(self, patience: float) -> None:
        """Begin to follow the store; return once it was read, or after `patience` seconds without it.

        Raises StateError when this state directory is another pool's, or none yet and the store refuses.
        """
        try:
            self._remote.run(self._synchronize, patience)
        except StateError as error:
            if not isinstance(error, StoreAwayError) and not self._joined():
                raise
            self._set_away(str(error))
        self._following = self._remote.submit(self._follow)

    def listen(self, tell: Callable[[frozenset[str]], object]) -> None:
        """Have `tell` called with the names of what has changed: at once since the start, then by etcd's thread."""
        self._tell = tell
        tell(frozenset(self._unheard))

    def close(self) -> None:
        """Follow no more."""
        if self._following is not None:
            self._following.cancel()

    def get(self, name: str) -> tuple[bytes, str] | None:
        """Return an entry's bytes and its revision, or None when there is none."""
        return self._local.get(name)

    def put_if(self, name: str, data: bytes, revision: str | None) -> None:
        """Write an entry if it still has `revision` (None: if it does not exist yet); raises ConflictError if not.

        A shared one is the others' from then, too; raises StoreAwayError while it cannot be.
        """
        if name not in self._shared.names:
            self._local.put_if(name, data, revision)
        elif self._away is not None:
            raise StoreAwayError(f"nothing can be changed while the cluster's store is away: {self._away}")
        else:
            self._remote.run(lambda etcd: self._put_if(etcd, name, data, revision))

    async def _put_if(self, etcd: Etcd, name: str, data: bytes, revision: str | None) -> None:
        held = self._held.get(name)
        if (held and held.digest) != revision:
            raise ConflictError(f"{name} was changed by another gateway")
        try:
            written = await etcd.put_if(name, data, held.revision if held else 0)
        except ConflictError:
            if (there := await etcd.get(name)) is not None:
                self._take(there)
            raise
        self._take(Kept(name, data, written))

    async def _follow(self, etcd: Etcd) -> None:
        while True:
            try:
                revision = await self._synchronize(etcd)
                async for message in etcd.watch(revision + 1, PATIENCE):
                    self._apply(message.changes)
            except StateError as error:
                self._set_away(str(error))
                self._tell(frozenset())
            except Exception:
                log.exception("the cluster's store is not followed")
            await asyncio.sleep(_PAUSE)

    async def _synchronize(self, etcd: Etcd) -> int:
        """Take over all that the store holds, and give it what it lacks; return the revision of that."""
        found, revision = await etcd.read_all()
        if not self._joined() and all(each.key != self._shared.first for each in found):
            # Of two that begin with keyrings of their own at the same moment, one has to find the other's there.
            await self._give(etcd, self._shared.first)
            found, revision = await etcd.read_all()
        held = {each.key: each for each in found}
        self._join(held)
        # A store that was restored from a backup counts its revisions anew.
        self._held.clear()
        changed = {name for name in self._shared.names if name in held and self._take(held[name])}
        for name in self._shared.names - held.keys():
            await self._give(etcd, name)
        self._others = {name: each.data for name, each in held.items() if name not in self._shared.names}
        self._set_away(None)
        self._tell(frozenset(changed | self._others.keys()))
        return revision

    def _join(self, held: Mapping[str, Kept]) -> None:
        """Make this state directory the cluster's; raises StateError when it has a keyring of its own."""
        if self._joined():
            return
        ours, theirs = self._local.get(self._shared.first), held.get(self._shared.first)
        if ours is not None and theirs is not None and ours[0] != theirs.data:
            raise StateError(
                f"the state directory has a {self._shared.first} of its own, and the cluster has another one: to join, "
                "start with an empty state directory, and give the backends that this gateway had the cluster's keys"
            )
        marked = self._local.get(JOINED)
        self._local.put_if(JOINED, self._mark, marked and marked[1])

    def _joined(self) -> bool:
        marked = self._local.get(JOINED)
        return marked is not None and marked[0] == self._mark

    async def _give(self, etcd: Etcd, name: str) -> None:
        copy = self._local.get(name)
        if copy is None:
            return
        if name in self._shared.secret and not copy[0].startswith(MARK):
            log.error("not shared, for it is not encrypted", entry=name)
            return
        try:
            self._held[name] = _Held(await etcd.put_if(name, copy[0], 0), copy[1])
        except ConflictError:
            # Another gateway was faster, and the watch brings what it gave.
            return
        log.info("entry given to the cluster's store", entry=name)

    def _apply(self, changes: tuple[Change, ...]) -> None:
        others = dict(self._others)
        changed = set()
        for change in changes:
            if change.key in self._shared.names:
                if change.data is None:
                    # Nobody of us deletes one; the last that is known of it is better than nothing, and given back.
                    raise StoreAwayError(f"somebody has deleted {change.key}")
                if self._take(Kept(change.key, change.data, change.revision)):
                    changed.add(change.key)
                continue
            changed.add(change.key)
            if change.data is None:
                others.pop(change.key, None)
            else:
                others[change.key] = change.data
        self._others = others
        if changed:
            self._tell(frozenset(changed))

    def _take(self, kept: Kept) -> bool:
        """Keep a copy of a shared entry; tell whether it is a new one."""
        held = self._held.get(kept.key)
        if held is not None and kept.revision <= held.revision:
            return False
        if kept.key in self._shared.secret and not kept.data.startswith(MARK):
            log.error("refused what the cluster's store holds: it is not encrypted", entry=kept.key)
            return False
        copy = self._local.get(kept.key)
        if copy is None or copy[0] != kept.data:
            self._local.put_if(kept.key, kept.data, copy and copy[1])
        self._held[kept.key] = _Held(kept.revision, sha256(kept.data).hexdigest())
        return copy is None or copy[0] != kept.data

    def _set_away(self, reason: str | None) -> None:
        if (self._away is None) != (reason is None):
            self._since = time.time()
        self._away = reason
