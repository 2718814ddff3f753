"""The resolver: asks when it is time, remembers over a restart, says each trouble once."""

import asyncio
import time
from dataclasses import replace
from ipaddress import ip_address

import pytest
from structlog.testing import capture_logs

from ntspool.errors import StateError
from ntspool.net import resolver as resolver_module
from ntspool.net.resolver import ENTRY, Resolver, recall
from ntspool.net.store import FileStore
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.discovery import Declared, Discovered
from ntspool.pool.model import Backend
from ntspool.pool.resolving import SHORTEST_TTL, Answer, Failure, Question, RecordType, Target
from ntspool.wire.aead import Aead
from tests.waiting import until

A, AAAA, SRV = RecordType
V4 = ip_address("192.0.2.1")
BACKEND = Backend("ntp-1", (), 123, 10, CookieFormat.CHRONY, (Aead.AES_SIV_CMAC_256,), "ntp-1")
BY_NAME = Declared(BACKEND, ("a.example",))
BY_SRV = Discovered("_ntske._tcp.example", replace(BACKEND, name="", key_group=""))
TARGET = Target(0, 0, 4460, "a.example")


class Dns:
    """Answers `says` by name, Failure for what is not there; its clock stands still but for `now`."""

    def __init__(self, **says):
        self.says = {f"{name}.example": records for name, records in says.items()}
        self.now = 1000.0
        self.asked = []
        self.clock = lambda: self.now

    async def look_up(self, question):
        self.asked.append(question.name)
        await asyncio.sleep(0)
        records = self.says.get(question.name)
        if records is None:
            return dict.fromkeys(question.types, Failure("SERVFAIL"))
        return {kind: Answer(tuple(each for each in records if _kind(each) is kind), 60.0) for kind in question.types}


def _kind(record):
    return SRV if isinstance(record, Target) else A if record.version == 4 else AAAA


def _running(directory, dns, scene, *entries):
    """Run `scene(resolver, changes)` with a resolver that has settled."""

    async def run():
        changes = []
        resolver = Resolver(entries, dns.look_up, FileStore(directory), lambda: changes.append(resolver), dns.clock)
        await resolver.start()
        try:
            await resolver.settle(5)
            return await scene(resolver, changes)
        finally:
            await resolver.stop()

    with capture_logs() as logs:
        result = asyncio.run(run())
    return result, logs


async def _backends(resolver, _):
    return resolver.backends()


def test_all_is_known_once_it_has_settled(tmp_path):
    dns = Dns(a=[V4])
    dns.says["_ntske._tcp.example"] = [TARGET]
    (found, *_), logs = _running(tmp_path, dns, _backends, BY_SRV)
    assert found == replace(BACKEND, name="a.example", key_group="a.example", addresses=(V4,))
    assert dns.asked == ["_ntske._tcp.example", "a.example"]
    assert [entry["event"] for entry in logs] == ["DNS: changed", "DNS: changed"]
    assert logs[0]["after"] == ["0 0 4460 a.example."]


def test_it_asks_again_when_the_ttl_is_over_and_tells_of_changes_only(tmp_path):
    dns = Dns(a=[V4])

    async def scene(resolver, changes):
        dns.now += 59
        resolver.entries = resolver.entries
        await asyncio.sleep(0.01)
        assert len(dns.asked) == 1
        dns.now += 1
        resolver.entries = resolver.entries
        await until(lambda: len(dns.asked) == 2)
        dns.says["a.example"] = [ip_address("192.0.2.2")]
        dns.now += 60
        resolver.entries = resolver.entries
        await until(lambda: len(changes) == 2)
        return resolver.backends()

    (found, *_), _ = _running(tmp_path, dns, scene, BY_NAME)
    assert found.addresses == (ip_address("192.0.2.2"),)


def test_it_wakes_by_itself_when_the_ttl_is_over(tmp_path, monkeypatch):
    dns = Dns(a=[V4])

    async def scene(resolver, _):
        asked = len(dns.asked)
        await until(lambda: len(dns.asked) > asked + 1)

    monkeypatch.setattr(resolver_module.resolving, "SHORTEST_TTL", 0.01)
    monkeypatch.setattr(resolver_module.resolving, "LONGEST_TTL", 0.01)
    dns.clock = time.monotonic
    _running(tmp_path, dns, scene, BY_NAME)


