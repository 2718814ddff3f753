"""The keys of a server that nobody hands any: a new one every day, and those before for the cookies under them."""

from typing import Final

from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.wire.secret import Secret

LIFE: Final = 86400.0
"""Seconds that a key mints for, as long as chrony's and ntpd-rs's; it opens cookies twice as long again."""

SECRET_LENGTH: Final = SERVER_AEAD[CookieFormat.NTSPOOL].key_length
"""Length of a key in bytes."""

_BEFORE = 2
_IDS = 1 << 32


def following(keys: KeySet | None, secret: Secret) -> KeySet:
    """Return the keys once `secret` (SECRET_LENGTH random bytes) mints; the first ones if there are none yet."""
    if keys is None:
        return KeySet((ServerKey(1, secret),), 0)
    minted = keys.keys[: keys.current + 1]
    newest = ServerKey((minted[-1].id + 1) % _IDS, secret)
    return KeySet((*minted[-_BEFORE:], newest), len(minted[-_BEFORE:]))
