"""`ntspool demo`: a whole pool on loopback, out of real parts, telling its own story."""

import asyncio
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import click

from ntspool.app.demo_backends import DemoBackend, installed
from ntspool.app.demo_pool import POOL_NAME, DemoPool, demo_pool
from ntspool.app.gateway import Gateway
from ntspool.app.query import query
from ntspool.errors import LocalError, NtspoolError, RemoteError
from ntspool.net import eventloop
from ntspool.net.keyexchange import KeyExchange, exchange_keys
from ntspool.net.timequery import query_time
from ntspool.pool.cookies import Association, CookieFormat, key_id
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request, Response
from ntspool.wire.records import PROTOCOL_NTPV4

DEADLINE = 60.0
"""Seconds that a state may take to come about before the step that waits for it has failed."""

_TIMEOUT = 3.0
_SESSIONS = 100
_SPENDERS = 12
_REQUEST = Request((PROTOCOL_NTPV4,), (Aead.AES_SIV_CMAC_256,))


def run(*, once: bool, chrony: bool) -> int:
    """Play the story; then, unless `once`, go on serving until a signal. Returns the exit status."""
    try:
        eventloop.run(_demo(CookieFormat.CHRONY if chrony else CookieFormat.NTSPOOL, once=once))
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("\nStopped; nothing is left behind.")
        return 1 if once else 0
    except NtspoolError as error:
        click.secho(f"failed: {error}", fg="red", err=True)
        return 1
    return 0


async def _demo(cookies: CookieFormat, *, once: bool) -> None:
    task = asyncio.current_task()
    if task is not None:
        # SIGHUP: the terminal was closed, which must leave nothing behind either.
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(demo_pool(cookies))
        await Story(pool, stack).play()
        if not once:
            _say_what_to_try(pool)
            await asyncio.Event().wait()


