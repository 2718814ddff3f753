"""A load of NTS clients, `python -m tests.interop.load PLAN`: a process of its own, so that any network can have it.

Each does a real key exchange with the gateway, then spends cookies at the backend as chrony does: the oldest first,
the new one to the end of a stock of eight. PLAN is JSON; a report in JSON is kept up to date in a file (`Load`).
"""

import asyncio
import json
import os
import random
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ntspool.errors import RemoteError, WireError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.pool.cookies import CookieFormat, key_id
from ntspool.pool.nts import UNIQUE_ID_MINIMUM, Refused, build_request, read_response
from ntspool.pool.nts import Request as NtpRequest
from ntspool.pool.nts import Response as Answer
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4
from tests.interop.lab import DEADLINE, Network, running, wait_until
from tests.interop.pool import Pool

STOCK = 8
PATIENCE = 3.0
"""Seconds until a request counts as not answered."""

ACTIVE = 5.0
"""Seconds since its last authenticated answer for which a client counts as active."""

NO_ANSWER = "no answer"
AUTHENTIC = "authentic: "
"""What begins the cause of an answer that its server has sealed, but that brings no time."""

_REQUEST = Request((PROTOCOL_NTPV4,), (Aead.AES_SIV_CMAC_256,))
_LONGEST_KEPT = 0.9
_UNSYNCHRONISED = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """So many clients spend a cookie every `poll` seconds; every `fresh` seconds one comes as a new client.

    Beside them, `visits` clients a second come, spend two cookies and go. No cookie is spent that is older than `life`
    seconds, as the pool promises no more. A client asks `gateways`, each an address and a port, in any order until one
    serves, each for `patience` seconds at most. `backends` are name and cookie format by `address port`.
    """

    gateways: Sequence[tuple[str, int]]
    ca: str
    clients: int
    poll: float
    fresh: float
    life: float
    backends: Mapping[str, tuple[str, str]]
    report: str
    visits: float = 0.0
    patience: float = 10.0


@dataclass(slots=True)
class Report:
    """What happened so far, by the name of the backend; times are Unix seconds.

    `failures` are requests that brought no time: time, backend, key id, age of the cookie, cause.
    `refusals` are key exchanges that failed: when they began and ended, the gateway's address, the cause. `unserved`
    are clients that no gateway served: when they came and gave up; `slowest` is how long it took at most to be served.
    `newest` is the key id of the newest cookie, `handed` when the last one of each key id came. `overdue` cookies were
    thrown away. `least` is how many clients were active at the worst, since all have been. What began before `ended`
    has ended.
    """

    sessions: int = 0
    spent: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    newest: dict[str, int] = field(default_factory=dict)
    handed: dict[str, float] = field(default_factory=dict)
    slowest: float = 0.0
    overdue: int = 0
    active: int = 0
    least: int | None = None
    ended: float = 0.0
    failures: list[tuple[float, str, int, float, str]] = field(default_factory=list)
    refusals: list[tuple[float, float, str, str]] = field(default_factory=list)
    unserved: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> "Report":
        """Return what `write` has written."""
        told = json.loads(path.read_text())
        return cls(**{**told, "spent": Counter(told["spent"]), "answered": Counter(told["answered"])})

    def write(self, path: Path) -> None:
        """Replace what is at `path`."""
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps({each.name: getattr(self, each.name) for each in fields(self)}))
        temporary.rename(path)


class _Client:
    def __init__(self, plan: Plan, report: Report) -> None:
        self.plan = plan
        self.report = report
        self.last = float("-inf")
        self.stock: deque[tuple[bytes, float]] = deque(maxlen=STOCK)
        self.under_way: list[float] = []

    async def run(self) -> None:
        await asyncio.sleep(self.plan.poll * random.random())
        while True:
            ends = time.monotonic() + self.plan.poll * random.uniform(0.9, 1.1)
            if cookie := self._oldest():
                await self._spend(*cookie)
            else:
                await self.come()
            await asyncio.sleep(max(0.0, ends - time.monotonic()))

    async def come(self) -> None:
        """Be a new client: what was in stock is forgotten once there is something else."""
        with self._begin() as began:
            for host, port in random.sample(self.plan.gateways, len(self.plan.gateways)):
                if await self._served_by(host, port):
                    self.report.slowest = max(self.report.slowest, time.time() - began)
                    return
            self.report.unserved.append((began, time.time()))

    async def _served_by(self, host: str, port: int) -> bool:
        server, began = Server(host, port, "localhost", Path(self.plan.ca)), time.time()
        try:
            done = await exchange_keys(server, _REQUEST, self.plan.patience)
        except RemoteError as error:
            self.report.refusals.append((began, time.time(), host, str(error)))
            return False
        if not isinstance(done.reply, Response) or done.association is None:
            self.report.refusals.append((began, time.time(), host, str(done.reply)))
            return False
        self.report.sessions += 1
        self.address, self.server_port = str(done.reply.server), int(done.reply.port or 123)
        self.backend, self.format = self.plan.backends[f"{self.address} {self.server_port}"]
        self.association = done.association
        self.stock = deque(((each, time.monotonic()) for each in done.reply.cookies), STOCK)
        self._note_handed(done.reply.cookies[0])
        return True

    async def visit(self) -> None:
        """Be a client that has come, spends two cookies, and is gone."""
        await self.come()
        for _ in range(2):
            if cookie := self._oldest():
                await self._spend(*cookie)

    def _note_handed(self, cookie: bytes) -> None:
        self.report.handed[str(key_id(CookieFormat(self.format), cookie))] = time.time()

    def _oldest(self) -> tuple[bytes, float] | None:
        while self.stock:
            cookie, got = self.stock.popleft()
            if time.monotonic() - got < _LONGEST_KEPT * self.plan.life:
                return cookie, got
            self.report.overdue += 1
        return None

    @contextmanager
    def _begin(self) -> Iterator[float]:
        """Have something under way, since the time that this yields."""
        began = time.time()
        self.under_way.append(began)
        try:
            yield began
        finally:
            self.under_way.remove(began)

    async def _spend(self, cookie: bytes, got: float) -> None:
        # Another session may have taken the place of this one when the answer comes.
        backend, stock, report = self.backend, self.stock, self.report
        age = time.monotonic() - got
        report.spent[backend] += 1
        request = build_request(
            self.association,
            cookie,
            unique_id=os.urandom(UNIQUE_ID_MINIMUM),
            nonce=os.urandom(self.association.aead.nonce_length),
            placeholders=STOCK - 1 - len(stock),
            transmit_timestamp=int.from_bytes(os.urandom(8), "big"),
        )
        with self._begin() as began:
            answer = await _ask(self.address, self.server_port, request)
        if not isinstance(answer, Answer) or answer.header.leap == _UNSYNCHRONISED:
            cause = answer if isinstance(answer, str) else f"{AUTHENTIC}unsynchronised"
            report.failures.append((began, backend, key_id(CookieFormat(self.format), cookie), age, cause))
        if isinstance(answer, Answer):
            report.answered[backend] += 1
            self.last = time.monotonic()
            stock.extend((each, self.last) for each in answer.cookies)
            report.newest[backend] = key_id(CookieFormat(self.format), answer.cookies[0])
            self._note_handed(answer.cookies[0])


