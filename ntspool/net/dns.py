"""Asks DNS servers; what comes back is outcomes, whatever the servers do."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from ntspool.errors import RemoteError, WireError
from ntspool.pool.hosts import is_usable
from ntspool.pool.resolving import Answer, DnsSettings, Failure, Outcome, Question, Record, RecordType, Server, Target

ROUNDS = 2
"""How often every server is asked before a look-up fails: datagrams get lost."""

MOST_RECORDS = {RecordType.A: 64, RecordType.AAAA: 64, RecordType.SRV: 1024}
"""Of one answer; each address costs a probe every few seconds."""

MALFORMED = (dns.exception.DNSException, EOFError, ValueError)
"""What dnspython raises for bytes that are no DNS response, or that end early."""

_PAYLOAD = 1232
"""Bytes of UDP that pass every network in one piece; what is longer comes by TCP."""

_LONGEST_CHAIN = 8
"""CNAME records that are followed from answer to answer."""

_FEW = 3
"""Of a kind of trouble that are told; a log line has an end."""


async def look_up(question: Question, settings: DnsSettings) -> dict[RecordType, Outcome]:
    """Return the outcome for every record type of `question`.

    Takes ROUNDS times the timeout for each server, as a rule. Never raises for what servers or resolv.conf do: that is
    a Failure.
    """
    try:
        servers = settings.servers or system_servers()
    except RemoteError as error:
        return dict.fromkeys(question.types, Failure(str(error)))
    asked = (_outcome(question.name, kind, servers, settings.timeout) for kind in question.types)
    return dict(zip(question.types, await asyncio.gather(*asked), strict=True))


def system_servers() -> tuple[Server, ...]:
    """Return the servers of /etc/resolv.conf as it is now; raises RemoteError when it names none."""
    try:
        resolver = dns.resolver.Resolver()
    except dns.resolver.NoResolverConfiguration as error:
        raise RemoteError("no DNS server is known: /etc/resolv.conf is missing or names none") from error
    return tuple((str(each), resolver.port) for each in resolver.nameservers)


async def _outcome(name: str, kind: RecordType, servers: Sequence[Server], timeout: float) -> Outcome:
    reasons: dict[str, None] = {}
    for server in [*servers] * ROUNDS:
        try:
            return await _follow(name, kind, server, timeout)
        except RemoteError as error:
            reasons[f"{server[0]} port {server[1]}: {error}"] = None
    return Failure(", ".join(reasons))


async def _follow(name: str, kind: RecordType, server: Server, timeout: float) -> Answer:
    """Ask one server, and again for what a chain of CNAME records ends in; raises RemoteError."""
    at, ttl, authenticated = dns.name.from_text(name), float("inf"), True
    for _ in range(_LONGEST_CHAIN):
        response = await _ask(at, kind, server, timeout)
        answer, ttl, beyond = read(response, kind, ttl)
        authenticated &= bool(response.flags & dns.flags.AD)
        if beyond is None:
            return replace(answer, authenticated=authenticated)
        at = beyond
    raise WireError(f"more than {_LONGEST_CHAIN} CNAME records in a row")


async def _ask(name: dns.name.Name, kind: RecordType, server: Server, timeout: float) -> dns.message.Message:
    """Return one server's response, by TCP if it is too long for UDP; raises RemoteError."""
    host, port = server
    query = dns.message.make_query(name, kind.value, use_edns=0, payload=_PAYLOAD)
    # Whoever sets it wants to be told (RFC 6840 section 5.7).
    query.flags |= dns.flags.AD
    try:
        # What does not match the query is passed over: anybody can send a datagram.
        response, _ = await dns.asyncquery.udp_with_fallback(
            query, host, timeout, port, ignore_unexpected=True, ignore_errors=True
        )
    except dns.exception.Timeout as error:
        raise RemoteError("no answer") from error
    except OSError as error:
        raise RemoteError(error.strerror or "cannot be reached") from error
    except MALFORMED as error:
        raise WireError(f"not a DNS response ({type(error).__name__})") from error
    if response.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise RemoteError(dns.rcode.to_text(response.rcode()))
    return response


def read(response: dns.message.Message, kind: RecordType, ttl: float) -> tuple[Answer, float, dns.name.Name | None]:
    """Return the answer in a response, its TTL or `ttl` if that is less, and where a CNAME chain leads out of it.

    Raises WireError.
    """
    try:
        chain = response.resolve_chaining()  # type: ignore[attr-defined]
    except (dns.exception.DNSException, AttributeError) as error:
        raise WireError(f"not an answer to the question ({type(error).__name__})") from error
    [question] = response.question
    if (question.rdclass, question.rdtype.name) != (dns.rdataclass.IN, kind.value):
        raise WireError("not an answer to the question")
    ttl = min(ttl, chain.minimum_ttl)
    if chain.answer is not None:
        return _answer(chain.answer, kind, ttl), ttl, None
    ended = response.rcode() == dns.rcode.NXDOMAIN or any(
        each.rdtype == dns.rdatatype.SOA for each in response.authority
    )
    return Answer((), ttl), ttl, chain.canonical_name if chain.cnames and not ended else None


def _answer(found: Iterable[Any], kind: RecordType, ttl: float) -> Answer:
    """Return the records that can be used; of the others the answer says why not."""
    if kind is RecordType.SRV:
        records: list[Record] = sorted({_target(each) for each in found})
        useless: list[Record] = []
    else:
        addresses = sorted((ip_address(each.address) for each in found), key=int)
        records = [each for each in addresses if is_usable(each)]
        useless = [each for each in addresses if not is_usable(each)]
    most = MOST_RECORDS[kind]
    remarks = [f"{each} is not one host's address that clients can use" for each in useless[:_FEW]]
    if len(records) > most:
        remarks.append(f"{len(records)} records are too many; {most} are used")
    return Answer(tuple(records[:most]), ttl, "; ".join(remarks))


def _target(record: Any) -> Target:  # noqa: ANN401  dnspython makes its classes when it meets them
    host = record.target.to_text(omit_final_dot=True).lower()
    return Target(record.priority, record.weight, record.port, "" if host == "." else host)
