"""Backends by name: what the DNS is to be asked and when, what its answers change, and the backends that follow.

An answer that has no records is a statement, and counts; no answer at all (SERVFAIL, REFUSED, silence) is none, and
changes nothing. Nothing here trusts the DNS: an address that it names gets no client before a probe has proved that it
holds the backend's keys.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from types import MappingProxyType

from ntspool.pool.hosts import name_problem
from ntspool.pool.model import Address, Backend

SHORTEST_TTL = 5.0
"""Seconds; a TTL of 0 must not make a gateway ask without a pause."""

LONGEST_TTL = 3600.0
"""Seconds; a slip of the pen in a zone must not last a week here."""

LONGEST_RETRY = 300.0
"""Seconds; retries begin at SHORTEST_TTL and double up to this: what RFC 2308 section 7 allows a failure to be kept."""

CONFIRMATIONS = 3
"""Negative answers in a row, each asked for once the last has expired, before a name loses all that it had.

A zone that is broken for a moment must not empty a backend at once; probes keep watch meanwhile.
"""

LARGEST_WEIGHT = 256
"""Of a backend; SRV weights above are scaled down to it."""

LONGEST_NAME = 99
"""Of a backend: files are named after it."""

NEVER = -inf


class RecordType(StrEnum):
    """The types of DNS records that are asked for."""

    A = "A"
    AAAA = "AAAA"
    SRV = "SRV"


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One SRV record (RFC 2782); `host` is in lower case, and empty for `.`: no such service here."""

    priority: int
    weight: int
    port: int
    host: str

    def __str__(self) -> str:
        """Return it as a zone file has it."""
        return f"{self.priority} {self.weight} {self.port} {self.host}."


Record = Address | Target


@dataclass(frozen=True, slots=True)
class Answer:
    """The records of one type and the seconds that they may be kept; none, when the DNS says that there are none.

    `remarks` says what else the DNS named and cannot be used; it is empty when there is nothing to say.
    """

    records: tuple[Record, ...]
    ttl: float
    remarks: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """No server gave an answer, for this reason; it tells nothing about the name."""

    reason: str


Outcome = Answer | Failure


