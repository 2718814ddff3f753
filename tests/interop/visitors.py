"""A stream of clients, `python -m tests.interop.visitors PLAN`: a process of its own, so that any network can have it.

Each agrees on keys with the gateway, asks the backend that it was given for the time, and once more with the cookie
that came back. PLAN is JSON; every visit is a line of JSON in a file (`Visitors.visits`).
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from ntspool.errors import RemoteError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.timequery import query_time
from ntspool.pool.cookies import Association
from ntspool.wire.aead import Aead
from ntspool.wire.messages import DEFAULT_NTP_PORT, Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4
from tests.interop.lab import running, wait_until
from tests.interop.pool import HOSTS, Pool

ABREAST = 2
PAUSE = 0.05
PATIENCE = 2.0
"""Seconds for each step of a visit: of a gateway and a backend that are well it takes milliseconds."""

DIFFERENCE = 0.1
"""Seconds by which the time that a client gets may be off: half of what our liars lie, less a busy machine's part."""


@dataclass(frozen=True, slots=True)
class Plan:
    """To each of `hosts`, where the gateway is at `port`, and with each offer of AEADs, clients come all the time.

    They `spend` their cookies, or are content to have them.
    """

    hosts: Sequence[str]
    port: int
    ca: str
    offers: list[list[int]]
    spend: bool
    report: str


@dataclass(frozen=True, slots=True)
class Visit:
    """What one client met that came at `began` (Unix seconds) by a family with an offer of AEADs.

    It was given `address` and `port`, or not, as `refusal` says; `failure` is why it got no time, or else empty, and
    `offset` by how many seconds at least that time is not its own clock's.
    """

    began: float
    family: int
    offer: tuple[int, ...]
    refusal: str = ""
    address: str = ""
    port: int = 0
    aead: int = 0
    failure: str = ""
    offset: float = 0.0

    @property
    def served(self) -> bool:
        """Whether it got what a client comes for: authenticated time that is right."""
        return not self.refusal and not self.failure and self.offset < DIFFERENCE


@dataclass(frozen=True, slots=True)
class Visitors:
    """A stream of clients that runs."""

    pool: Pool
    report: Path

    def visits(self, since: float = 0.0) -> list[Visit]:
        """Return the visits that began after a time and have ended, in the order in which they ended."""
        text = self.report.read_text() if self.report.exists() else ""
        told = map(json.loads, text[: text.rfind("\n") + 1].splitlines())
        return [Visit(**{**each, "offer": tuple(each["offer"])}) for each in told if each["began"] > since]

    def backend(self, visit: Visit) -> str:
        """Return whom a client was given; empty if it was refused."""
        return "" if visit.refusal else self.pool.name_at(visit.address, visit.port)

    def given_out(self, since: float, family: int | None = None) -> set[str]:
        """Return whom the clients of one family or both were given that came since."""
        return {self.backend(each) for each in self.visits(since) if family in (None, each.family)}


@contextmanager
def visitors(
    pool: Pool,
    hosts: Sequence[str] = HOSTS[:1],
    offers: Sequence[Sequence[Aead]] = ((Aead.AES_SIV_CMAC_256,),),
    *,
    spend: bool = True,
) -> Iterator[Visitors]:
    """Let clients come to a pool, two dozen a second to every host with every offer, from when the first was served.

    Those that do not `spend` their cookies are done when they have them: they need no patience with silent backends.
    """
    report = pool.directory / f"visits-{'spending' if spend else 'content'}"
    plan = Plan(hosts, pool.port, str(pool.ca), [[*map(int, each)] for each in offers], spend, str(report))
    words = [*pool.network.inside, sys.executable, "-m", "tests.interop.visitors", json.dumps(asdict(plan))]
    report.unlink(missing_ok=True)
    log = report.with_suffix(".log")
    with running(words, log, cwd=Path(__file__).parents[2]) as process:
        stream = Visitors(pool, report)
        wait_until("visitors", lambda: any(each.served for each in stream.visits()) or process.poll() is not None)
        yield stream
        assert process.poll() is None, log.read_text()


async def _come(plan: Plan, host: str, offer: Sequence[int], report: TextIO) -> None:
    server = Server(host, plan.port, "localhost", Path(plan.ca))
    while True:
        visit = await _visit(server, tuple(map(Aead, offer)), plan.spend)
        report.write(json.dumps(asdict(visit)) + "\n")
        report.flush()
        await asyncio.sleep(PAUSE)


async def _visit(server: Server, offer: tuple[Aead, ...], spend: bool) -> Visit:
    began, family = time.time(), 6 if ":" in server.host else 4
    request = Request((PROTOCOL_NTPV4,), offer, compliant_128gcm=Aead.AES_128_GCM_SIV in offer)
    try:
        exchange = await exchange_keys(server, request, PATIENCE)
    except RemoteError as error:
        return Visit(began, family, offer, refusal=str(error))
    reply, association = exchange.reply, exchange.association
    if not isinstance(reply, Response) or association is None:
        return Visit(began, family, offer, refusal=str(reply))
    given = Visit(began, family, offer, "", str(reply.server), int(reply.port or DEFAULT_NTP_PORT), reply.aead)
    return await _spend(given, association, reply.cookies[0]) if spend else given


async def _spend(visit: Visit, association: Association, cookie: bytes) -> Visit:
    offsets = []
    for _ in range(2):
        try:
            answer = await query_time(visit.address, visit.port, association, cookie, timeout=PATIENCE)
        except RemoteError as error:
            return replace(visit, failure=str(error))
        if not answer.header.synchronized or not answer.cookies:
            return replace(visit, failure="unsynchronised" if answer.cookies else "no cookies")
        cookie = answer.cookies[0]
        # A busy machine that is late is so in the delay, too.
        offsets.append(max(0.0, abs(answer.measurement.offset) - answer.measurement.delay / 2))
    return replace(visit, offset=min(offsets))


async def _main(plan: Plan, report: TextIO) -> None:
    async with asyncio.TaskGroup() as tasks:
        for host in plan.hosts:
            for offer in plan.offers * ABREAST:
                tasks.create_task(_come(plan, host, offer, report))


def _run(text: str) -> None:
    words: dict[str, Any] = json.loads(text)
    plan = Plan(**words)
    with Path(plan.report).open("a") as report:
        asyncio.run(_main(plan, report))


if __name__ == "__main__":
    _run(sys.argv[1])
