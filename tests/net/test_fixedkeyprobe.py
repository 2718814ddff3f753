"""Probes of backends that keep their own keys: by their NTS-KE servers, and what the checker makes of them."""

import asyncio
import os
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from types import SimpleNamespace

import pytest

from ntspool.net.checker import Checker
from ntspool.net.fixedkeyprobe import FixedKeyProber
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import CookieFormat, CookieJar, ServerKey
from ntspool.pool.fleet import Target
from ntspool.pool.keyring import create
from ntspool.pool.model import Backend, FixedKey
from ntspool.pool.responder import Responder
from ntspool.pool.sample import Limits
from ntspool.wire.aead import Aead
from ntspool.wire.messages import encode_message
from ntspool.wire.secret import Secret
from tests.net.scripted import scripted
from tests.net.scriptedke import ScriptedKe, close, deviating, silent
from tests.net.test_checker import SELDOM
from tests.net.test_upstreams import without_keep_alive
from tests.waiting import until

SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
JAR = CookieJar(CookieFormat.NTSPOOL, [ServerKey(7, Secret(bytes(range(32))))], 0)
OTHERS = CookieJar(CookieFormat.NTSPOOL, [ServerKey(8, Secret(bytes(range(32))))], 0)
ADDRESS = ip_address("127.0.0.1")
KEYRING = create(0.0, os.urandom)


class Server:
    """A time server that opens its jar's cookies; `silent` says nothing."""

    def __init__(self, jar=JAR):
        self.jar = jar
        self.silent = False
        self.asked = 0

    def __call__(self, request):
        self.asked += 1
        reply = Responder(self.jar, 2, time.time, os.urandom).respond(request, time.time())
        return [] if self.silent else [reply.data]


@asynccontextmanager
async def ke_server(directory, pki, port):
    fake = SimpleNamespace(jar=JAR, addresses=[("127.0.0.1", port)])
    async with asyncio.timeout(20), ScriptedKe("127.0.0.1", pki.authority, directory, fake) as ke:
        yield ke, FixedKey("127.0.0.1", ke.token, ke.port, ca=pki.ca.read_bytes())


def probe(directory, pki, prepare=lambda _ke: None, aeads=(SIV_256,), server=None, **changes):
    """Return what a probe finds, and the server of key exchange."""

    async def run(port):
        async with ke_server(directory, pki, port) as (ke, peer):
            prepare(ke)
            target = Target("own", ADDRESS, port, peer, "")
            prober = FixedKeyProber(
                target, replace(peer, **changes), aeads, limits=Limits(), timeout=0.3, clock=time.time
            )
            return await prober.probe(), ke

    with scripted(server or Server()) as port:
        return asyncio.run(run(port))


def way(**ways):
    def prepare(ke):
        for name, what in ways.items():
            setattr(ke, name, what)

    return prepare


@pytest.mark.parametrize("prepare", [way(), way(on_keys=without_keep_alive, on_list=without_keep_alive)])
def test_every_aead_is_tried_with_keys_of_its_own(tmp_path, pki, prepare):
    server = Server()
    result, ke = probe(tmp_path, pki, prepare, tuple(Aead), server)
    assert result.outcomes == dict.fromkeys(Aead)
    assert result.cookies == dict.fromkeys(Aead, 1)
    assert result.findings == ()
    assert result.sample.stratum == 2
    assert [each.aead for each in ke.asked] == list(Aead)
    assert len({each.c2s.reveal() for each in ke.asked} | {each.s2c.reveal() for each in ke.asked}) == 6
    # Each cookie is spent, and then the one that came back for it.
    assert server.asked == 6


async def close_now(link):
    link.close()


async def only_siv_256(link, message):
    short = [replace(each, body=b"\0\x0f\0\x20") if each.type == 10 else each for each in message]
    await link.say(encode_message(short))