@dataclass(frozen=True, slots=True)
class Question:
    """A name, in lower case, and the record types that are asked for together; make it by `host` or `service`."""

    name: str
    types: tuple[RecordType, ...]

    @classmethod
    def host(cls, name: str) -> "Question":
        """Return the question for a host's addresses of both families."""
        return cls(name, (RecordType.A, RecordType.AAAA))

    @classmethod
    def service(cls, name: str) -> "Question":
        """Return the question for a service's hosts."""
        return cls(name, (RecordType.SRV,))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one question: the last good records by type, and when to ask again.

    `absences` counts answers in a row that left nothing, `failures` those in a row that were none; `trouble` says what
    is wrong now, and is empty when nothing is.
    """

    records: Mapping[RecordType, tuple[Record, ...]] = field(default_factory=lambda: MappingProxyType({}))
    due: float = NEVER
    absences: int = 0
    failures: int = 0
    trouble: str = ""


UNKNOWN = Known()
"""What is known of a question before it was ever asked."""

Knowledge = Mapping[Question, Known]


Server = tuple[str, int]
"""A DNS server: IP literal and port."""


@dataclass(frozen=True, slots=True)
class DnsSettings:
    """The servers to ask, in this order (none: those of /etc/resolv.conf), and seconds that each has to answer."""

    servers: tuple[Server, ...] = ()
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Declared:
    """A backend of backends.yaml: `backend` holds the addresses that are stated, `hosts` the names of more."""

    backend: Backend
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Discovered:
    """The backends behind an SRV name: each is like `pattern`, which has no name and no addresses of its own.

    Its `port` and `weight` hold where they are `stated`, its `key_group` unless it is empty.
    """

    service: str
    pattern: Backend
    stated: frozenset[str] = frozenset()


Entry = Declared | Discovered


def learn(known: Known, outcomes: Mapping[RecordType, Outcome], now: float) -> Known:
    """Return what is known after one look-up at `now`, seconds of any clock; `outcomes` has every type asked for.

    A type without an answer keeps its last good records. One that is answered without records loses them, unless that
    would leave nothing at all: then they stay until it was said CONFIRMATIONS times.
    """
    left = {
        kind: tuple(sorted(set(outcome.records), key=_order)) if isinstance(outcome, Answer) else _kept(known, kind)
        for kind, outcome in outcomes.items()
    }
    answers = [outcome for outcome in outcomes.values() if isinstance(outcome, Answer)]
    failed = [outcome.reason for outcome in outcomes.values() if isinstance(outcome, Failure)]
    trouble = "; ".join(dict.fromkeys([*failed, *(answer.remarks for answer in answers if answer.remarks)]))
    failures = known.failures + 1 if failed else 0
    due = now + min([*(_bounded(answer.ttl) for answer in answers), *([_retry(failures)] if failed else [])])
    if any(left.values()):
        return Known(MappingProxyType(left), due, 0 if answers else known.absences, failures, trouble)
    # A retry comes before the negative answer of the other type has expired, and would hear the same one again.
    absences = known.absences + (not failed)
    if absences < CONFIRMATIONS:
        left = {kind: _kept(known, kind) for kind in outcomes}
    return Known(MappingProxyType(left), due, absences, failures, trouble or "there are no such records")


def recalled(records: Mapping[RecordType, tuple[Record, ...]]) -> Known:
    """Return last good records of an earlier run as what is known; they are due at once."""
    return Known(MappingProxyType(dict(records)))


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


def due(questions: Iterable[Question], knowledge: Knowledge, now: float) -> list[Question]:
    """Return those of `questions` that are to be asked at `now`."""
    return [each for each in questions if knowledge.get(each, UNKNOWN).due <= now]


def next_due(questions: Iterable[Question], knowledge: Knowledge) -> float:
    """Return when the first of `questions` is to be asked; infinity if there are none."""
    return min((knowledge.get(each, UNKNOWN).due for each in questions), default=inf)


def backends(entries: Sequence[Entry], knowledge: Knowledge) -> tuple[tuple[Backend, ...], dict[str, str]]:
    """Return the backends, in the order of `entries`, and the discovered names left out, each with the reason.

    One whose names are not resolved has no addresses, or only those that are stated. A declared backend is preferred
    to a discovered one of the same name, and the first entry's to a later one's.
    """
    taken = {entry.backend.name.lower() for entry in entries if isinstance(entry, Declared)}
    formats = {entry.backend.key_group: entry.backend.cookies for entry in entries if isinstance(entry, Declared)}
    found: list[Backend] = []
    left_out: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, Declared):
            stated = [*entry.backend.addresses, *(each for name in entry.hosts for each in _addresses(name, knowledge))]
            found.append(replace(entry.backend, addresses=tuple(dict.fromkeys(stated))))
            continue
        for backend in _discovered(entry, knowledge):
            problem = _problem(backend, taken)
            if problem is None and formats.setdefault(backend.key_group, backend.cookies) is not backend.cookies:
                problem = f"key group {backend.key_group} has {formats[backend.key_group]} cookies"
            if problem is None:
                taken.add(backend.name)
                found.append(backend)
            else:
                left_out[backend.name] = problem
    return tuple(found), left_out


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
            addresses=_addresses(target.host, knowledge),
            port=target.port if own_port else entry.pattern.port,
            weight=entry.pattern.weight if "weight" in entry.stated else weight,
            key_group=entry.pattern.key_group or target.host,
        )


def _weights(stated: Sequence[int], usual: int) -> list[int]:
    """Return a backend's weight for each SRV weight: their proportions hold, 0 among others is the least there is."""
    largest = max(stated, default=0)
    if largest == 0:
        return [usual for _ in stated]
    scale = min(1.0, LARGEST_WEIGHT / largest)
    return [max(1, round(weight * scale)) for weight in stated]


def _targets(question: Question, knowledge: Knowledge) -> list[Target]:
    """Return the targets of the lowest priority value, as the only ones that RFC 2782 lets clients try first."""
    records = _kept(knowledge.get(question, UNKNOWN), RecordType.SRV)
    targets = [each for each in records if isinstance(each, Target) and each.host]
    lowest = min((each.priority for each in targets), default=0)
    return [each for each in targets if each.priority == lowest]


def _addresses(name: str, knowledge: Knowledge) -> tuple[Address, ...]:
    known = knowledge.get(Question.host(name), UNKNOWN)
    records = (*_kept(known, RecordType.A), *_kept(known, RecordType.AAAA))
    return tuple(each for each in records if not isinstance(each, Target))


def _kept(known: Known, kind: RecordType) -> tuple[Record, ...]:
    return known.records.get(kind, ())


def _order(record: Record) -> tuple[int, ...] | tuple[int, int, int, str]:
    """Servers rotate their records: the same ones in another order are no news."""
    if isinstance(record, Target):
        return record.priority, record.weight, record.port, record.host
    return record.version, int(record)


def _bounded(ttl: float) -> float:
    return min(max(ttl, SHORTEST_TTL), LONGEST_TTL)


def _retry(failures: int) -> float:
    return min(SHORTEST_TTL * 2.0 ** min(failures - 1, 10), LONGEST_RETRY)
