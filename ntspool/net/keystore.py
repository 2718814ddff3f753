"""The keyring in the store, encrypted under the key-encryption key if there is one."""

import os
from collections.abc import Callable
from contextlib import suppress

from ntspool.errors import ConflictError, LocalError, StateError
from ntspool.net.sealed import MARK, Seal
from ntspool.net.store import Store
from ntspool.pool import keyring, keyringfile
from ntspool.pool.keyring import Keyring

ENTRY = "keyring"

MADE = "keyring-made"
"""An entry that says when the first keyring was made: once it is there, a missing keyring is a lost one."""


class KeyStore:
    """Loads and replaces the keyring of a store. Every method raises StateError when the keyring cannot be had."""

    def __init__(self, store: Store, seal: Seal) -> None:
        self._store = store
        self._seal = seal

    def load_or_create(self, now: float) -> Keyring:
        """Return the keyring of the store, a new one of Unix time `now` if there never was one."""
        while True:
            if self._store.get(MADE) is not None:
                return self.load()
            if self._store.get(ENTRY) is not None:
                self._mark_as_made(now)
                continue
            fresh = keyring.create(now, os.urandom)
            try:
                self._put(fresh, None)
            except ConflictError:
                # Another process of this host was faster; its keyring is the one.
                continue
            self._mark_as_made(now)
            return fresh

    def load(self) -> Keyring:
        """Return the keyring of the store; raises StateError when it is gone, too."""
        return self._decode(self._held()[0])

    def change(self, before: Keyring, step: Callable[[Keyring], Keyring]) -> Keyring:
        """Return `step(before)` once that is kept; raises ConflictError when the store's keyring is not `before`."""
        held = self._held()
        if self._decode(held[0]) != before:
            raise ConflictError("the keyring was changed by somebody else; reload and try again")
        after = step(before)
        self._put(after, held[1])
        return after

    def seal_if_open(self) -> bool:
        """Encrypt a keyring from before there was a key-encryption key; tell whether it was one."""
        held = self._store.get(ENTRY)
        if held is None or held[0].startswith(MARK) or not self._seal.encrypts:
            return False
        self._put(self._decode(held[0]), held[1])
        return True

    def backup(self) -> bytes:
        """Return the keyring as it is kept, encrypted or not; raises LocalError when there is none."""
        held = self._store.get(ENTRY)
        if held is None:
            raise LocalError("there is no keyring yet")
        self._decode(held[0])
        return held[0]

    def restore(self, data: bytes, *, replace: bool) -> Keyring:
        """Make a backup the keyring; raises StateError if it is damaged, ConflictError if one stands already."""
        restored = self._decode(data)
        held = self._store.get(ENTRY)
        if held is not None and not replace:
            raise ConflictError("there is a keyring already; --replace it only if it is lost or damaged")
        self._put(restored, held and held[1])
        return restored

    def _mark_as_made(self, now: float) -> None:
        with suppress(ConflictError):
            self._store.put_if(MADE, f"{now:.0f}\n".encode(), None)

    def _held(self) -> tuple[bytes, str]:
        held = self._store.get(ENTRY)
        if held is None:
            raise StateError(
                "the keyring is lost: without it every backend needs new keys and every client a new key exchange. "
                "Bring it back by `ntspool keys restore FILE`; if there is no backup, remove "
                f"{MADE} from the state directory, start the gateway, and give every backend its new key file"
            )
        return held

    def _decode(self, data: bytes) -> Keyring:
        return keyringfile.decode(self._seal.open(ENTRY, data))

    def _put(self, ring: Keyring, revision: str | None) -> None:
        self._store.put_if(ENTRY, self._seal.close(ENTRY, keyringfile.encode(ring)), revision)
