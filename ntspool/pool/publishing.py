"""What the DNS is to show of a pool's gateways, and which changes lead there without ever emptying a name.

Records bear no mark of who put them there, so a gateway touches single records only, never a whole RRset that others
may have a share in. It adds its own. It removes its own, those of a neighbour that is dead or not ready, and what it
remembers to have added before; all that nobody lays claim to is the operator's, and stays. A removal demands that the
RRset is still what was read, and leaves a record that is not known to be bad: of two gateways that withdraw at the same
time, the later one is refused, reads again, and stays.

Values are rdata in text as zone files have it, with full names in lower case.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from ntspool.pool.model import Address
from ntspool.pool.names import slots_of
from ntspool.pool.resolving import Target

SERVICE = "_ntske._tcp"
"""The service that SRV records are for: IANA's name of NTS-KE's port."""


class Kind(StrEnum):
    """The types of DNS records that are published."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"
    CNAME = "CNAME"


class Key(NamedTuple):
    """An RRset: the name that owns it, without the final dot, and its type."""

    name: str
    kind: Kind


Record = tuple[Key, str]
"""One record: its RRset and its value."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway as the DNS shows it; without a `host`, a name of its own, there are no SRV records of it.

    `port`, `priority` and `weight` stand in these (RFC 2782). `ready` tells whether clients are to come.
    """

    addresses: tuple[Address, ...]
    host: str = ""
    port: int = 4460
    priority: int = 0
    weight: int = 10
    ready: bool = True

    def values(self, kind: Kind) -> frozenset[str]:
        """Return its records of a type under each of the pool's names."""
        match kind:
            case Kind.A | Kind.AAAA:
                version = 4 if kind is Kind.A else 6
                return frozenset(str(each) for each in self.addresses if each.version == version)
            case Kind.SRV if self.host:
                return frozenset({str(Target(self.priority, self.weight, self.port, self.host))})
        return frozenset()

    def claims(self, kind: Kind, values: frozenset[str]) -> frozenset[str]:
        """Return which of `values` are of this gateway: SRV records by their target, whatever their weight."""
        if kind is Kind.SRV and self.host:
            return frozenset(each for each in values if each.endswith(f" {self.host}."))
        return values & self.values(kind)


@dataclass(frozen=True, slots=True)
class Publication:
    """What one gateway publishes: itself, under `names`, for `ttl` seconds.

    With `slots`, the slots of each name become aliases of it.
    """

    names: tuple[str, ...]
    own: Gateway
    ttl: int
    slots: bool = True


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The other gateways of a cluster, `living` and `dead`, as far as it is known now.

    Unless they are `current`, nothing of them is touched: who is cut off from the cluster does not know who lives, and
    neither does it insist on records of its own that somebody else has removed.
    """

    living: tuple[Gateway, ...] = ()
    dead: tuple[Gateway, ...] = ()
    current: bool = True


ALONE = Neighbours()
"""No cluster: all other records are somebody's who knows why."""


@dataclass(frozen=True, slots=True)
class Found:
    """An RRset as the server has it; `taken` tells that its name has records, of this type or another."""

    values: frozenset[str] = frozenset()
    ttl: int = 0
    taken: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One update of one RRset, done as a whole or not at all (RFC 2136 section 3).

    The prerequisite is that the RRset is exactly `expected`; empty, that its name has no records; None: there is none.
    """

    key: Key
    adds: frozenset[str]
    removes: frozenset[str]
    expected: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done now, in this order; `stuck` are RRsets where a record only stays because it is the last."""

    changes: tuple[Change, ...]
    stuck: tuple[Key, ...]


def questions(publication: Publication) -> tuple[Key, ...]:
    """Return the RRsets that a plan is made from."""
    host = publication.own.host
    own = (Key(host, Kind.A), Key(host, Kind.AAAA)) if host else ()
    slots = (slot for name in publication.names for slot in slots_of(name)) if publication.slots else ()
    return (*own, *_shared(publication), *(Key(slot, Kind.CNAME) for slot in slots))


def plan(
    publication: Publication,
    neighbours: Neighbours,
    earlier: frozenset[Record],
    found: Mapping[Key, Found],
    *,
    adds: bool = True,
    renew: bool = False,
) -> Plan:
    """Return what leads from what was `found` to what should be.

    `earlier` are records that this gateway has added at any time. Without `adds`, it does not put its own into the
    pool's names again. With `renew`, its own get the TTL that holds now; two gateways of different TTLs would undo each
    other if they always did.
    """
    changes: list[Change] = []
    stuck = []
    shared = set(_shared(publication))
    for key in questions(publication):
        there = found.get(key, Found())
        if key.kind is Kind.CNAME:
            changes += _alias(key, there)
            continue
        wanted = publication.own.values(key.kind)
        if key in shared:
            gone = _gone(key, publication.own, neighbours, earlier, there)
            wanted = wanted if publication.own.ready and adds else frozenset()
        else:
            gone = there.values - wanted
        added = wanted if renew and there.ttl != publication.ttl else wanted - there.values
        if key in shared and not (there.values | added) - gone:
            stuck += [key] if gone else []
            gone = frozenset()
        if added or gone:
            changes.append(Change(key, added, gone, there.values if gone else None))
    return Plan(tuple(changes), tuple(stuck))


def remembered(publication: Publication, earlier: frozenset[Record], found: Mapping[Key, Found]) -> frozenset[Record]:
    """Return which of the records that were `found` this gateway has added, of those that others have a share in."""
    own = {(key, each) for key in _shared(publication) for each in publication.own.values(key.kind)}
    return frozenset((key, each) for key, each in own | earlier if each in found.get(key, Found()).values)


def is_shown(publication: Publication, found: Mapping[Key, Found]) -> bool:
    """Tell whether a name of the pool leads to this gateway."""
    return any(publication.own.claims(key.kind, found.get(key, Found()).values) for key in _shared(publication))


def _shared(publication: Publication) -> Iterator[Key]:
    """Yield the RRsets that every gateway has a share in."""
    for name in publication.names:
        yield Key(name, Kind.A)
        yield Key(name, Kind.AAAA)
        yield Key(f"{SERVICE}.{name}", Kind.SRV)


def _gone(key: Key, own: Gateway, neighbours: Neighbours, earlier: frozenset[Record], there: Found) -> frozenset[str]:
    """Return what is there and should not be: nothing that is also an address of a gateway that clients may come to."""
    living, dead = (neighbours.living, neighbours.dead) if neighbours.current else ((), ())
    bad = {each for place, each in earlier if place == key} & there.values
    for gateway in (*dead, *living, own):
        bad |= gateway.claims(key.kind, there.values)
    for gateway in living:
        if gateway.ready:
            bad -= gateway.claims(key.kind, there.values)
    return frozenset(bad - own.values(key.kind) if own.ready else bad)


def _alias(key: Key, there: Found) -> Iterator[Change]:
    """Yield what makes a slot an alias of its name, unless the slot has records of its own."""
    if not there.taken:
        _, _, name = key.name.partition(".")
        yield Change(key, frozenset({f"{name}."}), frozenset(), frozenset())
