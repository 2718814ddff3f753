"""Whom a client gets: a weighted random choice among the backends that can serve it."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import accumulate

from ntspool.pool.model import Address, Client, Family, Serving, UpAddress
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that a client gets, at which of its addresses, and the AEAD that both can."""

    serving: Serving
    address: Address
    aead: Aead


class Balancer:
    """Chooses among the backends of one Snapshot; make a new one for every Snapshot.

    Tables are made when first asked for and kept: there are at most seven sets of AEADs, two families and a few
    wishes for each backend, so no client can make them grow.
    """

    def __init__(self, serving: Iterable[Serving]) -> None:
        serving = tuple(serving)
        self._served = frozenset(aead for each in serving for aead in each.backend.aeads)
        self._candidates = _by_wish(candidate for each in serving for candidate in _candidates(each))
        self._tables: dict[tuple[_Wish, Family, frozenset[Aead]], _Table] = {}

    def serves_any(self, aeads: Iterable[Aead]) -> bool:
        """Tell whether any backend of the configuration, UP or not, serves one of `aeads`."""
        return not self._served.isdisjoint(aeads)

    def choose(self, request: Request, client: Client, fraction: float) -> Choice | None:
        """Return the backend for a client, or None when no backend that is UP can serve it.

        `fraction` is the chance that decides, uniform in 0 <= fraction < 1. The AEAD is the first of the client's
        list that the backend serves. A server or port that the client wishes for is honoured where it names ours.
        """
        aeads = request.usable_aeads
        server = None if request.server is None else _canonical(request.server)
        for wish in ((server, request.port), (server, None), (None, request.port), (None, None)):
            table = self._table(wish, client.family, frozenset(aeads))
            if table is not None and len(table):
                candidate = table.pick(fraction)
                aead = next(aead for aead in aeads if aead in candidate.up.aeads)
                return Choice(candidate.serving, candidate.up.address, aead)
        return None

    def _table(self, wish: "_Wish", family: Family, aeads: frozenset[Aead]) -> "_Table | None":
        key = (wish, family, aeads)
        table = self._tables.get(key)
        if table is None and wish in self._candidates:
            fitting = [
                candidate
                for candidate in self._candidates[wish]
                if candidate.up.address.version == family and not aeads.isdisjoint(candidate.up.aeads)
            ]
            table = self._tables[key] = _Table(fitting)
        return table


_Wish = tuple[str | None, int | None]
"""The server and the port that a client asks for."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    serving: Serving
    up: UpAddress
    weight: float


class _Table:
    """Candidates with their weights summed up, so that a choice costs one binary search."""

    def __init__(self, candidates: Sequence[_Candidate]) -> None:
        self._candidates = candidates
        self._sums = tuple(accumulate(candidate.weight for candidate in candidates))

    def __len__(self) -> int:
        return len(self._candidates)

    def pick(self, fraction: float) -> _Candidate:
        """Return the candidate that stands at `fraction` of the summed weights."""
        # Never beyond the last: times a float below 1, no sum rounds up to itself.
        return self._candidates[bisect_right(self._sums, fraction * self._sums[-1])]


def _candidates(serving: Serving) -> list[_Candidate]:
    """Return a candidate for each UP address; those of one family share the backend's weight."""
    families = Counter(up.address.version for up in serving.up)
    return [_Candidate(serving, up, up.weight / families[up.address.version]) for up in serving.up if up.weight]


def _by_wish(candidates: Iterable[_Candidate]) -> dict[_Wish, list[_Candidate]]:
    wishes: dict[_Wish, list[_Candidate]] = {}
    for candidate in candidates:
        backend = candidate.serving.backend
        # A set, for a backend may be named after its address.
        for server in {None, backend.name.lower(), str(candidate.up.address)}:
            for port in (None, backend.port):
                wishes.setdefault((server, port), []).append(candidate)
    return wishes


def _canonical(server: str) -> str:
    """Return an address in the form that `str` gives it, anything else in lower case."""
    try:
        return str(ip_address(server))
    except ValueError:
        return server.lower()
