"""The keyring: the epochs now alive, and the derivation of every backend's cookie keys from them."""

import base64
import json
from dataclasses import dataclass, field, replace
from math import isfinite

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ntspool.errors import StateError
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.wire.aead import Aead

ROOT_LENGTH = 32
"""Bytes of fresh randomness in an epoch."""

EPOCHS = 4
"""Previous two, current, next: what a key file of chrony holds."""

_CURRENT = 2
_FORMAT = 1
# Epochs are numbered from 1 and hours apart; the derivation has room for 2**64.
_HIGHEST_NUMBER = 2**63


@dataclass(frozen=True, slots=True)
class Epoch:
    """One generation of the root secret; `created` is in Unix seconds."""

    number: int
    created: float
    root: bytes = field(repr=False)

    def key(self, key_group: str, aead: Aead) -> ServerKey:
        """Return the cookie key of a key group.

        The key's id is the epoch's number: consecutive ids are what chrony's slots and ntpd-rs's key file demand,
        and that two groups use the same id does no harm, since neither can open the other's cookies.
        """
        info = b"\0".join(
            (b"ntspool cookie key", key_group.encode(), self.number.to_bytes(8, "big"), aead.to_bytes(2, "big"))
        )
        kdf = HKDF(algorithm=SHA256(), length=aead.key_length, salt=None, info=info)
        return ServerKey(self.number % 2**32, kdf.derive(self.root))


@dataclass(frozen=True, slots=True)
class Keyring:
    """Four epochs, oldest first: previous two, current, next. `rotated` is when current became so, Unix seconds."""

    epochs: tuple[Epoch, ...]
    rotated: float

    @property
    def current(self) -> Epoch:
        """The epoch that cookies are minted under."""
        return self.epochs[_CURRENT]

    @property
    def next(self) -> Epoch:
        """The epoch that backends already hold and that the next rotation makes current."""
        return self.epochs[-1]

    def keys(self, key_group: str, cookie_format: CookieFormat) -> KeySet:
        """Return what the key file of a key group's backends holds."""
        aead = SERVER_AEAD[cookie_format]
        return KeySet(tuple(epoch.key(key_group, aead) for epoch in self.epochs), _CURRENT)

    def rotate(self, now: float, root: bytes) -> "Keyring":
        """Return the keyring after a rotation: next becomes current, and `root`, fresh randomness, the new next.

        Only safe once every backend has proved that it holds `next`.
        """
        fresh = Epoch(self.next.number + 1, now, root)
        return replace(self, epochs=(*self.epochs[1:], fresh), rotated=now)

    def encode(self) -> bytes:
        """Return the keyring as it is kept on disk: JSON, roots in base64. Secret."""
        epochs = [
            {"number": epoch.number, "created": epoch.created, "root": base64.b64encode(epoch.root).decode()}
            for epoch in self.epochs
        ]
        return json.dumps({"format": _FORMAT, "rotated": self.rotated, "epochs": epochs}, indent=1).encode() + b"\n"


def create(now: float, roots: bytes) -> Keyring:
    """Return a new keyring from EPOCHS * ROOT_LENGTH bytes of fresh randomness."""
    pieces = [roots[at : at + ROOT_LENGTH] for at in range(0, EPOCHS * ROOT_LENGTH, ROOT_LENGTH)]
    return Keyring(tuple(Epoch(number, now, root) for number, root in enumerate(pieces, start=1)), rotated=now)


def decode(data: bytes) -> Keyring:
    """Return the keyring kept in `data`; raises StateError when it is damaged or of a later version of ntspool."""
    try:
        kept = json.loads(data)
        if kept["format"] != _FORMAT:
            raise StateError(f"the keyring has format {kept['format']}; this ntspool reads format {_FORMAT}")
        epochs = tuple(
            Epoch(int(each["number"]), float(each["created"]), base64.b64decode(each["root"], validate=True))
            for each in kept["epochs"]
        )
        keyring = Keyring(epochs, float(kept["rotated"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        raise StateError("the keyring is damaged; restore it from a backup") from None
    numbers = [epoch.number for epoch in epochs]
    if len(epochs) != EPOCHS or numbers != list(range(numbers[0], numbers[0] + EPOCHS)):
        raise StateError("the keyring is damaged: it does not hold four epochs in a row; restore it from a backup")
    times = (keyring.rotated, *(epoch.created for epoch in epochs))
    if not 0 <= numbers[0] <= _HIGHEST_NUMBER or not all(map(isfinite, times)):
        raise StateError("the keyring is damaged: a number or a time is out of range; restore it from a backup")
    if any(len(epoch.root) != ROOT_LENGTH for epoch in epochs):
        raise StateError(f"the keyring is damaged: a root has not {ROOT_LENGTH} bytes; restore it from a backup")
    return keyring