def test_a_trouble_and_its_end_are_told_once_each(tmp_path):
    dns = Dns()

    async def scene(resolver, _):
        for asked in range(2, 5):
            dns.now += 3600
            resolver.entries = resolver.entries
            await until(lambda asked=asked: len(dns.asked) == asked)
        dns.says["a.example"] = [V4]
        dns.now += 3600
        resolver.entries = resolver.entries
        await until(lambda: resolver.backends()[0].addresses)

    _, logs = _running(tmp_path, dns, scene, BY_NAME)
    assert [(entry["log_level"], entry["event"]) for entry in logs] == [
        ("warning", "DNS: trouble"),
        ("warning", "DNS: not resolved yet"),
        ("info", "DNS: trouble is over"),
        ("info", "DNS: changed"),
    ]
    assert (logs[0]["name"], logs[0]["reason"]) == ("a.example", "SERVFAIL")


def test_a_gateway_that_starts_while_the_dns_is_down_has_its_backends(tmp_path):
    dns = Dns(a=[V4])
    dns.says["_ntske._tcp.example"] = [TARGET]
    up, _ = _running(tmp_path, dns, _backends, BY_SRV)
    down, _ = _running(tmp_path, Dns(), _backends, BY_SRV)
    assert down == up
    assert down[0].addresses == (V4,)


def test_a_dead_dns_holds_nobody_up(tmp_path):
    async def never(question):
        await asyncio.Event().wait()

    async def run():
        resolver = Resolver([BY_NAME], never, FileStore(tmp_path), lambda: None)
        await resolver.start()
        try:
            await resolver.settle(0.05)
            return resolver.backends()
        finally:
            await resolver.stop()

    with capture_logs() as logs:
        assert asyncio.run(run()) == (BACKEND,)
    assert [(entry["event"], entry["names"]) for entry in logs] == [("DNS: not resolved yet", ["a.example"])]


def test_what_is_kept_that_is_damaged_is_told_and_replaced(tmp_path):
    FileStore(tmp_path).put_if(ENTRY, b"nonsense", None)
    with pytest.raises(StateError, match="the entry resolved of the state directory is not written by ntspool"):
        recall(FileStore(tmp_path))
    (found, *_), logs = _running(tmp_path, Dns(a=[V4]), _backends, BY_NAME)
    assert found.addresses == (V4,)
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert recall(FileStore(tmp_path))[Question.host("a.example")].records[A] == (V4,)


def test_a_state_directory_that_refuses_stops_nothing(tmp_path):
    (tmp_path / "file").touch()
    (found, *_), logs = _running(tmp_path / "file", Dns(a=[V4]), _backends, BY_NAME)
    assert found.addresses == (V4,)
    assert "DNS: answers not kept for the next start" in [entry["event"] for entry in logs]


def test_new_entries_are_resolved_and_old_ones_forgotten(tmp_path):
    dns = Dns(a=[V4], b=[ip_address("2001:db8::1")])

    async def scene(resolver, _):
        resolver.entries = [Declared(BACKEND, ("b.example",))]
        await resolver.settle(5)
        return resolver.backends()

    (found, *_), _ = _running(tmp_path, dns, scene, BY_NAME)
    assert found.addresses == (ip_address("2001:db8::1"),)
    assert set(recall(FileStore(tmp_path))) == {Question.host("b.example")}


def test_what_is_left_out_is_told_once(tmp_path):
    dns = Dns(a=[V4])
    dns.says["_ntske._tcp.example"] = [TARGET]
    declared = Declared(replace(BACKEND, name="a.example"), ("a.example",))

    async def scene(resolver, _):
        resolver.backends()
        return resolver.backends()

    found, logs = _running(tmp_path, dns, scene, declared, BY_SRV)
    assert found == (replace(declared.backend, addresses=(V4,)),)
    told = [entry for entry in logs if entry["event"] == "DNS: discovered backend left out"]
    assert [(entry["backend"], entry["reason"]) for entry in told] == [("a.example", "is the name of another backend")]


def test_many_names_are_asked_a_few_at_a_time(tmp_path):
    dns, under_way, most = Dns(), 0, 0

    async def look_up(question):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        return {A: Answer((V4,), 60.0), AAAA: Answer((), SHORTEST_TTL)}

    dns.look_up = look_up
    entries = [Declared(replace(BACKEND, name=f"ntp-{number}"), (f"{number}.example.org",)) for number in range(1000)]
    found, _ = _running(tmp_path, dns, _backends, *entries)
    assert all(each.addresses == (V4,) for each in found)
    assert most == resolver_module.PARALLEL


def test_a_mistake_of_our_own_is_told_and_not_repeated_without_a_pause(tmp_path):
    dns, asked = Dns(), []

    async def look_up(question):
        asked.append(question.name)
        raise RuntimeError

    dns.look_up = look_up

    async def scene(*_):
        await asyncio.sleep(0.01)

    _, logs = _running(tmp_path, dns, scene, BY_NAME)
    assert asked == ["a.example"]
    assert [entry["event"] for entry in logs] == ["DNS: look-up broke", "DNS: trouble", "DNS: not resolved yet"]
