"""The control process with real workers and embedded time servers."""

import asyncio
import os
import signal
import socket
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from ntspool.app import certificates as certificates_module
from ntspool.app import export
from ntspool.app import keykeeper as keykeeper_module
from ntspool.app import workers as workers_module
from ntspool.app.gateway import Gateway
from ntspool.errors import ConfigError, LocalError, RefusedError, StateError
from ntspool.net import checker as checker_module
from ntspool.net.sealed import MARK
from ntspool.pool import keyringfile
from ntspool.pool.cookies import CookieFormat, key_id
from ntspool.pool.view import ChangeView, ReloadView
from ntspool.wire.messages import Refusal, Response
from tests.app.pool import lay_out
from tests.waiting import DEADLINE, until


@pytest.fixture
def around(tmp_path, pki):
    return lay_out(tmp_path, pki)


def _play(around, scene, clock=time.time):
    """Run `scene(gateway, time_servers)` with a gateway that serves."""

    async def run():
        async with around.time_servers() as servers:
            gateway = Gateway(around.config, clock)
            try:
                await gateway.start()
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
    around.configure(panic=100)

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


def test_backends_that_all_fall_silent_at_once_are_given_out_all_the_same(around):
    """It is more likely that the gateway is cut off."""

    async def scene(gateway, servers):
        with capture_logs() as logs:
            for server in servers.values():
                await server.stop()
            await until(lambda: any(entry["event"] == "panic" for entry in logs))
        async with asyncio.timeout(DEADLINE):
            return {(await around.session()).server for _ in range(40)}

    assert _play(around, scene) == {"127.0.0.20", "127.0.0.21"}


def test_a_killed_worker_is_replaced_and_the_others_serve_meanwhile(around):
    around.configure(workers=2)

    async def scene(gateway, _):
        before = gateway.worker_pids
        os.kill(before[0], signal.SIGKILL)
        replies = [await around.session() for _ in range(10)]
        await until(lambda: len(gateway.worker_pids) == 2 and gateway.worker_pids != before)
        return replies, before, gateway.worker_pids

    replies, before, after = _play(around, scene)
    assert all(isinstance(reply, Response) for reply in replies)
    assert after[1] == before[1]


async def _minted_under(around):
    """Return the epoch of the cookies that a client gets now."""
    return key_id(CookieFormat.NTSPOOL, (await around.session()).cookies[0])


def test_a_rotation_is_served_when_it_returns_and_waits_for_those_that_lag(around):
    """The first two are free, as nothing was minted yet under what they let go."""

    async def scene(gateway, _):
        epochs = [await _minted_under(around)]
        for _ in range(2):
            await gateway.keys.rotate()
            epochs.append(await _minted_under(around))
        with pytest.raises(RefusedError, match="ntp-1: it has not loaded epoch 4 or a newer one; ntp-2: it has not"):
            await gateway.keys.rotate()
        assert gateway.lagging() == ["ntp-1", "ntp-2"]
        return epochs

    assert _play(around, scene) == [3, 4, 4]


def test_what_is_minted_under_moves_backend_by_backend(around):
    """Each is minted under the newest epoch that it has proved, whatever the others do."""

    def minted(gateway):
        return [each.key.id for each in gateway.served.serving if each.up]

    async def scene(gateway, _):
        await gateway.keys.rotate()
        await gateway.keys.rotate()
        assert minted(gateway) == [4, 4]
        export.write(around.key_file("ntp-2"), export.key_file(around.config, "ntp-2"))
        await until(lambda: minted(gateway) == [4, 5])
        assert gateway.lagging() == ["ntp-1"]
        around.give_keys()
        await until(lambda: minted(gateway) == [5, 5])
        return {await _minted_under(around) for _ in range(20)}

    assert _play(around, scene) == {5}


