"""The keeper of the keys: rotations that wait, revocations that do not, and a status without secrets."""

import asyncio
import base64
import json
import os
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from ntspool.app import keykeeper as keykeeper_module
from ntspool.app.keykeeper import KeyKeeper, KeySettings
from ntspool.errors import RefusedError, StateError
from ntspool.net.keydesk import AgentReport, KeyDesk
from ntspool.net.keystore import ENTRY, KeyStore
from ntspool.net.sealed import Seal
from ntspool.net.store import FileStore
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyring import create
from ntspool.pool.proofs import Proof, accepted
from ntspool.wire.aead import Aead
from tests.conftest import make_serving
from tests.waiting import until

LIFE, WEEK = 100.0, 7 * 86400.0
BACKENDS = (make_serving("ntp-1").backend, make_serving("ntp-2", cookies=CookieFormat.CHRONY).backend)


class Watched:
    """What the keeper needs of a Checker: a keyring, and proofs that a test provides."""

    def __init__(self, keyring, steady):
        self.keyring = keyring
        self.steady = steady
        self.known = {backend: Proof(seen=0.0) for backend in BACKENDS}

    def prove(self, now, *names):
        """Let backends open and mint under the current epoch."""
        current = self.keyring.current.number
        for backend in BACKENDS:
            if backend.name in names:
                self.known[backend] = accepted(self.known[backend], current, current, self.keyring, now)

    def proofs(self):
        for backend, proof in self.known.items():
            yield backend, ip_address("192.0.2.1"), "UP", proof


class Surroundings:
    """A keeper, all that it works with, and what it did: `changes` holds the current epoch at every `on_change`."""

    def __init__(self, directory):
        self.directory = directory
        self.now = 0.0
        self.stepped = 0.0
        self.store = KeyStore(FileStore(directory), Seal(None))
        self.checker = Watched(self.store.load_or_create(self.now), lambda: self.now)
        self.desk = KeyDesk()
        self.minted = Counter()
        self.changes = []
        self.keeper = KeyKeeper(
            self.store,
            self.checker,
            KeySettings(WEEK, LIFE),
            desk=self.desk,
            clock=lambda: self.now + self.stepped,
            on_change=self._note,
            minted=self.minted,
        )
        self.keeper.backends = BACKENDS
        self.keeper.lay_out()

    async def _note(self):
        assert self.store.load() == self.checker.keyring, "what is served was kept before"
        assert await self.delivered("ntp-1") == self.checker.keyring.keys("ntp-1", CookieFormat.NTSPOOL)
        self.changes.append(self.checker.keyring.current.number)

    async def delivered(self, name):
        return (await self.desk.wait(name, None, 1)).keys

    def secrets(self):
        epochs = self.checker.keyring.epochs
        keys = [key for each in BACKENDS for key in self.checker.keyring.keys(each.key_group, each.cookies).keys]
        return [epoch.root.reveal() for epoch in epochs] + [key.secret.reveal() for key in keys]


@pytest.fixture
def around(tmp_path):
    return Surroundings(tmp_path)


@pytest.fixture
def keeper(around):
    return around.keeper


# Rotation.


def test_two_rotations_are_free_and_the_third_waits_for_those_that_lag(around, keeper):
    async def run():
        await keeper.rotate()
        around.now = 10.0
        await keeper.rotate()
        with pytest.raises(RefusedError) as refusal:
            await keeper.rotate()
        assert str(refusal.value) == (
            "not rotated, to spare clients NTS NAKs: ntp-1: it has not loaded epoch 4 or a newer one; "
            "ntp-2: it has not loaded epoch 4 or a newer one"
        )
        around.checker.prove(10.0, "ntp-1", "ntp-2")
        with pytest.raises(RefusedError, match="ntp-2: cookies of epoch 3 may be in use for another 100 s"):
            await keeper.rotate()
        around.now = 110.0
        await keeper.rotate()

    asyncio.run(run())
    assert around.changes == [4, 5, 6]
    assert (keeper.keyring.current.number, keeper.keyring.rotated) == (6, 110.0)
    assert around.store.load() == keeper.keyring


