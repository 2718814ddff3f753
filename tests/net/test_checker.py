"""The checker: who is UP, why not, and which epochs are proved."""

import asyncio
import os
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from ntspool.net.checker import Checker, CheckSettings
from ntspool.pool.cookies import CookieFormat, CookieJar
from ntspool.pool.health import Rules
from ntspool.pool.keyring import EPOCHS, ROOT_LENGTH, create
from ntspool.pool.model import Backend
from ntspool.pool.responder import Responder
from ntspool.wire.aead import Aead
from ntspool.wire.ntp import decode_packet
from tests.net.scripted import scripted
from tests.waiting import until

KEYRING = create(0.0, os.urandom(EPOCHS * ROOT_LENGTH))
SETTINGS = CheckSettings(interval=0.02, timeout=0.1, rules=Rules(rise=2, fall=3))


def _backend(port, name="ntp-1", addresses=("127.0.0.1",)):
    return Backend(
        name=name,
        addresses=tuple(map(ip_address, addresses)),
        port=port,
        weight=10,
        cookies=CookieFormat.NTSPOOL,
        aeads=(Aead.AES_SIV_CMAC_256,),
        key_group=name,
    )


class Server:
    """A backend whose keys and mood can be changed."""

    def __init__(self, keyring=KEYRING, group="ntp-1"):
        self.responder = Responder(
            CookieJar(CookieFormat.NTSPOOL, *self._keys(keyring, group)), 2, time.time, os.urandom
        )
        self.silent = False

    @staticmethod
    def _keys(keyring, group):
        keys = keyring.keys(group, CookieFormat.NTSPOOL)
        return keys.keys, keys.current

    def know(self, keyring, group="ntp-1"):
        jar = CookieJar(CookieFormat.NTSPOOL, *self._keys(keyring, group))
        self.responder = replace(self.responder, jar=jar)

    def __call__(self, request):
        return [] if self.silent else [self.responder.respond(request, time.time()).data]


def _watching(server, scene, keyring=KEYRING, settings=SETTINGS, **backend):
    """Run `scene(checker, backend, changes)` while a checker watches `server`."""

    async def run(port):
        changes = []
        checker = Checker(keyring, settings, lambda: changes.append(True))
        watched = _backend(port, **backend)
        await checker.watch([watched])
        try:
            return await scene(checker, watched, changes)
        finally:
            await checker.stop()

    with scripted(server) as port, capture_logs() as logs:
        result = asyncio.run(run(port))
    return result, logs


def test_the_first_probe_decides_and_is_over_when_watch_returns():
    async def scene(checker, backend, _):
        return checker.up(backend), checker.lagging(KEYRING.next)

    (up, lagging), _ = _watching(Server(), scene)
    assert up == (ip_address("127.0.0.1"),)
    assert lagging == [], "a backend with our key file proves the next epoch at once"


def test_a_backend_that_falls_silent_goes_down_by_fall_and_comes_back_by_rise():
    server = Server()

    async def scene(checker, backend, changes):
        server.silent = True
        await until(lambda: not checker.up(backend))
        server.silent = False
        await until(lambda: checker.up(backend))
        return len(changes)

    changes, logs = _watching(server, scene)
    assert changes == 3
    walk = [(entry["event"], entry.get("state"), entry["cause"]) for entry in logs]
    assert walk == [
        ("backend UP", None, ""),
        ("check", "UP 1/3", "no answer"),
        ("check", "UP 2/3", "no answer"),
        ("backend DOWN", None, "no answer"),
        ("check", "DOWN 1/2", "answers"),
        ("backend UP", None, ""),
    ]


def test_a_backend_with_other_keys_is_never_up():
    async def scene(checker, backend, _):
        return checker.up(backend)

    up, logs = _watching(Server(create(0.0, os.urandom(EPOCHS * ROOT_LENGTH))), scene)
    assert up == ()
    assert logs[0]["cause"] == "NTS NAK (NTSN)"


@pytest.mark.parametrize(("leap", "stratum"), [(3, 2), (0, 16)])
def test_an_unsynchronised_backend_is_never_up(leap, stratum):
    class Unsynchronised(Server):
        def __init__(self):
            super().__init__()
            make = Responder._header

            def header(responder, request, received):
                return replace(make(responder, request, received), leap=leap, stratum=stratum)

            self.responder = type("R", (Responder,), {"_header": header})(self.responder.jar, 2, time.time, os.urandom)

    async def scene(checker, backend, _):
        return checker.up(backend)

    up, logs = _watching(Unsynchronised(), scene)
    assert up == ()
    assert logs[0]["cause"] == f"unsynchronised (leap {leap}, stratum {stratum})"


def test_a_backend_lags_until_it_has_loaded_the_next_epoch():
    server = Server()
    after = KEYRING.rotate(1.0, os.urandom(ROOT_LENGTH))

    async def scene(checker, backend, _):
        checker.keyring = after
        await until(lambda: checker.lagging(after.next) == ["ntp-1"])
        assert checker.up(backend), "it still opens the cookies that are minted"
        server.know(after)
        await until(lambda: not checker.lagging(after.next))

    _watching(server, scene)


def test_one_dead_address_does_not_take_the_other_with_it():
    async def scene(checker, backend, _):
        return checker.up(backend)

    up, _ = _watching(Server(), scene, addresses=["127.0.0.1", "127.0.0.99"])
    assert up == (ip_address("127.0.0.1"),)


def test_without_a_socket_nothing_is_learned_and_probing_goes_on(monkeypatch):
    async def scene(checker, backend, _):
        asked = checker._ask
        failures = []

        async def no_descriptor(*_):
            failures.append(True)
            raise OSError(24, "Too many open files")

        monkeypatch.setattr(checker, "_ask", no_descriptor)
        await until(lambda: len(failures) > 3)
        assert checker.up(backend)
        answered = []

        async def again(*words):
            answered.append(await asked(*words))
            return answered[-1]

        monkeypatch.setattr(checker, "_ask", again)
        await until(lambda: answered == [None])

    _, logs = _watching(Server(), scene)
    assert {"probe not sent"} <= {entry["event"] for entry in logs}


def test_watching_others_forgets_those_that_are_gone():
    async def scene(checker, backend, _):
        await checker.watch([])
        return checker.up(backend)

    up, _ = _watching(Server(), scene)
    assert up == ()


def test_probes_are_minted_as_for_a_client():
    seen = []

    class Recording(Server):
        def __call__(self, request):
            seen.append(decode_packet(request))
            return super().__call__(request)

    async def scene(*_):
        pass

    _watching(Recording(), scene)
    ids = [int.from_bytes(packet.bodies(0x0204)[0][:4], "big") for packet in seen[:2]]
    assert ids == [KEYRING.current.number, KEYRING.next.number]
