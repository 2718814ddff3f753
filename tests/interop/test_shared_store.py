"""What is built on etcd, with a real one: who leads, who counts as dead, what commands read and write."""

import asyncio
import contextlib

import pytest

from ntspool.errors import ConflictError, StoreAwayError
from ntspool.net import enrolment, membership
from ntspool.net.etcd import EtcdSettings
from ntspool.net.membership import Membership
from ntspool.net.mirror import Mirror, Shared
from ntspool.net.remote import Remote, RemoteStore
from ntspool.net.store import FileStore
from tests.interop.etcd import etcd
from tests.waiting import until

SHARED = Shared(frozenset({"agents"}), frozenset(), "agents")


@pytest.fixture(scope="module")
def running():
    with etcd(1) as alone:
        yield alone


@contextlib.contextmanager
def remote(running, prefix):
    made = Remote(EtcdSettings(running.endpoints, prefix))
    try:
        yield made
    finally:
        made.close()


@contextlib.contextmanager
def member(running, folder, name, prefix):
    with remote(running, prefix) as client:
        mirror = Mirror(client, FileStore(folder / name), SHARED, prefix)
        mirror.start(10.0)
        yield Membership(client, mirror, name)
        mirror.close()


async def telling(*gateways):
    """Have gateways tell that they live, until cancelled."""
    while True:
        for each in gateways:
            await each.tell({f"gateways/{each._name}": b"here"})
        await asyncio.sleep(0.2)


def test_one_leads_and_another_one_when_it_is_dead(running, tmp_path, monkeypatch):
    monkeypatch.setattr(membership, "LEASE", 2)

    async def run():
        with (
            member(running, tmp_path, "north", "/lead/") as north,
            member(running, tmp_path, "south", "/lead/") as south,
        ):
            both = asyncio.create_task(telling(north, south))
            await until(lambda: north.leads and south.leader == "north")
            assert not south.leads
            await until(lambda: south.alive("north") and north.alive("south"))
            both.cancel()
            one = asyncio.create_task(telling(south))
            # Whoever cannot keep its lease knows that it leads no more, before anybody else does.
            await until(lambda: not north.leads)
            await until(lambda: south.leads and not south.alive("north"))
            one.cancel()
            await south.leave({"gateways/south": b"gone"})
            assert not south.leads
            await until(lambda: not north.alive("south"))
            assert north._mirror.others["gateways/south"] == b"gone"

    asyncio.run(run())


def test_two_gateways_of_one_name_are_told(running, tmp_path):
    async def run():
        with (
            member(running, tmp_path, "a", "/twin/") as one,
            member(running, tmp_path / "other", "a", "/twin/") as other,
        ):
            both = asyncio.create_task(telling(one, other))
            await until(lambda: one._twin or other._twin)
            both.cancel()

    asyncio.run(run())


def test_commands_work_on_what_the_gateways_share(running, tmp_path):
    local = FileStore(tmp_path)
    with remote(running, "/command/") as client:
        store = RemoteStore(client, local)
        assert store.get("agents") is None
        store.put_if("agents", b"one", None)
        data, revision = store.get("agents")
        assert data == b"one"
        with pytest.raises(ConflictError):
            store.put_if("agents", b"two", None)
        store.put_if("agents", b"two", revision)
        with pytest.raises(ConflictError):
            store.put_if("agents", b"three", revision)
        assert local.get("agents") is None, "the copy is the gateway's"
        assert enrolment.ENTRY == "agents"


def test_without_etcd_commands_read_the_gateways_copy_and_change_nothing(tmp_path):
    local = FileStore(tmp_path)
    local.put_if("agents", b"copy", None)
    with etcd(1) as alone, remote(alone, "/command/") as client:
        alone.kill()
        store = RemoteStore(client, local)
        data, revision = store.get("agents")
        assert data == b"copy"
        for stated in (revision, None):
            with pytest.raises(StoreAwayError):
                store.put_if("agents", b"two", stated)
    assert local.get("agents")[0] == b"copy"
