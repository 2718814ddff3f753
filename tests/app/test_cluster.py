"""A gateway among others: what it tells them, when it withdraws, what it takes over."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from ntspool.app import cluster as cluster_module
from ntspool.app.cluster import HEARTBEAT, NEWCOMERS, Cluster, Condition, Following, opinion
from ntspool.config import Store
from ntspool.errors import LocalError, RefusedError, StateError, UnknownError
from ntspool.net.sealed import MARK, Seal
from ntspool.net.store import FileStore
from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cluster import GatewayReport, decode
from ntspool.pool.health import Health, State
from ntspool.pool.keyring import create
from ntspool.pool.publishing import ALONE
from ntspool.pool.quorum import Opinion
from ntspool.wire.secret import Secret
from tests.waiting import until

SEAL = Seal(Secret(b"k" * 32))
RING = create(0.0, lambda n: bytes(range(n)))
ALL, NONE = Opinion(frozenset("abc")), Opinion(frozenset(), dict.fromkeys("abc", "no answer"))


class FakeRemote:
    """What a Cluster asks of etcd's thread: nothing that a test would want to know."""

    def __init__(self, _settings):
        self.counts = SimpleNamespace(calls={}, seconds={})
        self.closed = False

    def close(self):
        self.closed = True


class FakeMirror:
    """The store: entries, what others told, and whether it is away."""

    def __init__(self, *_):
        self.others = {}
        self.away = None
        self.since = 1000.0
        self.tell = None

    def start(self, _patience):
        pass

    def close(self):
        pass

    def get(self, _name):
        return None

    def listen(self, tell):
        self.tell = tell


class FakeMembership:
    """Keeps what is told where others would read it."""

    leads, leader = False, "south"

    def __init__(self, _remote, mirror, name):
        self.mirror = mirror
        self.name = name
        self.forgotten = []

    def alive(self, name):
        return f"alive/{name}" in self.mirror.others

    async def tell(self, told):
        if self.mirror.away is not None:
            raise StateError("away")
        self.mirror.others |= told

    async def leave(self, told):
        self.mirror.others |= told

    async def forget(self, keys):
        self.forgotten += keys


class Around:
    """A cluster of which one gateway is real; `condition` is how that is, `done` what it was made to do."""

    def __init__(self, tmp_path):
        self.now = 1000.0
        declared = SimpleNamespace(
            gateway=SimpleNamespace(name="north"),
            store=Store(etcd=("http://127.0.0.1:1",)),
            health=SimpleNamespace(panic=50, interval=0.0, down_interval=0.0),
        )
        self.cluster = Cluster(declared, FileStore(tmp_path), SEAL, lambda: self.now)
        self.mirror = self.cluster.store
        self.condition = Condition(True, RING, {3: 7.0}, ALL)
        self.done = []
        self.publisher = SimpleNamespace(own=None, neighbours=ALONE)

    def other(self, name, opinion=ALL, *, alive=True, **told):
        report = GatewayReport(name, 1000.0, 900.0, "1", ready=True, epoch=3)
        self.mirror.others[f"gateways/{name}"] = replace(report, **told).encode()
        self.mirror.others[f"opinions/{name}"] = opinion.encode()
        if alive:
            self.mirror.others[f"alive/{name}"] = b""

    def own(self):
        told = self.mirror.others.get("gateways/north")
        return told and decode(told)

    async def follow_keys(self):
        self.done.append("keyring")

    async def follow_orders(self):
        self.done.append("orders")
        raise LocalError("no")

    def run(self, scene):
        async def play():
            entries = {"keyring": self.follow_keys, "orders": self.follow_orders}
            following = Following(
                entries, lambda: self.done.append("decided"), lambda: self.done.append("back"), self.publisher
            )
            running = asyncio.create_task(self.cluster.run(lambda: self.condition, following))
            try:
                await until(self.own)
                await scene()
                assert not running.done()
            finally:
                running.cancel()

        with capture_logs() as logs:
            asyncio.run(play())
        return [entry["event"] for entry in logs]


@pytest.fixture
def around(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "Remote", FakeRemote)
    monkeypatch.setattr(cluster_module, "Mirror", FakeMirror)
    monkeypatch.setattr(cluster_module, "Membership", FakeMembership)
    monkeypatch.setattr(cluster_module, "HEARTBEAT", 0.01)
    return Around(tmp_path)


def test_secrets_are_encrypted_before_they_can_be_shared(tmp_path, around):
    local = FileStore(tmp_path / "other")
    local.put_if("keyring", b"roots", None)
    with pytest.raises(StateError, match="gateways share secrets encrypted only"):
        Cluster(around.cluster.declared, local, Seal(None), lambda: 0.0)
    Cluster(around.cluster.declared, local, SEAL, lambda: 0.0)
    kept = local.get("keyring")[0]
    assert kept.startswith(MARK)
    assert SEAL.open("keyring", kept) == b"roots"


