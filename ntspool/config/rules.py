"""What must hold between the keys of backends.yaml, and between it and the disk.

The rules read the document, not the models: pydantic yields no model while one key anywhere is wrong, yet operators
want to hear of a name used twice in the same breath as of a port out of range.
"""

import stat
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from ntspool.config import admission, fixedkey, names, publishing, values
from ntspool.config.history import History, retention, single_probes
from ntspool.config.models import CARRIED_AEADS, DEFAULT_COOKIES, DEFAULT_PORT, Health, Keys, Store
from ntspool.config.yamlfile import Document, Mistake, Place, spell
from ntspool.errors import CertificateError, DatabaseError
from ntspool.net.geo import open_database
from ntspool.net.tls import covers, dns_names, read_certificate
from ntspool.pool.access import Network
from ntspool.pool.model import FIXED_KEY, Certificate

T = TypeVar("T")


def check(document: Document) -> Iterator[Mistake]:
    """Yield every rule that `document` breaks; values that are wrong in themselves are passed over."""
    backends = document.at("backends")
    places: list[Place] = [("backends", index) for index in range(len(backends) if isinstance(backends, list) else 0)]
    yield from _stated_once(document, _listen(document))
    yield from _stated_once(document, _access(document))
    yield from _shares(document)
    for place in places:
        yield from _form(document, place)
    named = list(_stated(document, places, "name", values.name))
    discovered = list(_stated(document, places, "srv", values.srv_name))
    yield from _stated_once(document, named)
    yield from _stated_once(document, discovered)
    # What an SRV name will lead to, nobody knows yet.
    yield from names.check(document, None if discovered else [name for _, name in named])
    yield from _stated_once(document, _sockets(document, places))
    for place in places:
        yield from _aeads(document, place)
        yield from fixedkey.check(document, place)
    yield from _key_groups(document, places)
    yield from _health(document)
    yield from _life(document)
    yield from _store(document)
    yield from _history(document)
    yield from _database(document)
    yield from publishing.check(document)
    yield from _certificates(document)


def _one(document: Document, place: Place, parse: Callable[[object], T], default: T | None = None) -> T | None:
    """Return what stands at `place`: `default` when nothing does, None when it is wrong."""
    if place not in document.lines:
        return default
    try:
        return parse(document.at(*place))
    except ValueError:
        return None


def _all(document: Document, place: Place, parse: Callable[[object], T]) -> Iterator[tuple[Place, T]]:
    """Yield the items of the list at `place` (or the one value there) that are not wrong."""
    stated = document.at(*place)
    items = [(*place, index) for index in range(len(stated))] if isinstance(stated, list) else [place]
    for item in items:
        if (value := _one(document, item, parse)) is not None:
            yield item, value


def _stated_once(document: Document, found: Iterable[tuple[Place, object]]) -> Iterator[Mistake]:
    first: dict[object, Place] = {}
    for place, value in found:
        before = first.setdefault(value, place)
        if before is not place:
            where = f"{spell(before)} (line {document.line(before)})"
            yield document.mistake(place, f"{value} stands in {where} already; expected each only once")


def _listen(document: Document) -> Iterator[tuple[Place, values.Endpoint]]:
    yield from _all(document, ("listen",), values.endpoint)
    stated = document.at("listen")
    for index in range(len(stated) if isinstance(stated, list) else 0):
        yield from _all(document, ("listen", index, "address"), values.endpoint)
    for key in ("control", "admin", "status"):
        yield from _all(document, (key, "listen"), values.endpoint)


def _access(document: Document) -> Iterator[tuple[Place, Network]]:
    for key in ("allow", "deny"):
        yield from _all(document, ("limits", key), admission.network)


def _shares(document: Document) -> Iterator[Mistake]:
    """Yield what one address may have that its network may not."""
    usual = admission.PerAddress(), admission.PerNetwork()
    for key in ("sessions", "rate", "burst"):
        parse: Callable[[object], float | None] = getattr(admission, key, values.at_least_one)
        place = ("limits", "per_address", key)
        address = _one(document, place, parse, getattr(usual[0], key))
        network = _one(document, ("limits", "per_network", key), parse, getattr(usual[1], key))
        if address is not None and network is not None and address > network:
            where = place if place in document.lines else ("limits", "per_network", key)
            wrong = f"{address:g} for an address and {network:g} for its network"
            yield document.mistake(where, f"{wrong}; expected no more for an address than for its network")


