"""The copy of what gateways share: etcd's truth on disk, and what happens without it."""

import asyncio

import pytest
from structlog.testing import capture_logs

from ntspool.errors import ConflictError, StateError, StoreAwayError
from ntspool.net.mirror import JOINED, Mirror, Shared
from ntspool.net.sealed import MARK
from ntspool.net.store import FileStore
from ntspool.wire.etcd import Change, Kept, Watched

SHARED = Shared(frozenset({"keyring", "orders"}), frozenset({"keyring"}), "keyring")
SEALED, OTHER = MARK + b"one", MARK + b"two"


class FakeEtcd:
    """What a Mirror asks of etcd, in memory; `down` makes all of it fail, and a `refusal` too."""

    def __init__(self, **entries):
        self.revision = 10
        self.held = {name: Kept(name, data, 5) for name, data in entries.items()}
        self.down = False
        self.refusal = None
        self.messages = asyncio.Queue()

    def _answer(self):
        if self.down:
            raise StoreAwayError("down")
        if self.refusal:
            raise StateError(self.refusal)

    async def read_all(self):
        self._answer()
        return tuple(self.held.values()), self.revision

    async def get(self, name):
        self._answer()
        return self.held.get(name)

    async def put_if(self, name, data, revision, lease=0):
        self._answer()
        if (self.held[name].revision if name in self.held else 0) != revision:
            raise ConflictError(name)
        return self.write(name, data)

    def write(self, name, data):
        """Write as another gateway does."""
        self.revision += 1
        self.held[name] = Kept(name, data, self.revision)
        return self.revision

    def tell(self, name):
        kept = self.held[name]
        return Watched(self.revision, (Change(name, kept.data, kept.revision),))


class FakeRemote:
    """Runs what a Mirror does with the client, here and now; `_follow` is not run but by the test."""

    def __init__(self, etcd):
        self.etcd = etcd

    def run(self, call, deadline=0.0):
        return asyncio.run(call(self.etcd))

    def submit(self, call):
        return None


def started(tmp_path, etcd, prefix="/ntspool/"):
    mirror = Mirror(FakeRemote(etcd), FileStore(tmp_path / "state"), SHARED, prefix)
    mirror.start(1.0)
    return mirror


def test_what_the_store_holds_is_taken_over_and_stays_when_it_is_away(tmp_path):
    etcd = FakeEtcd(keyring=SEALED, orders=b"drain", **{"gateways/north": b"report"})
    mirror = started(tmp_path, etcd)
    assert (mirror.get("keyring")[0], mirror.get("orders")[0]) == (SEALED, b"drain")
    assert mirror.others == {"gateways/north": b"report"}
    assert mirror.away is None
    etcd.down = True
    again = started(tmp_path, etcd)
    assert again.away == "down"
    assert again.get("keyring")[0] == SEALED
    with pytest.raises(StoreAwayError, match="nothing can be changed while the cluster's store is away"):
        again.put_if("orders", b"ready", again.get("orders")[1])
    assert again.get("orders")[0] == b"drain"


def test_who_has_joined_starts_from_the_copy_when_the_store_refuses_and_who_has_not_does_not(tmp_path):
    etcd = FakeEtcd(keyring=SEALED)
    etcd.refusal = "invalid user ID or password"
    with pytest.raises(StateError, match="invalid user"):
        started(tmp_path, etcd)
    etcd.refusal = None
    started(tmp_path, etcd)
    etcd.refusal = "invalid user ID or password"
    again = started(tmp_path, etcd)
    assert (again.away, again.get("keyring")[0]) == (etcd.refusal, SEALED)


def test_an_empty_store_is_given_what_this_gateway_has(tmp_path):
    local = FileStore(tmp_path / "state")
    local.put_if("keyring", SEALED, None)
    local.put_if("events", b"my own", None)
    etcd = FakeEtcd()
    started(tmp_path, etcd)
    assert {name: kept.data for name, kept in etcd.held.items()} == {"keyring": SEALED}