def test_a_refused_rotation_changes_nothing(around, keeper):
    async def run():
        await keeper.rotate()
        await keeper.rotate()
        before = keeper.keyring
        with pytest.raises(RefusedError):
            await keeper.rotate()
        assert keeper.keyring == around.store.load() == before

    asyncio.run(run())
    assert around.changes == [4, 5]


def test_a_keyring_that_somebody_else_changed_is_left_alone_until_a_reload(around, keeper):
    theirs = around.store.change(keeper.keyring, lambda keyring: keyring.rotate(5.0, os.urandom))

    async def run():
        for attempt in (keeper.rotate(), keeper.revoke(3)):
            with pytest.raises(RefusedError, match="changed by somebody else; reload and try again"):
                await attempt
        assert around.store.load() == theirs
        await keeper.reload()
        assert keeper.keyring == theirs
        assert await around.delivered("ntp-2") == theirs.keys("ntp-2", CookieFormat.CHRONY)
        await keeper.rotate()

    asyncio.run(run())
    assert around.changes == [5]


def test_a_keyring_that_is_gone_is_neither_replaced_nor_forgotten(around, keeper):
    (around.directory / ENTRY).unlink()
    before = keeper.keyring

    async def run():
        for attempt in (keeper.rotate(), keeper.revoke(3), keeper.reload()):
            with pytest.raises(StateError, match="the keyring is lost"):
                await attempt

    asyncio.run(run())
    assert keeper.keyring == before
    assert not (around.directory / ENTRY).exists()
    assert around.changes == []


def test_two_commands_at_the_same_time_are_two_rotations(around, keeper):
    async def run():
        await asyncio.gather(keeper.rotate(), keeper.rotate())

    asyncio.run(run())
    assert around.changes == [4, 5]


def _due(around, keeper, monkeypatch, scene):
    monkeypatch.setattr(keykeeper_module, "LOOK_INTERVAL", 0.001)

    async def run():
        task = asyncio.create_task(keeper.rotate_when_due())
        try:
            await scene()
            assert not task.done()
        finally:
            task.cancel()

    with capture_logs() as logs:
        asyncio.run(run())
    return logs


def test_a_rotation_happens_when_it_is_due_and_not_before(around, keeper, monkeypatch):
    async def scene():
        around.now = WEEK - 1
        await asyncio.sleep(0.02)
        assert around.changes == []
        around.now = WEEK
        await until(lambda: around.changes == [4])
        keeper.settings = KeySettings(None, LIFE)
        around.now = 3 * WEEK
        await asyncio.sleep(0.02)
        assert around.changes == [4], "by command only"

    logs = _due(around, keeper, monkeypatch, scene)
    assert [(entry["event"], entry["epoch"]) for entry in logs] == [("keys rotated", 4)]


def test_a_due_rotation_waits_and_says_for_whom(around, keeper, monkeypatch):
    async def scene():
        await keeper.rotate()
        await keeper.rotate()
        around.checker.prove(WEEK - 1, "ntp-1", "ntp-2")
        around.now = WEEK
        await asyncio.sleep(0.02)
        around.now = WEEK + LIFE
        await until(lambda: around.changes == [4, 5, 6])

    waits = [entry for entry in _due(around, keeper, monkeypatch, scene) if "waits" in entry["event"]]
    assert waits
    assert "ntp-1: cookies of epoch 3 may be in use for another 99 s" in waits[0]["reason"]


def test_a_disk_that_refuses_does_not_end_the_timer(around, keeper, monkeypatch):
    change = around.store.change
    failures = []

    def full(*_):
        failures.append(True)
        raise StateError("No space left on device")

    async def scene():
        monkeypatch.setattr(around.store, "change", full)
        around.now = WEEK
        await until(lambda: len(failures) > 1)
        assert keeper.keyring.current.number == 3
        monkeypatch.setattr(around.store, "change", change)
        await until(lambda: around.changes == [4])

    logs = _due(around, keeper, monkeypatch, scene)
    assert logs[0]["reason"] == "No space left on device"


# Revocation.