def _stated(
    document: Document, places: Iterable[Place], key: str, parse: Callable[[object], T]
) -> Iterator[tuple[Place, T]]:
    for place in places:
        if value := _one(document, (*place, key), parse):
            yield (*place, key), value


def _form(document: Document, place: Place) -> Iterator[Mistake]:
    """Yield what keeps a backend from having either a name and an address, or an SRV name that leads to both."""
    if not isinstance(document.at(*place), dict):
        return
    by_name = {"name": values.NAME, "address": values.ADDRESS}
    for key, wanted in by_name.items():
        stated = (*place, key) in document.lines
        if (*place, "srv") not in document.lines and not stated:
            yield document.mistake((*place, key), f"missing; expected {wanted}")
        if (*place, "srv") in document.lines and stated:
            wrong = "stands beside srv, which gives the names and addresses"
            yield document.mistake((*place, key), f"{wrong}; expected either srv, or name and address")


def _sockets(document: Document, places: Iterable[Place]) -> Iterator[tuple[Place, values.Endpoint]]:
    for place in places:
        if port := _one(document, (*place, "port"), values.port, DEFAULT_PORT):
            for where, address in _all(document, (*place, "address"), values.address):
                yield where, values.Endpoint(str(address), port)


def _cookies(document: Document, place: Place) -> str | None:
    return _one(document, (*place, "cookies"), values.cookies, DEFAULT_COOKIES)


def _aeads(document: Document, place: Place) -> Iterator[Mistake]:
    stated = list(_all(document, (*place, "aeads"), values.aead))
    spelt = [(where, aead.label) for where, aead in stated]
    yield from _stated_once(document, spelt)
    cookies = _cookies(document, place)
    carried = CARRIED_AEADS[cookies] if cookies else [aead for _, aead in stated]
    for where, aead in stated:
        if aead not in carried:
            fitting = " or ".join(each.label for each in carried)
            wrong = f"{aead.label} does not fit into {cookies} cookies; expected {fitting}"
            yield document.mistake(where, wrong)


def _key_groups(document: Document, places: Iterable[Place]) -> Iterator[Mistake]:
    first: dict[str, tuple[Place, str]] = {}
    for place in places:
        name = _one(document, (*place, "name"), values.name)
        group = _one(document, (*place, "key_group"), values.name, name)
        cookies = _cookies(document, place)
        if group is None or cookies in (None, FIXED_KEY):
            continue
        before, expected = first.setdefault(group, (place, cookies))
        if cookies != expected:
            where = f"{spell(before)} (line {document.line(before)})"
            wrong = f"{cookies} cookies in key group {group}, where {where} has {expected} cookies"
            yield document.mistake((*place, "key_group"), f"{wrong}; expected one cookie format in each key group")


def _health(document: Document) -> Iterator[Mistake]:
    usual = Health()
    interval = _one(document, ("health", "interval"), values.interval, usual.interval)
    timeout = _one(document, ("health", "timeout"), values.probe_timeout, usual.timeout)
    if interval is None or timeout is None:
        return
    if timeout >= interval:
        yield _too_long(document, timeout, "interval", f"an interval of {values.spell_duration(interval)}")
        return
    fast = _one(document, ("health", "fast_interval"), values.interval)
    if fast is None:
        return
    place = ("health", "fast_interval")
    if fast > interval:
        spelt = f"{values.spell_duration(fast)} with an interval of {values.spell_duration(interval)}"
        yield document.mistake(place, f"{spelt}; expected no more, for it is to find out sooner")
    elif timeout >= fast:
        yield _too_long(document, timeout, "fast_interval", f"a fast_interval of {values.spell_duration(fast)}")


