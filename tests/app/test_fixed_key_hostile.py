"""Backends that keep their own keys and break every rule; clients of others notice nothing."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from ntspool.app.throwaway import Authority
from ntspool.wire.messages import Response, encode_message
from ntspool.wire.records import RecordType
from tests.app.mixedpool import FAILED, OWN, SHARING, mixed_pool, until
from tests.net.scriptedke import BREAKDOWNS, DEVIATIONS, answer_twice, deviating, silent
from tests.waiting import DEADLINE

LIMIT = 180.0
NAME = "ntp-9"


def play(directory, pki, scene, **settings):
    async def run():
        async with asyncio.timeout(LIMIT), mixed_pool(directory, pki, own=(NAME,), **settings) as pool:
            await scene(pool, pool.kes[NAME])

    asyncio.run(run())


async def served_again(pool):
    """Wait until the backend is UP and its clients are sent there; none is refused meanwhile."""
    await until(lambda: NAME in pool.up())
    async with asyncio.timeout(DEADLINE):
        while pool.given(await pool.session(OWN)) != NAME:
            pass


# After the keys were sent.


async def refused(pool, ke, way):
    """Have the backend go wrong when it has a client's keys; return what the client gets."""
    async with asyncio.timeout(LIMIT):
        while True:
            ke.behave()
            await until(lambda: NAME in pool.up())
            # A probe may find out first: then the client is sent elsewhere, and another comes later.
            ke.on_keys = way
            before = len(ke.asked)
            exchange = await pool.session(OWN)
            if not isinstance(exchange.reply, Response):
                assert len(ke.asked) > before
                return exchange.reply
            assert pool.given(exchange) != NAME


@pytest.mark.parametrize("names", [[*DEVIATIONS], [*BREAKDOWNS]])
def test_whatever_a_backend_does_with_a_clients_keys_its_client_gets_an_error(tmp_path, pki, names):
    async def scene(pool, ke):
        async with pool.steady():
            got = {name: await refused(pool, ke, BREAKDOWNS.get(name) or deviating(name)) for name in names}
        assert got == dict.fromkeys(names, FAILED)

    play(tmp_path, pki, scene)


def test_one_that_never_answers_holds_up_its_own_client_only_and_gets_no_more(tmp_path, pki):
    async def scene(pool, ke):
        async with pool.steady():
            assert await refused(pool, ke, silent) == FAILED
            await until(lambda: NAME not in pool.up())
            assert pool.given(await pool.session(OWN)) != NAME
            ke.behave()
            await served_again(pool)

    play(tmp_path, pki, scene)


# Before the keys are sent.


async def babble(link):
    await link.say_raw(b"HTTP/1.0 400 Bad Request\r\n\r\n")


async def close_at_once(link):
    link.close()


async def reset_at_once(link):
    link.reset()


def test_one_that_cannot_be_asked_costs_no_client_its_session(tmp_path, pki):
    async def scene(pool, ke):
        async with pool.steady():
            for greet in (babble, close_at_once, reset_at_once, silent):
                ke.greet = greet
                ke.hang_up()
                asked = len(ke.asked)
                while NAME in pool.up():
                    assert pool.given(await pool.session(OWN)) != NAME
                assert len(ke.asked) == asked
                ke.behave()
                ke.hang_up()
                await served_again(pool)

    play(tmp_path, pki, scene)


def certificates(pki):
    """Return what a backend's certificate may have wrong, as arguments of `certify`."""
    now = datetime.now(UTC)
    another_name = {"addresses": ["127.0.0.1"]}
    anothers = {"authority": Authority.make(now)}
    expired, not_yet_valid = {"now": now - timedelta(days=2)}, {"now": now + timedelta(days=2)}
    return another_name, anothers, expired, not_yet_valid


def test_one_whose_certificate_is_not_good_is_told_nothing(tmp_path, pki):
    async def scene(pool, ke):
        async with pool.steady():
            for wrong in certificates(pki):
                ke.certify(**wrong)
                ke.hang_up()
                asked = len(ke.asked)
                while NAME in pool.up():
                    assert pool.given(await pool.session(OWN)) != NAME
                assert len(ke.asked) == asked
                ke.certify()
                await served_again(pool)

    play(tmp_path, pki, scene)


def test_a_certificate_that_expires_under_way(tmp_path, pki):
    async def scene(pool, ke):
        async with pool.steady(), pool.steady(OWN, spared=False):
            # Its life is a day from `now`, of which a second is left.
            expiry = datetime.now(UTC) + timedelta(seconds=1)
            ke.certify(now=expiry - timedelta(days=1))
            ke.hang_up()
            # A connection that was made while it was good may be used; there will be no other.
            await until(lambda: datetime.now(UTC) > expiry)
            ke.hang_up()
            await until(lambda: NAME not in pool.up())
            assert pool.given(await pool.session(OWN)) != NAME
            ke.certify()
            await served_again(pool)

    play(tmp_path, pki, scene)


# Keep Alive.


async def never_kept(link, message):
    await link.say(encode_message(each for each in message if each.type != RecordType.KEEP_ALIVE))
    await link.end()


async def kept_in_word_only(link, message):
    await link.say(encode_message(message))
    await link.end()


async def kept_and_reset(link, message):
    await link.say(encode_message(message))
    link.reset()


async def not_kept_and_open(link, message):
    await link.say(encode_message(each for each in message if each.type != RecordType.KEEP_ALIVE))


def test_a_connection_that_cannot_be_kept_is_not_kept(tmp_path, pki):
    async def scene(pool, ke):
        for way in (never_kept, not_kept_and_open, answer_twice):
            ke.on_keys = way
            async with pool.steady(), pool.steady(OWN):
                # MixedPool.session opens all the cookies.
                given = [pool.given(await pool.session(OWN)) for _ in range(30)]
            assert NAME in given
            assert NAME in pool.up()

    play(tmp_path, pki, scene)


@pytest.mark.parametrize("way", [kept_in_word_only, kept_and_reset])
def test_a_connection_that_is_kept_in_word_only_costs_its_own_clients_at_most(tmp_path, pki, way):
    async def scene(pool, ke):
        ke.on_keys = way
        async with pool.steady():
            exchanges = [await pool.session(OWN) for _ in range(60)]
        # In the moment before the end arrives, keys may be sent; from then on each connection is used once.
        failed = [each.reply for each in exchanges if not isinstance(each.reply, Response)]
        assert failed == [FAILED] * len(failed)
        assert len(failed) < len(exchanges) / 4

    play(tmp_path, pki, scene)


# Slow, but not wrong.


def test_a_slow_one_delays_nobody_elses_clients(tmp_path, pki):
    async def slowly(link, message):
        await asyncio.sleep(0.4)
        await link.say(encode_message(message))

    async def scene(pool, ke):
        ke.on_keys = slowly
        async with pool.steady(SHARING):
            exchanges = await asyncio.gather(*(pool.session(OWN) for _ in range(40)))
        assert all(isinstance(each.reply, Response) for each in exchanges)
        assert NAME in {pool.given(each) for each in exchanges}

    play(tmp_path, pki, scene, health="interval: 2s, timeout: 1500ms, rise: 1, fall: 3")
