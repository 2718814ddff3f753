"""What one client, and the network around it, may have of a worker before it costs a TLS handshake.

Two prefixes of every address are watched: the address itself (IPv4 /32; IPv6 /64, as any of its addresses is one
host's to take), and its network (IPv4 /24; IPv6 /48, what a customer gets). Each has a token bucket and a count of
its open sessions.

The table of prefixes is of a fixed size, made once, and an attacker may have more prefixes than it has slots. So that
nobody can push out what is known of another, or of himself, by filling it:

- A slot is given to a new prefix only if the old one has no session open and its bucket is full again. Such a slot
  says no more than an empty one: to forget it gives nothing away. Nothing else is ever forgotten.
- A prefix can stand in eight slots, which a hash with a secret salt picks: nobody can aim at the slots of another, and
  all eight are taken for one in 6,500 prefixes when a third of the table is. An honest prefix holds its slot for
  `1 / rate` seconds after a session; to hold 65,536 slots at 50 a second takes three million sessions a second.
- A prefix that finds no slot shares one last slot with all others that find none: one bucket for all of them, so that
  a full table turns away too many rather than too few.

A bucket is a single number, the time when it is full again (GCRA, ITU-T I.371): each session moves it by `1 / rate`,
and there is no token left when it is `burst / rate` ahead.
"""

from array import array
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Final

SLOTS: Final = 1 << 16
"""Slots of a table, at 20 bytes each: six times the sessions that a worker bears by default."""

SALT_LENGTH: Final = 16
"""Random bytes that the tables' hash needs."""

_WAYS = 8
_ROUNDING = 1e-3  # of a token: above what floats lose, below what anybody could notice

Place = tuple[int, int]
"""What an admitted client holds until it is released: its slots in the two tables."""


class TurnedAway(StrEnum):
    """Why a client was turned away before TLS."""

    DENIED = "denied"
    SESSIONS = "sessions"
    ADDRESS_SESSIONS = "address sessions"
    NETWORK_SESSIONS = "network sessions"
    ADDRESS_RATE = "address rate"
    NETWORK_RATE = "network rate"
    OVERLOAD = "overload"
    UNTRUSTED_PROXY = "untrusted proxy"
    PROXY_HEADER = "proxy header"


@dataclass(frozen=True, slots=True)
class PrefixLimit:
    """What one prefix may have: `sessions` open at once, `rate` new ones a second after a `burst` of them.

    None is no limit.
    """

    sessions: int | None = None
    rate: float | None = None
    burst: int = 1


UNLIMITED: Final = PrefixLimit()


class PrefixTable:
    """The prefixes of one length, in a fixed number of `slots` (a power of two); `salt` is secret and random."""

    __slots__ = ("_ahead", "_full_at", "_hashes", "_mask", "_most", "_open", "_salt", "_spacing")

    def __init__(self, limit: PrefixLimit, salt: bytes, slots: int = SLOTS) -> None:
        self._salt = salt
        self._mask = slots - 1
        # One slot more: the one that is shared.
        self._hashes = array("q", bytes(8 * (slots + 1)))
        self._full_at = array("d", bytes(8 * (slots + 1)))
        self._open = array("i", bytes(4 * (slots + 1)))
        self.adopt(limit)

    def adopt(self, limit: PrefixLimit) -> None:
        """Go on by another limit; what is known of the prefixes stays."""
        self._most = inf if limit.sessions is None else limit.sessions
        self._spacing = 0.0 if limit.rate is None else 1 / limit.rate
        self._ahead = inf if limit.rate is None else (limit.burst - 1 + _ROUNDING) / limit.rate

    def slot(self, prefix: bytes, now: float) -> int:
        """Return the slot of a prefix at `now`, any clock that never goes back; only valid until the next call.

        A slot that a session is counted in stays its prefix's until that has ended.
        """
        key, hashes, mask = hash(self._salt + prefix), self._hashes, self._mask
        slot = key & mask
        if hashes[slot] == key:
            return slot
        ways = range(key, key + _WAYS * (step := key >> 32 | 1), step)
        for way in ways:
            if hashes[way & mask] == key:
                return way & mask
        for way in ways:
            slot = way & mask
            if not self._open[slot] and self._full_at[slot] <= now:
                hashes[slot] = key
                return slot
        return mask + 1

    def allows(self, slot: int, now: float) -> tuple[bool, bool]:
        """Tell whether one more session may be open, and whether the bucket has a token left at `now`."""
        return self._open[slot] < self._most, self._full_at[slot] - now <= self._ahead

    def take(self, slot: int, now: float) -> None:
        """Count one more open session, and take a token."""
        self._open[slot] += 1
        self._full_at[slot] = max(self._full_at[slot], now) + self._spacing

    def give_back(self, slot: int) -> None:
        """Count one open session less."""
        self._open[slot] -= 1

    @property
    def size(self) -> int:
        """How many bytes the table takes, which does not change."""
        return sum(each.itemsize * len(each) for each in (self._hashes, self._full_at, self._open))


class Limits:
    """Decides by the prefixes of a client's address; `now` is any clock that never goes back, in seconds."""

    __slots__ = ("addresses", "networks")

    def __init__(self, address: PrefixLimit, network: PrefixLimit, salt: bytes, slots: int = SLOTS) -> None:
        self.addresses = PrefixTable(address, salt, slots)
        self.networks = PrefixTable(network, salt, slots)

    def admit(self, packed: bytes, now: float) -> Place | TurnedAway:
        """Admit the client at an address (4 or 16 bytes, network byte order), or say why not.

        A client that is turned away costs its prefixes no token. One that is admitted must be released.
        """
        addresses, networks = self.addresses, self.networks
        wide = len(packed) == 16
        address = addresses.slot(packed[:8] if wide else packed, now)
        network = networks.slot(packed[:6] if wide else packed[:3], now)
        address_room, address_token = addresses.allows(address, now)
        network_room, network_token = networks.allows(network, now)
        if not (address_room and network_room and address_token and network_token):
            if address_room and network_room:
                return TurnedAway.NETWORK_RATE if address_token else TurnedAway.ADDRESS_RATE
            return TurnedAway.NETWORK_SESSIONS if address_room else TurnedAway.ADDRESS_SESSIONS
        addresses.take(address, now)
        networks.take(network, now)
        return address, network

    def release(self, place: Place) -> None:
        """Give back the place of a client whose session has ended."""
        self.addresses.give_back(place[0])
        self.networks.give_back(place[1])
