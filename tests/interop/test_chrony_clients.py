"""chronyd as a client of the pool: the one of Debian bookworm, and one that knows AES-128-GCM-SIV."""

from functools import partial

import pytest

from tests.interop.clients import Auth, chrony_client
from tests.interop.daemons import chronyd
from tests.interop.lab import wait_until
from tests.interop.pool import HOSTS, Member, running_pool

chronyd_new = partial(chronyd, program="chronyd-new")

SIV_256 = Auth(mode="NTS", key_id=1, aead=15, key_bits=256, attempts=0, naks=0, cookies=8, cookie_length=100)
GCM_SIV = SIV_256._replace(aead=30, key_bits=128, cookie_length=68)
ATTEMPTS = {2: 22, 3: 38}
"""Sessions in which each of so many backends is given out, but for one chance in a million."""


def gather(pool, client, look):
    """Come again and again until every backend has been given out; return what `look` saw at each."""
    seen = {}
    for _ in range(ATTEMPTS[len(pool.members)]):
        traffic = client.settle()
        assert traffic.authenticated
        seen[pool.name_at(traffic.address, traffic.port)] = look()
        if seen.keys() == pool.members.keys():
            break
        client.come_again(traffic)
    return seen


def test_a_client_gets_to_every_backend(chrony_pool):
    with chrony_client(chrony_pool) as client:
        seen = gather(chrony_pool, client, lambda: wait_until("all is well", lambda: client.auth() == SIV_256))
    assert seen == dict.fromkeys(chrony_pool.members, True)


def test_a_client_stays_authenticated_when_it_has_spent_every_cookie_of_the_gateway(chrony_pool):
    before = {name: daemon.authenticated() for name, daemon in chrony_pool.daemons.items()}
    with chrony_client(chrony_pool, poll=-6) as client:
        traffic = client.settle(good=30)
        # Eight cookies again, in the one association that began with eight: the backend gives new ones for old.
        wait_until("eight cookies and no NAK", lambda: client.auth() == SIV_256)
    name = chrony_pool.name_at(traffic.address, traffic.port)
    assert traffic.authenticated
    assert chrony_pool.daemons[name].authenticated() - before[name] >= 30


@pytest.mark.skipif("::1" not in HOSTS, reason="this machine has no IPv6")
def test_over_ipv6_a_client_gets_a_backend_at_its_ipv6_address(chrony_pool):
    with chrony_client(chrony_pool, host="::1") as client:
        traffic = client.settle()
        wait_until("eight cookies and no NAK", lambda: client.auth() == SIV_256)
    assert traffic.address == "::1"
    assert traffic.authenticated
    assert chrony_pool.name_at(traffic.address, traffic.port)


def test_a_newer_client_gets_aes_128_gcm_siv_from_newer_backends_and_an_older_one_what_it_knows():
    members = [Member(f"ntp-{n}", (f"127.0.0.{10 + n}",), chronyd_new, aeads="[15, 30]") for n in (1, 2)]
    with running_pool(members) as pool:
        with chrony_client(pool, program="chronyd-new") as client:
            assert client.settle().authenticated
            wait_until("eight GCM-SIV cookies and no NAK", lambda: client.auth() == GCM_SIV)
        with chrony_client(pool) as client:
            assert client.settle().authenticated
            wait_until("eight SIV cookies and no NAK", lambda: client.auth() == SIV_256)


def test_in_a_mixed_pool_a_newer_client_gets_the_aead_that_its_backend_can():
    members = [
        Member("old", ("127.0.0.11",), chronyd),
        Member("new", ("127.0.0.12",), chronyd_new, aeads="[15, 30]"),
    ]
    with running_pool(members) as pool, chrony_client(pool, program="chronyd-new") as client:
        seen = gather(
            pool, client, lambda: wait_until("a good answer", lambda: (a := client.auth()) and a.cookies == 8 and a)
        )
    assert seen == {"old": SIV_256, "new": GCM_SIV}


def test_a_session_waits_for_no_delayed_ack(chrony_pool):
    earlier = len(chrony_pool.log("session"))
    with chrony_client(chrony_pool) as client:
        for _ in range(20):
            traffic = client.settle()
            # The kernel delays an ACK by 40 ms; on a busy machine some sessions are as slow for other reasons.
            fastest = min(each["ms"] for each in chrony_pool.log("session")[earlier:])
            if fastest < 35:
                return
            client.come_again(traffic)
    pytest.fail(f"the fastest of 20 sessions took {fastest} ms")