@pytest.mark.parametrize(("number", "current"), [(1, 3), (2, 3), (3, 4), (4, 3), (6, 3)])
def test_a_revocation_waits_for_nobody(around, keeper, number, current):
    key = next(epoch for epoch in keeper.keyring.epochs if epoch.number == number).key("ntp-1", Aead.AES_SIV_CMAC_256)

    async def run():
        await keeper.revoke(number)
        assert key not in (await around.delivered("ntp-1")).keys

    with capture_logs() as logs:
        asyncio.run(run())
    assert around.changes == [current]
    assert around.store.load() == keeper.keyring
    assert keeper.keyring.state(number).value == "revoked"
    assert logs == [{"event": "epoch revoked", "epoch": number, "current": current, "log_level": "warning"}]


@pytest.mark.parametrize("number", [0, 7, 10**400])
def test_what_is_not_alive_is_not_revoked(around, keeper, number):
    with pytest.raises(RefusedError, match=rf"epoch {number} is not alive; see `ntspool keys status`"):
        asyncio.run(keeper.revoke(number))
    assert around.changes == []


def test_an_epoch_is_revoked_once(around, keeper):
    async def run():
        await keeper.revoke(3)
        with pytest.raises(RefusedError):
            await keeper.revoke(3)

    asyncio.run(run())
    assert around.changes == [4]


# What is told.


def test_status(around, keeper):
    asyncio.run(keeper.revoke(2))
    asyncio.run(keeper.revoke(6))
    around.now = 50.0
    around.checker.prove(40.0, "ntp-1")
    around.minted.update({3: 12, 2: 5, 77: 1})
    around.desk.see("ntp-2", 45.0)
    around.desk.see("ntp-1", 44.0)
    around.desk.record("ntp-2", AgentReport(43.0, "r", (3, 4), "key 5: no answer"))
    assert keeper.status() == {
        "now": 50.0,
        "rotated": 0.0,
        "rotate": WEEK,
        "life": LIFE,
        "epochs": [
            {"epoch": 1, "created": 0.0, "state": "previous", "sessions": 0},
            {"epoch": 2, "created": 0.0, "state": "revoked", "sessions": 5},
            {"epoch": 3, "created": 0.0, "state": "current", "sessions": 12},
            {"epoch": 4, "created": 0.0, "state": "next", "sessions": 0},
            {"epoch": 5, "created": 0.0, "state": "future", "sessions": 0},
            {"epoch": 10, "created": 0.0, "state": "future", "sessions": 0},
        ],
        "ended": [{"epoch": 6, "ended": 0.0, "state": "revoked"}],
        "backends": [
            {
                "backend": "ntp-1",
                "address": "192.0.2.1",
                "state": "UP",
                "minting": 3,
                "proved": {"3": 40.0},
                "waits": None,
            },
            {"backend": "ntp-2", "address": "192.0.2.1", "state": "UP", "minting": None, "proved": {}, "waits": None},
        ],
        "agents": [
            {"backend": "ntp-1", "seen": 44.0, "reported": None, "proved": [], "failure": None},
            {"backend": "ntp-2", "seen": 45.0, "reported": 43.0, "proved": [3, 4], "failure": "key 5: no answer"},
        ],
    }


def test_status_tells_whom_a_rotation_waits_for(around, keeper):
    asyncio.run(keeper.rotate())
    asyncio.run(keeper.rotate())
    around.checker.prove(0.0, "ntp-1")
    assert [each["waits"] for each in keeper.status()["backends"]] == [
        "cookies of epoch 3 may be in use for another 100 s",
        "it has not loaded epoch 4 or a newer one",
    ]


def test_neither_status_nor_logs_hold_a_secret(around, keeper):
    async def run():
        await keeper.rotate()
        await keeper.revoke(4)
        await keeper.revoke(6)

    with capture_logs() as logs:
        asyncio.run(run())
    shown = json.dumps(keeper.status()) + repr(logs) + repr(keeper.keyring)
    for secret in around.secrets():
        for spelt in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
            assert spelt not in shown


# Deliveries.


def test_every_backend_gets_its_own_keys_and_a_new_revision_whenever_anything_of_them_changes(around, keeper):
    async def deliveries():
        return [await around.desk.wait(backend.name, None, 1) for backend in keeper.backends]

    async def run():
        first, second = before = await deliveries()
        assert {key.secret.reveal() for key in first.keys.keys}.isdisjoint(
            key.secret.reveal() for key in second.keys.keys
        )
        keeper.lay_out()
        assert await deliveries() == before
        await keeper.rotate()
        rotated = await deliveries()
        await keeper.revoke(2)
        revoked = await deliveries()
        keeper.backends = tuple(replace(each, cookies=CookieFormat.CHRONY) for each in BACKENDS)
        keeper.lay_out()
        changed = await deliveries()
        assert changed[0].keys == revoked[0].keys, "the same keys in another format"
        return [[each.revision for each in step] for step in (before, rotated, revoked, changed)]

    firsts, seconds = zip(*asyncio.run(run()), strict=True)
    assert len(set(firsts)) == 4
    assert len(set(seconds)) == 3, "the second had chrony's format already"


