"""Gateways as processes, under load from clients that count every failure: what they outlive, and who takes over."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest

from ntspool.errors import RemoteError
from ntspool.net.keyexchange import exchange_keys
from ntspool.wire.messages import Response
from tests.app.pool import REQUEST, lay_out, run_ntspool
from tests.interop.lab import free_port
from tests.processes import alive, end_workers, workers_of
from tests.waiting import DEADLINE, until

CLIENTS = 4
PAUSE = 0.02
"""Seconds between two sessions of a client: without it they would take the machine from gateways that start."""

PATIENT = {"interval": "2s", "timeout": "1900ms"}
"""Probes that a busy machine does not mislead."""


@pytest.fixture
def around(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    yield around
    end_workers(around.state)


class Gateways:
    """Gateways started one after the other; `log` is what all of them said."""

    def __init__(self, around):
        self._around = around
        self._path = around.directory / "log"
        self.processes = []

    @property
    def log(self):
        return self._path.read_text()

    def said(self, event):
        return self.log.count(f'"event": "{event}"')

    @property
    def workers(self):
        return workers_of(self._around.state)

    async def start(self):
        """Return a gateway's process once it serves."""
        times = self.said("serving") if self.processes else 0
        process = self.launch()
        await until(lambda: self.said("serving") > times or process.poll() is not None)
        assert process.poll() is None, self.log
        return process

    def launch(self):
        with self._path.open("ab") as log:
            command = [sys.executable, "-m", "ntspool", "serve", "--config", str(self._around.config)]
            self.processes.append(subprocess.Popen(command, stderr=log))
        return self.processes[-1]

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


def kill(process):
    process.kill()
    process.wait()


class Load:
    """Clients that make one session after the other; `failures` is what became of those that got no backend."""

    def __init__(self, server):
        self.server = server
        self.served = 0
        self.failures = []
        self._enough = False

    async def __aenter__(self):
        self._clients = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_):
        self._enough = True
        await asyncio.gather(*self._clients)

    async def more(self, sessions=40):
        """Return when so many more were served, or one failed."""
        wanted = self.served + sessions
        await until(lambda: self.served >= wanted or self.failures)

    async def _client(self):
        while not self._enough:
            try:
                reply = (await exchange_keys(self.server, REQUEST, DEADLINE)).reply
            except RemoteError as error:
                reply = str(error)
            if isinstance(reply, Response):
                self.served += 1
            else:
                self.failures.append(reply)
            await asyncio.sleep(PAUSE)


@contextlib.asynccontextmanager
async def hesitant(server):
    """Connect to `server`, and yield where to find one that speaks over this very connection, if only later."""
    upstream = await asyncio.open_connection(server.host, server.port)

    async def relay(reader, writer):
        await asyncio.gather(_carry(reader, upstream[1]), _carry(upstream[0], writer))
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as relaying:
        yield replace(server, port=relaying.sockets[0].getsockname()[1])
    upstream[1].close()


async def _carry(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.write_eof()


def _play(around, scene, workers=2):
    """Run `scene(gateways, load)` with a gateway that serves a load; return all failures."""
    around.configure(workers, **PATIENT)

    async def run():
        gateways = Gateways(around)
        try:
            async with around.time_servers():
                await gateways.start()
                async with Load(around.server) as load:
                    await load.more()
                    await scene(gateways, load)
                assert "Traceback" not in gateways.log
                return load.failures
        finally:
            gateways.end()

    return asyncio.run(run())


def test_when_the_control_process_is_killed_no_session_fails_until_another_has_taken_over(around):
    async def scene(gateways, load):
        before = gateways.workers
        kill(gateways.processes[0])
        await load.more()
        assert gateways.workers == before
        gateways.launch()
        await until(lambda: gateways.said("taking over"))
        async with contextlib.AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(hesitant(around.server)) for _ in range(4)]
            await until(lambda: gateways.said("serving") == 2)
            replies = [(await exchange_keys(each, REQUEST, 10)).reply for each in slow]
        assert all(isinstance(reply, Response) for reply in replies)
        await until(lambda: not gateways.workers & before)
        await load.more()
        assert len(gateways.workers) == 2
        await until(lambda: gateways.said("worker of an earlier gateway finished") == 2)
        assert not gateways.said("worker of an earlier gateway killed")

    assert _play(around, scene) == []


def test_control_processes_that_die_one_after_the_other_lose_no_worker_and_no_session(around):
    """The second one dies before its workers have taken over: workers of both are left."""

    async def scene(gateways, load):
        kill(gateways.processes[0])
        for moment in ("taking over", "serving"):
            process = gateways.launch()
            times = gateways.said(moment)
            await until(lambda m=moment, t=times: gateways.said(m) > t)
            kill(process)
            await load.more(10)
        await gateways.start()
        await load.more(10)
        await until(lambda: len(gateways.workers) == 2)

    assert _play(around, scene) == []


