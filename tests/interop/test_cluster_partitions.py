"""Three gateways in networks of their own, by clocks that differ: cables fail, processes die, clients come all along.

A client goes to another gateway when one does not serve it, as those of a pool name with several addresses do.
"""

import random
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.interop.cables import star
from tests.interop.clocks import wrong_clock
from tests.interop.cluster import sites
from tests.interop.kills.units import Unit
from tests.interop.load import NO_ANSWER
from tests.interop.pool import Member

CLIENTS, STORE = "10.9.0.8", "10.9.0.9"
MEMBERS = [Member(f"ntp-{number}", (f"10.9.0.{10 + number}",), port=123) for number in range(1, 6)]
BACKENDS = tuple(each.addresses[0] for each in MEMBERS)
CLOCKS = {"north": 4.0, "south": -3.0, "west": 0.0}
"""Seconds by which each gateway's clock is wrong."""

DEAD = 5.0
"""Seconds in which a backend that was killed may leave requests without an answer."""


class Lab:
    """The gateways, their cables, the backends as services that are started again, and the load."""

    def __init__(self, made, cables, backends, load):
        self.made = made
        self.cables = cables
        self.backends = backends
        self.load = load

    @contextmanager
    def served(self, *lost):
        """Have no client fail meanwhile, but at those gateways that are lost, from which it goes on to another."""
        before = self.load.settle()
        yield
        after = self.load.settle()
        assert after.answered.total() > before.answered.total()
        assert after.failures[len(before.failures) :] == []
        assert after.unserved[len(before.unserved) :] == []
        refusals = after.refusals[len(before.refusals) :]
        addresses = {self.made[name].address for name in lost}
        assert [each for each in refusals if each[2] not in addresses] == []


@pytest.fixture(scope="module")
def lab():
    with star(3, CLIENTS, STORE, *BACKENDS) as laid, ExitStack() as stack:
        cables = dict(zip(CLOCKS, laid, strict=True))
        programs = {name: stack.enter_context(wrong_clock(shift)).program() for name, shift in CLOCKS.items()}
        made = stack.enter_context(sites(MEMBERS, tuple(CLOCKS), cables=cables, etcd_address=STORE, programs=programs))
        backends = {}
        for name, daemon in made.first.pool.daemons.items():
            backends[name] = Unit(daemon.process.args, daemon.directory / "log", process=daemon.process)
            stack.callback(backends[name].stop)
        yield Lab(made, cables, backends, stack.enter_context(made.load(30)))


def known(made, at, name):
    """Return what one gateway knows of another."""
    return next(each for each in made[at].cluster()["gateways"] if each["name"] == name)


def states(site):
    """Return the state of every backend, with the cause of one that is not UP."""
    return {f"{each['state']} {each['cause']}".strip() for each in site.view()["backends"]}


@contextmanager
def muted(cable, *addresses):
    cable.mute(*addresses)
    try:
        yield
    finally:
        cable.unmute(*addresses)


def test_cut_off_from_the_store_it_serves_on_and_catches_up(lab):
    made, west = lab.made, lab.made["west"]
    with lab.served():
        with muted(lab.cables["west"], STORE):
            made.wait("the loss to be seen at both ends", lambda: not known(made, "north", "west")["alive"])
            assert west.cluster()["away"]
            before = west.current()
            made["south"].rotate()
            assert west.current() == before
            assert west.view()["ready"]
            assert states(west) == {"UP"}
            assert west.gives_out() in west.pool.members
        made.agree()
    assert west.current() == before + 1


def test_cut_off_from_the_backends_it_withdraws_and_keeps_its_pool(lab):
    made, west = lab.made, lab.made["west"]
    with lab.served():
        with muted(lab.cables["west"], *BACKENDS):
            made.wait("it to withdraw", lambda: known(made, "north", "west")["withdrawn"])
            assert not west.view()["ready"]
            said = "5 of 5 backends that answer the other gateways do not answer this one"
            assert west.cluster()["withdrawn"] == said
            # Who comes all the same is served: the last good set stands.
            assert states(west) == {"UP"}
            assert west.gives_out() in west.pool.members
            assert set(west.cluster()["unreachable"]) == set(west.pool.members)
            assert all(known(made, at, name)["ready"] for at in ("north", "south") for name in ("north", "south"))
            assert states(made["north"]) == {"UP"}
        made.wait("it to be back", lambda: known(made, "north", "west")["ready"])
        made.agree()


def test_cut_off_from_both_it_serves_whom_it_is_reached_by(lab):
    made, south = lab.made, lab.made["south"]
    with lab.served():
        with muted(lab.cables["south"], STORE, *BACKENDS):
            made.wait("the loss to be seen", lambda: not known(made, "west", "south")["alive"])
            made.wait("it to withdraw", lambda: not south.view()["ready"])
            assert south.cluster()["away"]
            assert south.gives_out() in south.pool.members
        made.agree()
        made.wait("it to be back", lambda: known(made, "west", "south")["ready"])
        made["south"].rotate()
        made.agree()


