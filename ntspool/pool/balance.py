"""Whom a client gets.

A client gets a backend that is UP in its address family and serves an AEAD that it offers; there may be none. Whatever
else is wanted is met as far as it can be, and given up from the last to the first: a weight above 0, the one cookie
length that old NTPsec clients can take, no server that it denies, the pin or group that it asks for by name, the server
and port that it wishes for. Of the backends left, those for its country come first, then those for its continent, then
all; a slot, `balance: sticky`, or chance by weight decides.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from itertools import chain, product
from typing import NamedTuple

from ntspool.pool.cookies import CookieFormat, cookie_length
from ntspool.pool.model import Backend, Client, Family, FixedKey, Selection, Serving
from ntspool.pool.names import NOTHING, Asked
from ntspool.pool.slots import in_slot
from ntspool.pool.table import Candidate, Table, Without, prefix_of
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request

TABLES = 256
"""Tables that are kept: one for each family, set of AEADs, name, region and port that clients come with."""

PLANS = 1024
"""Plans that are kept: one for each request, family, server name and place that clients come with."""

_LENGTHS = {cookies: cookie_length(cookies, Aead.AES_SIV_CMAC_256) for cookies in CookieFormat}


class Choice(NamedTuple):
    """The backend that a client gets, at which of its addresses (in words), and the AEAD that both can.

    The rest tells why: what the client's server name asked for, the place of the client's that the backend is for (if
    any), and which of the wants had to be given up, by the names of `Wants`.
    """

    serving: Serving
    address: str
    aead: Aead
    asked: Asked = NOTHING
    region: str = ""
    given_up: tuple[str, ...] = ()

    def why(self) -> dict[str, object]:
        """Return what led to the choice, for the log; empty when nothing but chance and weight did."""
        asked = self.asked
        if (asked, self.region, self.given_up) == (NOTHING, "", ()):
            return {}
        words = {"slot": asked.slot, "pin": asked.pin, "group": asked.group, "region": self.region}
        told = {key: word for key, word in words.items() if word not in ("", None)}
        return told | ({"given_up": list(self.given_up)} if self.given_up else {})


class Wants(NamedTuple):
    """What is wanted of a backend, from what is kept longest to what is given up first.

    Each is a row of what to try in turn; the last of a row wants nothing.
    """

    weight: Sequence[bool]
    cookie_length: Sequence[int | None]
    denial: Sequence[frozenset[str]]
    name: Sequence[tuple[str, str]]
    wish: Sequence[tuple[str | None, int | None]]


class Terms(NamedTuple):
    """What a backend must be like to stand in a table; None and "" want nothing. `spare` is as for Table."""

    spare: bool | None = False
    length: int | None = None
    pin: str = ""
    group: str = ""
    server: str | None = None
    port: int | None = None
    region: str = ""


class Plan(NamedTuple):
    """How clients that ask for the same get a backend: from these tables, one for each of `places`, the closest first.

    The last table has somebody who is not `denied`; `closest` is the index of the first one that has. `given_up` is as
    for Choice.
    """

    asked: Asked
    denied: frozenset[str]
    places: Sequence[str]
    tables: Sequence[Table]
    closest: int
    given_up: tuple[str, ...]


_Kind = tuple[tuple[int, ...], bool, bool, str | None, int | None, tuple[str, ...], int, str, tuple[str, ...]]


class Balancer:
    """Chooses among the backends of one Snapshot; make a new one for every Snapshot.

    Tables and plans are made when first asked for; at most TABLES and PLANS are kept, whatever clients come with.
    """

    def __init__(self, serving: Iterable[Serving], selection: Selection | None = None) -> None:
        self._serving = tuple(serving)
        self._selection = selection or Selection()
        self._groups = {name: frozenset(members) for name, members in self._selection.names.groups.items()}
        self._served = frozenset(aead for each in self._serving for aead in each.backend.aeads)
        self._families = frozenset(address.version for each in self._serving for address in each.backend.addresses)
        self._regions = frozenset(region for each in self._serving for region in each.backend.regions)
        self._ports = frozenset(each.backend.port for each in self._serving)
        self._named = _by_name(self._serving)
        self._lengths = {family: _main_length(self._serving, family) for family in Family}
        self._tables: dict[tuple[Terms, Family, frozenset[Aead]], Table] = {}
        self._plans: dict[_Kind, Plan | None] = {}

    def serves_any(self, aeads: Iterable[Aead]) -> bool:
        """Tell whether any backend of the configuration, UP or not, serves one of `aeads`."""
        return not self._served.isdisjoint(aeads)

    def serves_family(self, family: Family) -> bool:
        """Tell whether any backend of the configuration, UP or not, has an address of `family`."""
        return family in self._families

    def choose(self, request: Request, client: Client, fraction: float) -> Choice | None:
        """Return the backend for a client, or None when no backend that is UP can serve it.

        `fraction` is the chance that decides, uniform in 0 <= fraction < 1. The AEAD is the first of the client's
        list that the backend serves.
        """
        plan = self._plan(request, client)
        if plan is None:
            return None
        found, region = self._pick(plan, client, fraction)
        aead = next(filter(found.up.aeads.__contains__, request.usable_aeads))
        return Choice(found.serving, found.address, aead, plan.asked, region, plan.given_up)

    def _plan(self, request: Request, client: Client) -> Plan | None:
        """Return how clients like this one get a backend, None if they cannot; kept, for most clients are alike."""
        aeads, wish = (request.aeads, request.compliant_128gcm, request.aead_critical), (request.server, request.port)
        kind = (*aeads, *wish, request.denied, len(client.packed), client.server_name, client.places)
        try:
            return self._plans[kind]
        except KeyError:
            plan = self._plans[kind] = self._make_plan(request, client)
        if len(self._plans) > PLANS:
            del self._plans[next(iter(self._plans))]
        return plan

    def _make_plan(self, request: Request, client: Client) -> Plan | None:
        served = self._served.intersection(request.usable_aeads)
        asked = self._selection.names.asked(client.server_name)
        places = [*(place for place in client.places if place in self._regions), ""]
        wants = self._wants(request, client, asked)
        # The last want changes fastest, so the first combination that finds somebody gives up the least.
        for got in product(*wants):
            spare, length, denied, (pin, group), (server, port) = got
            terms = Terms(None if pin else spare, length, pin, group, server, port)
            tables = [self._table(terms._replace(region=place), client.family, served) for place in places]
            if Without(tables[-1].up, denied):
                closest = next(at for at, table in enumerate(tables) if Without(table.up, denied))
                given_up = (what for what, row, one in zip(Wants._fields, wants, got, strict=True) if one != row[0])
                return Plan(asked, denied, places, tables, closest, tuple(given_up))
        return None

    def _wants(self, request: Request, client: Client, asked: Asked) -> Wants:
        length = self._lengths[client.family] if _pins_cookie_length(request, client) else None
        denied = frozenset(
            each.backend.name for server in request.denied for each in self._named.get(_canonical(server), ())
        )
        # What no backend has cannot be had: a wish for it is none, and takes no table.
        server = _canonical(request.server) if request.server else None
        server = server if server in self._named else None
        port = request.port if request.port in self._ports else None
        wishes = ((server, port), (server, None), (None, port), (None, None))
        return Wants(
            weight=(False, True),
            cookie_length=tuple(dict.fromkeys((length, None))),
            denial=tuple(dict.fromkeys((denied, frozenset()))),
            name=tuple(dict.fromkeys(((asked.pin, asked.group), ("", "")))),
            wish=tuple(dict.fromkeys(wishes)),
        )

    def _pick(self, plan: Plan, client: Client, fraction: float) -> tuple[Candidate, str]:
        """Return who gets the client, and the place that it is for, if any."""
        closest = plan.tables[plan.closest]
        if plan.asked.slot is not None:
            return self._pick_slot(plan, client, plan.asked.slot)
        if self._selection.balance == "sticky":
            prefix = prefix_of(client.packed)
            name = next(closest.ranking.ranked(prefix, 0, Without(closest.up, plan.denied)))
            return closest.at(name, prefix), plan.places[plan.closest]
        return closest.draw(fraction, plan.denied), plan.places[plan.closest]

    def _pick_slot(self, plan: Plan, client: Client, slot: int) -> tuple[Candidate, str]:
        prefix, tables, denied = prefix_of(client.packed), plan.tables, plan.denied

        def declared(slot: int) -> Iterator[str]:
            return chain.from_iterable(each.ranking.ranked(prefix, slot, each.declared) for each in tables)

        def eligible(slot: int) -> Iterator[str]:
            return chain.from_iterable(each.ranking.ranked(prefix, slot, Without(each.up, denied)) for each in tables)

        name = in_slot(slot, declared, Without(tables[-1].up, denied), eligible)
        region = next(place for place, table in zip(plan.places, tables, strict=True) if name in table.up)
        return tables[-1].at(name, prefix), region

    def _table(self, terms: Terms, family: Family, served: frozenset[Aead]) -> Table:
        if terms.server is not None:
            # Of few backends, and one for each that clients can name: not worth another one's place.
            return self._make(terms, family, served)
        key = (terms, family, served)
        table = self._tables.pop(key, None) or self._make(terms, family, served)
        self._tables[key] = table
        if len(self._tables) > TABLES:
            del self._tables[next(iter(self._tables))]
        return table

    def _make(self, terms: Terms, family: Family, served: frozenset[Aead]) -> Table:
        named = terms.pin.lower() or terms.server
        among = self._serving if named is None else self._named.get(named, ())
        declared = [each for each in among if self._meets(each.backend, terms)]
        return Table(declared, family, served, spare=terms.spare, server=terms.server)

    def _meets(self, backend: Backend, terms: Terms) -> bool:
        return (
            terms.pin in ("", backend.name)
            and (not terms.group or backend.name in self._groups[terms.group])
            and terms.port in (None, backend.port)
            and terms.length in (None, _length(backend))
            and (not terms.region or terms.region in backend.regions)
        )


def _by_name(serving: Iterable[Serving]) -> Mapping[str, Sequence[Serving]]:
    """Return the backends by all that a client may call them: name in lower case, and addresses."""
    named: dict[str, list[Serving]] = {}
    for each in serving:
        # A set, for a backend may be named after its address.
        for name in {each.backend.name.lower(), *map(str, each.backend.addresses)}:
            named.setdefault(name, []).append(each)
    return named


def _pins_cookie_length(request: Request, client: Client) -> bool:
    """Tell whether the client looks like NTPsec before 1.2.5: until restarted, it takes cookies of one length only.

    Its list is AEAD 15 alone and not critical, and it sends no server name.
    """
    offers = request.aeads == (Aead.AES_SIV_CMAC_256,) and not request.compliant_128gcm
    return offers and not request.aead_critical and not client.server_name


def _main_length(serving: Iterable[Serving], family: Family) -> int | None:
    """Return the length of AEAD 15's cookies at the backends of most weight in `family`; None if it is all the same.

    Health does not come into it, or clients would be led from one length to the other.
    """
    weights: Counter[int | None] = Counter()
    for backend in (each.backend for each in serving):
        if Aead.AES_SIV_CMAC_256 in backend.aeads and any(each.version == family for each in backend.addresses):
            weights[_length(backend)] += backend.weight
    known = [length for length in weights if length is not None]
    return min(known, key=lambda length: (-weights[length], length)) if known and len(weights) > 1 else None


def _length(backend: Backend) -> int | None:
    """Return the length of AEAD 15's cookies; None if that is up to the backend itself."""
    return None if isinstance(backend.cookies, FixedKey) else _LENGTHS[backend.cookies]


def _canonical(server: str) -> str:
    """Return an address in the form that `str` gives it, anything else in lower case."""
    try:
        return str(ip_address(server))
    except ValueError:
        return server.lower()