def test_what_the_new_configuration_does_not_listen_on_is_let_go_and_the_rest_goes_on(around):
    port = free_port("127.0.0.1")

    async def scene(gateways, load):
        kill(gateways.processes[0])
        text = around.config.read_text()
        both = f"listen: ['127.0.0.1:{around.ke_port}', '127.0.0.1:{port}']"
        around.config.write_text(text.replace(f"listen: ['127.0.0.1:{around.ke_port}']", both))
        await gateways.start()
        await load.more()
        load.server = replace(around.server, port=port)
        await load.more()
        kill(gateways.processes[1])
        around.config.write_text(text.replace(f":{around.ke_port}'", f":{port}'"))
        await gateways.start()
        await load.more()
        await until(lambda: len(gateways.workers) == 2)
        with pytest.raises(RemoteError, match="Connection refused"):
            await exchange_keys(around.server, REQUEST, 10)

    assert _play(around, scene) == []


def test_a_port_moves_from_one_address_to_all_and_back(around):
    """The kernel lets nobody listen on both, as a rule."""

    async def scene(gateways, load):
        for address in ("0.0.0.0", "127.0.0.1"):
            kill(gateways.processes[-1])
            around.configure(2, listen=f"{address}:{around.ke_port}", **PATIENT)
            await gateways.start()
            await load.more()
            await until(lambda: len(gateways.workers) == 2)

    assert _play(around, scene) == []


def test_another_gateway_with_the_same_state_is_refused_and_takes_nothing(around):
    async def scene(gateways, load):
        before = gateways.workers
        second = await asyncio.to_thread(run_ntspool, "serve", "--config", around.config)
        assert second.returncode == 1
        assert second.stderr.endswith(f"ntspool: another gateway runs with the state directory {around.state}\n")
        await load.more()
        assert gateways.workers == before
        # The socket is still there for when it matters.
        kill(gateways.processes[0])
        await gateways.start()
        await until(lambda: not gateways.workers & before)

    assert _play(around, scene) == []


@pytest.mark.parametrize("mistake", ["listen: ['192.0.2.1:4460']", "admin: {socket: nowhere/admin.sock}"])
def test_a_gateway_that_cannot_start_leaves_the_workers_serving_and_none_of_its_own(around, mistake):
    async def scene(gateways, load):
        before = gateways.workers
        kill(gateways.processes[0])
        lines = around.config.read_text().splitlines()
        key = mistake.partition(" ")[0]
        around.config.write_text("\n".join([mistake, *(line for line in lines if not line.startswith(key))]))
        process = gateways.launch()
        assert await asyncio.to_thread(process.wait, 20) == 1
        await load.more()
        assert gateways.workers == before
        around.configure(2, **PATIENT)
        await gateways.start()
        await until(lambda: not gateways.workers & before)

    assert _play(around, scene) == []


def test_a_worker_that_hangs_holds_nobody_up_and_is_killed(around):
    around.configure(2, **PATIENT)

    async def scene(gateways, load):
        victim, other = sorted(gateways.workers)
        os.kill(victim, signal.SIGSTOP)
        kill(gateways.processes[0])
        # What the hanging one accepted is lost; what matters is who comes now.
        load.failures.clear()
        await gateways.start()
        assert gateways.said("workers of an earlier gateway keep silent") == 1
        await until(lambda: other not in gateways.workers)
        os.kill(victim, signal.SIGCONT)
        await until(lambda: victim not in gateways.workers)

    _play(around, scene)


def test_sigterm_ends_a_worker_without_a_control_process(around):
    async def scene(gateways, load):
        kill(gateways.processes[0])
        await load.more()
        for pid in gateways.workers:
            os.kill(pid, signal.SIGTERM)
        await until(lambda: not gateways.workers)

    # What came too late was turned away at once: nobody waits for an answer that does not come.
    assert not [each for each in _play(around, scene) if "no answer within" in str(each)]


def test_a_killed_worker_costs_its_own_sessions_and_is_replaced(around):
    async def scene(gateways, load):
        before = gateways.workers
        os.kill(min(before), signal.SIGKILL)
        await until(lambda: len(gateways.workers - before) == 1)
        load.failures, lost = [], load.failures
        assert len(lost) <= CLIENTS
        assert gateways.said("worker died") == 1
        await load.more()

    assert _play(around, scene) == []


def test_reload_workers_replaces_all_of_them_and_no_session_fails(around):
    async def scene(gateways, load):
        before, numbers = gateways.workers, []
        command = asyncio.to_thread(run_ntspool, "reload", "--workers", "--config", around.config)
        replacing = asyncio.create_task(command)
        while not replacing.done():
            numbers.append(len(gateways.workers))
            await asyncio.sleep(0.01)
        done = await replacing
        assert (min(numbers), max(numbers)) == (2, 3)
        assert (done.returncode, done.stdout) == (0, "every worker is replaced\n")
        await load.more()
        assert len(gateways.workers) == 2
        assert not gateways.workers & before

    assert _play(around, scene) == []


def test_what_is_not_to_outlive_its_control_process_does_not(around):
    """The demo runs a gateway in its own process."""
    code = (
        "import asyncio, pathlib, sys; from ntspool.app.gateway import Gateway\n"
        "async def run():\n"
        "    gateway = Gateway(pathlib.Path(sys.argv[1])); await gateway.start()\n"
        "    print(*gateway.worker_pids, flush=True); await asyncio.sleep(3600)\n"
        "asyncio.run(run())"
    )
    around.configure(2)
    command = [sys.executable, "-c", code, str(around.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert len(workers) == 2
    asyncio.run(until(lambda: not any(map(alive, workers))))
