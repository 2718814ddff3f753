"""The tables in the report of `ntspool check`: what was measured, section by section."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from ntspool.app.tables import lines, moment, percent, span, table
from ntspool.pool.exam.model import (
    AeadFacts,
    Agreement,
    CertificateFacts,
    Examination,
    Handout,
    Lookup,
    Section,
    ServerFacts,
)

_NTP_PORT = 123


def place(host: str, port: int, usual: int = 0) -> str:
    """Return `host port N`, or only the host where the port is the usual one."""
    return host if port == usual else f"{host} port {port}"


def moment_and_cost(examination: Examination) -> str:
    """Return when the examination was, what it took, and of what."""
    return (
        f"{moment(examination.began)}: {examination.connections} connections and {examination.requests} NTP requests"
        f" in {examination.elapsed:.1f} s"
    )


def _dns(examination: Examination) -> list[str]:
    rows = [_lookup_row(each) for each in examination.lookups]
    return [table(("Name", "Type", "TTL", "DNSSEC", "Answer"), rows, right=(2,))] if rows else []


def _lookup_row(lookup: Lookup) -> tuple[str, ...]:
    answer = lookup.failure or ", ".join(lookup.records) or "none"
    ttl = "-" if lookup.ttl is None else f"{lookup.ttl:g}"
    proved = "-" if lookup.failure else "yes" if lookup.authenticated else "no"
    return lookup.name, lookup.type, ttl, proved, answer


def _tcp(examination: Examination) -> list[str]:
    rows = [(each.address, f"v{each.family}", span(each.connect), each.failure) for each in examination.addresses]
    return [table(("Address", "IP", "Connected", "Failure"), rows, right=(2,))] if rows else []


def _tls(examination: Examination) -> list[str]:
    rows = [
        (each.address, each.version, each.cipher, each.group or "-", each.alpn or "-", span(each.handshake))
        for each in examination.tls
    ]
    head = ("Address", "Version", "Cipher", "Group", "ALPN", "Handshake")
    handshakes = [table(head, rows, right=(5,))] if rows else []
    return handshakes + [lines(_certificate(facts, where)) for facts, where in _certificates(examination.certificates)]


def _certificates(certificates: Sequence[CertificateFacts]) -> Iterator[tuple[CertificateFacts, str]]:
    """Yield each certificate once, with the addresses that have it."""
    seen: dict[tuple[object, ...], list[CertificateFacts]] = {}
    for each in certificates:
        alike = (each.subject, each.names, each.chain, each.not_before, each.not_after, each.key, each.trouble)
        seen.setdefault(alike, []).append(each)
    for same in seen.values():
        yield same[0], ", ".join(each.address for each in same)


def _certificate(facts: CertificateFacts, where: str) -> Iterator[tuple[str, str]]:
    left = f"{facts.days_left:.1f} days left" if facts.days_left > 0 else f"expired {-facts.days_left:.1f} days ago"
    yield "Certificate", f"{facts.subject}, at {where}"
    yield "Names", ", ".join(facts.names) or "none"
    if len(facts.chain) > 1:
        yield "Chain", " < ".join(facts.chain)
    else:
        yield "Issued by", facts.issuer
    yield "Valid", f"{moment(facts.not_before)} to {moment(facts.not_after)}, {left}"
    yield "Key", facts.key
    for each in facts.trouble:
        yield "Trouble", each


def _ke(examination: Examination) -> list[str]:
    rows = [_aead_row(each) for each in examination.aeads]
    head = ("AEAD", "Name", "Answer", "Cookies", "Length", "Message", "Time", "NTP")
    return [table(head, rows, right=(0, 3, 4, 5, 6))] if rows else []


def _aead_row(facts: AeadFacts) -> tuple[str, ...]:
    works = {None: "-", True: "works", False: "FAIL"}[facts.usable]
    answer = "cookies" if facts.accepted else facts.answer
    numbers = (facts.cookie_length, facts.response_length)
    return (
        str(facts.aead),
        facts.label,
        answer,
        str(facts.cookies) if facts.accepted else "-",
        *("-" if each is None else str(each) for each in numbers),
        span(facts.elapsed),
        works,
    )


def _servers(examination: Examination) -> list[str]:
    """Return who was handed out to how many sessions: by the service's own name, by IP version, and by each slot."""
    handouts = examination.handouts
    if not handouts:
        return []
    own: dict[int, Counter[str]] = {family: Counter() for family in sorted({each.family for each in handouts})}
    slots: dict[int, Counter[str]] = {
        number: Counter() for number in sorted({e.slot for e in handouts if e.slot is not None})
    }
    for each in handouts:
        (own[each.family] if each.slot is None else slots[each.slot])[_handed_out(each)] += each.sessions
    total = sum(each.total() for each in own.values())
    names = sorted({_handed_out(each) for each in handouts}, key=lambda name: (-_all(own)[name], name))
    rows = [
        (
            name,
            percent(_all(own)[name] / total) if total else "-",
            *(_count(counts, name) for counts in (*own.values(), *slots.values())),
        )
        for name in names
    ]
    head = ("Server", "Share", *(f"IPv{family}" for family in own), *(f"{number}." for number in slots))
    return [table(head, rows, right=range(1, len(head)))]


