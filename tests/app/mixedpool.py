"""A pool of both kinds for tests: a gateway that is a process, and time servers in this one.

Clients ask for `sharing.test` and get a backend that shares its keys, or for `own.test` and get one that does not, if
that can be; `localhost` is the whole pool.
"""

import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ntspool.app import export
from ntspool.app.timeserving import renew
from ntspool.errors import RemoteError
from ntspool.net.keyexchange import Server, exchange_keys
from ntspool.net.timeserver import TimeServer
from ntspool.wire.messages import Refusal, RefusalReason, Request, Response
from tests.interop.lab import DEADLINE, free_port
from tests.net.scriptedke import ScriptedKe
from tests.processes import end_workers
from tests.secrecy import check_gateway

SHARING, OWN, ALL = "sharing.test", "own.test", "localhost"
REQUEST = Request((0,), (15,))
FAILED = Refusal(RefusalReason.ERROR, 2)
PATIENCE = 10.0
SOON = 2.5
"""Seconds within which a client of a good backend is served whatever else goes on; a session may take twice as long.

A machine that has no time for us has none for the gateway either: what it owes us is allowed beside this.
"""


@dataclass
class MixedPool:
    """What runs: the time servers of backends, and the NTS-KE servers of those that keep their own keys, by name."""

    directory: Path
    ca: Path
    port: int
    times: dict[str, TimeServer] = field(default_factory=dict)
    kes: dict[str, ScriptedKe] = field(default_factory=dict)

    async def session(self, name=ALL):
        """Be a client once; returns the exchange, and checks that the cookies open where the client is sent."""
        exchange = await exchange_keys(Server("127.0.0.1", self.port, name, self.ca), REQUEST, PATIENCE)
        if isinstance(exchange.reply, Response):
            server = self.times[self.given(exchange)]
            assert [server.jar.open(each) for each in exchange.reply.cookies] == [exchange.association] * 8
        return exchange

    def given(self, exchange):
        """Return the name of the backend that a client was sent to."""
        where = exchange.reply.server, exchange.reply.port
        (name,) = (name for name, server in self.times.items() if where in server.addresses)
        return name

    def log(self, event):
        """Return what the gateway has logged of an event."""
        text = (self.directory / "log").read_text()
        lines = (json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{"))
        return [line for line in lines if line["event"] == event]

    def up(self):
        """Return the names of the backends that are UP."""
        changes = sorted(self.log("backend UP") + self.log("backend DOWN"), key=lambda line: line["timestamp"])
        return {
            name for name, event in {line["backend"]: line["event"] for line in changes}.items() if event[8:] == "UP"
        }

    @asynccontextmanager
    async def steady(self, name=SHARING, *, spared=True):
        """Have one client after the other come meanwhile, and see in the end that each was served and none waited long.

        Unless they are `spared`, they may get an Error instead.
        """
        done, exchanges, owed = asyncio.Event(), [], [0.0]

        async def come():
            while not done.is_set():
                exchanges.append(await self.session(name))
                await asyncio.sleep(0.02)

        async def watch():
            while not done.is_set():
                began = time.monotonic()
                await asyncio.sleep(0.02)
                owed.append(time.monotonic() - began)

        tasks = [asyncio.create_task(each) for each in (come(), come(), watch())]
        try:
            yield
        finally:
            done.set()
            await asyncio.gather(*tasks)
        bad = [each.reply for each in exchanges if not isinstance(each.reply, Response)]
        assert bad == ([] if spared else [FAILED] * len(bad))
        assert len(exchanges) - len(bad) > 2
        assert max(each.elapsed for each in exchanges) < (SOON + 4 * max(owed) if spared else PATIENCE)


@asynccontextmanager
async def mixed_pool(directory, pki, own=("ntp-8", "ntp-9"), sharing=("ntp-1", "ntp-2"), health="", workers=1):
    """Run a pool; from when every backend is UP."""
    pool = MixedPool(directory, pki.ca, free_port("127.0.0.1"))
    names = (*sharing, *own)
    addresses = {name: f"127.0.0.{90 + number}" for number, name in enumerate(names)}
    async with AsyncExitStack() as stack:
        for name in own:
            place = directory / name
            place.mkdir()
            renew(place / "keys", 0.0)
            await _start(stack, pool, name, addresses[name], place / "keys")
            ke = ScriptedKe(addresses[name], pki.authority, place, pool.times[name])
            pool.kes[name] = await stack.enter_async_context(ke)
        ports = {name: free_port(addresses[name]) for name in sharing}
        _configure(pool, pki, addresses, ports, health, workers)
        for name in sharing:
            export.write(directory / f"{name}.keys", export.key_file(directory / "backends.yaml", name))
            await _start(stack, pool, name, addresses[name], directory / f"{name}.keys", ports[name])
        await _run_gateway(stack, pool)
        await until(lambda: pool.up() == set(names))
        yield pool
    check_gateway(directory, names, {f"token of {name}": ke.token.reveal() for name, ke in pool.kes.items()})


async def _start(stack, pool, name, address, keys, port=0):
    pool.times[name] = await stack.enter_async_context(TimeServer([(address, port)], keys, 3))


def _configure(pool, pki, addresses, ports, health, workers):
    directory = pool.directory
    (directory / "own").mkdir()
    names = [ALL, SHARING, OWN, *(f"{slot}.{ALL}" for slot in range(4))]
    chain, key = pki.authority.issue(names, ["127.0.0.1"], directory / "own", datetime.now(UTC))
    lines = [
        f"  - {{name: {name}, address: {addresses[name]}, port: {port}, cookies: ntspool}}\n"
        for name, port in ports.items()
    ]
    for name, ke in pool.kes.items():
        stated = f"port: {ke.port}, ca: {pki.ca}, token: {ke.token_file}"
        port = pool.times[name].addresses[0][1]
        lines.append(
            f"  - {{name: {name}, address: {addresses[name]}, port: {port}, cookies: fixed-key, ke: {{{stated}}}}}\n"
        )
    (directory / "backends.yaml").write_text(
        f"pool: {{names: [{ALL}]}}\nlisten: ['127.0.0.1:{pool.port}']\nworkers: {workers}\n"
        f"tls: [{{certificate: {chain}, key: {key}}}]\nstate: {directory}/state\nlog: {{format: json}}\n"
        f"groups: {{{SHARING}: [{', '.join(ports)}], {OWN}: [{', '.join(pool.kes)}]}}\n"
        f"health: {{{health or 'interval: 500ms, timeout: 450ms, rise: 1, fall: 3'}, panic: 100}}\n"
        "limits: {per_address: {sessions: off, rate: off}, per_network: {sessions: off, rate: off}}\n"
        f"backends:\n{''.join(lines)}"
    )


async def _run_gateway(stack, pool):
    log = stack.enter_context((pool.directory / "log").open("wb"))
    command = [sys.executable, "-m", "ntspool", "serve", f"--config={pool.directory / 'backends.yaml'}"]
    gateway = await asyncio.create_subprocess_exec(*command, stderr=log)
    stack.callback(end_workers, pool.directory / "state")
    stack.push_async_callback(_end, gateway)
    with suppress(TimeoutError):
        await until(lambda: pool.log("serving") or gateway.returncode is not None)
    assert pool.log("serving"), (pool.directory / "log").read_text()


async def _end(gateway):
    with suppress(ProcessLookupError):
        gateway.terminate()
    await gateway.wait()


async def until(condition):
    """Return once `condition()` is true; it may read the whole log, so it is not asked too often."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.05)


async def tried(pool, name):
    """Be a client once; return the exchange, or None when it comes to no answer at all."""
    with suppress(RemoteError):
        return await pool.session(name)
    return None
