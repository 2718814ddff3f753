"""In which order one client gets the backends: the same in every gateway, at a cost that the pool's size does not set.

What is wanted: an order that follows from the client's prefix and the backends' names and weights alone, in which each
backend comes first for its share of the clients, and from which one can be taken without moving those behind others.
Weighted rendezvous hashing is all that, but scores every backend for every client. So it is used as it is for up to
FEW backends; above, it is turned around. SEATS seats stand in a row, of which most are empty. A backend owns seats in
proportion to its weight, at places hashed from its name; a client's prefix yields a row of draws, each of a seat. A
draw of an empty seat counts for nothing, one of an owned seat ranks its owner next, unless it has its rank. The owners
of a seat that several share settle each draw of it by rendezvous. Whatever the pool's size, one draw in 16 to 64 meets
an owner. Whoever is not met in DRAWS draws is ranked behind the others, by rendezvous.

What is guaranteed:

- The order of declaration, Python's hash seed and the state of any backend change no rank: skip those that are DOWN.
- Skipping a backend moves only clients that it comes first for. Taking it away from the declaration does no more,
  unless the number of backends falls to FEW or, above, the sum of the weights to a power of 4: at such a border the
  seats are laid out anew, and most clients move. Adding is taking away backwards.
- Shares are exact up to FEW backends. Above, shared seats change a backend's share by about 0.5 % (standard deviation)
  among 100 backends of equal weight, 1.5 % among 1000, 3.5 % among 5000.
"""

import math
from array import array
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b, shake_128
from itertools import count, islice
from struct import Struct

from ntspool.pool.names import SLOTS

FEW = 32
"""Backends up to which each is scored for each client: so many take twice what seats would, but have no borders."""

SEATS = 1 << 20
OWNED = 1 << 16
"""At most so many seats are owned, and more than a quarter of it: enough for a weight of 1 among 65536."""

DRAWS = 2048
"""Enough to rank the first ten of 1000 backends but once in a million times."""

KEPT = 16
"""Rankings that are kept, one for each set of backends that clients choose among; each takes up to 5 MB."""

_BATCH = Struct(">64I")
_HEIGHT_BITS = 12
_HEIGHT = 1 << _HEIGHT_BITS
"""A draw of 32 bits is a seat and a height in it: a backend may own its last seat up to some height only."""

_SHARED = 0xFFFFFFFF
_SCORE_LENGTH = 6


@lru_cache(maxsize=KEPT)
def ranking(members: tuple[tuple[str, int], ...]) -> "Ranking":
    """Return the ranking of `members`: names in their order, with weights above 0.

    It is kept: health and reloads ask for the same one again and again, and its seats take some 20 ms to lay out.
    """
    return Ranking(members)


class Ranking:
    """The order of a set of backends, for any client. Use `ranking`."""

    def __init__(self, members: Sequence[tuple[str, int]]) -> None:
        self._names = tuple(name for name, _ in members)
        self._weights = dict(members)
        self._seats = _Seats(members) if len(members) > FEW else None
        self._last = b""
        self._scores: dict[str, bytes] = {}

    def ranked(self, prefix: bytes, slot: int, within: Collection[str]) -> Iterator[str]:
        """Yield the names in `within` in the order that the clients of `prefix` have for this slot.

        The first few cost the same whatever the number of members; the last ones, as much as sorting `within`.
        """
        met: set[str] = set()
        if self._seats is not None:
            for index in self._seats.met(prefix, slot):
                name = self._names[index]
                if name not in met:
                    met.add(name)
                    if name in within:
                        yield name
        yield from (
            name for _, name in sorted(self._scored(prefix, slot, [name for name in within if name not in met]))
        )

    def _scored(self, prefix: bytes, slot: int, names: Sequence[str]) -> list[tuple[float, str]]:
        if self._last != prefix:
            # A slot asks for the same scores as the slots before it.
            self._last, self._scores = prefix, {}
        scores, weights = self._scores, self._weights
        start, end = slot * _SCORE_LENGTH, (slot + 1) * _SCORE_LENGTH
        scored = []
        for name in names:
            score = scores.get(name)
            if score is None:
                score = scores[name] = _scores(prefix, name)
            scored.append((_exponential(score[start:end]) / weights.get(name, 1), name))
        return scored


class _Seats:
    """Who owns which seat: 0 for nobody, one more than the owner's index, or _SHARED."""

    def __init__(self, members: Sequence[tuple[str, int]]) -> None:
        self._names = tuple(name for name, _ in members)
        self._row = array("I", bytes(4 * SEATS))
        self._shared: dict[int, dict[int, int]] = {}
        total, border = sum(weight for _, weight in members), 1
        while border < total:
            border *= 4
        for index, (_, weight) in enumerate(members):
            self._seat(index, weight * OWNED / border)

    def _seat(self, index: int, seats: float) -> None:
        whole, part = divmod(round(seats * _HEIGHT), _HEIGHT)
        places = (word >> _HEIGHT_BITS for word in _words(self._names[index].encode()))
        for place in islice(places, whole):
            self._own(place, index, _HEIGHT)
        if part:
            self._own(next(places), index, part)

    def _own(self, place: int, index: int, height: int) -> None:
        before = self._row[place]
        if before == 0 and height == _HEIGHT:
            self._row[place] = index + 1
            return
        if before != _SHARED:
            self._row[place] = _SHARED
            self._shared[place] = {before - 1: _HEIGHT} if before else {}
        owners = self._shared[place]
        owners[index] = max(height, owners.get(index, 0))

    def met(self, prefix: bytes, slot: int) -> Iterator[int]:
        """Yield the index of each owner that the draws of `prefix` for `slot` meet; one may come many times."""
        row, seed = self._row, bytes((slot,)) + prefix
        for number in range(DRAWS // 64):
            for word in _batch(seed, number):
                owner = row[word >> _HEIGHT_BITS]
                if owner == _SHARED:
                    yield from self._settle(word, seed)
                elif owner:
                    yield owner - 1

    def _settle(self, word: int, seed: bytes) -> Sequence[int]:
        height, drawn = word & (_HEIGHT - 1), word.to_bytes(4, "big") + seed
        owners = [index for index, owned in self._shared[word >> _HEIGHT_BITS].items() if height < owned]
        return sorted(owners, key=lambda index: _scores(drawn, self._names[index]))[:1]


def rendezvous(prefix: bytes, name: str) -> float:
    """Return the score of `name` for the clients of `prefix`; of several names, the least has it, each as likely."""
    return _exponential(_scores(prefix, name)[:_SCORE_LENGTH])


def _scores(prefix: bytes, name: str) -> bytes:
    """Return a score for each slot, _SCORE_LENGTH bytes each."""
    # The length keeps prefix and name apart.
    return blake2b(bytes((len(prefix),)) + prefix + name.encode(), digest_size=SLOTS * _SCORE_LENGTH).digest()


def _exponential(score: bytes) -> float:
    """Return a number with an exponential distribution: divided by weights, the least falls to each by its weight."""
    return -math.log((int.from_bytes(score, "big") + 0.5) / (1 << 8 * _SCORE_LENGTH))


def _words(seed: bytes) -> Iterator[int]:
    for number in count():
        yield from _batch(seed, number)


def _batch(seed: bytes, number: int) -> tuple[int, ...]:
    """Return 64 numbers of 32 bits; out of one digest, for the call costs more than the bytes."""
    unpacked: tuple[int, ...] = _BATCH.unpack(shake_128(number.to_bytes(4, "big") + seed).digest(_BATCH.size))
    return unpacked
