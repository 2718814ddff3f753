"""The keyring in the store."""

import os

from ntspool.errors import ConflictError
from ntspool.net.store import FileStore
from ntspool.pool import keyring
from ntspool.pool.keyring import EPOCHS, ROOT_LENGTH, Keyring

ENTRY = "keyring"


def load_or_create(store: FileStore, now: float) -> Keyring:
    """Return the keyring of the store, a new one of Unix time `now` if there is none; raises StateError."""
    while True:
        held = store.get(ENTRY)
        if held is not None:
            return keyring.decode(held[0])
        fresh = keyring.create(now, os.urandom(EPOCHS * ROOT_LENGTH))
        try:
            store.put_if(ENTRY, fresh.encode(), None)
        except ConflictError:
            # Another process of this host was faster; its keyring is the one.
            continue
        return fresh


def rotate(store: FileStore, before: Keyring, now: float) -> Keyring:
    """Rotate and keep the keyring, at Unix time `now`; raises ConflictError when the store's is no more `before`."""
    held = store.get(ENTRY)
    if held is None or keyring.decode(held[0]) != before:
        raise ConflictError("the keyring was changed by somebody else; reload and try again")
    after = before.rotate(now, os.urandom(ROOT_LENGTH))
    store.put_if(ENTRY, after.encode(), held[1])
    return after
