"""Publishing: whatever gateways do at the same time, no name is emptied, nobody is undone, and all ends well."""

from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.pool.publishing import (
    ALONE,
    Gateway,
    Key,
    Kind,
    Neighbours,
    Publication,
    is_shown,
    plan,
    questions,
    remembered,
)
from tests.pool.dnszone import Zone

POOL = "pool.example"
A, AAAA = Key(POOL, Kind.A), Key(POOL, Kind.AAAA)
SRV = Key(f"_ntske._tcp.{POOL}", Kind.SRV)
SHARED = (A, AAAA, SRV)
OPERATORS = "192.0.2.200"


def gateway(number, *, ready=True, v6=True, **more):
    addresses = (f"192.0.2.{number}", *([f"2001:db8::{number:x}"] if v6 else []))
    return Gateway(tuple(map(ip_address, addresses)), f"gw{number}.{POOL}", ready=ready, **more)


ONE, TWO = gateway(1), gateway(2)


def publication(own, **more):
    return Publication((POOL,), own, 60, **{"slots": False, **more})


def settle(server, own, neighbours=ALONE, earlier=frozenset(), **more):
    """Have one gateway do all that it wants to, and return its last plan and what it remembers."""
    options = {key: more.pop(key) for key in ("adds", "renew") if key in more}
    wanted = publication(own, **more)
    for _ in range(5):
        found = server.read(questions(wanted))
        todo = plan(wanted, neighbours, earlier, found, **options)
        if not todo.changes:
            return todo, remembered(wanted, earlier, found)
        options["renew"] = False
        for change in todo.changes:
            server.change(change, wanted.ttl)
    raise AssertionError(todo)


def of(*gateways):
    return {key: {value for each in gateways for value in each.values(key.kind)} for key in SHARED}


def shared(server):
    return {key: server.zone.get(key, set()) for key in SHARED}


def test_a_gateway_alone_publishes_itself_and_stays_when_it_is_not_ready():
    server = Zone()
    settle(server, ONE)
    assert shared(server) == of(ONE)
    assert server.zone[SRV] == {f"0 10 4460 gw1.{POOL}."}
    assert server.zone[Key(ONE.host, Kind.A)] == {"192.0.2.1"}
    todo, _ = settle(server, replace(ONE, ready=False))
    assert (shared(server), set(todo.stuck)) == (of(ONE), set(SHARED))


def test_without_a_host_there_are_no_srv_records():
    server = Zone()
    settle(server, replace(ONE, host=""))
    assert set(server.zone) == {A, AAAA}


def test_of_two_one_goes_and_the_other_stays():
    server = Zone()
    settle(server, ONE)
    settle(server, TWO)
    assert shared(server) == of(ONE, TWO)
    settle(server, replace(ONE, ready=False))
    assert shared(server) == of(TWO)
    settle(server, replace(TWO, ready=False))
    assert shared(server) == of(TWO)
    settle(server, ONE)
    assert shared(server) == of(ONE, TWO)
    assert server.zone[Key(ONE.host, Kind.A)] == {"192.0.2.1"}, "a name of its own is no promise that it is ready"


def test_of_two_that_withdraw_at_the_same_time_one_is_refused():
    server = Zone()
    settle(server, ONE)
    settle(server, TWO)
    plans = []
    for each in (ONE, TWO):
        wanted = publication(replace(each, ready=False))
        plans.append(plan(wanted, ALONE, frozenset(), server.read(questions(wanted))))
    assert all(server.change(each) for each in plans[0].changes)
    assert not any(server.change(each) for each in plans[1].changes)
    assert shared(server) == of(TWO)


def test_the_dead_are_removed_by_any_neighbour_whatever_weight_they_had():
    server = Zone()
    settle(server, replace(ONE, weight=99))
    settle(server, TWO, Neighbours(dead=(ONE,)))
    assert shared(server) == of(TWO)


def test_the_dead_stay_when_nobody_else_is_there():
    server = Zone()
    settle(server, ONE)
    settle(server, replace(TWO, ready=False), Neighbours(dead=(ONE,)))
    assert shared(server) == of(ONE)


def test_who_is_cut_off_from_the_cluster_touches_nobody_and_does_not_insist():
    server = Zone()
    settle(server, ONE)
    settle(server, TWO, Neighbours(dead=(ONE,), current=False))
    assert shared(server) == of(ONE, TWO)
    settle(server, TWO, Neighbours(dead=(ONE,)))
    settle(server, ONE, Neighbours(current=False), adds=False)
    assert shared(server) == of(TWO)


def test_an_address_that_a_living_gateway_shares_stays():
    server = Zone()
    anycast = replace(TWO, addresses=ONE.addresses)
    settle(server, ONE)
    settle(server, anycast, Neighbours(dead=(ONE,)))
    assert (server.zone[A], server.zone[SRV]) == ({"192.0.2.1"}, {f"0 10 4460 gw2.{POOL}."})
    settle(server, replace(ONE, ready=False), Neighbours(living=(anycast,)))
    assert server.zone[A] == {"192.0.2.1"}


