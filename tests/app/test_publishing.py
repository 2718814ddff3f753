"""The publisher: when it looks, what it remembers and tells, and that no mishap stops it."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from ntspool.app import publishing
from ntspool.app.publishing import ENTRY, Publisher, PublishSettings
from ntspool.errors import RemoteError
from ntspool.net.store import FileStore
from ntspool.pool.publishing import Gateway, Key, Kind, Neighbours, Publication
from tests.interop.nameservers import write_key
from tests.pool.dnszone import Zone
from tests.waiting import until

A = Key("pool.example", Kind.A)
ONE, TWO = (Gateway((ip_address(f"192.0.2.{number}"),)) for number in (1, 2))


class Server:
    """A DNS server that can be `down`, `deaf` to updates, or a mistake of ours."""

    def __init__(self):
        self.zone = Zone()
        self.down = ""
        self.deaf = self.broken = False
        self.looks = 0
        self.zones = []

    @asynccontextmanager
    async def connected(self, where, key, deadline):
        self.looks += 1
        if self.down:
            raise RemoteError(self.down)
        if self.broken:
            raise ZeroDivisionError
        yield self

    async def zone_of(self, name):
        return "example"

    async def read(self, keys):
        return self.zone.read(keys)

    async def change(self, zone, change, ttl):
        self.zones.append(zone)
        return True if self.deaf else self.zone.change(change, ttl)


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(publishing, "connected", server.connected)
    monkeypatch.setattr(publishing, "QUIET", 0.0)
    return server


@pytest.fixture
def settings(tmp_path):
    write_key(tmp_path / "tsig.key")
    return PublishSettings(
        ("192.0.2.53", 53), tmp_path / "tsig.key", "", Publication(("pool.example",), ONE, 60, slots=False)
    )


class Scene:
    """A publisher that runs, and whether its gateway is `ready`."""

    def __init__(self, settings, directory):
        self.ready = True
        self.now = 1000.0
        self.publisher = Publisher(settings, FileStore(directory / "state"), lambda: self.ready, lambda: self.now)

    def turn(self, ready):
        self.ready = ready
        self.publisher.notice()


def running(settings, directory, act):
    """Run `act(scene)` beside the publisher, withdraw in the end, and return the log."""

    async def run():
        scene = Scene(settings, directory)
        task = asyncio.create_task(scene.publisher.run())
        try:
            await act(scene)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await scene.publisher.withdraw()

    with capture_logs() as logs:
        asyncio.run(run())
    return [each["event"] for each in logs]


def test_it_follows_readiness_at_once_and_withdraws_in_the_end(server, settings, tmp_path):
    server.zone.zone[A] = {"192.0.2.2"}

    async def act(scene):
        for ready in (True, False, True):
            scene.turn(ready)
            await until(lambda ready=ready: ("192.0.2.1" in server.zone.zone[A]) is ready)

    assert running(settings, tmp_path, act) == ["DNS records changed"] * 4
    assert server.zone.zone[A] == {"192.0.2.2"}
    assert set(server.zones) == {"example"}


def test_the_last_stays_which_is_told_once(server, settings, tmp_path):
    async def act(scene):
        await until(lambda: server.zone.zone.get(A))
        for _ in range(3):
            looks = server.looks
            scene.turn(False)
            scene.publisher.neighbours = Neighbours(living=(replace(TWO, weight=looks, ready=False),))
            await until(lambda looks=looks: server.looks > looks)
            await until(lambda: scene.publisher.view().stuck == ("pool.example",))

    assert running(settings, tmp_path, act) == ["DNS records changed", "DNS publishing: last records stay"]
    assert server.zone.zone[A] == {"192.0.2.1"}


def test_trouble_and_its_end_are_told_once_each_and_it_asks_less_and_less(server, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "SHORTEST_RETRY", 0.001)
    server.down = "Connection refused"

    async def act(scene):
        await until(lambda: server.looks > 4)
        view = scene.publisher.view()
        assert (view.trouble, view.since, view.checked, view.shown) == ("Connection refused", 1000.0, None, False)
        assert view.updates["failed"] >= 4
        scene.now += 60
        server.down = "no answer"
        looks = server.looks
        await until(lambda: server.looks > looks + 1)
        assert (scene.publisher.view().trouble, scene.publisher.view().since) == ("no answer", 1000.0)
        server.down = ""
        await until(lambda: scene.publisher.view().shown)
        assert (scene.publisher.view().trouble, scene.publisher.view().since) == ("", None)

    told = [
        "DNS publishing: trouble",
        "DNS publishing: trouble",
        "DNS records changed",
        "DNS publishing: trouble is over",
    ]
    assert running(settings, tmp_path, act)[:4] == told


def test_pauses_double_up_to_the_longest(server, settings, tmp_path):
    scene = Scene(settings, tmp_path)
    server.down = "no answer"

    async def fail():
        pauses = []
        for _ in range(9):
            await scene.publisher._look(settings, True, 1.0)
            pauses.append(scene.publisher._pause())
        return pauses

    with capture_logs():
        assert asyncio.run(fail()) == [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]


def test_a_mistake_of_our_own_stops_nothing(server, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "SHORTEST_RETRY", 0.001)
    server.broken = True

    async def act(scene):
        await until(lambda: server.looks > 2)
        server.broken = False
        await until(lambda: server.zone.zone.get(A))

    assert "DNS publishing broke" in running(settings, tmp_path, act)


def test_a_server_that_says_yes_and_does_nothing_is_found_out(server, settings, tmp_path):
    server.deaf = True

    async def act(scene):
        await until(lambda: scene.publisher.view().trouble)
        trouble = scene.publisher.view().trouble
        assert trouble == "it took the updates, yet did not do them all: add 192.0.2.1 at pool.example A"

    running(settings, tmp_path, act)


def test_what_it_added_it_removes_after_a_restart_with_other_addresses(server, settings, tmp_path):
    async def act(scene):
        await until(lambda: scene.publisher.view().shown)

    running(settings, tmp_path, act)
    moved = replace(settings, publication=replace(settings.publication, own=TWO))
    running(moved, tmp_path, act)
    assert server.zone.zone[A] == {"192.0.2.2"}


def test_a_memory_that_is_damaged_is_told_and_nothing_is_done(server, settings, tmp_path):
    FileStore(tmp_path / "state").put_if(ENTRY, b"nonsense", None)

    async def act(scene):
        await until(lambda: scene.publisher.view().trouble)
        assert "the entry published of the state directory is damaged; delete it" in scene.publisher.view().trouble

    running(settings, tmp_path, act)
    assert server.zone.zone == {}


def test_new_settings_are_taken_over_at_once(server, settings, tmp_path):
    async def act(scene):
        assert scene.publisher.own is None
        assert scene.publisher.view() is None
        scene.publisher.settings = settings
        await until(lambda: server.zone.zone.get(A))
        assert scene.publisher.own == ONE
        scene.publisher.settings = replace(settings, publication=replace(settings.publication, ttl=300))
        await until(lambda: server.zone.ttls[A] == 300)

    running(None, tmp_path, act)


def test_who_is_withdrawn_is_not_there_though_it_is_ready(server, settings, tmp_path):
    server.zone.zone[A] = {"192.0.2.2"}

    async def act(scene):
        await until(lambda: scene.publisher.view().shown)
        scene.publisher.settings = replace(settings, withdrawn=True)
        await until(lambda: server.zone.zone[A] == {"192.0.2.2"})
        assert not scene.publisher.own.ready
        scene.publisher.settings = settings
        await until(lambda: "192.0.2.1" in server.zone.zone[A])

    running(settings, tmp_path, act)


def test_the_dead_go_when_the_cluster_says_so_and_who_is_cut_off_does_not_come_back_alone(server, settings, tmp_path):
    server.zone.zone[A] = {"192.0.2.2"}

    async def act(scene):
        await until(lambda: "192.0.2.1" in server.zone.zone[A])
        scene.publisher.neighbours = Neighbours(dead=(TWO,))
        await until(lambda: server.zone.zone[A] == {"192.0.2.1"})
        scene.publisher.neighbours = Neighbours(current=False)
        looks = server.looks
        await until(lambda: server.looks > looks)
        await asyncio.sleep(0)
        server.zone.zone[A] = {"192.0.2.2"}
        for ready, there in ((True, False), (False, False), (True, True)):
            looks = server.looks
            scene.turn(ready)
            scene.publisher.neighbours = Neighbours(living=(replace(TWO, weight=looks),), current=False)
            await until(lambda looks=looks: server.looks > looks)
            await asyncio.sleep(0)
            assert ("192.0.2.1" in server.zone.zone[A]) is there
        scene.turn(False)

    running(settings, tmp_path, act)
