"""A gateway's place among the others, where its store answers at one moment and not at the next."""

import asyncio
from types import SimpleNamespace

import pytest

from ntspool.errors import StoreAwayError
from ntspool.net.membership import ALIVE, Membership


class FakeEtcd:
    """Leases that last for ever, and keys; `failing` makes writes fail."""

    def __init__(self):
        self.held = {}
        self.failing = False

    async def grant(self, seconds):
        return 1

    async def keep_alive(self, lease):
        return True

    async def put(self, key, data, lease=0):
        if self.failing:
            raise StoreAwayError("down")
        self.held[key] = data

    async def put_if(self, key, data, revision, lease=0):
        await self.put(key, data, lease)


def test_a_key_that_could_not_be_written_when_its_lease_was_new_is_written_later():
    etcd = FakeEtcd()
    remote = SimpleNamespace(ask=lambda call: call(etcd))
    north = Membership(remote, SimpleNamespace(others=etcd.held, away=None), "north")

    async def tell():
        etcd.failing = True
        with pytest.raises(StoreAwayError):
            await north.tell({})
        etcd.failing = False
        await north.tell({})

    asyncio.run(tell())
    assert ALIVE + "north" in etcd.held
    assert north.alive("north")
