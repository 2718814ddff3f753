"""Gateway and agent as services: what systemd hears of them, and restarts under socket activation."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys

import pytest

from ntspool.net.keyexchange import exchange_keys
from ntspool.net.system import listen
from ntspool.wire.messages import Response
from tests.app.pool import REQUEST, lay_out, run_ntspool
from tests.app.test_handover import PATIENT, Load
from tests.processes import end_workers, workers_of
from tests.systemd import Systemd
from tests.waiting import until


@pytest.fixture
def around(tmp_path, pki):
    around = lay_out(tmp_path, pki)
    yield around
    end_workers(around.state)


class Unit:
    """ntspool.service and ntspool.socket: gateways one after the other, on one socket that outlives them all."""

    def __init__(self, around, systemd):
        self._around = around
        self._systemd = systemd
        self.socket = listen("127.0.0.1", around.ke_port)
        self.process = None
        self.log = ""

    def start(self, **more):
        words = ("serve", "--config", self._around.config)
        self.process = self._systemd.launch(*words, sockets=[self.socket], **more)

    async def started(self):
        times = self._systemd.said("READY=1")
        self.start()
        await until(lambda: self._systemd.said("READY=1") > times or self.process.poll() is not None)
        assert self.process.poll() is None, self.process.stderr.read()

    async def end(self, number):
        """Send a signal to the control process, and return when that has ended; workers may be left, as by its unit."""
        self.process.send_signal(number)
        # What it says, its workers go on saying into the same pipe: that is not waited for.
        await asyncio.to_thread(self.process.wait, 20)

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            end_workers(self._around.state)
            self.log += self.process.stderr.read()
            self.process.stderr.close()
            self.process.stdout.close()
        self.socket.close()


@contextlib.asynccontextmanager
async def serving(around):
    around.configure(2, **PATIENT)
    with Systemd(str(around.directory / "notify")) as systemd:
        unit = Unit(around, systemd)
        try:
            async with around.time_servers():
                await unit.started()
                yield unit, systemd
        finally:
            unit.close()


def test_restarts_under_socket_activation_fail_no_session(around):
    async def run():
        async with serving(around) as (unit, _), Load(around.server) as load:
            await load.more()
            for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
                await unit.end(number)
                unit.process.stderr.close()
                unit.process.stdout.close()
                await unit.started()
                await load.more()
                await until(lambda: len(workers_of(around.state)) == 2)
            return load.failures

    assert asyncio.run(run()) == []


def test_who_comes_while_no_gateway_runs_waits_for_the_next(around):
    async def run():
        async with serving(around) as (unit, _):
            await unit.end(signal.SIGTERM)
            assert not workers_of(around.state)
            waiting = asyncio.create_task(exchange_keys(around.server, REQUEST, 20))
            await asyncio.sleep(0.2)
            assert not waiting.done()
            unit.process.stderr.close()
            unit.process.stdout.close()
            await unit.started()
            return (await waiting).reply

    assert isinstance(asyncio.run(run()), Response)


def test_systemd_hears_of_start_reload_and_stop(around):
    async def run():
        async with serving(around) as (unit, systemd):
            assert systemd.heard[:2] == ["READY=1", "STATUS=2 of 2 backends UP, 2 workers, 0 sessions"]
            done = await asyncio.to_thread(run_ntspool, "reload", "--config", around.config)
            assert done.returncode == 0
            assert systemd.heard[-3] == "RELOADING=1"
            assert systemd.heard[-1] == "READY=1"
            good = around.config.read_text()
            around.config.write_text("nonsense")
            unit.process.send_signal(signal.SIGHUP)
            await until(lambda: systemd.said("RELOADING=1") == 2 and systemd.said("READY=1") == 3)
            around.config.write_text(good)
            await unit.end(signal.SIGTERM)
            assert systemd.said("STOPPING=1") == 1
        return unit.log

    assert '"event": "stopped"' in asyncio.run(run())


def test_a_control_process_that_hangs_feeds_the_watchdog_no_more(around):
    async def run():
        around.configure(1, **PATIENT)
        with Systemd(str(around.directory / "notify")) as systemd:
            unit = Unit(around, systemd)
            try:
                unit.start(WATCHDOG_USEC="200000")
                await until(lambda: systemd.said("WATCHDOG=1") > 2)
                unit.process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(0.1)
                before = systemd.said("WATCHDOG=1")
                await asyncio.sleep(0.5)
                assert systemd.said("WATCHDOG=1") == before
            finally:
                unit.close()

    asyncio.run(run())


def test_key_and_certificate_can_be_credentials(around):
    credentials = around.directory / "credentials"
    credentials.mkdir()
    for name in ("key.pem", "chain.pem"):
        (around.directory / name).rename(credentials / name)
        (credentials / name).chmod(0o440)
    (credentials / "encryption").write_text("k" * 40)
    (credentials / "encryption").chmod(0o440)
    text = around.config.read_text().replace(f"{around.directory}/chain.pem", "credential:chain.pem")
    text = text.replace(f"{around.directory}/key.pem", "credential:key.pem")
    around.config.write_text(text.replace("keys: {", "keys: {encryption_key: credential:encryption, "))
    command = [sys.executable, "-m", "ntspool", "check-config", str(around.config)]

    def check(**more):
        kept = {name: value for name, value in os.environ.items() if name != "CREDENTIALS_DIRECTORY"}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**kept, **more}, check=False)

    assert check(CREDENTIALS_DIRECTORY=str(credentials)).returncode == 0
    (credentials / "key.pem").unlink()
    missing = check(CREDENTIALS_DIRECTORY=str(credentials))
    assert missing.returncode == 2
    assert missing.stderr == (
        f"{around.config}:4: tls[0].key: 'credential:key.pem': {credentials}/key.pem is not there; "
        "expected LoadCredential=key.pem:FILE in the service's unit\n"
    )
    nothing = check()
    assert nothing.returncode == 2
    assert nothing.stderr.count("no credentials were passed ($CREDENTIALS_DIRECTORY is not set)") == 3
    assert f"{around.config}:6: keys.encryption_key: " in nothing.stderr
