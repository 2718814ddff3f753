"""ntspool/net/upstreams.py and what it stands on: deferred answers fetched from NTS-KE servers of every kind."""

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from itertools import count
from types import SimpleNamespace

import pytest

from ntspool.net import upstream as upstream_module
from ntspool.net import upstreams as upstreams_module
from ntspool.net.upstreams import Upstreams
from ntspool.pool.cookies import Association, CookieFormat, CookieJar, ServerKey
from ntspool.pool.model import Backend, Client, FixedKey, Serving, UpAddress
from ntspool.pool.negotiation import RANDOM_LENGTH, Answer, Deferred, Negotiator
from ntspool.pool.reservoir import Bounds
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Refusal, Request, Response, encode_message
from ntspool.wire.records import PROTOCOL_NTPV4, RecordType
from ntspool.wire.secret import Secret
from tests.conftest import make_serving
from tests.net.scriptedke import BREAKDOWNS, DEVIATIONS, ScriptedKe, close, deviating, reset, silent
from tests.waiting import until

CLIENT = Client(ip_address("127.0.0.1").packed)
REQUEST = Request((PROTOCOL_NTPV4,), (15,))
OWN = "own"
LIMIT = 120.0
_seeds = count(1)


class Exporter:
    """A client's session: its keys, and how often they were asked for."""

    def __init__(self):
        self.seed = next(_seeds)
        self.calls = 0

    def __call__(self, context, length):
        self.calls += 1
        return (self.seed.to_bytes(3, "big") + context[-1:]) * (length // 4)

    @property
    def keys(self):
        return tuple((self.seed.to_bytes(3, "big") + bytes([way])) * 8 for way in (0, 1))


class Scene:
    """Upstreams of one worker, the scripted servers of its backends, and one that shares its keys."""

    def __init__(self, upstreams, kes, jar):
        self.upstreams = upstreams
        self.kes = kes
        self.jar = jar
        self.serving = ()
        self.ca = b""

    @property
    def ke(self):
        return next(iter(self.kes.values()))

    def adopt(self, *more, aeads=(Aead.AES_SIV_CMAC_256,), **changes):
        own = []
        for name, ke in self.kes.items():
            address = ip_address(ke.address)
            peer = replace(FixedKey(ke.address, ke.token, ke.port, ca=self.ca), **changes)
            backend = Backend(name, (address,), 4123, 10, peer, aeads, "")
            own.append(Serving(backend, (UpAddress(address, aeads, 10.0),), None))
        self.serving = (*own, *more)
        self.upstreams.adopt(self.serving)

    def begin(self, exporter=None, request=REQUEST, patience=5.0, name=OWN):
        """Have an answer fetched; return the future of it, and what gives it up."""
        exporter = exporter or Exporter()
        only = [each for each in self.serving if each.backend.name == name or each.key is not None]
        # The one that shares its keys is there for those who cannot get this one.
        first = [replace(each, up=() if each.key is not None else each.up) for each in only]
        deferred = Negotiator(first).answer(request, CLIENT, exporter, bytes(RANDOM_LENGTH))
        assert isinstance(deferred, Deferred)
        deferred = Deferred(Negotiator(only), deferred.choice, request, CLIENT, exporter, tried=frozenset())
        answer = asyncio.get_running_loop().create_future()
        give_up = self.upstreams.fetch(
            deferred, time.monotonic() + patience, lambda found: answer.done() or answer.set_result(found)
        )
        return answer, give_up

    async def client(self, *, patience=5.0, request=REQUEST, name=OWN):
        """Be a client once; return its answer, after a look whether its cookies are its own."""
        exporter = Exporter()
        answer = await self.begin(exporter, request, patience, name)[0]
        assert isinstance(answer, Answer)
        if isinstance(answer.message, Response) and answer.choice.serving.key is None:
            assert {self.jar.open(each) for each in answer.message.cookies} == {
                Association(answer.choice.aead, *map(Secret, exporter.keys))
            }
            assert exporter.calls == 2
        return answer


@asynccontextmanager
async def scene(directory, pki, names=(OWN,), *, shared=True, bounds=None, adopt=True, **changes):
    jar = CookieJar(CookieFormat.NTSPOOL, [ServerKey(7, Secret(bytes(range(32))))], 0)
    upstreams = Upstreams(bytes, *([bounds] if bounds else []))
    kes = {}
    for number, name in enumerate(names):
        (directory / name).mkdir()
        where = f"127.0.0.{70 + number}"
        fake = SimpleNamespace(jar=jar, addresses=[(where, 4123)])
        kes[name] = ScriptedKe(where, pki.authority, directory / name, fake)
        kes[name].address = where
        await kes[name].__aenter__()
    found = Scene(upstreams, kes, jar)
    found.ca = pki.ca.read_bytes()
    try:
        if adopt:
            found.adopt(*([SHARED] if shared else []), **changes)
        async with asyncio.timeout(LIMIT):
            yield found
    finally:
        upstreams.close()
        for each in kes.values():
            await each.__aexit__()


SHARED = make_serving("shared", "127.0.0.9")


def play(work):
    asyncio.run(work())


def given(answer):
    """Return whose cookies a client got."""
    assert isinstance(answer.message, Response), answer.reason
    return asked(answer)


def asked(answer):
    return answer.choice.serving.backend.name


# A good backend.


def test_a_client_gets_the_backends_cookies_and_our_word_where_it_is(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki) as pool:
            answer = await pool.client()
            assert (answer.message.server, answer.message.port) == ("127.0.0.70", 4123)
            assert (given(answer), answer.message.aead, len(answer.message.cookies)) == (OWN, 15, 8)
            assert not answer.message.compliant_128gcm

    play(work)


def test_a_connection_is_there_before_the_first_client_and_serves_many(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki) as pool:
            await until(lambda: pool.upstreams.open == {OWN: 1})
            for _ in range(20):
                assert given(await pool.client()) == OWN
            # The one that was there, and a spare for the next while it was in use.
            assert pool.ke.connections <= 2
            counts, troubles = pool.upstreams.take_news()
            assert counts.answered == {OWN: 20}
            assert (sum(counts.answers.buckets), sum(counts.waits.buckets)) == (20, 20)
            assert not troubles
            assert not pool.upstreams.take_news()[0].answered

    play(work)


def test_a_crowd_shares_the_connections_that_may_be(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki, shared=False) as pool:
            answers = await asyncio.gather(*(pool.client() for _ in range(60)))
            assert {type(each.message) for each in answers} == {Response}
            assert pool.ke.connections <= Bounds().connections

    play(work)


@pytest.mark.parametrize("aead", [17, 30])
def test_other_aeads(tmp_path, pki, aead):
    async def work():
        async with scene(tmp_path, pki, aeads=(Aead(aead),)) as pool:
            exporter = Exporter()
            request = Request((PROTOCOL_NTPV4,), (aead,), compliant_128gcm=True)
            answer = await pool.begin(exporter, request)[0]
            assert answer.message.aead == aead
            assert answer.message.compliant_128gcm == (aead == 30)
            assert pool.jar.open(answer.message.cookies[0]).aead == aead

    play(work)


def test_fewer_cookies_than_eight_will_do(tmp_path, pki):
    async def three(link, message):
        cookies = [each for each in message if each.type == RecordType.NEW_COOKIE][:3]
        await link.say(encode_message([*(each for each in message if each.type != RecordType.NEW_COOKIE), *cookies]))

    async def work():
        async with scene(tmp_path, pki) as pool:
            pool.ke.on_keys = three
            assert len((await pool.client()).message.cookies) == 3

    play(work)


# Before the keys are sent.


async def close_now(link):
    link.close()


async def babble(link):
    await link.say_raw(b"SSH-2.0-OpenSSH_9.9\r\n")


@pytest.mark.parametrize(
    ("greet", "cause"),
    [
        (close_now, "key exchange unreachable"),
        (babble, "key exchange TLS failed"),
        (silent, "key exchange does not answer"),
    ],
)
def test_who_cannot_be_asked_costs_the_client_nothing(tmp_path, pki, greet, cause, monkeypatch):
    monkeypatch.setattr(upstream_module, "OPEN_TIMEOUT", 2.0)

    async def work():
        async with scene(tmp_path, pki, adopt=False) as pool:
            pool.ke.greet = greet
            pool.adopt(SHARED)
            assert given(await pool.client()) == "shared"
            await until(lambda: pool.upstreams.take_news()[0].failed[OWN, cause])
            # It is known now, so that nobody waits.
            began = time.monotonic()
            assert given(await pool.client()) == "shared"
            assert time.monotonic() - began < 1.0
            assert not pool.ke.asked
            pool.ke.behave()
            await until(lambda: pool.upstreams.open[OWN])
            assert given(await pool.client()) == OWN

    play(work)


@pytest.mark.parametrize(
    ("changes", "cause", "detail"),
    [
        ({"port": 1}, "key exchange unreachable", "Connection refused"),
        ({"name": "other.test"}, "key exchange TLS failed", "the server's certificate is not for other.test"),
        ({"ca": None}, "key exchange TLS failed", "certificate verify failed, its authority is not"),
        ({"token": Secret(b"x" * 32)}, "token refused", "NTS-KE error 1"),
        ({"host": "nowhere.invalid"}, "key exchange unreachable", "nowhere.invalid: "),
    ],
)
def test_the_operator_hears_what_is_wrong(tmp_path, pki, changes, cause, detail):
    async def work():
        async with scene(tmp_path, pki, **changes) as pool:
            assert given(await pool.client()) == "shared"
            troubles = []
            await until(lambda: troubles.extend(pool.upstreams.take_news()[1]) or troubles)
            trouble = troubles[0]
            assert (trouble.backend, trouble.address) == (OWN, "127.0.0.70")
            assert trouble.failure.cause == cause
            assert trouble.failure.detail.startswith(detail)
            assert not pool.ke.asked

    play(work)


def test_an_expired_certificate_is_told_as_such(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki, adopt=False) as pool:
            from datetime import UTC, datetime, timedelta

            pool.ke.certify(now=datetime.now(UTC) - timedelta(days=2))
            pool.adopt(SHARED)
            troubles = []
            await until(lambda: troubles.extend(pool.upstreams.take_news()[1]) or troubles)
            assert str(troubles[0].failure) == "key exchange TLS failed (certificate verify failed, it has expired)"

    play(work)


def test_a_connection_that_died_unused_is_replaced(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki, shared=False) as pool:
            for _ in range(5):
                await until(lambda: pool.upstreams.open[OWN])
                pool.ke.hang_up()
                # So that the reset is there.
                await asyncio.sleep(0.05)
                assert given(await pool.client()) == OWN

    play(work)


def test_an_aead_that_it_does_not_support_is_not_asked_for(tmp_path, pki):
    async def only_siv_512(link, message):
        short = [replace(each, body=b"\0\x11\0\x40") if each.type == 10 else each for each in message]
        await link.say(encode_message(short))

    async def work():
        async with scene(tmp_path, pki, adopt=False) as pool:
            pool.ke.on_list = only_siv_512
            pool.adopt(SHARED)
            assert given(await pool.client()) == "shared"
            assert not pool.ke.asked
            assert pool.upstreams.take_news()[0].failed == {(OWN, "AEAD not supported"): 1}

    play(work)


def test_the_list_is_asked_for_anew_while_clients_are_served(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(upstream_module, "SUPPORT_LIFE", 0.1)
    monkeypatch.setattr(upstream_module, "LOOK_INTERVAL", 0.05)
    lists = []

    async def remember(link, message):
        lists.append(message)
        await link.say(encode_message(message))

    async def work():
        async with scene(tmp_path, pki, adopt=False) as pool:
            pool.ke.on_list = remember
            pool.adopt(SHARED)
            await until(lambda: len(lists) > 3)
            assert given(await pool.client()) == OWN

    play(work)


def test_who_waits_too_long_for_a_connection_gets_another_backend(tmp_path, pki):
    async def slowly(link):
        await asyncio.sleep(LIMIT)

    async def work():
        async with scene(tmp_path, pki, adopt=False) as pool:
            pool.ke.greet = slowly
            pool.adopt(SHARED)
            began = time.monotonic()
            assert given(await pool.client(patience=2.0)) == "shared"
            assert time.monotonic() - began < 1.7

    play(work)


def test_no_more_clients_wait_than_may(tmp_path, pki):
    async def work():
        bounds = Bounds(connections=1, waiting=3)
        async with scene(tmp_path, pki, bounds=bounds) as pool:
            await until(lambda: pool.upstreams.open[OWN])
            gate = asyncio.Event()

            async def held(link, message):
                await gate.wait()
                await link.say(encode_message(message))

            pool.ke.on_keys = held
            clients = [asyncio.create_task(pool.client()) for _ in range(10)]
            await until(lambda: sum(each.done() for each in clients) == 6)
            gate.set()
            names = sorted(map(given, await asyncio.gather(*clients)))
            assert names == [OWN] * 4 + ["shared"] * 6

    play(work)


def test_one_that_is_not_up_any_more_is_not_asked(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki) as pool:
            await until(lambda: pool.upstreams.open[OWN])
            pool.upstreams.adopt([SHARED])
            assert pool.upstreams.open == {}
            assert given(await pool.client()) == "shared"

    play(work)


def test_who_was_chosen_before_a_reload_is_asked_with_the_token_of_now(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki) as pool:
            before = pool.serving
            pool.ke.token = Secret(b"token-of-now-0123456789")
            pool.adopt(SHARED)
            pool.serving = before
            answer = await pool.client()
            assert (given(answer), answer.reason) == (OWN, "")
            assert not pool.upstreams.take_news()[1]

    play(work)


def test_what_fails_of_before_a_reload_says_nothing_of_the_backend_as_it_is_now(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki) as pool:
            go_on = asyncio.Event()

            async def late(link, _message):
                await go_on.wait()
                link.close()

            pool.ke.on_keys = late
            answer = pool.begin()[0]
            await until(lambda: pool.ke.asked)
            pool.ke.token = Secret(b"token-of-now-0123456789")
            pool.adopt(SHARED)
            go_on.set()
            assert (await answer).message.code == 2
            counts, troubles = pool.upstreams.take_news()
            assert (sum(counts.failed.values()), troubles) == (1, ())

    play(work)


# After they were sent.


@pytest.mark.parametrize("way", [*DEVIATIONS, *BREAKDOWNS])
def test_after_the_keys_were_sent_the_client_gets_an_error(tmp_path, pki, way):
    async def work():
        async with scene(tmp_path, pki) as pool:
            pool.ke.on_keys = BREAKDOWNS.get(way) or deviating(way)
            exporter = Exporter()
            answer = await pool.begin(exporter)[0]
            if way == "bytes behind the end" and isinstance(answer.message, Response):
                pytest.skip("they came too late to be part of the answer")
            assert answer.message == Refusal(answer.message.reason, 2)
            assert (asked(answer), exporter.calls, len(pool.ke.asked)) == (OWN, 2, 1)
            assert answer.reason.startswith(("malformed key exchange", "key exchange", "token refused", "AEAD not"))

    play(work)


def test_a_client_that_asks_late_is_no_reason_to_blame_the_backend(tmp_path, pki):
    async def slowly(link, message):
        await asyncio.sleep(0.4)
        await link.say(encode_message(message))

    async def work():
        async with scene(tmp_path, pki) as pool:
            await until(lambda: pool.upstreams.open[OWN])
            pool.ke.on_keys = slowly
            assert (await pool.client(patience=0.2)).message.code == 2
            assert given(await pool.client()) == OWN
            counts, troubles = pool.upstreams.take_news()
            assert (dict(counts.failed), troubles) == ({}, ())

    play(work)


def test_a_connection_that_talks_without_end_is_let_go(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki, adopt=False) as pool:
            pool.adopt(SHARED)
            await until(lambda: pool.upstreams.open[OWN])
            [upstream] = pool.upstreams._upstreams.values()
            connection = upstream._reservoir.take()
            held = connection._socket
            connection._end = SimpleNamespace(receive_data=lambda _: b"")
            connection._socket = SimpleNamespace(recv=lambda _: b"x" * 100)
            assert not connection.is_fresh()
            held.close()

    play(work)


def test_one_that_never_answers_costs_its_client_its_time_and_the_next_nothing(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(upstreams_module, "FAIR_TIME", 0.3)
    monkeypatch.setattr(upstreams_module, "RESERVE", 0.5)

    async def work():
        async with scene(tmp_path, pki) as pool:
            pool.ke.on_keys = silent
            began = time.monotonic()
            answer = await pool.client(patience=2.0)
            assert 1.4 < time.monotonic() - began < 2.0
            assert (answer.message.code, answer.reason) == (2, "key exchange does not answer")
            assert given(await pool.client()) == "shared"

    play(work)


def test_a_client_that_leaves_leaves_nothing_behind(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki) as pool:
            pool.ke.on_keys = silent
            answer, give_up = pool.begin()
            await until(lambda: pool.ke.asked)
            give_up()
            await asyncio.sleep(0)
            pool.ke.behave()
            assert given(await pool.client()) == OWN
            assert not answer.done()

    play(work)


def test_clients_that_leave_while_they_wait_do_not_take_connections_with_them(tmp_path, pki):
    async def work():
        async with scene(tmp_path, pki, shared=False, bounds=Bounds(connections=2)) as pool:
            for _ in range(30):
                leaving = [pool.begin()[1] for _ in range(4)]
                served = asyncio.create_task(pool.client())
                await asyncio.sleep(0.002)
                for give_up in leaving:
                    give_up()
                assert given(await served) == OWN
            assert pool.upstreams.open[OWN] <= 2

    play(work)


# Keep Alive.


async def without_keep_alive(link, message):
    await link.say(encode_message(each for each in message if each.type != RecordType.KEEP_ALIVE))
    await link.end()


def test_without_keep_alive_each_client_has_a_connection_of_its_own(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(upstreams_module, "LONGEST_WAIT", LIMIT)

    async def work():
        async with scene(tmp_path, pki, shared=False, adopt=False) as pool:
            pool.ke.on_keys = pool.ke.on_list = without_keep_alive
            pool.adopt()
            answers = await asyncio.gather(*(pool.client(patience=LIMIT) for _ in range(20)))
            assert {given(each) for each in answers} == {OWN}
            assert pool.ke.connections >= 20
            assert len({each.c2s.reveal() for each in pool.ke.asked}) == len(pool.ke.asked) == 20

    play(work)


def test_a_promise_that_is_not_kept_is_not_believed_again_for_a_while(tmp_path, pki):
    async def promise(link, message):
        await link.say(encode_message(message))
        link.close()

    async def work():
        async with scene(tmp_path, pki, shared=False) as pool:
            pool.ke.on_keys = promise
            assert given(await pool.client()) == OWN
            await asyncio.sleep(0.05)
            for _ in range(10):
                assert isinstance((await pool.client()).message, Response)

    play(work)


# One of several.


def test_no_keys_go_to_two_backends(tmp_path, pki, monkeypatch):
    monkeypatch.setattr(upstream_module, "LOOK_INTERVAL", 0.01)
    moods = {"on_keys": [close, reset, deviating("Error 2")], "greet": [close_now, babble]}

    async def work():
        async with scene(tmp_path, pki, ("own", "other"), bounds=Bounds(pause=0)) as pool:
            for turn in range(40):
                for number, ke in enumerate(pool.kes.values()):
                    ke.behave()
                    if (turn + number) % 3 == 0:
                        ke.on_keys = moods["on_keys"][turn % 3]
                    if (turn + number) % 5 == 0:
                        ke.greet = moods["greet"][turn % 2]
                        ke.hang_up()
                await asyncio.gather(*(pool.client(name=name) for name in pool.kes for _ in range(3)))
                # Time for another connection.
                await asyncio.sleep(0.03)
            asked = [(each.c2s.reveal(), each.s2c.reveal()) for ke in pool.kes.values() for each in ke.asked]
            assert len(asked) > 20
            assert len(set(asked)) == len(asked)

    play(work)