async def _ask(address: str, port: int, request: NtpRequest) -> Answer | str:
    """Return the authenticated answer to a request, or why there is none; nothing that is no answer is passed over."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(type=socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as udp:
            udp.connect((address, port))
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(udp, request.data)
                response = read_response(request, await loop.sock_recv(udp, 65536))
    except TimeoutError:
        return NO_ANSWER
    except (WireError, OSError) as error:
        return str(error)
    if isinstance(response, Refused):
        return f"{AUTHENTIC if response.authentic else ''}{response.reason} {response.kiss_code or ''}"
    return response


async def _main(plan: Plan) -> None:
    report = Report()
    clients = [_Client(plan, report) for _ in range(plan.clients)]
    async with asyncio.TaskGroup() as tasks:
        for each in clients:
            tasks.create_task(each.run())
        tasks.create_task(_come_anew(plan, clients))
        tasks.create_task(_be_visited(plan, report))
        while True:
            report.active = sum(time.monotonic() - each.last < ACTIVE for each in clients)
            if report.least is not None or report.active == plan.clients:
                report.least = min(report.least or plan.clients, report.active)
            report.ended = min([time.time(), *(began for each in clients for began in each.under_way)])
            report.write(Path(plan.report))
            await asyncio.sleep(0.2)


async def _come_anew(plan: Plan, clients: list[_Client]) -> None:
    while True:
        await asyncio.sleep(plan.fresh)
        await random.choice(clients).come()


async def _be_visited(plan: Plan, report: Report) -> None:
    due = time.monotonic()
    async with asyncio.TaskGroup() as visits:
        while plan.visits:
            visits.create_task(_Client(plan, report).visit())
            due = max(due + 1 / plan.visits, time.monotonic() - 1)
            await asyncio.sleep(due - time.monotonic())


@dataclass(frozen=True, slots=True)
class Load:
    """A load that runs."""

    plan: Plan

    def report(self) -> Report:
        """Return what it has reported last, at most a little while ago."""
        return Report.read(Path(self.plan.report))

    def settle(self) -> Report:
        """Return a report of a time when whatever is under way now has ended."""
        now = time.time()
        return wait_until("the last requests to end", lambda: (found := self.report()).ended > now and found)


def planned(pool: Pool, clients: int, life: float, *, fresh: float = 0.2, visits: float = 0.0) -> Plan:
    """Return the plan of a load on a pool, of which most cookies are spent late in their `life`."""
    backends = {f"{each.addresses[0]} {each.port}": (each.name, each.cookies) for each in pool.members.values()}
    gateways, report = [("127.0.0.1", pool.port)], str(pool.directory / "load.json")
    return Plan(gateways, str(pool.ca), clients, life / (STOCK + 2), fresh, life, backends, report, visits)


@contextmanager
def load(pool: Pool, clients: int, life: float, *, fresh: float = 0.2, visits: float = 0.0) -> Iterator[Load]:
    """Run a load on a pool as `planned`, from when every client has had an answer."""
    with carried_out(planned(pool, clients, life, fresh=fresh, visits=visits), pool.network) as running_load:
        yield running_load


@contextmanager
def carried_out(plan: Plan, network: Network) -> Iterator[Load]:
    """Carry out a plan in a network, from when every client has had an answer."""
    report = Path(plan.report)
    # What an earlier load has reported is not about this one.
    report.unlink(missing_ok=True)
    words = [*network.inside, sys.executable, "-m", "tests.interop.load", json.dumps(asdict(plan))]
    log = report.with_suffix(".log")
    with running(words, log, cwd=Path(__file__).parents[2]) as process:
        running_load = Load(plan)

        def everybody() -> bool:
            assert process.poll() is None, log.read_text()
            return report.exists() and running_load.report().least is not None

        wait_until("every client's first answer", everybody, 2 * DEADLINE)
        yield running_load
        assert process.poll() is None, log.read_text()


def _told(text: str) -> Plan:
    words: dict[str, Any] = json.loads(text)
    return Plan(**words)


if __name__ == "__main__":
    asyncio.run(_main(_told(sys.argv[1])))
