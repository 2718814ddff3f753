"""The backends that follow from what names resolve to, and the questions that they raise."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ntspool.pool.cookies import CookieFormat
from ntspool.pool.hosts import name_problem
from ntspool.pool.model import Address, Backend, FixedKey
from ntspool.pool.resolving import UNKNOWN, Knowledge, Question, RecordType, Target

LARGEST_WEIGHT = 256
"""Of a backend; SRV weights above are scaled down to it."""

LONGEST_NAME = 99
"""Of a backend: files are named after it."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A backend of backends.yaml: `backend` holds the addresses that are stated, `hosts` the names of more."""

    backend: Backend
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovered:
    """The backends behind an SRV name: each is like `pattern`, which has no name and no addresses of its own.

    Its `port` and `weight` hold where they are `stated`, and so does `ke.port`, the port of its key exchange; its
    `key_group` holds unless it is empty.
    """

    service: str
    pattern: Backend
    stated: frozenset[str] = frozenset()


Entry = Declared | Discovered


def wanted(entries: Iterable[Entry], knowledge: Knowledge) -> tuple[Question, ...]:
    """Return every question that `entries` raise: hosts, services, and the hosts of the services that are known."""
    found: dict[Question, None] = {}
    for entry in entries:
        if isinstance(entry, Declared):
            found.update((Question.host(name), None) for name in entry.hosts)
        else:
            question = Question.service(entry.service)
            found[question] = None
            hosts = (each.host for each in _targets(question, knowledge))
            found.update((Question.host(name), None) for name in hosts if name_problem(name) is None)
    return tuple(found)


def backends(entries: Sequence[Entry], knowledge: Knowledge) -> tuple[tuple[Backend, ...], dict[str, str]]:
    """Return the backends, in the order of `entries`, and the discovered names left out, each with the reason.

    One whose names are not resolved has no addresses, or only those that are stated. A declared backend is preferred
    to a discovered one of the same name, and the first entry's to a later one's.
    """
    taken = {entry.backend.name.lower() for entry in entries if isinstance(entry, Declared)}
    formats = dict(_key_groups(entries))
    found: list[Backend] = []
    left_out: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Declared):
            stated = [*entry.backend.addresses, *(each for name in entry.hosts for each in _addresses(name, knowledge))]
            found.append(replace(entry.backend, addresses=tuple(dict.fromkeys(stated))))
            continue
        for backend in _discovered(entry, knowledge):
            problem = _problem(backend, taken)
            if problem is None and not isinstance(backend.cookies, FixedKey):
                cookies = formats.setdefault(backend.key_group, backend.cookies)
                if cookies is not backend.cookies:
                    problem = f"key group {backend.key_group} has {cookies} cookies"
            if problem is None:
                taken.add(backend.name)
                found.append(backend)
            else:
                left_out[backend.name] = problem
    return tuple(found), left_out


def _key_groups(entries: Iterable[Entry]) -> Iterator[tuple[str, CookieFormat]]:
    for backend in (entry.backend for entry in entries if isinstance(entry, Declared)):
        if not isinstance(backend.cookies, FixedKey):
            yield backend.key_group, backend.cookies


def _problem(backend: Backend, taken: set[str]) -> str | None:
    if problem := name_problem(backend.name):
        return problem
    if len(backend.name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if not 0 < backend.port < 65536:
        return "has port 0"
    return "is the name of another backend" if backend.name in taken else None


def _discovered(entry: Discovered, knowledge: Knowledge) -> Iterator[Backend]:
    targets = _targets(Question.service(entry.service), knowledge)
    weights = _weights([each.weight for each in targets], entry.pattern.weight)
    # Only an NTP service's records tell an NTP port; those of NTS-KE tell where key exchange is.
    own_port = "port" not in entry.stated and entry.service.startswith("_ntp._udp.")
    for target, weight in zip(targets, weights, strict=True):
        yield replace(
            entry.pattern,
            name=target.host,
            cookies=_cookies(entry, target),
            addresses=_addresses(target.host, knowledge),
            port=target.port if own_port else entry.pattern.port,
            weight=entry.pattern.weight if "weight" in entry.stated else weight,
            key_group="" if isinstance(entry.pattern.cookies, FixedKey) else entry.pattern.key_group or target.host,
        )


def _cookies(entry: Discovered, target: Target) -> CookieFormat | FixedKey:
    """Return the cookies of the backend at `target`: with keys of its own, it is asked by its own name."""
    cookies = entry.pattern.cookies
    if not isinstance(cookies, FixedKey):
        return cookies
    own_port = "ke.port" not in entry.stated and entry.service.startswith("_ntske._tcp.") and target.port
    return replace(cookies, name=cookies.host or target.host, port=target.port if own_port else cookies.port)


def _weights(stated: Sequence[int], usual: int) -> list[int]:
    """Return a backend's weight for each SRV weight: their proportions hold, 0 among others is the least there is."""
    largest = max(stated, default=0)
    if largest == 0:
        return [usual for _ in stated]
    scale = min(1.0, LARGEST_WEIGHT / largest)
    return [max(1, round(weight * scale)) for weight in stated]


def _targets(question: Question, knowledge: Knowledge) -> list[Target]:
    """Return the targets of the lowest priority value, as the only ones that RFC 2782 lets clients try first."""
    records = knowledge.get(question, UNKNOWN).records.get(RecordType.SRV, ())
    targets = [each for each in records if isinstance(each, Target) and each.host]
    lowest = min((each.priority for each in targets), default=0)
    return [each for each in targets if each.priority == lowest]


def _addresses(name: str, knowledge: Knowledge) -> tuple[Address, ...]:
    known = knowledge.get(Question.host(name), UNKNOWN)
    families = (known.records.get(kind, ()) for kind in (RecordType.A, RecordType.AAAA))
    return tuple(each for records in families for each in records if not isinstance(each, Target))
