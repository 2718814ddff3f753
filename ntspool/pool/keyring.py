"""The keyring: the epochs now alive, their states, and the derivation of every backend's cookie keys from them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ntspool.pool.cookies import SERVER_AEAD, CookieFormat, ServerKey
from ntspool.pool.keyfiles import KeySet
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret

ROOT_LENGTH = 32
"""Bytes of fresh randomness in an epoch."""

SLOTS = 4
"""Keys that chrony holds, each in the slot of its id modulo four; so ids may jump by multiples of four only."""

FUTURES = 3
"""Epochs after the current one: next, and two more for daemons that read keys only when they start."""

_CURRENT = 2
_ALIVE = _CURRENT + 1 + FUTURES
_FIRST = 1


class EpochState(StrEnum):
    """What an epoch is good for."""

    FUTURE = "future"
    NEXT = "next"
    CURRENT = "current"
    PREVIOUS = "previous"
    RETIRED = "retired"
    REVOKED = "revoked"


STATES: tuple[EpochState, ...] = (
    EpochState.PREVIOUS,
    EpochState.PREVIOUS,
    EpochState.CURRENT,
    EpochState.NEXT,
    EpochState.FUTURE,
    EpochState.FUTURE,
)
"""The state of each epoch alive, oldest first. A rotation moves every epoch one place towards the front.

| state | backends hold its keys | cookies are minted under it | becomes, by rotation |
|---|---|---|---|
| future | those that read keys only when they start | no | next (or future) |
| next | yes | no | current |
| current | yes | by backends, and by the gateway for those that proved it | previous |
| previous | yes | by the gateway for backends that have proved nothing newer | previous, then retired |
| retired | no, its root is gone | no | |
| revoked | no, its root is gone | no | |
"""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One generation of the root secret; `created` is in Unix seconds.

    A revoked epoch that still stands among the alive ones holds a root that was never used: its place in the
    backends' key files must be filled.
    """

    number: int
    created: float
    root: Secret
    revoked: bool = False

    @property
    def key_id(self) -> int:
        """The id of its keys in cookies.

        That two key groups use the same id does no harm, since neither can open the other's cookies.
        """
        return self.number % 2**32

    def key(self, key_group: str, aead: Aead) -> ServerKey:
        """Return the cookie key of a key group."""
        info = b"\0".join(
            (b"ntspool cookie key", key_group.encode(), self.number.to_bytes(8, "big"), aead.to_bytes(2, "big"))
        )
        kdf = HKDF(algorithm=SHA256(), length=aead.key_length, salt=None, info=info)
        return ServerKey(self.key_id, Secret(kdf.derive(self.root.reveal())))


@dataclass(frozen=True, slots=True)
class EndedEpoch:
    """An epoch whose root is gone: when it was made and ended, Unix seconds, and whether it was revoked."""

    number: int
    created: float
    ended: float
    revoked: bool


