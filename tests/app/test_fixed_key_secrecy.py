"""No client's keys go to two backends, whatever fails when: the backends remember all that they were asked for."""

import asyncio
import random
from collections import Counter

import pytest

from ntspool.wire.messages import Refusal, Response, encode_message
from tests.app.mixedpool import ALL, OWN, mixed_pool, tried, until
from tests.net.scriptedke import (
    DEVIATIONS,
    babble_behind,
    close,
    deviating,
    end,
    garbage,
    half_an_answer,
    honest,
    reset,
    welcome,
)

LIMIT = 180.0
SESSIONS = 300
AT_ONCE = 12
PATIENT = "interval: 500ms, timeout: 450ms, rise: 1, fall: 1000"
"""Health that does not take a backend out for being silent."""


class Moody:
    """What a backend does, a new thing each time: most of it is right, and some goes wrong at any point."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def set(self, ke):
        """Have a backend be so."""
        ke.greet, ke.on_list, ke.on_keys = self.greet, self.on_list, self.on_keys

    async def greet(self, link):
        await self._random.choice([*[welcome] * 12, reset_now, close_now, silent_for_a_while])(link)

    async def on_list(self, link, message):
        await self._random.choice([*[honest] * 8, close, reset])(link, message)

    async def on_keys(self, link, message):
        # What is malformed takes a backend out at once, so there must be little of it for the rest to happen.
        malformed = self._random.choice([garbage, babble_behind, *map(deviating, DEVIATIONS)])
        bad = [malformed if self._random.random() < 0.1 else honest, *[end, close, reset, half_an_answer] * 2]
        await self._random.choice([*[honest] * 30, *bad, slow_then_gone, *[answered_and_gone] * 2])(link, message)


async def reset_now(link):
    link.reset()


async def close_now(link):
    link.close()


async def silent_for_a_while(link):
    await asyncio.sleep(0.3)
    link.close()


async def slow_then_gone(link, _message):
    await asyncio.sleep(0.3)
    link.close()


async def slowly(link, message):
    await asyncio.sleep(0.02)
    await honest(link, message)


async def answered_and_gone(link, message):
    await link.say(encode_message(message))
    link.close()


def pairs(ke):
    return [(each.c2s.reveal(), each.s2c.reveal()) for each in ke.asked]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_keys_go_to_two_backends(tmp_path, pki, seed):
    async def play():
        own = ("ntp-7", "ntp-8", "ntp-9")
        async with asyncio.timeout(LIMIT), mixed_pool(tmp_path, pki, own, ("ntp-1",), PATIENT, workers=2) as pool:
            for number, ke in enumerate(pool.kes.values()):
                Moody(10 * seed + number).set(ke)
            queue, exchanges = [OWN, OWN, ALL] * (SESSIONS // 3), []

            async def come():
                while queue:
                    exchanges.append(await tried(pool, queue.pop()))

            await asyncio.gather(*(come() for _ in range(AT_ONCE)))
            # So that what is under way has come there.
            for ke in pool.kes.values():
                ke.behave()
            await until(lambda: pool.up() == set(pool.times))
            check(pool, exchanges, {name: pairs(ke) for name, ke in pool.kes.items()})

    asyncio.run(play())


def check(pool, exchanges, asked):
    """See that no keys were told twice, and those of each served client to the one that it was sent to, if to any."""
    counts = Counter(pair for found in asked.values() for pair in found)
    assert sum(counts.values()) > SESSIONS / 4, "most were to be asked for"
    assert not [pair for pair, count in counts.items() if count > 1]
    served = [each for each in exchanges if each is not None and isinstance(each.reply, Response)]
    refused = [each for each in exchanges if each is not None and isinstance(each.reply, Refusal)]
    assert len(served) > SESSIONS / 2
    assert refused, "nothing has gone wrong; that proves nothing"
    for exchange in served:
        pair = exchange.association.c2s.reveal(), exchange.association.s2c.reveal()
        knowing = {name for name, found in asked.items() if pair in found}
        assert knowing == {pool.given(exchange)} & set(asked)


def test_a_backend_that_dies_again_and_again(tmp_path, pki):
    async def play():
        async with asyncio.timeout(LIMIT), mixed_pool(tmp_path, pki, health=PATIENT) as pool:
            exchanges = []
            for ke in pool.kes.values():
                ke.on_keys = slowly

            async def come():
                while len(exchanges) < SESSIONS:
                    exchanges.append(await tried(pool, OWN))

            async def hang_up():
                while len(exchanges) < SESSIONS:
                    for ke in pool.kes.values():
                        ke.hang_up()
                        await asyncio.sleep(0.05)

            await asyncio.gather(*(come() for _ in range(AT_ONCE)), hang_up())
            counts = Counter(pair for ke in pool.kes.values() for pair in pairs(ke))
        assert sum(counts.values()) > SESSIONS / 4
        assert max(counts.values()) == 1

    asyncio.run(play())