@pytest.mark.parametrize(
    ("prepare", "changes", "cause"),
    [
        (way(greet=close_now), {}, "key exchange unreachable"),
        (way(greet=silent), {}, "key exchange does not answer"),
        (way(on_list=silent), {}, "key exchange does not answer"),
        (way(on_list=close), {}, "key exchange unreachable"),
        (way(on_keys=silent), {}, "key exchange does not answer"),
        (way(on_keys=close), {}, "key exchange unreachable"),
        (way(on_keys=deviating("wrong AEAD")), {}, "malformed key exchange"),
        (way(on_keys=deviating("Error 2")), {}, "key exchange error (NTS-KE error 2)"),
        (way(), {"token": Secret(b"x" * 32)}, "token refused"),
        (way(), {"port": 1}, "key exchange unreachable (Connection refused)"),
        (way(), {"name": "elsewhere.test"}, "key exchange TLS failed (the server's certificate is not for else"),
        (way(), {"ca": None}, "key exchange TLS failed (certificate verify failed"),
    ],
)
def test_causes_are_told_apart(tmp_path, pki, prepare, changes, cause):
    result, _ = probe(tmp_path, pki, prepare, **changes)
    assert str(result.outcomes[SIV_256]).startswith(cause)
    assert (result.sample, result.cookies) == (None, {SIV_256: 0})


def test_an_aead_that_it_does_not_list_is_not_good_and_the_others_are(tmp_path, pki):
    result, ke = probe(tmp_path, pki, way(on_list=only_siv_256), (SIV_256, GCM_SIV))
    assert result.outcomes == {SIV_256: None, GCM_SIV: Failure(Cause.KE_AEAD)}
    assert [each.aead for each in ke.asked] == [SIV_256]


@pytest.mark.parametrize("silent", [True, False])
def test_cookies_that_the_time_server_does_not_open(tmp_path, pki, silent):
    server = Server(OTHERS)
    server.silent = silent
    result, _ = probe(tmp_path, pki, server=server)
    assert result.outcomes[SIV_256].cause is (Cause.NO_ANSWER if silent else Cause.NAK)


# The checker.


def watching(directory, pki, scene):
    async def run(port, server):
        async with ke_server(directory, pki, port) as (ke, peer):
            changes = []
            checker = Checker(KEYRING, replace(SELDOM, fast_interval=0.02), lambda: changes.append(True))
            backend = Backend("own", (ADDRESS,), port, 10, peer, (SIV_256, SIV_512), "")
            await checker.watch([backend])
            try:
                await scene(checker, backend, ke, server)
            finally:
                await checker.stop()

    server = Server()
    with scripted(server) as port:
        asyncio.run(run(port, server))


def test_it_is_up_without_any_epoch_and_no_rotation_waits_for_it(tmp_path, pki):
    async def scene(checker, backend, ke, _):
        [up] = checker.up(backend)
        assert up.aeads == (SIV_256, SIV_512)
        assert list(checker.proofs()) == []
        assert checker.lagging(checker.keyring.next) == []
        [status] = checker.status()
        assert (status.shown, status.keys) == ("UP", None)
        await checker.watch([backend], resting={"own"})
        assert (checker.up(backend), list(checker.proofs())) == ((), [])

    watching(tmp_path, pki, scene)


def test_what_workers_meet_counts_and_a_probe_follows(tmp_path, pki):
    async def scene(checker, backend, ke, _):
        asked = len(ke.asked)
        checker.fail("own", Failure(Cause.KE_NO_ANSWER), "192.0.2.1")
        assert next(checker.status()).shown == "UP"
        checker.fail("own", Failure(Cause.KE_NO_ANSWER), "127.0.0.1")
        assert next(checker.status()).shown == "UP 1/3"
        await until(lambda: next(checker.status()).shown == "UP")
        assert len(ke.asked) > asked
        ke.on_list = deviating("Error 1")
        checker.fail("own", Failure(Cause.KE_TOKEN), "127.0.0.1")
        assert checker.up(backend) == ()
        ke.behave()
        await until(lambda: checker.up(backend))

    watching(tmp_path, pki, scene)


def test_another_token_is_another_target(tmp_path, pki):
    async def scene(checker, backend, ke, _):
        ke.token = Secret(b"another-token,-which-it-knows-now")
        await checker.watch([replace(backend, cookies=replace(backend.cookies, token=ke.token))])
        [status] = checker.status()
        assert (status.shown, status.probes) == ("UP", 1)
        await checker.watch([replace(backend, cookies=replace(backend.cookies, token=Secret(b"t" * 20)))])
        assert next(checker.status()).condition.health.failure.cause is Cause.KE_TOKEN

    watching(tmp_path, pki, scene)
