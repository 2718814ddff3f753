"""NTPsec and ntpd-rs as clients of the pool."""

from tests.interop.clients import ntpd_rs_client, ntpsec_client
from tests.interop.daemons import timeserver
from tests.interop.lab import namespace, wait_until
from tests.interop.pool import Member, running_pool

SESSION_TIMEOUT = 5000
"""Milliseconds after which the gateway gives up a session."""


def test_ntpsec():
    members = [Member(f"ntp-{number}", (f"127.0.0.{10 + number}",)) for number in (1, 2)]
    with namespace() as network, running_pool(members, network) as pool, ntpsec_client(pool) as client:
        wait_until("NTPsec's key exchange", lambda: "NTS-KE req to" in client.log())
        assert "NTSc: certificate is valid." in client.log()
        assert "NTSc: Got 8 cookies, length 100, aead=15." in client.log()
        counters = wait_until("three answers", lambda: (c := client.counters())["NTS client recvs good"] >= 3 and c)
        assert counters["NTS KE client probes good"] == 1
        assert counters["NTS client recvs w error"] == 0
        assert client.authenticates()
        # NTPsec resets the connection, which must not leave the session behind.
        (session,) = wait_until("the session to end", lambda: pool.log("session"))
        assert session["ms"] < SESSION_TIMEOUT / 2
        assert session["backend"] == pool.name_at(*client.server())


def check_ntpd_rs(pool, aead):
    earlier = len(pool.log("session"))
    with ntpd_rs_client(pool) as client:
        # It takes no answer that is not authenticated.
        wait_until("three answers", lambda: client.answers() >= 3)
        address, port, _ = client.source()
        wait_until("no cookie to be missing", lambda: client.source() == (address, port, 8))
    (session,) = pool.log("session")[earlier:]
    assert (session["backend"], session["aead"]) == (pool.name_at(address, port), aead)


def test_ntpd_rs_prefers_aead_17_but_gets_what_chrony_can(chrony_pool):
    check_ntpd_rs(chrony_pool, aead=15)


def test_ntpd_rs_gets_aead_17_from_our_own_time_server():
    with running_pool([Member("ntp-1", ("127.0.0.11",), timeserver, "ntspool")]) as pool:
        check_ntpd_rs(pool, aead=17)


def test_ntpd_rs_gets_as_many_servers_as_it_denies_and_one_more(chrony_pool):
    earlier = len(chrony_pool.log("session"))
    with ntpd_rs_client(chrony_pool, servers=3):
        sessions = wait_until("three sessions", lambda: (s := chrony_pool.log("session")[earlier:])[2:] and s)
    # An answer that it has already, it would ignore, and ask again.
    assert {session["backend"] for session in sessions[:3]} == set(chrony_pool.members)
    assert not any("given_up" in session for session in sessions[:3])
