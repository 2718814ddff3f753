"""A gateway behind a cable that is pulled: cut off from the store, from the backends, from both."""

import pytest

from tests.interop.cluster import sites
from tests.interop.lab import cable
from tests.interop.pool import Member

STORE = "10.9.0.2"
MEMBERS = [Member(f"ntp-{number}", (f"10.9.0.{10 + number}",), port=123) for number in range(1, 6)]
BACKENDS = tuple(each.addresses[0] for each in MEMBERS)


@pytest.fixture(scope="module")
def lab():
    """Yield the gateways, west at the near end of the cable and all else at its far end, and the cable."""
    with (
        cable(STORE, *BACKENDS) as laid,
        sites(MEMBERS, networks={"west": laid.here}, home=laid.there, etcd_address=STORE) as made,
    ):
        yield made, laid


def known(made, at, name):
    """Return what one gateway knows of another."""
    return next(each for each in made[at].cluster()["gateways"] if each["name"] == name)


def states(site):
    """Return the state of every backend, with the cause of one that is not UP."""
    return {f"{each['state']} {each['cause']}".strip() for each in site.view()["backends"]}


def test_cut_off_from_the_store_it_serves_on_and_catches_up(lab):
    made, laid = lab
    laid.mute(STORE)
    try:
        made.wait("the loss to be seen at both ends", lambda: not known(made, "north", "west")["alive"])
        assert made["west"].cluster()["away"]
        before = made["west"].current()
        made["south"].rotate()
        assert made["west"].current() == before
        assert made["west"].view()["ready"]
        assert states(made["west"]) == {"UP"}
        assert made["west"].gives_out() in made["west"].pool.members
    finally:
        laid.unmute(STORE)
    made.agree()
    assert made["west"].current() == before + 1


def test_cut_off_from_the_backends_it_withdraws_and_keeps_its_pool(lab):
    made, laid = lab
    laid.mute(*BACKENDS)
    try:
        made.wait("it to withdraw", lambda: known(made, "north", "west")["withdrawn"])
        west = made["west"]
        assert not west.view()["ready"]
        assert west.cluster()["withdrawn"] == "5 of 5 backends that answer the other gateways do not answer this one"
        # Who comes all the same is served: the last good set stands.
        assert {each["state"] for each in west.view()["backends"]} == {"UP"}
        assert west.gives_out() in west.pool.members
        assert set(west.cluster()["unreachable"]) == set(west.pool.members)
        assert all(known(made, at, name)["ready"] for at in ("north", "south") for name in ("north", "south"))
        assert states(made["north"]) == {"UP"}
    finally:
        laid.unmute(*BACKENDS)
    made.wait("it to be back", lambda: known(made, "north", "west")["ready"])
    made.agree()


def test_a_backend_that_only_it_does_not_reach_is_its_networks_fault(lab):
    made, laid = lab
    laid.mute(BACKENDS[0])
    try:
        made.wait("the verdict", lambda: "ntp-1" in made["west"].cluster()["unreachable"])
        assert made["west"].cluster()["unreachable"]["ntp-1"] == "answers 2 of 3 gateways, but here: no answer"
        assert made["west"].view()["ready"]
        assert "ntp-1 is not reached from here" in made["west"].ntspool("status")
        assert made["north"].cluster()["outvoted"] == {}
    finally:
        laid.unmute(BACKENDS[0])
    made.wait("the dispute to end", lambda: not made["west"].cluster()["unreachable"])


def test_with_its_cable_pulled_it_is_lost_and_comes_back_by_itself(lab):
    made, laid = lab
    laid.pull()
    try:
        made.wait("the loss to be seen", lambda: not known(made, "south", "west")["alive"])
        made.wait("it to withdraw", lambda: not made["west"].view()["ready"])
        made["north"].ntspool("backend", "drain", "ntp-3")
        assert made["west"].gives_out() in made["west"].pool.members
    finally:
        laid.plug()
    made.agree()
    made.wait("it to be back", lambda: known(made, "north", "west")["ready"])
    drained = [each["name"] for each in made["west"].view()["backends"] if each["state"] == "DRAIN"]
    assert drained == ["ntp-3"]