def test_a_due_rotation_waits_until_cookies_have_lived_their_life(around, monkeypatch):
    around.configure(rotate="30d")
    monkeypatch.setattr(keykeeper_module, "LOOK_INTERVAL", 0.02)
    ahead, month = 0.0, 30 * 86400.0
    clock = lambda: time.time() + ahead  # noqa: E731
    monkeypatch.setattr(checker_module, "SteadyClock", lambda: clock)

    async def scene(gateway, _):
        numbers, settings = [], gateway.keys.settings

        async def pass_by(seconds):
            """Let time pass, as if every backend had been probed all the while."""
            nonlocal ahead
            gateway.keys.settings = replace(settings, rotate=None)
            ahead += seconds
            await until(lambda: all(clock() - proof.seen < 60 for *_, proof in gateway._checker.proofs()))
            gateway.keys.settings = settings

        async def logged(words):
            with capture_logs() as logs:
                await until(lambda: any(words in entry.get("reason", "") for entry in logs))
            numbers.append(gateway.keys.keyring.current.number)

        async def rotated(number):
            await until(lambda: gateway.keys.keyring.current.number == number)

        for number in (4, 5):
            await pass_by(month)
            await rotated(number)
        await pass_by(month)
        await logged("it has not loaded epoch 4 or a newer one")
        around.give_keys()
        await until(lambda: not gateway.lagging())
        await logged("cookies of epoch 3 may be in use for another")
        await pass_by(settings.life + 60)
        await rotated(6)
        return numbers

    assert _play(around, scene, clock) == [5, 5]


def test_a_revoked_epoch_is_minted_under_no_more_when_that_returns(around):
    async def scene(gateway, _):
        before = await _minted_under(around)
        await gateway.keys.revoke(3)
        after = {await _minted_under(around) for _ in range(20)}
        await gateway.keys.revoke(4)
        assert isinstance(await around.session(), Refusal), "nobody holds a key that may be minted under"
        around.give_keys()
        await until(lambda: all(each.up for each in gateway.served.serving))
        return before, after, await _minted_under(around)

    assert _play(around, scene) == (3, {4}, 5)


def test_a_gateway_that_is_started_again_goes_on_with_the_same_keys(around):
    async def rotate(gateway, _):
        await gateway.keys.rotate()
        return gateway.keys.keyring

    async def look(gateway, _):
        return gateway.keys.keyring, await _minted_under(around)

    keyring = _play(around, rotate)
    assert _play(around, look) == (keyring, 4)


def test_what_a_gateway_that_was_killed_left_half_written_is_gone_once_another_starts(around):
    """It may hold the roots of all epochs."""
    left = around.directory / "state" / ".keyring.4194305.tmp"

    async def scene(*_):
        return left.exists()

    left.write_bytes(b"torn")
    assert not _play(around, scene)


def test_the_keyring_is_encrypted_once_there_is_a_key_for_that(around):
    key = around.directory / "encryption.key"
    export.write(key, b"k" * 32)
    text = around.config.read_text()
    around.config.write_text(text.replace("keys: {rotate: off}", f"keys: {{rotate: off, encryption_key: {key}}}"))

    async def scene(*_):
        return await _minted_under(around)

    keyring = around.directory / "state" / "keyring"
    assert b"root" in keyring.read_bytes()
    assert _play(around, scene) == 3
    assert keyring.read_bytes().startswith(MARK)
    around.config.write_text(text)
    with pytest.raises(StateError, match="keyring is encrypted: name its key"):
        _play(around, scene)


def test_a_reload_takes_over_a_restored_keyring(around):
    """What the backends hold is what was restored: under the one that a gateway made without it they never were UP."""
    with export.key_store(around.config) as store:
        backup = store.backup()
    for name in ("keyring", "keyring-made"):
        (around.directory / "state" / name).unlink()

    async def scene(gateway, _):
        assert gateway.keys.keyring != keyringfile.decode(backup)
        assert isinstance(await around.session(), Refusal)
        store.restore(backup, replace=True)
        await gateway.reload()
        await until(lambda: all(each.up for each in gateway.served.serving))
        return await _minted_under(around)

    assert _play(around, scene) == 3


def test_a_gateway_that_has_lost_its_keyring_does_not_start(around):
    (around.directory / "state" / "keyring").unlink()
    with pytest.raises(StateError, match=r"the keyring is lost: .* Bring it back by `ntspool keys restore FILE`"):
        Gateway(around.config)