def test_what_the_operator_put_there_stays_and_counts():
    server = Zone({A: {OPERATORS}})
    settle(server, ONE)
    assert server.zone[A] == {OPERATORS, "192.0.2.1"}
    settle(server, replace(ONE, ready=False), Neighbours(dead=(TWO,)))
    assert server.zone[A] == {OPERATORS}


def test_addresses_of_before_go_once_the_new_ones_are_there():
    server = Zone()
    _, earlier = settle(server, ONE)
    moved = replace(ONE, addresses=(ip_address("192.0.2.9"), ip_address("2001:db8::9")))
    _, earlier = settle(server, moved, earlier=earlier)
    assert shared(server) == of(moved)
    assert earlier == {(key, value) for key, values in of(moved).items() for value in values}
    assert server.zone[Key(ONE.host, Kind.A)] == {"192.0.2.9"}


def test_a_new_weight_replaces_the_old_one():
    server = Zone()
    settle(server, ONE)
    settle(server, replace(ONE, weight=20, priority=5, port=14460))
    assert server.zone[SRV] == {f"5 20 14460 gw1.{POOL}."}


def test_the_ttl_is_put_right_once_and_not_fought_over():
    server = Zone()
    settle(server, ONE)
    assert settle(server, ONE, renew=True)[0].changes == ()
    for key in SHARED:
        server.ttls[key] = 300
    settle(server, ONE)
    assert server.ttls[A] == 300
    settle(server, ONE, renew=True)
    assert {server.ttls[key] for key in SHARED} == {60}


def test_slots_become_aliases_unless_they_are_something_else():
    server = Zone({Key(f"3.{POOL}", Kind.A): {OPERATORS}})
    settle(server, ONE, slots=True)
    settle(server, TWO, slots=True)
    aliases = {key.name: values for key, values in server.zone.items() if key.kind is Kind.CNAME and values}
    assert aliases == {f"{slot}.{POOL}": {f"{POOL}."} for slot in range(10) if slot != 3}


def test_it_tells_whether_a_name_leads_to_the_gateway():
    server = Zone()
    settle(server, ONE)
    for own, shown in ((ONE, True), (TWO, False)):
        assert is_shown(publication(own), server.read(questions(publication(own)))) is shown


@dataclass
class Actor:
    """A gateway that looks and acts in single steps, between which anything may happen."""

    number: int
    v6: bool
    ready: bool
    alive: bool = True
    earlier: frozenset = frozenset()
    queue: list = field(default_factory=list)

    @property
    def own(self):
        return gateway(self.number, v6=self.v6, ready=self.ready)

    def step(self, server, neighbours):
        """Do one planned change, or plan anew."""
        if self.queue:
            server.change(self.queue.pop(0))
            return
        wanted = publication(self.own)
        found = server.read(questions(wanted))
        todo = plan(wanted, neighbours, self.earlier, found)
        self.queue = list(todo.changes)
        added = {(each.key, value) for each in todo.changes if each.key in SHARED for value in each.adds}
        self.earlier = remembered(wanted, self.earlier, found) | added


@dataclass
class World:
    """Gateways and their DNS server; if they are `clustered`, they know of each other."""

    server: Zone
    actors: list[Actor]
    clustered: bool
    filled: set = field(default_factory=set)

    def neighbours(self, of_whom):
        others = [each for each in self.actors if each is not of_whom] if self.clustered else []
        living = tuple(each.own for each in others if each.alive)
        return Neighbours(living, tuple(each.own for each in others if not each.alive))

    def do(self, verb, actor):
        """Let something happen, after which no name may be empty that was not so before."""
        if verb == "kill":
            actor.alive, actor.queue = False, []
        elif verb == "flip":
            actor.ready = not actor.ready
        elif actor.alive:
            actor.step(self.server, self.neighbours(actor))
        now = {key for key in SHARED if self.server.zone.get(key)}
        assert self.filled <= now, f"{self.filled - now} was emptied"
        self.filled = now

    def check_quiet(self):
        """Nothing may be left to do."""
        for actor in self.actors:
            actor.queue = []
            self.do("step", actor)
            assert actor.queue == [], "something is done and undone"


STEPS = st.lists(st.tuples(st.sampled_from(["step", "step", "step", "flip", "kill"]), st.integers(0, 2)), max_size=80)


@pytest.mark.parametrize("clustered", [True, False])
@settings(max_examples=200, deadline=None)
@given(families=st.tuples(*[st.booleans()] * 3), operator=st.booleans(), steps=STEPS)
def test_in_any_order_no_name_is_emptied_and_all_end_where_they_should(clustered, families, operator, steps):
    server = Zone({A: {OPERATORS}} if operator else {})
    world = World(server, [Actor(number, v6, ready=True) for number, v6 in enumerate(families, 1)], clustered)
    for verb, index in steps:
        world.do(verb, world.actors[index])
    for _ in range(30):
        for actor in world.actors:
            world.do("step", actor)
    world.check_quiet()
    good = of(*(each.own for each in world.actors if each.alive and each.ready))
    good[A] |= {OPERATORS} & server.zone.get(A, set())
    for key in SHARED:
        # Without a cluster nobody knows who is dead, and with nobody alive nobody acts: so the dead may stand there.
        assert good[key] <= shared(server)[key]
        acting = clustered and any(each.alive for each in world.actors)
        assert good[key] == shared(server)[key] or not good[key] or not acting
