"""What comes out of an examination: findings, and the measured tables they rest on.

Times are Unix seconds, durations seconds, lengths bytes; None is what was not learned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ntspool.pool.exam.plan import Plan

Progress = Callable[[int, int, str], None]
"""Called as an examination goes on: with the steps done, with how many there are as far as is known, and with what is
done next. The number of steps can change when a service turns out to have more addresses or servers."""


class Section(StrEnum):
    """The parts of an examination, in their order."""

    DNS = "dns"
    TCP = "tcp"
    TLS = "tls"
    KE = "ke"
    SERVERS = "servers"
    NTP = "ntp"


class Verdict(StrEnum):
    """What is thought of a thing.

    FAIL: breaks the RFC or a promise of the service at a client's or the service's own cost. NOTE: worth knowing,
    because the RFC leaves it open although not all clients in use can do with it, or because, with `deviation`, it
    breaks the RFC's letter at nobody's cost. SKIP: could not be tried.
    """

    PASS = "pass"  # noqa: S105  a verdict is no password
    FAIL = "fail"
    NOTE = "note"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict.

    `id` is stable and begins with the section, as `ke.unknown-critical-record`; with `address` (of an NTS-KE server,
    or an NTP server as `address port`) it is unique. `text` is one line for an operator. `rfc` is as `RFC 8915 4.1.3`.
    `deviation` says that a server does otherwise than a MUST or a SHALL, and is set for a NOTE only.
    """

    id: str
    verdict: Verdict
    text: str
    rfc: str = ""
    address: str = ""
    deviation: bool = False

    @property
    def section(self) -> Section:
        """The part of the examination that it belongs to."""
        return Section(self.id.partition(".")[0])


@dataclass(frozen=True, slots=True)
class Lookup:
    """What the DNS says of one name and record type; `records` as a zone file has them.

    `authenticated` is the resolver's word that DNSSEC proves it (the AD flag); `failure` says why there is no answer.
    """

    name: str
    type: str
    records: tuple[str, ...] = ()
    ttl: float | None = None
    authenticated: bool = False
    failure: str = ""


@dataclass(frozen=True, slots=True)
class AddressFacts:
    """An address of the service: seconds until TCP stood, or why it does not."""

    address: str
    family: int
    connect: float | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """The certificate at one address, and what is wrong with its chain according to the authorities (empty: nothing).

    `names` are of the subjectAltName. `chain` are the subjects of all certificates sent, the leaf's first.
    `days_left` is until the first of them expires that is needed. `key` is as `EC secp256r1` or `RSA 2048`.
    """

    address: str
    subject: str
    names: tuple[str, ...]
    issuer: str
    chain: tuple[str, ...]
    not_before: float
    not_after: float
    days_left: float
    key: str
    trouble: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """A handshake with one address, as an ordinary client has it.

    `group` is the key exchange; None where pyOpenSSL cannot tell (before 25.2).
    """

    address: str
    version: str
    cipher: str
    group: str | None
    alpn: str
    handshake: float


@dataclass(frozen=True, slots=True)
class AeadFacts:
    """What a server answered to a session that offered one AEAD only: cookies of a length, or else `answer` in words.

    `usable` tells whether NTP worked with it; None if it was not tried.
    """

    aead: int
    label: str
    accepted: bool
    answer: str
    cookies: int = 0
    cookie_length: int | None = None
    response_length: int | None = None
    elapsed: float | None = None
    usable: bool | None = None


@dataclass(frozen=True, slots=True)
class Handout:
    """How often one name, asked over one IP version, handed out one server: `server` as told, None for itself.

    `slot` is None for the service's own name; `family` is that of the NTS-KE session.
    """

    name: str
    slot: int | None
    family: int
    server: str | None
    port: int
    sessions: int


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """An NTP server that was handed out, at one address, and what its answers say; the best of them by delay.

    `offset` is its clock minus ours, right to within `uncertainty` (root distance and half the delay). `reference` is
    the reference id: a name at stratum 1, an address (or a hash) otherwise. `requests` counts those with good cookies,
    `replies` and `naks` what came back; `cookies` are those that came back in them. Lengths are of an ordinary
    request and its reply. `failures` are the causes why others had no reply, each with how often.
    """

    server: str
    address: str
    port: int
    requests: int
    replies: int
    naks: int
    cookies: int
    failures: tuple[tuple[str, int], ...] = ()
    stratum: int | None = None
    leap: int | None = None
    reference: str | None = None
    root_delay: float | None = None
    root_dispersion: float | None = None
    root_distance: float | None = None
    offset: float | None = None
    uncertainty: float | None = None
    delay: float | None = None
    request_length: int | None = None
    reply_length: int | None = None
    cookie_length: int | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """What the servers' clocks have in common: more than half of the `voters` say that our offset is in low to high.

    None in both: no majority agrees. `falsetickers` are those outside, as `address port`; `spread` is the greatest
    difference between two offsets.
    """

    voters: int
    low: float | None
    high: float | None
    falsetickers: tuple[str, ...]
    spread: float


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found. `began` is Unix seconds, `elapsed` seconds, `connections` and `requests` what it cost."""

    plan: Plan
    began: float
    elapsed: float
    connections: int
    requests: int
    findings: tuple[Finding, ...]
    lookups: tuple[Lookup, ...] = ()
    addresses: tuple[AddressFacts, ...] = ()
    certificates: tuple[CertificateFacts, ...] = ()
    tls: tuple[TlsFacts, ...] = ()
    aeads: tuple[AeadFacts, ...] = ()
    handouts: tuple[Handout, ...] = ()
    servers: tuple[ServerFacts, ...] = ()
    agreement: Agreement | None = None

    @property
    def failed(self) -> tuple[Finding, ...]:
        """The findings that are a FAIL."""
        return tuple(each for each in self.findings if each.verdict is Verdict.FAIL)

    def of(self, section: Section) -> tuple[Finding, ...]:
        """Return the findings of one part, in the order in which they were made."""
        return tuple(each for each in self.findings if each.section is section)

    def count(self, verdict: Verdict) -> int:
        """Return how many findings have a verdict."""
        return sum(each.verdict is verdict for each in self.findings)
