"""Three gateways, one pool: what they share, whoever dies, and with etcd away."""

import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.interop.cluster import sites
from tests.interop.load import load
from tests.interop.pool import Member

NAMES = ("ntp-1", "ntp-2", "ntp-3")
CHRONYDS = [Member(name, (f"127.0.0.{31 + index}",)) for index, name in enumerate(NAMES)]
_REFUSED, _FAILED = 4, 1


@pytest.fixture(scope="module")
def running():
    with sites(CHRONYDS) as made:
        yield made


@pytest.fixture
def three(running):
    """Return the gateways, all of them there again and of one mind."""
    running.etcd.start()
    running.etcd.leader()
    for site in running.sites.values():
        if not site.runs():
            site.start_gateway()
    running.agree()
    return running


@contextmanager
def clients(three, *names):
    """Have clients of these gateways spend cookies all the time, none of which may fail; nor may a key exchange."""
    with ExitStack() as stack:
        loads = [stack.enter_context(load(three[name].pool, clients=10, life=three[name].life)) for name in names]
        yield
        for each in loads:
            three.wait("answers", lambda each=each: each.report().answered.total() > 50)
            report = each.settle()
            assert report.failures == []
            assert report.refusals == []


def backend(site, name):
    return next(each for each in site.view()["backends"] if each["name"] == name)


def known(site):
    """Return whether each gateway that one knows lives, by their names."""
    return {each["name"]: each["alive"] for each in site.cluster()["gateways"]}


def away(site):
    return site.cluster()["away"]


def wait_until_nothing_else_is_in_the_way(three):
    """Wait until all could rotate the keys: what the last rotation was about would be told before the store."""

    def may_rotate(site):
        told = site.status()
        return not told["cluster"]["waits"] and not any(each["waits"] for each in told["backends"])

    for site in three.sites.values():
        three.wait("a rotation to be possible", lambda site=site: may_rotate(site))


def test_what_is_ordered_at_one_gateway_holds_at_all(three):
    three["north"].ntspool("backend", "drain", "ntp-2")
    for name in ("south", "west"):
        three.wait("the order", lambda name=name: backend(three[name], "ntp-2")["state"] == "DRAIN")
    three["west"].ntspool("backend", "ready", "ntp-2")
    for name in ("north", "south"):
        three.wait("the order", lambda name=name: backend(three[name], "ntp-2")["state"] == "UP")
    three.agree()


def test_rotations_at_any_gateway_cost_no_client_of_another_a_nak(three):
    first = three["north"].current()
    with clients(three, "north", "south", "west"):
        for name in ("north", "south", "west", "north", "south"):
            three[name].rotate()
            three.agree()
    assert three["west"].current() == first + 5


def test_a_killed_leader_of_etcd_is_not_noticed(three):
    first = three["north"].current()
    with clients(three, "north", "west"):
        three.etcd.kill(three.etcd.leader())
        three.etcd.leader()
        three.agree()
        for name in ("south", "west"):
            three[name].rotate()
        three.agree()
    assert three["north"].current() == first + 2


def test_without_etcd_all_goes_on_but_changes_and_what_comes_back_agrees(three):
    first = three["north"].current()
    with clients(three, "north", "south"):
        wait_until_nothing_else_is_in_the_way(three)
        three.etcd.kill()
        for site in three.sites.values():
            three.wait("the loss to be seen", lambda site=site: away(site))
            status, said = site.attempt("keys", "rotate")
            assert (status, "while the cluster's store is away" in said) == (_FAILED, True), said
            assert "Rotation pauses, for the cluster's store is away" in site.ntspool("keys", "status")
        status, said = three["north"].attempt("backend", "drain", "ntp-1")
        assert (status, "while the cluster's store is away" in said) == (_FAILED, True)
        assert "the cluster's store is away" in three["south"].ntspool("status")
        # One that starts anew has but its own copy.
        three["west"].kill("gateway")
        three["west"].start_gateway()
        assert three["west"].minting().keys() == set(NAMES)
        assert {three["west"].pool.session() for _ in range(20)} <= set(NAMES)
        three.etcd.start()
        three.agree()
        three["west"].rotate()
        three.agree()
    assert {site.current() for site in three.sites.values()} == {first + 1}


def test_a_store_that_hangs_is_one_that_is_away(three):
    with clients(three, "north", "west"):
        wait_until_nothing_else_is_in_the_way(three)
        three.etcd.pause()
        try:
            for site in three.sites.values():
                three.wait("the loss to be seen", lambda site=site: away(site))
                assert "while the cluster's store is away" in site.attempt("keys", "rotate")[1]
                assert site.minting().keys() == set(NAMES)
        finally:
            three.etcd.go_on()
        three.agree()
        three["south"].rotate()
        three.agree()


def test_a_gateway_is_killed_while_keys_rotate(three):
    with clients(three, "north"):
        killed = next(name for name in ("west", "south") if name != three.leader())
        three[killed].rotate()
        three[killed].kill("gateway")
        rest = [name for name in three.sites if name != killed]
        three.agree(rest)
        # It may still serve, out of our sight, and then mints under what is its current epoch: that keeps its key.
        refusal = ""
        while f"gateway {killed}: it has not been heard of" not in refusal:
            refusal = three["north"].try_to_rotate() or ""
            time.sleep(0.1)
        assert "had not moved on to epoch" in refusal
        three.agree(rest)
        three[killed].start_gateway()
        three.agree()
        three["north"].rotate()
        three.agree()


def test_the_leader_is_killed_and_another_one_leads(three):
    killed = three.leader()
    three[killed].kill("gateway")
    rest = [name for name in three.sites if name != killed]
    three.wait("another to lead", lambda: three[rest[0]].cluster()["leader"] in rest)
    assert not known(three[rest[0]])[killed]
    assert f"gateway {killed} is lost" in three[rest[1]].ntspool("status")


def test_a_gateway_that_is_no_more_is_forgotten(three):
    three["west"].kill("gateway")
    three.wait("its loss to be seen", lambda: not known(three["north"])["west"])
    assert "LOST" in three["north"].ntspool("cluster", "status")
    status, said = three["north"].attempt("cluster", "forget", "south")
    assert (status, "lives" in said) == (_REFUSED, True)
    three["north"].ntspool("cluster", "forget", "west")
    for name in ("north", "south"):
        three.wait("it to be forgotten", lambda name=name: "west" not in known(three[name]))
        assert "west" not in three[name].ntspool("cluster", "status")


def test_backends_are_declared_once_for_all(three, tmp_path):
    north = three["north"]
    north.ntspool("cluster", "import", str(north.pool.config))
    north.ntspool("backend", "set", "ntp-1", "weight=33")
    for site in three.sites.values():
        three.wait("the change", lambda site=site: backend(site, "ntp-1")["weight"] == 33)
    three.agree()
    status, said = three["south"].attempt("backend", "set", "ntp-1", "weight=333")
    assert status == 2
    assert "the cluster's backends:" in said
    assert "above 256" in said
    # A gateway needs no backends of its own from now on.
    west = three["west"]
    west.kill("gateway")
    text = west.pool.config.read_text()
    west.pool.config.write_text(text[: text.index("backends:")] + text[text.index("keys:") :])
    (west.pool.directory / "state" / "backends").unlink()
    west.start_gateway()
    three.agree()
    assert backend(west, "ntp-1")["weight"] == 33
    three["south"].ntspool("backend", "set", "ntp-1", "weight=")
    three.wait("the change", lambda: backend(west, "ntp-1")["weight"] == 10)
