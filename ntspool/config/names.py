"""`pins` and `groups` of backends.yaml: names beside the pool's own.

The parsers pass over single names and backends that are wrong; `check` tells those, each with its line.
"""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches

from ntspool.config import values
from ntspool.config.yamlfile import Document, Mistake, Place, show, spell
from ntspool.pool.names import slots_of

PINS = "a mapping from DNS names to backends, such as {ntp-1.example.com: ntp-1}"
GROUPS = "a mapping from DNS names to lists of backends, such as {eu.ntp-pool.example.com: [ntp-1, ntp-2]}"


def pins(value: object) -> tuple[tuple[str, str], ...]:
    """Return each name, in lower case, and its backend."""
    return tuple((name, backend) for name, backend in _items(value, PINS) if isinstance(backend, str))


def groups(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each name, in lower case, and its backends."""
    return tuple((name, tuple(map(str, _listed(backends)))) for name, backends in _items(value, GROUPS))


def stated(document: Document) -> Iterator[tuple[Place, str]]:
    """Yield each DNS name under pool.names, pins and groups that is one, in lower case, and its place."""
    listed = document.at("pool", "names")
    for index, value in enumerate(listed if isinstance(listed, list) else ()):
        if (name := _dns_name(value)) is not None:
            yield ("pool", "names", index), name
    for key in ("pins", "groups"):
        for value in _mapping(document.at(key)):
            if (name := _dns_name(value)) is not None:
                yield (key, value), name


def check(document: Document, backends: Collection[str] | None) -> Iterator[Mistake]:
    """Yield what is wrong with names and with backends that they lead to.

    `backends` are the declared ones' names, None if there are others that only the DNS knows.
    """
    yield from _names_once(document)
    for key, wanted in (("pins", PINS), ("groups", GROUPS)):
        for name, value in _mapping(document.at(key)).items():
            place = (key, name)
            if place in document.unread:
                continue
            if _dns_name(name) is None:
                yield document.mistake(place, f"{show(name)} is not a DNS name; expected {wanted}")
            yield from _backends(document, place, value, backends)


def _backends(document: Document, place: Place, value: object, known: Collection[str] | None) -> Iterator[Mistake]:
    listed = isinstance(value, list) and place[0] == "groups"
    if listed and not value:
        yield document.mistake(place, "an empty list; expected at least one backend")
    seen: set[str] = set()
    for index, backend in enumerate(_listed(value) if listed else [value]):
        where = (*place, index) if listed else place
        if where in document.unread:
            continue
        if not isinstance(backend, str) or (known is not None and backend not in known):
            near = get_close_matches(backend, known or (), n=1) if isinstance(backend, str) else []
            wanted = f"did you mean {near[0]}?" if near else "expected the name of one under backends"
            yield document.mistake(where, f"{show(backend)} is no backend; {wanted}")
        elif backend in seen:
            yield document.mistake(where, f"{backend} stands in this list already; expected each only once")
        else:
            seen.add(backend)


def _names_once(document: Document) -> Iterator[Mistake]:
    first: dict[str, Place] = {}
    names = list(stated(document))
    slots = {slot: name for place, name in names if place[0] != "pins" for slot in slots_of(name)}
    for place, name in names:
        before = first.setdefault(name, place)
        if before is not place:
            where = f"{spell(before)} (line {document.line(before)})"
            yield document.mistake(place, f"{name} stands in {where} already; expected each only once")
        elif name in slots:
            wrong = f"{name} is a slot of {slots[name]} by itself"
            yield document.mistake(place, f"{wrong}; expected a name that does not begin with a digit and a dot")


def _items(value: object, wanted: str) -> Iterator[tuple[str, object]]:
    if not isinstance(value, dict):
        raise ValueError(f"{show(value)}; expected {wanted}")  # noqa: TRY004  -- pydantic takes no TypeError
    return ((name, inner) for key, inner in value.items() if (name := _dns_name(key)) is not None)


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _dns_name(value: object) -> str | None:
    try:
        return values.dns_name(value)
    except ValueError:
        return None
