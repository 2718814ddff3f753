"""The backends that meet the same terms: who of them can be given out, and whom a client gets."""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

from ntspool.pool.model import Family, Serving, UpAddress
from ntspool.pool.ranking import Ranking, ranking, rendezvous
from ntspool.wire.aead import Aead

IPV4_PREFIX = 3
"""Bytes of an IPv4 address by which clients are told apart: in a /24, one host's addresses of today and tomorrow."""

IPV6_PREFIX = 6
"""Bytes of an IPv6 address by which clients are told apart: a /48 is one site, whose hosts change the rest daily."""


def prefix_of(packed: bytes) -> bytes:
    """Return what of a client's address (4 or 16 bytes) its order of the backends depends on."""
    return packed[: IPV4_PREFIX if len(packed) == 4 else IPV6_PREFIX]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A backend at one of its UP addresses, `address` in words; those of one family share its weight."""

    serving: Serving
    up: UpAddress
    weight: float
    address: str


class Without(Collection[str]):
    """The backends that can be given out, without those denied; makes no copy, for there may be thousands."""

    __slots__ = ("_denied", "_up")

    def __init__(self, up: Mapping[str, object], denied: frozenset[str]) -> None:
        self._up = up
        self._denied = denied

    def __contains__(self, name: object) -> bool:
        return name in self._up and name not in self._denied

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._up if name not in self._denied)

    def __len__(self) -> int:
        return len(self._up) - sum(name in self._up for name in self._denied)


class Table:
    """Those of `declared` that clients of `family` which offer `aeads` can use; `up` are who can be given out.

    `spare` selects those of weight 0, all with the same weight, instead of those above; None takes both. `server` is
    the backend, in lower case, or the address that alone will do.
    """

    def __init__(
        self,
        declared: Sequence[Serving],
        family: Family,
        aeads: frozenset[Aead],
        *,
        spare: bool | None,
        server: str | None = None,
    ) -> None:
        self.up: dict[str, list[Candidate]] = {}
        for serving in declared:
            name = serving.backend.name
            at = [up for up in serving.up if up.address.version == family and not aeads.isdisjoint(up.aeads)]
            chosen = [
                up for up in at if spare in (None, up.weight <= 0) and server in (None, name.lower(), str(up.address))
            ]
            if chosen:
                self.up[name] = [
                    Candidate(serving, up, (up.weight or 1) / len(chosen), str(up.address)) for up in chosen
                ]
        fitting = [each.backend for each in declared if _can_serve(each, family, aeads)]
        stated = {each.name: each.weight or 1 for each in fitting if spare in (None, each.weight == 0)}
        # One whose weight was changed since it was declared is in here by what it is now.
        now = {name: candidates[0].serving.backend.weight or 1 for name, candidates in self.up.items()}
        self._weights = stated | now

    @property
    def declared(self) -> Collection[str]:
        """The names of all that have this table's terms, whether they can be given out or not."""
        return self._weights.keys()

    @cached_property
    def ranking(self) -> Ranking:
        """Their order, for any client."""
        return ranking(tuple(sorted(self._weights.items())))

    def draw(self, fraction: float, denied: frozenset[str]) -> Candidate:
        """Return who stands at `fraction` (0 <= fraction < 1) of the weights of all that are not denied.

        There must be one.
        """
        candidates, sums, spans = self._line
        if not denied:
            return candidates[min(bisect_right(sums, fraction * sums[-1]), len(candidates) - 1)]
        skipped = sorted(spans[name] for name in denied if name in spans)
        point = fraction * (sums[-1] - sum(end - start for start, end in skipped))
        for start, end in skipped:
            if point >= start:
                point += end - start
        # Rounding can lead beyond the last one, or back to one that is denied, at an edge.
        index = min(bisect_right(sums, point), len(candidates) - 1)
        while candidates[index].serving.backend.name in denied:
            index = (index + 1) % len(candidates)
        return candidates[index]

    @cached_property
    def _line(self) -> tuple[list[Candidate], list[float], dict[str, tuple[float, float]]]:
        """The candidates in a line, the sums of the weights up to each, and from where to where each backend goes."""
        candidates = [candidate for at in self.up.values() for candidate in at]
        sums = list(accumulate(candidate.weight for candidate in candidates))
        last = dict(zip((candidate.serving.backend.name for candidate in candidates), sums, strict=True))
        return candidates, sums, dict(zip(last, pairwise((0.0, *last.values())), strict=True))

    def at(self, name: str, prefix: bytes) -> Candidate:
        """Return the candidate that clients of `prefix` get when they get the backend `name`."""
        return min(self.up[name], key=lambda candidate: rendezvous(prefix, candidate.address))


def _can_serve(serving: Serving, family: Family, aeads: frozenset[Aead]) -> bool:
    backend = serving.backend
    return not aeads.isdisjoint(backend.aeads) and any(address.version == family for address in backend.addresses)