# Other gateways.


class Others:
    """What other gateways have to do with it, as a test wants it."""

    def __init__(self, *, leads=True, away=None, waits=None):
        self.leads = leads
        self.away = away
        self.waits = waits or {}

    def obstacles(self, keyring, life, now):
        return self.waits


def test_a_rotation_waits_for_other_gateways(around, keeper):
    keeper._others = Others(waits={"gateway south": "it has not taken over epoch 3 yet"})
    with pytest.raises(RefusedError, match="gateway south: it has not taken over epoch 3 yet"):
        asyncio.run(keeper.rotate())
    assert keeper.status()["cluster"] == {"away": None, "waits": keeper._others.waits}
    assert around.changes == []


def test_only_the_leader_rotates_when_it_is_due(around, keeper, monkeypatch):
    keeper._others = Others(leads=False)

    async def scene():
        around.now = WEEK
        await asyncio.sleep(0.02)
        assert around.changes == []
        keeper._others.leads = True
        await until(lambda: around.changes == [4])

    _due(around, keeper, monkeypatch, scene)


def test_what_another_gateway_rotated_is_served_and_laid_out(around, keeper):
    theirs = around.store.change(keeper.keyring, lambda keyring: keyring.rotate(5.0, os.urandom))

    async def run():
        await keeper.follow()
        await keeper.follow()
        assert await around.delivered("ntp-1") == theirs.keys("ntp-1", CookieFormat.NTSPOOL)

    with capture_logs() as logs:
        asyncio.run(run())
    assert keeper.keyring == theirs
    assert around.changes == [4]
    assert [(entry["event"], entry["epoch"], entry["before"]) for entry in logs] == [("keys taken over", 4, 3)]


def test_a_store_that_went_back_gets_the_newer_keys_again_and_one_of_other_keys_is_followed(around, keeper):
    old = keeper.keyring
    keeper._others = Others()

    async def run():
        await keeper.rotate()
        newer = keeper.keyring
        for take_over in (keeper.follow, keeper.reload):
            around.store.change(newer, lambda _: old)
            await take_over()
            assert keeper.keyring == around.store.load() == newer
        assert around.changes == [4], "served all the time"
        others = create(0.0, os.urandom)
        around.store.change(newer, lambda _: others)
        await keeper.follow()
        assert keeper.keyring == around.store.load() == others

    with capture_logs() as logs:
        asyncio.run(run())
    said = [(each["epoch"], each["found"]) for each in logs if each["event"] == "older keys in the store overwritten"]
    assert said == [(4, 3)] * 2


# A clock that is stepped.


def test_a_step_of_the_clock_makes_no_cookie_older(around, keeper):
    async def run():
        await keeper.rotate()
        await keeper.rotate()
        around.checker.prove(0.0, "ntp-1", "ntp-2")
        for around.stepped in (3600.0, -3600.0, 10 * WEEK):
            with pytest.raises(RefusedError, match="may be in use for another 100 s"):
                await keeper.rotate()
            [proved] = {since for each in keeper.status()["backends"] for since in each["proved"].values()}
            assert keeper.status()["now"] - proved == 0.0
        around.now = LIFE
        await keeper.rotate()

    asyncio.run(run())


def test_a_clock_that_was_years_ahead_does_not_put_rotations_off_for_years(around, keeper, monkeypatch):
    async def scene():
        around.stepped = 500 * WEEK
        await until(lambda: around.changes == [4] and keeper._since[0] == keeper.keyring.current)
        around.stepped = 0.0
        around.now = WEEK - 1
        await asyncio.sleep(0.02)
        assert around.changes == [4]
        around.now = WEEK + 1
        await until(lambda: around.changes == [4, 5])

    _due(around, keeper, monkeypatch, scene)