def test_a_backend_that_only_it_does_not_reach_is_its_networks_fault(lab):
    made, west = lab.made, lab.made["west"]
    with lab.served():
        with muted(lab.cables["west"], BACKENDS[0]):
            made.wait("the verdict", lambda: "ntp-1" in west.cluster()["unreachable"])
            assert west.cluster()["unreachable"]["ntp-1"] == "answers 2 of 3 gateways, but here: no answer"
            assert west.view()["ready"]
            assert "ntp-1 is not reached from here" in west.ntspool("status")
            assert made["north"].cluster()["outvoted"] == {}
        made.wait("the dispute to end", lambda: not west.cluster()["unreachable"])


def test_with_its_cable_pulled_it_is_lost_and_comes_back_by_itself(lab):
    made, west = lab.made, lab.made["west"]
    with lab.served("west"):
        lab.cables["west"].pull()
        try:
            made.wait("the loss to be seen", lambda: not known(made, "south", "west")["alive"])
            made.wait("it to withdraw", lambda: not west.view()["ready"])
            made["north"].ntspool("backend", "drain", "ntp-3")
            assert west.gives_out() in west.pool.members
        finally:
            lab.cables["west"].plug()
        made.agree()
        made.wait("it to be back", lambda: known(made, "north", "west")["ready"])
    drained = [each["name"] for each in west.view()["backends"] if each["state"] == "DRAIN"]
    assert drained == ["ntp-3"]
    made["south"].ntspool("backend", "ready", "ntp-3")
    made.agree()


def test_gateways_are_killed_while_keys_rotate(lab):
    made = lab.made
    for leading in (False, True):
        # Whoever rotates or leads has it done, and dies before the others have moved on.
        killed = next(name for name in made.sites if (name == made.leader()) == leading)
        with lab.served(killed):
            made[killed].rotate()
            made[killed].kill("gateway")
            made.agree([name for name in made.sites if name != killed])
            made[killed].start_gateway()
            made.agree()


def test_everything_is_killed_and_started_one_after_another(lab):
    """In no order that anybody planned: it is another one each time."""
    made = lab.made
    order = [*made.sites, *made.etcd.members, *lab.backends, *(f"agent of {name}" for name in lab.backends)]
    random.shuffle(order)
    before, epoch = lab.load.settle(), made["north"].current()
    dead = {name: restart(lab, name) for name in order}
    settle(lab, epoch)
    after = lab.load.settle()
    assert after.unserved[len(before.unserved) :] == [], order
    check_failures(after.failures[len(before.failures) :], dead)


def restart(lab, name):
    """Kill one process and start it again; return when it died."""
    made, died = lab.made, time.time()
    agent = name.removeprefix("agent of ")
    if name in made.sites:
        made[name].kill("gateway")
        made[name].start_gateway()
    elif name in made.etcd.members:
        made.etcd.kill(name)
        made.etcd.start(name)
    elif name in lab.backends:
        lab.backends[name].kill()
    else:
        made.first.kill(agent)
        made.first.start_agent(agent)
    return died


def settle(lab, epoch):
    """Wait until all is as it was, and the keys can rotate."""
    lab.made.agree()
    assert {site.current() for site in lab.made.sites.values()} == {epoch}
    lab.made["south"].rotate()
    lab.made.agree()
    for site in lab.made.sites.values():
        lab.made.wait("all to be UP", lambda site=site: states(site) == {"UP"})


def check_failures(failures, dead):
    """See that no cookie was refused, and that whoever had no answer asked a backend that was dead just then."""
    for began, backend, *_, cause in failures:
        assert cause == NO_ANSWER or "refused" in cause, (backend, cause)
        assert -DEAD < began - dead[backend] < DEAD, (backend, began, dead[backend], cause)


def test_all_lose_power_at_once_and_come_back_in_any_order(lab):
    made = lab.made
    made["south"].ntspool("backend", "weight", "ntp-3", "77")
    made.agree()
    epoch, before, died = made["north"].current(), lab.load.settle(), time.time()
    for site in made.sites.values():
        site.kill("gateway")
    made.etcd.kill()
    for name, unit in lab.backends.items():
        made.first.kill(name)
        unit.kill()
    order = [*made.sites, *made.etcd.members, *lab.backends]
    random.shuffle(order)
    for name in order:
        if name in made.sites:
            made[name].start_gateway()
        elif name in made.etcd.members:
            made.etcd.start(name)
        else:
            made.first.start_agent(name)
    back = time.time()
    settle(lab, epoch)
    for site in made.sites.values():
        assert {each["name"] for each in site.view()["backends"] if each["effective_weight"] == 77} == {"ntp-3"}
    after = lab.load.settle()
    assert [each for each in after.unserved[len(before.unserved) :] if each[0] > back] == [], order
    check_failures(after.failures[len(before.failures) :], dict.fromkeys(lab.backends, died))