def test_the_others_are_told_how_it_is(around):
    async def scene():
        told = around.own()
        assert (told.name, told.ready, told.withdrawn, told.epoch, told.reached) == ("north", True, "", 3, {3: 7.0})
        around.condition = replace(around.condition, ready=False)
        await until(lambda: not around.own().ready)

    around.run(scene)
    asyncio.run(around.cluster.stop())
    assert around.own().stopped


def test_one_that_is_cut_off_withdraws_unless_it_is_the_last(around):
    async def scene():
        around.condition = replace(around.condition, opinion=NONE)
        around.other("south", ready=False)
        await asyncio.sleep(0.1)
        assert (around.cluster.withdrawn, around.own().withdrawn) == ("", ""), "nobody else could serve"
        around.other("south")
        await until(lambda: around.own().withdrawn)
        assert "decided" in around.done
        around.condition = replace(around.condition, opinion=ALL)
        await until(lambda: not around.own().withdrawn)

    events = around.run(scene)
    assert events.count("gateway withdrawn") == events.count("gateway back") == 1


def test_it_takes_a_round_of_probes_to_be_sure(around):
    around.cluster.declared.health.interval = 1000.0

    async def scene():
        around.condition = replace(around.condition, opinion=NONE)
        around.other("south")
        await until(lambda: around.cluster.verdict.cut_off)
        await asyncio.sleep(0.05)
        assert not around.cluster.withdrawn

    around.run(scene)


def test_those_that_are_dead_or_cut_off_have_no_vote(around):
    blind = Opinion(frozenset("ab"), {"c": "no answer"})

    async def scene():
        around.other("south", blind, alive=False)
        around.other("west", blind, withdrawn="cut off")
        await asyncio.sleep(0.05)
        assert not around.cluster.verdict.outvoted
        around.other("south", blind)
        around.other("west", blind)
        await until(lambda: around.cluster.verdict.heeded == {"c"})

        around.mirror.away = "nobody answers"
        around.mirror.tell(frozenset())
        # Nor have those that are not heard of.
        await until(lambda: not around.cluster.verdict.outvoted)
        around.condition = replace(around.condition, opinion=NONE)
        await until(lambda: around.cluster.withdrawn)

    assert "backend outvoted" in around.run(scene)


def test_what_others_change_is_taken_over_and_failures_stop_nothing(around):
    async def scene():
        await asyncio.to_thread(around.mirror.tell, frozenset({"orders", "keyring", "gateways/south"}))
        await until(lambda: {"orders", "keyring"} <= set(around.done))
        around.done.clear()
        await asyncio.to_thread(around.mirror.tell, frozenset({"keyring"}))
        await until(lambda: "keyring" in around.done)

    assert "not taken over from the cluster" in around.run(scene)


def test_the_store_is_away_and_back(around):
    async def scene():
        around.mirror.away = "nobody answers"
        around.mirror.tell(frozenset())
        await until(lambda: around.publisher.neighbours.current is False)
        assert around.cluster.holds_back("1")
        assert not around.cluster.holds_back(None)
        around.now += NEWCOMERS + 1
        assert around.cluster.holds_back(None)
        around.mirror.away = None
        around.mirror.tell(frozenset())
        await until(lambda: "back" in around.done)
        assert around.publisher.neighbours.current
        assert not around.cluster.holds_back("1")

    events = around.run(scene)
    assert events == ["the cluster's store is away", "the cluster's store is back"]


def test_only_the_dead_are_forgotten(around):
    around.other("south")
    around.other("west", alive=False)

    async def scene():
        with pytest.raises(RefusedError, match="gateway south lives"):
            await around.cluster.forget("south")
        with pytest.raises(UnknownError, match="there is no gateway 'east'; there are north, south, west"):
            await around.cluster.forget("east")
        await around.cluster.forget("west")
        assert around.cluster._membership.forgotten == ["gateways/west", "opinions/west"]

    around.run(scene)


def test_a_report_that_is_nonsense_is_nobodys(around):
    around.mirror.others["gateways/south"] = b"nonsense"
    around.other("west")
    around.mirror.others["opinions/west"] = b"nonsense"

    async def scene():
        await asyncio.sleep(0.05)
        assert [each.report.name for each in around.cluster.peers()] == ["west"]

    assert "a gateway's opinion is not understood" in around.run(scene)


def test_who_is_up_for_panics_sake_does_not_answer():
    def status(name, **health):
        condition = SimpleNamespace(health=Health(**{"probed": True, "failure": None, **health}))
        return SimpleNamespace(backend=SimpleNamespace(name=name), condition=condition)

    silent = Failure(Cause.NO_ANSWER, "")
    told = opinion(
        [
            status("a", state=State.UP),
            status("b", state=State.UP, against=3, failure=silent),
            status("c", state=State.DOWN, failure=silent),
            status("d", probed=False),
            # One address is enough.
            status("e", state=State.DOWN, failure=silent),
            status("e", state=State.UP, against=2, failure=silent),
        ],
        3,
    )
    assert told == Opinion(frozenset("ae"), {"b": "no answer", "c": "no answer"})


def test_a_heartbeat_is_much_shorter_than_a_lease():
    assert HEARTBEAT * 4 <= 10