class Story:
    """The steps, in their order; what they start is ended by `stack`. Every step raises NtspoolError if it fails."""

    def __init__(self, pool: DemoPool, stack: AsyncExitStack) -> None:
        self._pool = pool
        self._stack = stack
        self._gateway: Gateway

    async def play(self) -> None:
        """Play every step; raises LocalError that names the step that failed."""
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("Three backends: two share their keys with the gateway, one keeps its own", self._backends),
            (f"The gateway, for the name {POOL_NAME}", self._start_gateway),
            ("A client session", self._session),
            (f"{_SESSIONS} sessions, and how they spread", self._spread),
            ("A backend stops, and the pool goes round it", self._outage),
            ("The keys are rotated while clients spend cookies", self._rotation),
        ]
        for number, (title, step) in enumerate(steps, start=1):
            click.secho(f"\n{number}. {title}", bold=True)
            try:
                await step()
            except NtspoolError as error:
                raise LocalError(f"step {number}, {title}: {error}") from error

    async def _backends(self) -> None:
        for backend in self._pool.backends:
            pid = backend.process.pid if backend.process else None
            cookies = backend.cookies.value if backend.ke is None else "makes its own cookies"
            _tell(backend.name, f"{' and '.join(backend.addresses)} port {backend.port}, {cookies}, pid {pid}")

    async def _start_gateway(self) -> None:
        self._gateway = Gateway(self._pool.config)
        self._stack.push_async_callback(self._gateway.stop)
        await self._gateway.start()
        await _until("every backend to be UP", self._all_up)
        _tell("listening on", f"{' and '.join(self._pool.hosts)} port {self._pool.port}")
        _tell("workers", ", ".join(f"pid {pid}" for pid in self._gateway.worker_pids))
        _tell("backends UP", f"{len(self._pool.backends)} of {len(self._pool.backends)}")

    async def _session(self) -> None:
        for host in self._pool.hosts:
            learned = await query(self._pool.server(host), _TIMEOUT)
            for label, value in learned.lines():
                name = self._name_of(learned.host, learned.port)
                _tell(label, f"{value} = {name}" if label == "NTP server" else value)
            click.echo()
            if learned.time is None:
                raise RemoteError(learned.failure)

    async def _spread(self) -> None:
        counts = await self._count_sessions(_SESSIONS)
        for backend in self._pool.backends:
            count = counts[backend.name]
            _tell(backend.name, f"{count:3} {'#' * count}")
            if not count:
                raise RemoteError(f"{backend.name} got no client")

    async def _outage(self) -> None:
        loop = asyncio.get_running_loop()
        victim = self._pool.backends[1]
        await victim.stop()
        stopped = loop.time()
        await _until(f"{victim.name} to be DOWN", lambda: self._down() == {victim.name})
        _tell(f"{victim.name} stopped", f"DOWN after {loop.time() - stopped:.1f} s")
        counts = await self._count_sessions(_SESSIONS // 2)
        _tell("sessions then", ", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
        if counts[victim.name]:
            raise RemoteError(f"{victim.name} got clients although it was DOWN")
        await victim.start()
        started = loop.time()
        await _until(f"{victim.name} to be UP", self._all_up)
        _tell(f"{victim.name} started", f"UP after {loop.time() - started:.1f} s")

    async def _rotation(self) -> None:
        before = self._gateway.keys.keyring.current.number
        await _until("the next epoch to be proved", lambda: not self._gateway.lagging())
        spenders = [_Spender(await self._exchange()) for _ in range(_SPENDERS)]
        spending = [asyncio.create_task(spender.spend()) for spender in spenders]
        try:
            await self._gateway.keys.rotate()
            await self._pool.give_keys()
            await _until("the new next epoch to be proved", lambda: not self._gateway.lagging())
        finally:
            for spender in spenders:
                spender.enough = True
            await asyncio.gather(*spending)
        fresh = await self._exchange()
        while (backend := self._backend_of(fresh)) not in self._pool.sharing:
            fresh = await self._exchange()
        await _Spender(fresh).use_first()
        _tell("epoch", f"{before}, now {key_id(backend.cookies, _agreed(fresh).cookies[0])}")
        _tell("requests meanwhile", f"{sum(each.answered for each in spenders)} answered and authenticated")
        failures = [failure for each in spenders for failure in each.failures]
        _tell("NTS NAKs and others", str(len(failures)))
        if failures:
            raise RemoteError(failures[0])

    async def _exchange(self) -> KeyExchange:
        exchange = await exchange_keys(self._pool.server(self._pool.hosts[0]), _REQUEST, _TIMEOUT)
        _agreed(exchange)
        return exchange

    async def _count_sessions(self, number: int) -> Counter[str]:
        counts: Counter[str] = Counter()
        for _ in range(number):
            agreed = _agreed(await self._exchange())
            counts[self._name_of(agreed.server, agreed.port)] += 1
        return counts

    def _backend_of(self, exchange: KeyExchange) -> DemoBackend:
        name = self._name_of(_agreed(exchange).server, _agreed(exchange).port)
        return next(each for each in self._pool.backends if each.name == name)

    def _name_of(self, host: str | None, port: int | None) -> str:
        return next(each.name for each in self._pool.backends if host in each.addresses and port == each.port)

    def _all_up(self) -> bool:
        return all(len(each.up) == len(each.backend.addresses) for each in self._gateway.served.serving)

    def _down(self) -> set[str]:
        return {each.backend.name for each in self._gateway.served.serving if not each.up}


class _Spender:
    """A client that spends cookies as fast as it gets new ones, and in the end those it got first."""

    def __init__(self, exchange: KeyExchange) -> None:
        agreed = _agreed(exchange)
        self._host, self._port = agreed.server or exchange.address, agreed.port or 123
        self._association: Association | None = exchange.association
        self._kept = list(agreed.cookies)
        self.enough = False
        self.answered = 0
        self.failures: list[str] = []

    async def spend(self) -> None:
        """Spend until `enough`, then the cookies from before; failures are collected."""
        cookie = self._kept.pop()
        while not self.enough:
            cookie = await self._use(cookie) or self._kept.pop()
        for old in self._kept:
            await self._use(old)

    async def use_first(self) -> None:
        """Spend one cookie; raises RemoteError if that fails."""
        await self._use(self._kept[0])
        if self.failures:
            raise RemoteError(self.failures[0])

    async def _use(self, cookie: bytes) -> bytes | None:
        if self._association is None:
            raise RemoteError("the gateway refused")
        try:
            answer = await query_time(self._host, self._port, self._association, cookie, timeout=_TIMEOUT)
        except RemoteError as error:
            self.failures.append(str(error))
            return None
        self.answered += 1
        return answer.cookies[0]


def _agreed(exchange: KeyExchange) -> Response:
    if not isinstance(exchange.reply, Response):
        raise RemoteError(f"the gateway refused: {exchange.reply.reason.value}")
    return exchange.reply


async def _until(what: str, condition: Callable[[], bool]) -> None:
    try:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110  -- the conditions are other processes' states
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise LocalError(f"waited {DEADLINE:g} s in vain for {what}") from None


def _tell(label: str, value: str) -> None:
    click.echo(f"   {label:<20} {value}")


def _ourselves() -> str:
    """Return the words that start this program in another terminal, where no virtual environment is active."""
    program = Path(sys.argv[0]).absolute()
    return shlex.quote(str(program)) if program.name == "ntspool" else f"{shlex.quote(sys.executable)} -m ntspool"


def _say_what_to_try(pool: DemoPool) -> None:
    click.secho("\nThe pool goes on serving. Try, in another terminal:", bold=True)
    click.echo(f"   {_ourselves()} query {POOL_NAME}:{pool.port} --ca {pool.ca}")
    chronyd = installed("chronyd") or "chronyd"
    click.echo(
        f"   {chronyd} -Q -U -t 10 'server {POOL_NAME} iburst nts ntsport {pool.port}' 'ntstrustedcerts {pool.ca}'"
    )
    click.echo("Ctrl-C ends it.")