def _too_long(document: Document, timeout: float, key: str, interval: str) -> Mistake:
    place = ("health", "timeout") if ("health", "timeout") in document.lines else ("health", key)
    spelt = f"a timeout of {values.spell_duration(timeout)} with {interval}"
    return document.mistake(
        place, f"{spelt}; expected a timeout shorter than the interval, so that probes do not pile up"
    )


def _life(document: Document) -> Iterator[Mistake]:
    rotate = _one(document, ("keys", "rotate"), lambda value: values.rotation(value) or 0.0, Keys().rotate)
    life = _one(document, ("keys", "life"), values.life)
    if rotate and life and life > rotate:
        spelt = f"a life of {values.spell_duration(life)} with a rotation every {values.spell_duration(rotate)}"
        yield document.mistake(("keys", "life"), f"{spelt}; expected no more, or every rotation would have to wait")


_TOGETHER = (("user", "password"), ("password", "user"), ("certificate", "key"), ("key", "certificate"))


def _store(document: Document) -> Iterator[Mistake]:
    """Yield what of `store` means nothing without something else, and what would go over the network in the clear."""
    stated = {key for key in Store.model_fields if ("store", key) in document.lines}
    if stated - {"prefix"} and "etcd" not in stated:
        yield document.mistake(("store", "etcd"), "missing; expected a list of URLs, for the other keys are about them")
    for key, other in _TOGETHER:
        if key in stated and other not in stated:
            yield document.mistake(("store", key), f"stands without {other}; expected both or neither")
    endpoints = list(_all(document, ("store", "etcd"), values.etcd_endpoint))
    yield from _stated_once(document, endpoints)
    for place, endpoint in endpoints:
        if endpoint.startswith("http:") and stated & {"ca", "certificate", "password"}:
            wrong = "without TLS, which a password or certificate needs"
            yield document.mistake(place, f"{endpoint} is {wrong}; expected https://")


def _history(document: Document) -> Iterator[Mistake]:
    keep = _one(document, ("history", "keep"), lambda value: retention(value) or 0.0, History().keep)
    single = _one(document, ("history", "probes"), single_probes)
    if keep and single and single > keep:
        spelt = f"single probes for {values.spell_duration(single)} of {values.spell_duration(keep)}"
        yield document.mistake(("history", "probes"), f"{spelt}; expected no more than what is kept at all")


def _database(document: Document) -> Iterator[Mistake]:
    place = ("regions", "database")
    path = _one(document, place, lambda value: values.file_path(value, document.folder))
    if path is not None:
        try:
            open_database(path).close()
        except DatabaseError as error:
            yield document.mistake(place, f"{error}; expected a MaxMind database (.mmdb) that this user may read")


def _certificates(document: Document) -> Iterator[Mistake]:
    pairs = document.at("tls")
    count = len(pairs) if isinstance(pairs, list) else 0
    usable: list[Certificate] = []
    for index in range(count):
        certificate, wrong = _certificate(document, ("tls", index))
        yield from wrong
        if certificate:
            usable.append(certificate)
    if not usable or len(usable) < count:
        return
    for place, name in (*names.stated(document), *publishing.host(document)):
        if not any(covers(dns_names(certificate), name) for certificate in usable):
            yield document.mistake(place, f"no certificate is for {name}; expected one under tls that names it")


def _certificate(document: Document, place: Place) -> tuple[Certificate | None, list[Mistake]]:
    """Return what one item of `tls` names, or the mistakes that keep it from being used."""
    paths, wrong = [], []
    for key, parse in (("certificate", values.file_path), ("key", values.secret_path)):
        path = _one(document, (*place, key), partial(parse, folder=document.folder))
        if path and (problem := _unusable(path)):
            wrong.append(
                document.mistake((*place, key), f"{path} {problem}; expected a PEM file that this user may read")
            )
        elif path:
            paths.append(path)
    if len(paths) != 2:
        return None, wrong
    try:
        return read_certificate(*paths), []
    except CertificateError as error:
        return None, [document.mistake(place, f"{error}; expected a certificate and its own private key")]


def _unusable(path: Path) -> str | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for its writer
            return "is not a regular file"
        path.open("rb").close()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None
