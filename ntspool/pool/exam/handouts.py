"""Verdicts on which NTP servers a service hands out, and to whom."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from ntspool.pool.exam.conversation import Conversation, Kind
from ntspool.pool.exam.model import Finding, Handout, Verdict
from ntspool.pool.exam.response import named_port, named_server
from ntspool.wire.aead import Aead
from ntspool.wire.messages import DEFAULT_NTP_PORT
from ntspool.wire.records import RecordType

_FAMILY_RFC = "RFC 8915 4.1.7"


@dataclass(frozen=True, slots=True)
class Asked:
    """One session, and the slot whose name was asked for; None for the service's own name."""

    slot: int | None
    seen: Conversation


def count(asked: Sequence[Asked]) -> tuple[Handout, ...]:
    """Return how often each server was handed out, by name, family and server."""
    found: Counter[tuple[str, int | None, int, str | None, int]] = Counter()
    for each in asked:
        seen = each.seen
        if seen.outcome.kind is Kind.COOKIES:
            port = named_port(seen.answer) or DEFAULT_NTP_PORT
            found[seen.name, each.slot, ip_address(seen.address).version, named_server(seen.answer), port] += 1
    rows = [Handout(*key, sessions) for key, sessions in found.items()]
    # The name itself before its slots.
    return tuple(sorted(rows, key=lambda row: (-1 if row.slot is None else row.slot, row.family, -row.sessions)))


def judge_handouts(asked: Sequence[Asked]) -> Iterator[Finding]:
    """Yield the verdicts on all sessions that should have brought a server."""
    plain = [each.seen for each in asked if each.slot is None]
    slotted = [each for each in asked if each.slot is not None]
    if plain:
        yield _served("servers.sessions", "the service's name", plain)
        yield from _spread(count([each for each in asked if each.slot is None]))
        yield from _lengths([each.seen for each in asked])
    if slotted:
        yield _served("servers.slots", "its slots' names", [each.seen for each in slotted])
        yield from _slots(count(slotted))


def _served(name: str, what: str, seen: Sequence[Conversation]) -> Finding:
    bad = [each for each in seen if each.outcome.kind is not Kind.COOKIES or not _chosen(each)]
    if not bad:
        return Finding(name, Verdict.PASS, f"{len(seen)} of {len(seen)} sessions for {what} brought a server")
    unreached = all(each.outcome.kind is Kind.UNREACHED for each in bad)
    words = "; ".join(dict.fromkeys(each.failure if unreached else _trouble(each) for each in bad))
    text = f"{len(seen) - len(bad)} of {len(seen)} sessions for {what} brought a server: {words}"
    return Finding(name, Verdict.SKIP if unreached else Verdict.FAIL, text)


def _chosen(seen: Conversation) -> bool:
    return seen.answer.numbers(RecordType.AEAD_ALGORITHM) == (Aead.AES_SIV_CMAC_256,)


def _trouble(seen: Conversation) -> str:
    lacking = ", but not for the AEAD algorithm that was offered" if seen.outcome.kind is Kind.COOKIES else ""
    return f"the server {seen.outcome}{lacking}"


def _spread(rows: Sequence[Handout]) -> Iterator[Finding]:
    for family in sorted({row.family for row in rows}):
        mine = [row for row in rows if row.family == family]
        sessions = sum(row.sessions for row in mine)
        shares = ", ".join(f"{_server(row)} {row.sessions}" for row in mine)
        text = f"{sessions} sessions by IPv{family} brought {len(mine)} servers: {shares}"
        yield Finding(f"servers.spread-ipv{family}", Verdict.PASS if len(mine) > 1 else Verdict.NOTE, text)
    crossed = [row for row in rows if row.server and _family(row.server) not in {None, row.family}]
    if crossed:
        text = ", ".join(f"{_server(row)} over IPv{row.family}" for row in crossed)
        yield Finding("servers.family", Verdict.NOTE, f"servers of the other family: {text}", _FAMILY_RFC)
    elif rows:
        text = "every server is of the session's family, or a name"
        yield Finding("servers.family", Verdict.PASS, text, _FAMILY_RFC)


def _lengths(seen: Sequence[Conversation]) -> Iterator[Finding]:
    lengths = sorted({len(cookie) for each in seen for cookie in each.answer.cookies[:1]})
    if len(lengths) == 1:
        text = "the cookies of all servers are of one length"
        yield Finding("servers.cookie-lengths", Verdict.PASS, text)
    elif lengths:
        text = (
            f"cookies of {', '.join(map(str, lengths))} bytes by server: NTPsec's client before 1.2.5 takes but one"
            " length until it is restarted"
        )
        yield Finding("servers.cookie-lengths", Verdict.NOTE, text)


def _slots(rows: Sequence[Handout]) -> Iterator[Finding]:
    by_server: defaultdict[tuple[int, str | None, int], set[int]] = defaultdict(set)
    slots = set()
    for row in rows:
        if row.slot is not None:
            slots.add(row.slot)
            by_server[row.family, row.server, row.port].add(row.slot)
    if len(slots) < 2:
        return
    shared = {key: found for key, found in by_server.items() if len(found) > 1}
    if not shared:
        text = f"{len(slots)} slots hand out {len(by_server)} servers, none of them in two slots"
        yield Finding("servers.disjoint", Verdict.PASS, text)
        return
    words = "; ".join(
        f"{server or 'the service itself'} in slots {', '.join(map(str, sorted(found)))}"
        for (_, server, _), found in shared.items()
    )
    text = f"slots share servers, of which a client of both uses one only, until there are as many as slots: {words}"
    yield Finding("servers.disjoint", Verdict.NOTE, text)


def _server(row: Handout) -> str:
    server = row.server or "the service itself"
    return server if row.port == DEFAULT_NTP_PORT else f"{server} port {row.port}"


def _family(server: str) -> int | None:
    try:
        return ip_address(server).version
    except ValueError:
        return None
