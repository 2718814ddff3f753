"""What the DNS is to be asked and when, and what its answers change.

An answer that has no records is a statement, and counts; no answer at all (SERVFAIL, REFUSED, silence) is none, and
changes nothing. Nothing here trusts the DNS: an address that it names gets no client before a probe has proved that it
holds the backend's keys.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from types import MappingProxyType

from ntspool.pool.model import Address

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
    `authenticated` is the server's word that DNSSEC proves the answer.
    """

    records: tuple[Record, ...]
    ttl: float
    remarks: str = ""
    authenticated: bool = False


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


def due(questions: Iterable[Question], knowledge: Knowledge, now: float) -> list[Question]:
    """Return those of `questions` that are to be asked at `now`."""
    return [each for each in questions if knowledge.get(each, UNKNOWN).due <= now]


def next_due(questions: Iterable[Question], knowledge: Knowledge) -> float:
    """Return when the first of `questions` is to be asked; infinity if there are none."""
    return min((knowledge.get(each, UNKNOWN).due for each in questions), default=inf)


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