def _all(counts: Mapping[int, Counter[str]]) -> Counter[str]:
    return sum(counts.values(), Counter())


def _count(counts: Counter[str], name: str) -> str:
    return str(counts[name]) if counts[name] else "-"


def _handed_out(handout: Handout) -> str:
    return place(handout.server or "(the NTS-KE server itself)", handout.port, _NTP_PORT)


def _ntp(examination: Examination) -> list[str]:
    if not examination.servers:
        return []
    head = ("Server", "St", "Reference", "Offset", "+/-", "Delay", "Distance", "Asked", "Good", "NAK", "Bytes", "Vote")
    voted = examination.agreement
    rows = [_server_row(each, voted) for each in examination.servers]
    parts = [table(head, rows, right=(1, *range(3, 11)))]
    failed = [
        (place(each.address, each.port, _NTP_PORT), cause, str(number))
        for each in examination.servers
        for cause, number in each.failures
    ]
    if failed:
        parts.append(table(("Server", "Failed by", "Requests"), failed, right=(2,)))
    return parts + ([lines(_agreement(voted))] if voted else [])


def _server_row(server: ServerFacts, agreement: Agreement | None) -> tuple[str, ...]:
    lengths = "-" if server.reply_length is None else f"{server.request_length}/{server.reply_length}"
    return (
        place(server.address, server.port, _NTP_PORT),
        "-" if server.stratum is None else str(server.stratum),
        server.reference or "-",
        span(server.offset, signed=True),
        span(server.uncertainty),
        span(server.delay),
        span(server.root_distance),
        str(server.requests),
        str(server.replies),
        str(server.naks),
        lengths,
        _vote(server, agreement),
    )


def _vote(server: ServerFacts, agreement: Agreement | None) -> str:
    if agreement is None or agreement.low is None or server.offset is None:
        return "-"
    return "NOT agreeing" if f"{server.address} port {server.port}" in agreement.falsetickers else "agrees"


def _agreement(agreement: Agreement) -> Iterator[tuple[str, str]]:
    if agreement.low is None or agreement.high is None:
        told = f"no majority among {agreement.voters} servers"
    else:
        low, high = span(agreement.low, signed=True), span(agreement.high, signed=True)
        agreeing = agreement.voters - len(agreement.falsetickers)
        told = f"{agreeing} of {agreement.voters} servers: the time is {low} to {high} from this machine's clock"
    yield "Agreement", told
    yield "Spread", f"{span(agreement.spread)} between two offsets at most"


SECTION_TABLES: Mapping[Section, Callable[[Examination], list[str]]] = {
    Section.DNS: _dns,
    Section.TCP: _tcp,
    Section.TLS: _tls,
    Section.KE: _ke,
    Section.SERVERS: _servers,
    Section.NTP: _ntp,
}
"""What belongs into each part, as text that ends with a line feed."""
