"""NTP requests of an examiner and what became of them, and what that says of a server."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.exam.model import ServerFacts
from ntspool.pool.nts import Measurement
from ntspool.pool.sample import Sample, sample
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import Header


class Purpose(StrEnum):
    """What a request is for: which cookie it spends, and how."""

    COOKIE = "a cookie of the key exchange"
    PLACEHOLDERS = "a cookie, and placeholders for seven more"
    RETURNED = "a cookie that came by NTP"
    REUSED = "a cookie that was spent before"
    DAMAGED = "a damaged cookie"
    FORGED = "a request under keys that are not the cookie's"


FIRST = (Purpose.COOKIE, Purpose.PLACEHOLDERS)
"""What spends the cookies of the key exchange."""

GOOD = (*FIRST, Purpose.RETURNED)
"""What every server has to answer."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A verified answer; `taken` is when it came by the examiner's clock. `cookies` are the lengths of the new ones."""

    header: Header
    measurement: Measurement
    taken: float
    cookies: tuple[int, ...]
    request_length: int
    reply_length: int

    @property
    def sample(self) -> Sample:
        """What it tells of the server's clock."""
        return sample(self.header, self.measurement, self.taken)


@dataclass(frozen=True, slots=True)
class Volley:
    """One request, with cookies of an AEAD, and its reply or why there is none."""

    purpose: Purpose
    aead: Aead
    result: Reply | Failure


@dataclass(frozen=True, slots=True)
class Target:
    """An NTP server at one address: `server` as it was handed out, None for the NTS-KE server itself."""

    server: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.address} port {self.port}"


@dataclass(frozen=True, slots=True)
class Visit:
    """All requests to one server, in their order."""

    target: Target
    volleys: tuple[Volley, ...]

    def replies(self, *purposes: Purpose) -> list[Reply]:
        """Return the replies to requests of these purposes; of all good ones if none is named."""
        return [
            each.result
            for each in self.volleys
            if each.purpose in (purposes or GOOD) and isinstance(each.result, Reply)
        ]

    def failures(self, *purposes: Purpose) -> list[Failure]:
        """Return why other requests of these purposes had no reply."""
        return [
            each.result
            for each in self.volleys
            if each.purpose in (purposes or GOOD) and isinstance(each.result, Failure)
        ]

    @property
    def best(self) -> Reply | None:
        """The good reply with the least delay, which says most of the clock."""
        return min(self.replies(), key=lambda reply: reply.measurement.delay, default=None)


def server_facts(visit: Visit) -> ServerFacts:
    """Return a row of the table of NTP servers."""
    replies, failures, best = visit.replies(), visit.failures(), visit.best
    target = visit.target
    counted = ServerFacts(
        target.server,
        target.address,
        target.port,
        requests=len(replies) + len(failures),
        replies=len(replies),
        naks=sum(each.cause is Cause.NAK for each in failures),
        cookies=sum(len(each.cookies) for each in replies),
        failures=tuple(Counter(map(str, failures)).items()),
    )
    if best is None:
        return counted
    ordinary = next(iter(visit.replies(Purpose.COOKIE)), best)
    header, found = best.header, best.sample
    return replace(
        counted,
        stratum=header.stratum,
        leap=header.leap,
        reference=reference(header),
        root_delay=header.root_delay / 65536,
        root_dispersion=header.root_dispersion / 65536,
        root_distance=header.root_distance,
        offset=found.offset,
        uncertainty=found.distance,
        delay=found.delay,
        request_length=ordinary.request_length,
        reply_length=ordinary.reply_length,
        cookie_length=ordinary.cookies[0] if ordinary.cookies else None,
    )


def reference(header: Header) -> str:
    """Return a reference id as people read it: a name at stratum 0 and 1, else an IPv4 address or a hash.

    Above stratum 1 nobody can tell the two apart (RFC 5905 section 7.3); both are shown as an address.
    """
    name = header.reference_id.rstrip(b"\0")
    if header.stratum <= 1 and name and all(0x20 < byte < 0x7F for byte in name):
        return name.decode("ascii")
    return ".".join(map(str, header.reference_id))


def worth(visits: Sequence[Visit]) -> list[tuple[Target, Sample]]:
    """Return what the clocks of those servers say that are synchronized."""
    return [
        (each.target, each.best.sample) for each in visits if each.best is not None and each.best.header.synchronized
    ]