def test_a_secret_that_is_not_encrypted_is_neither_given_nor_taken(tmp_path):
    local = FileStore(tmp_path / "state")
    local.put_if("keyring", b"open", None)
    etcd = FakeEtcd()
    with capture_logs() as logs:
        started(tmp_path, etcd)
    assert etcd.held == {}
    assert "not encrypted" in logs[0]["event"]
    local.put_if("keyring", SEALED, local.get("keyring")[1])
    mirror = started(tmp_path, etcd)
    etcd.write("keyring", b"roots that somebody chose")
    mirror._apply(etcd.tell("keyring").changes)
    assert mirror.get("keyring")[0] == SEALED
    again = started(tmp_path, etcd)
    assert again.get("keyring")[0] == SEALED


def test_a_keyring_of_its_own_keeps_a_gateway_from_joining(tmp_path):
    local = FileStore(tmp_path / "state")
    local.put_if("keyring", OTHER, None)
    with pytest.raises(StateError, match="has a keyring of its own"):
        started(tmp_path, FakeEtcd(keyring=SEALED))
    assert local.get("keyring")[0] == OTHER


def test_of_two_that_begin_at_the_same_moment_one_keeps_its_keyring_and_does_not_join(tmp_path):
    class Raced(FakeEtcd):
        async def read_all(self):
            seen = await super().read_all()
            if not self.held:
                self.write("keyring", SEALED)
            return seen

    local = FileStore(tmp_path / "state")
    local.put_if("keyring", OTHER, None)
    with pytest.raises(StateError, match="has a keyring of its own"):
        started(tmp_path, Raced())
    assert local.get("keyring")[0] == OTHER
    assert local.get(JOINED) is None


def test_one_that_joined_takes_over_whatever_the_store_holds_by_now(tmp_path):
    started(tmp_path, FakeEtcd(keyring=SEALED))
    assert started(tmp_path, FakeEtcd(keyring=OTHER)).get("keyring")[0] == OTHER
    with pytest.raises(StateError, match="has a keyring of its own"):
        started(tmp_path, FakeEtcd(keyring=SEALED), prefix="/another/")
    assert FileStore(tmp_path / "state").get(JOINED)[0] == b"/ntspool/\n"


def test_a_store_that_lost_all_gets_the_last_known_state_back(tmp_path):
    started(tmp_path, FakeEtcd(keyring=SEALED))
    empty = FakeEtcd()
    started(tmp_path, empty)
    assert empty.held["keyring"].data == SEALED


def test_writers_conflict_over_what_both_have_read(tmp_path):
    etcd = FakeEtcd(orders=b"one")
    mirror = started(tmp_path, etcd)
    read = mirror.get("orders")[1]
    etcd.write("orders", b"theirs")
    with pytest.raises(ConflictError):
        mirror.put_if("orders", b"ours", read)
    # What they wrote is what the next attempt begins with.
    assert mirror.get("orders")[0] == b"theirs"
    mirror.put_if("orders", b"ours", mirror.get("orders")[1])
    assert etcd.held["orders"].data == mirror.get("orders")[0] == b"ours"
    with pytest.raises(ConflictError):
        mirror.put_if("orders", b"again", read)


def test_what_is_not_shared_stays_here(tmp_path):
    etcd = FakeEtcd()
    mirror = started(tmp_path, etcd)
    mirror.put_if("events", b"one", None)
    assert (mirror.get("events")[0], etcd.held) == (b"one", {})


def test_changes_come_in_once_and_in_order(tmp_path):
    etcd = FakeEtcd(orders=b"one", **{"gateways/north": b"report"})
    mirror = started(tmp_path, etcd)
    told = []
    mirror.listen(told.append)
    assert told.pop() == {"orders", "gateways/north"}, "what came in before anybody listened"
    etcd.write("orders", b"two")
    late = etcd.tell("orders")
    etcd.write("orders", b"three")
    mirror._apply(etcd.tell("orders").changes)
    mirror._apply(late.changes)
    assert mirror.get("orders")[0] == b"three"
    assert told == [{"orders"}]
    mirror._apply((Change("gateways/south", b"hello", 20), Change("gateways/north", None, 21)))
    assert mirror.others == {"gateways/south": b"hello"}
    with pytest.raises(StoreAwayError, match="somebody has deleted orders"):
        mirror._apply((Change("orders", None, 22),))
    assert mirror.get("orders")[0] == b"three", "the last that is known is better than nothing"
    del etcd.held["orders"]
    asyncio.run(mirror._synchronize(etcd))
    assert etcd.held["orders"].data == b"three", "and is given back"
