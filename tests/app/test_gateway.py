"""The control process with real workers and embedded time servers."""

import asyncio
import os
import signal
import socket
import time
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from ntspool.app import gateway as gateway_module
from ntspool.app.gateway import Gateway
from ntspool.errors import ConfigError, LocalError
from ntspool.pool.cookies import CookieFormat, key_id
from ntspool.wire.messages import Refusal, Response
from tests.app.pool import lay_out
from tests.waiting import until


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def _play(around, scene, clock=time.time):
    """Run `scene(gateway, time_servers)` with a gateway that serves."""

    async def run():
        async with around.time_servers() as servers:
            gateway = Gateway(around.config, clock)
            await gateway.start()
            try:
                return await scene(gateway, servers)
            finally:
                await gateway.stop()

    return asyncio.run(run())


@pytest.mark.parametrize("workers", [1, 3])
def test_clients_are_served_from_the_first_moment_by_every_backend(around, workers):
    around.configure(workers=workers)

    async def scene(gateway, _):
        replies = [await around.session() for _ in range(60)]
        return gateway.worker_pids, {reply.server for reply in replies}

    pids, servers = _play(around, scene)
    assert len(pids) == workers
    assert servers == {"127.0.0.20", "127.0.0.21"}
    assert not any(_alive(pid) for pid in pids)


def test_a_dead_backend_is_left_out_and_taken_back(around):
    async def scene(gateway, servers):
        await servers["ntp-2"].stop()
        await until(lambda: len(gateway.served.serving[1].up) == 0)
        without = {(await around.session()).server for _ in range(30)}
        await servers["ntp-1"].stop()
        await until(lambda: len(gateway.served.serving[0].up) == 0)
        nobody = await around.session()
        await servers["ntp-2"].start()
        await until(lambda: len(gateway.served.serving[1].up) == 1)
        return without, nobody, (await around.session()).server

    without, nobody, again = _play(around, scene)
    assert without == {"127.0.0.20"}
    assert isinstance(nobody, Refusal)
    assert nobody.code == 2
    assert again == "127.0.0.21"


def test_a_killed_worker_is_replaced_and_the_others_serve_meanwhile(around):
    around.configure(workers=2)

    async def scene(gateway, _):
        before = gateway.worker_pids
        os.kill(before[0], signal.SIGKILL)
        replies = [await around.session() for _ in range(10)]
        await until(lambda: set(gateway.worker_pids) != set(before))
        return replies, before, gateway.worker_pids

    replies, before, after = _play(around, scene)
    assert all(isinstance(reply, Response) for reply in replies)
    assert after[1] == before[1]
    assert len(after) == 2


def test_rotation_moves_to_the_next_epoch_only_when_every_backend_proved_it(around):
    async def scene(gateway, _):
        epochs = [gateway.keyring.current.number]
        await gateway.rotate()
        epochs.append(key_id(CookieFormat.NTSPOOL, (await around.session()).cookies[0]))
        with pytest.raises(LocalError, match="not rotated: ntp-1, ntp-2 cannot open cookies of epoch 5"):
            await gateway.rotate()
        around.give_keys()
        await until(lambda: not gateway.lagging())
        await gateway.rotate()
        epochs.append(key_id(CookieFormat.NTSPOOL, (await around.session()).cookies[0]))
        return epochs

    assert _play(around, scene) == [3, 4, 5]


def test_a_due_rotation_waits_for_the_backends(around, monkeypatch):
    around.configure(rotate="1d")
    monkeypatch.setattr(gateway_module, "ROTATION_INTERVAL", 0.02)
    ahead = 0.0

    async def scene(gateway, _):
        nonlocal ahead
        assert gateway.keyring.current.number == 3
        ahead = 90000.0
        await until(lambda: gateway.keyring.current.number == 4)
        with capture_logs() as logs:
            ahead = 180000.0
            await until(lambda: any(entry["event"] == "rotation is due but waits" for entry in logs))
        around.give_keys()
        await until(lambda: gateway.keyring.current.number == 5)

    _play(around, scene, clock=lambda: time.time() + ahead)


def test_reload_takes_over_backends_and_forgets_none_of_the_others(around):
    async def scene(gateway, _):
        around.configure(names=("ntp-2",))
        await gateway.reload()
        one = {(await around.session()).server for _ in range(15)}
        around.configure()
        await gateway.reload()
        return one, {(await around.session()).server for _ in range(60)}

    one, both = _play(around, scene)
    assert one == {"127.0.0.21"}
    assert both == {"127.0.0.20", "127.0.0.21"}


def test_a_broken_configuration_is_refused_and_all_goes_on(around):
    async def scene(gateway, _):
        around.config.write_text(around.config.read_text() + "surprise: 1\n")
        with capture_logs() as logs:
            await gateway.reload()
        return logs, await around.session()

    logs, reply = _play(around, scene)
    [refusal] = [entry for entry in logs if entry["log_level"] == "error"]
    assert "unknown key" in refusal["mistakes"][0]
    assert isinstance(reply, Response)


def test_what_only_a_restart_can_change_is_told(around):
    async def scene(gateway, _):
        around.configure(workers=2)
        with capture_logs() as logs:
            await gateway.reload()
        return [entry["key"] for entry in logs if entry["event"] == "a restart is needed for this change"]

    assert _play(around, scene) == ["workers"]


def test_a_new_certificate_is_noticed_and_a_broken_one_refused(around, pki, tmp_path, monkeypatch):
    monkeypatch.setattr(gateway_module, "CERTIFICATE_INTERVAL", 0.05)

    async def scene(gateway, _):
        (tmp_path / "new").mkdir()
        chain, key = pki.authority.issue(["localhost"], [], tmp_path / "new", datetime.now(UTC))
        around.write_certificate(chain.read_bytes(), key.read_bytes())
        await until(lambda: gateway.served.certificates[0].chain == chain.read_bytes())
        with capture_logs() as logs:
            around.write_certificate(chain.read_bytes(), pki.key.read_bytes())
            await until(lambda: any("new certificate refused" in entry["event"] for entry in logs))
        return await around.session()

    assert isinstance(_play(around, scene), Response)


def test_a_busy_port_is_told(around):
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", around.ke_port))
        busy.listen()
        with pytest.raises(
            LocalError, match=rf"cannot listen on 127\.0\.0\.1 port {around.ke_port}: Address already in use"
        ):
            _play(around, None)


def test_a_bad_configuration_starts_nothing(around):
    around.config.write_text("pool: {}\n")
    with pytest.raises(ConfigError):
        Gateway(around.config)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
