"""The key `dns.publish` of backends.yaml: its values, and what must hold between them and the rest of the file."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import TypeVar

from ntspool.config import names, values
from ntspool.config.yamlfile import Document, Mistake, Place, show
from ntspool.errors import StateError
from ntspool.net.tsig import read_key
from ntspool.pool.hosts import is_usable
from ntspool.pool.model import Address
from ntspool.pool.names import slots_of

T = TypeVar("T")

SHORTEST_TTL, LONGEST_TTL = 1.0, 86400.0
"""Seconds; with a longer one, who has gone is looked for until tomorrow."""

_PLACE: Place = ("dns", "publish")
_TELLING = ("server", "key", "zone", "names", "addresses", "host")
"""Keys that nobody states who wants nothing published."""


def address(value: object) -> Address:
    """Return an address of this gateway that clients can come to."""
    with suppress(ValueError):
        literal = ip_address(value) if isinstance(value, str) else None
        if literal is not None and is_usable(literal):
            return literal
    wanted = "expected an IPv4 or IPv6 address of this gateway, without a port"
    raise ValueError(f"{show(value)} is not one host's address that clients can use; {wanted}")


def ttl(value: object) -> int:
    """Return for how many seconds records may be kept: whole ones, as the DNS has them."""
    seconds = values.duration(SHORTEST_TTL)(value)
    if seconds > LONGEST_TTL:
        raise ValueError(f"{show(value)} is longer than a day; expected a duration such as 60s or 5m")
    if seconds % 1:
        raise ValueError(f"{show(value)} is not a number of whole seconds; expected a duration such as 60s or 5m")
    return int(seconds)


number = values.whole(0, 65535)


def reachable(host: str) -> Address | None:
    """Return an address that is listened on if it is one that clients elsewhere can come to."""
    literal = ip_address(host)
    return None if literal.is_loopback or literal.is_link_local or not is_usable(literal) else literal


def host(document: Document) -> Iterator[tuple[Place, str]]:
    """Yield the gateway's own name, which clients that came by SRV records ask for, if there is one."""
    place = (*_PLACE, "host")
    if name := _value(document, place, values.dns_name):
        yield place, name


def check(document: Document) -> Iterator[Mistake]:
    """Yield what is wrong between the keys of `dns.publish`, and between them and others."""
    if not any((*_PLACE, key) in document.lines for key in _TELLING):
        return
    yield from _needed(document)
    yield from _key(document)
    known = [name for _, name in names.stated(document)]
    published = list(_names(document))
    for place, name in published:
        if name not in known:
            yield document.mistake(place, f"{name} is no name of this pool; expected one under pool, groups or pins")
    yield from _zone(document, published or list(names.stated(document)))
    for place, name in host(document):
        if name in known or any(name in slots_of(each) for each in known):
            wrong = f"{name} is a name of the pool, which leads to every gateway"
            yield document.mistake(place, f"{wrong}; expected a name for this one alone, such as gw1.{known[0]}")


def _needed(document: Document) -> Iterator[Mistake]:
    wanted = {"server": "the address of the zone's primary DNS server", "key": "the path of a TSIG key file"}
    for key, what in wanted.items():
        if (*_PLACE, key) not in document.lines:
            yield document.mistake((*_PLACE, key), f"missing; expected {what}")
    if (*_PLACE, "addresses") not in document.lines and not _listens(document):
        wrong = "missing, and listen names no address that clients elsewhere can come to"
        yield document.mistake(
            (*_PLACE, "addresses"), f"{wrong}; expected the addresses that this gateway is reached at"
        )


def _listens(document: Document) -> bool:
    """Tell whether `listen` has an address to publish; what is wrong there is told elsewhere."""
    stated = document.at("listen")
    for each in stated if isinstance(stated, list) else []:
        try:
            endpoint = values.endpoint(each.get("address") if isinstance(each, dict) else each)
        except ValueError:
            return True
        if reachable(endpoint.host):
            return True
    return False


def _key(document: Document) -> Iterator[Mistake]:
    place = (*_PLACE, "key")
    path = _value(document, place, lambda value: values.secret_path(value, document.folder))
    if path is not None:
        try:
            read_key(path)
        except StateError as error:
            yield document.mistake(place, f"{error}; expected a TSIG key that ntspool's user alone may read")


def _names(document: Document) -> Iterator[tuple[Place, str]]:
    stated = document.at(*_PLACE, "names")
    for index in range(len(stated) if isinstance(stated, list) else 0):
        place = (*_PLACE, "names", index)
        if name := _value(document, place, values.dns_name):
            yield place, name


def _zone(document: Document, published: list[tuple[Place, str]]) -> Iterator[Mistake]:
    zone = _value(document, (*_PLACE, "zone"), values.dns_name)
    for place, name in (*(each for each in published if each[0][0] != "pins"), *host(document)) if zone else ():
        if not f".{name}".endswith(f".{zone}"):
            yield document.mistake(
                (*_PLACE, "zone") if place[0] != "dns" else place,
                f"{name} is not in the zone {zone}; expected names of one zone, or no zone: the server then tells it",
            )


def _value(document: Document, place: Place, parse: Callable[[object], T]) -> T | None:
    """Return what stands at `place`, None when nothing does or it is wrong."""
    if place not in document.lines:
        return None
    try:
        return parse(document.at(*place))
    except ValueError:
        return None
