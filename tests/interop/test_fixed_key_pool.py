"""One name for chronyd backends that share their keys and an ntpd-rs that keeps its own, and real clients of it."""

from contextlib import ExitStack

import pytest

from tests.interop.clients import chrony_client, ntpd_rs_client, ntpsec_client
from tests.interop.daemons import chronyd, timeserver
from tests.interop.lab import namespace, wait_until
from tests.interop.ownkeys import following, own_keys
from tests.interop.pool import HOSTS, Member, laid_out, running_pool

OWN = "ntp-9"


@pytest.fixture(scope="module")
def pool():
    """Two chronyd and, three times out of four, an ntpd-rs that keeps its own keys, IPv4 and IPv6."""
    sharing = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}", *HOSTS[1:])) for number in (1, 2)]
    run = following(sharing[0])
    with (
        own_keys(OWN, "127.0.0.19", *HOSTS[1:], run=run, weight=60) as member,
        running_pool([*sharing, member]) as pool,
    ):
        yield pool


def sessions_of(pool, earlier, name=OWN):
    return [each for each in pool.log("session")[earlier:] if each.get("backend") == name]


def until_served_by(pool, name, client, attempts=60):
    """Be one client after the other, until one was given this backend and has come to time; return what it yields."""
    for _ in range(attempts):
        earlier = len(pool.log("session"))
        found = client(lambda earlier=earlier: sessions_of(pool, earlier, name))
        if found:
            return found
    raise AssertionError(f"{attempts} clients, and none was given {name}")


def test_clients_spread_over_both_kinds(pool):
    assert pool.given_out(60) == set(pool.members)


@pytest.mark.parametrize("program", ["chronyd", "chronyd-new"])
@pytest.mark.parametrize("host", HOSTS)
def test_chrony(pool, host, program):
    def client(given):
        with chrony_client(pool, host, program) as chrony:
            traffic = chrony.settle()
            if not given():
                return None
            return traffic, chrony.auth()

    traffic, auth = until_served_by(pool, OWN, client)
    assert traffic.authenticated
    assert (traffic.port, auth.naks) == (pool.members[OWN].port, 0)
    assert (auth.aead, auth.cookie_length) == (15, 104)


def test_ntpd_rs(pool):
    def client(given):
        with ntpd_rs_client(pool) as ntpd:
            # It takes no answer that is not authenticated.
            wait_until("three answers", lambda: ntpd.answers() >= 3)
            return given() and ntpd.source()

    assert until_served_by(pool, OWN, client)[:2] == ("127.0.0.19", pool.members[OWN].port)


def test_ntpd_rs_as_a_client_of_a_pool_gets_all_by_server_deny(pool):
    earlier = len(pool.log("session"))
    with ntpd_rs_client(pool, servers=3) as ntpd:
        sessions = wait_until("three sessions", lambda: (s := pool.log("session")[earlier:])[2:] and s)
        wait_until("answers", lambda: ntpd.answers() >= 9)
    assert {session["backend"] for session in sessions[:3]} == set(pool.members)
    assert not any("given_up" in session for session in sessions[:3])


def test_a_backend_that_is_gone_is_gone_round_and_comes_back():
    with ExitStack() as stack:
        ours = stack.enter_context(own_keys("ntp-8", "127.0.0.18", run=timeserver))
        first = Member("ntp-1", ("127.0.0.11",))
        theirs = stack.enter_context(own_keys(OWN, "127.0.0.19", run=following(first)))
        pool = stack.enter_context(laid_out([first, ours, theirs]))
        for name in ("ntp-1", "ntp-8"):
            stack.enter_context(pool.daemon(name))
        with pool.daemon(OWN):
            stack.enter_context(pool.gateway())
            pool.wait_until_up(*pool.members)
            assert pool.given_out(40) == set(pool.members)
        # Until the gateway has found out, no client is sent there, and none is refused.
        assert pool.given_out(20) == {"ntp-1", "ntp-8"}
        pool.wait_until_up("ntp-1", "ntp-8")
        with pool.daemon(OWN):
            pool.wait_until_up(*pool.members)
            assert pool.given_out(40) == set(pool.members)


def content(pool):
    """Be NTPsec until it has three good answers; return whom it got them from."""
    with ntpsec_client(pool) as client:
        counters = wait_until("three answers", lambda: (c := client.counters())["NTS client recvs good"] >= 3 and c)
        assert counters["NTS client recvs w error"] == 0
        assert client.authenticates()
        return pool.name_at(*client.server())


def test_ntpsec():
    with ExitStack() as stack:
        network = stack.enter_context(namespace())
        first = Member("ntp-1", ("127.0.0.11",))
        stack.enter_context(chronyd(addresses=first.addresses, port=first.port, network=network))
        member = stack.enter_context(own_keys(OWN, "127.0.0.19", run=following(first)))
        pool = stack.enter_context(running_pool([member], network))
        assert content(pool) == OWN


def test_ntpsec_before_1_2_5_stays_with_the_cookies_whose_length_is_known():
    with ExitStack() as stack:
        network = stack.enter_context(namespace())
        first = Member("ntp-1", ("127.0.0.11",))
        member = stack.enter_context(own_keys(OWN, "127.0.0.19", run=following(first), weight=60))
        pool = stack.enter_context(running_pool([first, member], network))
        assert content(pool) == "ntp-1"