@dataclass(frozen=True, slots=True)
class Keyring:
    """The epochs alive, oldest first (see STATES), and those that have ended, newest first.

    `rotated` is when the current epoch became so, in Unix seconds; `first` is the first epoch that was ever minted
    under.
    """

    epochs: tuple[Epoch, ...]
    rotated: float
    first: int
    ended: tuple[EndedEpoch, ...] = ()

    @property
    def current(self) -> Epoch:
        """The epoch that backends mint under, and the gateway for those that have proved it."""
        return self.epochs[_CURRENT]

    @property
    def next(self) -> Epoch:
        """The epoch that backends already hold and that the next rotation makes current."""
        return self.epochs[_CURRENT + 1]

    @property
    def mintable(self) -> tuple[Epoch, ...]:
        """The epochs that cookies may be minted under, newest first."""
        return tuple(epoch for epoch in reversed(self.epochs[: _CURRENT + 1]) if not epoch.revoked)

    def state(self, number: int) -> EpochState | None:
        """Return the state of an epoch, None for a number that is unknown or was forgotten."""
        for epoch, state in zip(self.epochs, STATES, strict=True):
            if epoch.number == number:
                return EpochState.REVOKED if epoch.revoked else state
        for past in self.ended:
            if past.number == number:
                return EpochState.REVOKED if past.revoked else EpochState.RETIRED
        return None

    def comes_after(self, other: "Keyring") -> bool:
        """Tell whether this is what rotations have made of `other`, so that nothing is missing here but what ended."""
        roots = {epoch.root for epoch in other.epochs}
        return self.current.number > other.current.number and any(epoch.root in roots for epoch in self.epochs)

    def keys(self, key_group: str, cookie_format: CookieFormat) -> KeySet:
        """Return what the key file of a key group's backends holds: four keys, or six where a reload is a restart."""
        aead = SERVER_AEAD[cookie_format]
        restarts = cookie_format in (CookieFormat.NTPSEC, CookieFormat.NTPD_RS)
        epochs = self.epochs if restarts else self.epochs[:SLOTS]
        if cookie_format is CookieFormat.NTPD_RS:
            epochs = _without_gaps(epochs)
        keys = tuple(epoch.key(key_group, aead) for epoch in epochs)
        return KeySet(keys, [key.id for key in keys].index(self.current.key_id))

    def rotate(self, now: float, random: Callable[[int], bytes]) -> "Keyring":
        """Return the keyring after a rotation; whether that is safe is for `proofs.obstacles` to say."""
        fresh = Epoch(self.epochs[-1].number + 1, now, Secret(random(ROOT_LENGTH)))
        return replace(
            self,
            epochs=(*self.epochs[1:], fresh),
            rotated=now,
            ended=_remember(self.ended, self.epochs[0], now),
        )

    def revoke(self, number: int, now: float, random: Callable[[int], bytes]) -> "Keyring":
        """Return the keyring without an epoch that must not be trusted any more; raises KeyError if it is not alive.

        Its root is gone at once: no key file that is made from now on opens a cookie minted under it. A revoked
        current epoch hands over to the next one, which backends hold already.
        """
        index = next((at for at, epoch in enumerate(self.epochs) if epoch.number == number), None)
        if index is None or self.epochs[index].revoked:
            raise KeyError(number)
        if index == _CURRENT:
            return self.rotate(now, random).revoke(number, now, random)
        filled = list(self.epochs)
        if index < _CURRENT:
            filled[index] = replace(filled[index], root=Secret(random(ROOT_LENGTH)), revoked=True)
            return replace(self, epochs=tuple(filled))
        # What was promised for the future must be replaced under numbers that fall into the same slots.
        for at in range(index, _ALIVE):
            filled[at] = Epoch(self.epochs[at].number + SLOTS, now, Secret(random(ROOT_LENGTH)))
        return replace(self, epochs=tuple(filled), ended=_remember(self.ended, self.epochs[index], now, revoked=True))


def create(now: float, random: Callable[[int], bytes]) -> Keyring:
    """Return a new keyring; `random(n)` returns n fresh random bytes."""
    epochs = tuple(Epoch(number, now, Secret(random(ROOT_LENGTH))) for number in range(_FIRST, _FIRST + _ALIVE))
    return Keyring(epochs, rotated=now, first=_FIRST + _CURRENT)


HISTORY = 50
"""Ended epochs to remember, for `keys status`."""


def _remember(
    ended: tuple[EndedEpoch, ...], epoch: Epoch, now: float, *, revoked: bool = False
) -> tuple[EndedEpoch, ...]:
    past = EndedEpoch(epoch.number, epoch.created, now, revoked or epoch.revoked)
    return (past, *ended)[:HISTORY]


def _without_gaps(epochs: tuple[Epoch, ...]) -> tuple[Epoch, ...]:
    """Return the epochs with the numbers that a revocation jumped over filled: ntpd-rs's key file knows no gaps."""
    filled: list[Epoch] = []
    for epoch in epochs:
        # The filler differs from the epoch it is derived from by its number, so nobody else's key comes out.
        missing = range(filled[-1].number + 1 if filled else epoch.number, epoch.number)
        filled.extend(replace(epoch, number=number) for number in missing)
        filled.append(epoch)
    return tuple(filled)