def test_a_reload_without_a_keyring_is_refused_and_all_goes_on(around):
    async def scene(gateway, _):
        (around.directory / "state" / "keyring").unlink()
        with capture_logs() as logs, pytest.raises(StateError):
            await gateway.reload()
        [refusal] = [entry for entry in logs if entry["log_level"] == "error"]
        return refusal["mistakes"], await _minted_under(around)

    mistakes, epoch = _play(around, scene)
    assert "the keyring is lost" in mistakes[0]
    assert epoch == 3
    assert not (around.directory / "state" / "keyring").exists()


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
        with capture_logs() as logs, pytest.raises(ConfigError):
            await gateway.reload()
        return logs, await around.session()

    logs, reply = _play(around, scene)
    [refusal] = [entry for entry in logs if entry["log_level"] == "error"]
    assert "unknown key" in refusal["mistakes"][0]
    assert isinstance(reply, Response)


def test_what_only_a_restart_can_change_is_told(around):
    async def scene(gateway, _):
        around.configure(listen=f"127.0.0.2:{around.ke_port}")
        with capture_logs() as logs:
            returned = await gateway.reload()
        return returned, [entry["key"] for entry in logs if entry["event"] == "a restart is needed for this change"]

    change = ChangeView("listen", f"127.0.0.1:{around.ke_port}", f"127.0.0.2:{around.ke_port}")
    assert _play(around, scene) == (ReloadView((change,), ("listen",)), ["listen"])


def test_a_reload_changes_the_number_of_workers_and_keeps_those_that_stay(around):
    async def scene(gateway, _):
        pids = [gateway.worker_pids]
        for number in (3, 2):
            around.configure(workers=number)
            assert (await gateway.reload()).restart == ()
            pids.append(gateway.worker_pids)
        return pids, await around.session()

    [one, three, two], reply = _play(around, scene)
    assert len(three) == 3
    assert one == three[:1]
    assert two == three[:2]
    assert not _alive(three[2])
    assert isinstance(reply, Response)


def test_what_replaced_workers_have_done_still_counts(around):
    around.configure(workers=2)

    async def scene(gateway, _):
        before = gateway.worker_pids
        for _ in range(8):
            assert isinstance(await around.session(), Response)
        await gateway.replace_workers()
        return before, gateway.worker_pids, gateway.keys.status()["epochs"]

    before, after, epochs = _play(around, scene)
    assert len(after) == 2
    assert not set(before) & set(after)
    assert sum(epoch["sessions"] for epoch in epochs) == 8


def test_workers_that_cannot_be_replaced_go_on(around, monkeypatch):
    async def scene(gateway, _):
        before = gateway.worker_pids
        monkeypatch.setattr(workers_module, "START_DEADLINE", 0.5)
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with capture_logs() as logs, pytest.raises(LocalError, match=r"workers do not serve after 0\.5 s"):
            await gateway.replace_workers()
        return before, gateway.worker_pids, logs, await around.session()

    before, after, logs, reply = _play(around, scene)
    assert after == before
    assert [entry["reason"].partition(", ")[2] for entry in logs if entry["event"] == "worker died"] == ["status 1"]
    assert isinstance(reply, Response)


def test_a_new_certificate_is_noticed_and_a_broken_one_refused(around, pki, tmp_path, monkeypatch):
    monkeypatch.setattr(certificates_module, "INTERVAL", 0.05)

    async def scene(gateway, _):
        (tmp_path / "new").mkdir()
        chain, key = pki.authority.issue(["localhost"], [], tmp_path / "new", datetime.now(UTC))
        around.write_certificate(chain.read_bytes(), key.read_bytes())
        await until(lambda: gateway.served.certificates[0].chain == chain.read_bytes())
        with capture_logs() as logs:
            around.write_certificate(chain.read_bytes(), pki.key.read_bytes())
            await until(lambda: any("new certificate refused" in entry["event"] for entry in logs))
        [told] = [each for each in gateway._events.after(0) if each.event == "certificates reloaded"]
        return await around.session(), told

    reply, told = _play(around, scene)
    assert isinstance(reply, Response)
    assert told.before.startswith("valid until 20")
    assert told.after.startswith("valid until 20")


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
