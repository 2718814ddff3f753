"""Three gateways, one pool: what they share, whoever dies, and with etcd away."""

from contextlib import ExitStack

import pytest

from tests.interop.cluster import SETTLED, sites
from tests.interop.load import load
from tests.interop.pool import Member

NAMES = ("ntp-1", "ntp-2", "ntp-3")
CHRONYDS = [Member(name, (f"127.0.0.{31 + index}",)) for index, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def three():
    with sites(CHRONYDS) as made:
        yield made


def backend(site, name):
    view = site.ntspool("backend", "show", name, "--json")
    return __import__("json").loads(view)


def test_what_is_ordered_at_one_gateway_holds_at_all(three):
    three["north"].ntspool("backend", "drain", "ntp-2")
    for name in ("south", "west"):
        three.wait("the order", lambda name=name: backend(three[name], "ntp-2")["state"] == "DRAIN")
    three["west"].ntspool("backend", "ready", "ntp-2")
    for name in ("north", "south"):
        three.wait("the order", lambda name=name: backend(three[name], "ntp-2")["state"] == "UP")
    three.agree()


def test_rotations_at_any_gateway_cost_no_client_of_another_a_nak(three):
    with ExitStack() as stack:
        loads = [stack.enter_context(load(each.pool, clients=30, life=each.life)) for each in three.sites.values()]
        first = three["north"].current()
        for name in ("north", "south", "west", "north", "south"):
            three[name].rotate()
            three.agree()
        assert three["west"].current() == first + 5
        for each in loads:
            report = each.settle()
            assert report.failures == []
            assert report.refusals == []
            assert sum(report.answered.values()) > 100
