"""Which servers are handed out: how they are counted, and what is thought of their spread."""

from dataclasses import replace

from ntspool.pool.exam.handouts import Asked, count, judge_handouts
from ntspool.pool.exam.names import judge_slot_names, judge_targets
from ntspool.wire import records
from tests.pool.exam.seen import CLOSED, COOKIES, UNREACHED, answered, ids


def given(server, slot=None, address="192.0.2.1", port=None, **changes):
    named = [records.ntpv4_server(server, critical=True)] if server else []
    named += [records.ntpv4_port(port, critical=True)] if port else []
    name = "pool.test" if slot is None else f"{slot}.pool.test"
    return Asked(slot, answered(*named, address=address, name=name, **changes))


def test_servers_are_counted_by_name_and_family():
    asked = [
        given("192.0.2.8", slot=1),
        given("192.0.2.9"),
        given("192.0.2.9"),
        given(None, address="2001:db8::1"),
        Asked(None, CLOSED),
    ]
    rows = [(each.name, each.slot, each.family, each.server, each.port, each.sessions) for each in count(asked)]
    assert rows == [
        ("pool.test", None, 4, "192.0.2.9", 123, 2),
        ("pool.test", None, 6, None, 123, 1),
        ("1.pool.test", 1, 4, "192.0.2.8", 123, 1),
    ]


def test_a_pool_that_spreads_and_keeps_its_slots_apart():
    asked = [given("192.0.2.8"), given("192.0.2.9"), given("192.0.2.8", slot=0), given("192.0.2.9", slot=1)]
    assert set(ids(judge_handouts(asked)).values()) == {"pass"}
    assert "servers.disjoint" in ids(judge_handouts(asked))


def test_what_is_worth_a_note():
    crossed = ids(judge_handouts([given("2001:db8::9"), given("2001:db8::9")]))
    assert crossed["servers.spread-ipv4"] == crossed["servers.family"] == "note"
    shared = [given("192.0.2.8", slot=0), given("192.0.2.8", slot=2)]
    findings = {each.id: each for each in judge_handouts(shared)}
    assert "192.0.2.8 in slots 0, 2" in findings["servers.disjoint"].text
    named = ids(judge_handouts([given("a.test", port=4123), given("b.test")]))
    assert named["servers.family"] == named["servers.spread-ipv4"] == "pass"
    lengths = [given("192.0.2.8"), given("192.0.2.9", cookies=[each + bytes(4) for each in COOKIES])]
    assert ids(judge_handouts(lengths))["servers.cookie-lengths"] == "note"


def test_sessions_that_bring_nothing():
    assert ids(judge_handouts([given("192.0.2.8"), Asked(None, CLOSED)]))["servers.sessions"] == "fail"
    assert ids(judge_handouts([given("192.0.2.8"), Asked(None, UNREACHED)]))["servers.sessions"] == "skip"
    assert ids(judge_handouts([Asked(3, replace(CLOSED))])) == {"servers.slots": "fail"}


def test_names_without_an_address():
    assert not [*judge_slot_names([]), *judge_targets([])]
    assert ids(judge_slot_names(["0.pool.test"])) == {"dns.slots": "note"}
    assert ids(judge_targets(["nowhere.test"])) == {"servers.resolve": "fail"}
