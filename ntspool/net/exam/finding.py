"""Finds a service's addresses as a client would."""

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from ntspool.net.clienttls import is_address
from ntspool.net.dns import look_up
from ntspool.pool.exam.model import Lookup
from ntspool.pool.exam.names import SERVICE
from ntspool.pool.exam.plan import Plan
from ntspool.pool.hosts import name_problem
from ntspool.pool.resolving import Answer, DnsSettings, Outcome, Question, RecordType

_PATIENCE = 2.0
"""Seconds for a DNS server; each is asked twice."""


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses of the families that are wanted, what was looked up, and whether only this machine knew them."""

    addresses: tuple[str, ...]
    lookups: tuple[Lookup, ...] = ()
    by_system: bool = False


async def find_service(plan: Plan) -> Found:
    """Return where a service is."""
    found = await find_host(plan, plan.host)
    if not found.lookups or found.by_system:
        return found
    service = await _ask(plan, Question.service(SERVICE + plan.host))
    return Found(found.addresses, (*found.lookups, *service), found.by_system)


async def find_host(plan: Plan, host: str) -> Found:
    """Return where a host is; an IP literal is itself."""
    if is_address(host):
        return Found(_wanted(plan, [host]))
    host = host.lower().removesuffix(".")
    if (problem := name_problem(host)) is not None:
        return Found((), (Lookup(host, "A", failure=f"{host!r} {problem}"),))
    lookups: tuple[Lookup, ...] = ()
    # The DNS knows nothing of localhost (RFC 6761 section 6.3).
    if host.rpartition(".")[2] != "localhost":
        lookups = await _ask(plan, Question.host(host))
    addresses = _wanted(plan, [record for each in lookups for record in each.records])
    if addresses:
        return Found(addresses, lookups)
    addresses = _wanted(plan, await _ask_system(host))
    return Found(addresses, lookups or (Lookup(host, "A"),), by_system=bool(addresses))


async def _ask(plan: Plan, question: Question) -> tuple[Lookup, ...]:
    settings = DnsSettings(plan.resolvers, min(plan.timeout, _PATIENCE))
    outcomes: Mapping[RecordType, Outcome] = await look_up(question, settings)
    return tuple(_lookup(question.name, kind, outcome) for kind, outcome in outcomes.items())


def _lookup(name: str, kind: RecordType, outcome: Outcome) -> Lookup:
    if isinstance(outcome, Answer):
        records = tuple(map(str, outcome.records))
        return Lookup(name, kind.value, records, outcome.ttl, outcome.authenticated, outcome.remarks)
    return Lookup(name, kind.value, failure=outcome.reason)


async def _ask_system(host: str) -> list[str]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def _wanted(plan: Plan, addresses: list[str]) -> tuple[str, ...]:
    return tuple(each for each in addresses if (6 if ":" in each else 4) in plan.families)
