"""ntspool/pool/balance.py: who gets which backend, in exact shares, and over many draws in fair ones."""

from collections import Counter
from ipaddress import ip_address
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.balance import Balancer
from ntspool.pool.cookies import CookieFormat, ServerKey
from ntspool.pool.model import Backend, Serving
from ntspool.wire.aead import Aead
from ntspool.wire.messages import Request
from ntspool.wire.secret import Secret
from tests.conftest import V4, V6, all_up

SIV_256, SIV_512, GCM_SIV = Aead.AES_SIV_CMAC_256, Aead.AES_SIV_CMAC_512, Aead.AES_128_GCM_SIV
CHRONY, NTPD_RS = (SIV_256, GCM_SIV), (SIV_256, SIV_512)
LAST = 1 - 2**-53
"""The greatest fraction that a draw of 53 bits gives."""

KEY = ServerKey(1, Secret(bytes(32)))


def serving(name, *addresses, weight=1, port=123, aeads=(SIV_256,), up=None):
    """Return a backend all of whose addresses are UP, or those named in `up`."""
    every = tuple(map(ip_address, addresses))
    backend = Backend(name, every, port, weight, CookieFormat.NTSPOOL, tuple(aeads), name)
    return Serving(backend, all_up(backend, up), KEY)


def asking(*aeads, **wishes):
    return Request((0,), aeads or (15,), compliant_128gcm=True, **wishes)


def got(balancer, request=None, client=V4, fraction=0.0):
    """Return the name and the address that a client gets."""
    choice = balancer.choose(request or asking(), client, fraction)
    return choice and (choice.serving.backend.name, str(choice.address))


def shares(balancer, parts, request=None, client=V4):
    """Return who gets how many of as many equal parts of all fractions."""
    return Counter(got(balancer, request, client, (part + 0.5) / parts) for part in range(parts))


ONE, TWO, FIVE = ("one", "192.0.2.1"), ("two", "192.0.2.2"), ("five", "192.0.2.5")
WEIGHTED = Balancer([serving(*ONE, weight=1), serving(*TWO, weight=2), serving(*FIVE, weight=5)])


# Shares.


def test_shares_are_the_weights():
    assert shares(WEIGHTED, 8000) == {ONE: 1000, TWO: 2000, FIVE: 5000}


def test_a_hundred_thousand_draws_pass_a_chi_square_test():
    draws = Random(8915)
    counts = Counter(got(WEIGHTED, fraction=draws.random()) for _ in range(100_000))
    expected = {ONE: 12_500, TWO: 25_000, FIVE: 62_500}
    assert counts.keys() == expected.keys()
    # 13.8 is exceeded once in a thousand seeds, with two degrees of freedom.
    assert sum((counts[who] - n) ** 2 / n for who, n in expected.items()) < 13.8


@given(st.lists(st.integers(0, 256), min_size=1, max_size=12), st.floats(0, 1, exclude_max=True))
def test_any_fraction_falls_to_whoever_holds_it(weights, fraction):
    balancer = Balancer(serving(str(n), f"192.0.2.{n}", weight=weight) for n, weight in enumerate(weights))
    choice = balancer.choose(asking(), V4, fraction)
    if not sum(weights):
        # Nothing else is left: equal shares.
        weights = [1] * len(weights)
    index = int(choice.serving.backend.name)
    assert weights[index]
    # The product is rounded, so at an edge either neighbour may have it.
    slack = 1e-9
    assert sum(weights[:index]) - slack <= fraction * sum(weights) <= sum(weights[: index + 1]) + slack


@given(st.lists(st.integers(1, 256), min_size=1, max_size=30), st.integers(1, 7))
def test_the_edges_of_the_fraction(weights, siblings):
    addresses = [[f"192.0.{n}.{host}" for host in range(siblings)] for n in range(len(weights))]
    balancer = Balancer(serving(f"n{n}", *addresses[n], weight=weight) for n, weight in enumerate(weights))
    assert got(balancer, fraction=0.0) == ("n0", addresses[0][0])
    assert got(balancer, fraction=LAST) == (f"n{len(weights) - 1}", addresses[-1][-1])


def test_a_share_ends_where_the_next_begins():
    assert got(WEIGHTED, fraction=0.125 - 2**-53) == ONE
    assert got(WEIGHTED, fraction=0.125) == TWO
    assert got(WEIGHTED, fraction=0.375) == FIVE


def test_addresses_of_one_family_share_the_weight_of_their_backend():
    double = serving("double", "192.0.2.8", "192.0.2.9", "2001:db8::8", weight=1)
    balancer = Balancer([double, serving("single", "192.0.2.1", "2001:db8::1", weight=1)])
    assert shares(balancer, 400) == {
        ("double", "192.0.2.8"): 100,
        ("double", "192.0.2.9"): 100,
        ("single", "192.0.2.1"): 200,
    }
    assert shares(balancer, 400, client=V6) == {("double", "2001:db8::8"): 200, ("single", "2001:db8::1"): 200}


def test_an_address_that_is_down_leaves_its_share_to_its_sibling():
    double = serving("double", "192.0.2.8", "192.0.2.9", weight=1, up=["192.0.2.9"])
    balancer = Balancer([double, serving(*ONE, weight=3)])
    assert shares(balancer, 400) == {("double", "192.0.2.9"): 100, ONE: 300}


# Who is a candidate at all.


def test_the_family_of_the_client():
    balancer = Balancer([serving("four", "192.0.2.1"), serving("six", "2001:db8::1")])
    assert shares(balancer, 10) == {("four", "192.0.2.1"): 10}
    assert shares(balancer, 10, client=V6) == {("six", "2001:db8::1"): 10}
    assert got(Balancer([serving(*ONE)]), client=V6) is None


def test_weight_zero_gets_nobody_while_another_is_left():
    balancer = Balancer([serving(*ONE, weight=0), serving(*TWO)])
    assert shares(balancer, 10) == {TWO: 10}
    assert shares(balancer, 10, asking(server="one")) == {TWO: 10}
    assert shares(balancer, 10, asking(denied=("two",))) == {TWO: 10}


def test_all_weights_zero_are_equal_shares_and_told():
    balancer = Balancer([serving(*ONE, weight=0), serving(*TWO, weight=0), serving(*FIVE, up=[])])
    assert shares(balancer, 10) == {ONE: 5, TWO: 5}
    assert balancer.choose(asking(), V4, 0.0).given_up == ("weight",)


@pytest.mark.parametrize("every", [[], [serving(*ONE, up=[])], [serving(*ONE, up=[]), serving(*TWO, up=[])]])
def test_nothing_is_up(every):
    balancer = Balancer(every)
    assert got(balancer) is None
    assert got(balancer, asking(server="one", port=123), fraction=LAST) is None


AEADS = Balancer([serving("chrony", "192.0.2.1", aeads=CHRONY), serving("ntpd-rs", "192.0.2.2", aeads=NTPD_RS)])


@pytest.mark.parametrize(
    ("offered", "at_chrony", "at_ntpd_rs"),
    [
        ((15,), SIV_256, SIV_256),
        ((17,), None, SIV_512),
        ((30,), GCM_SIV, None),
        ((30, 15), GCM_SIV, SIV_256),
        ((15, 30), SIV_256, SIV_256),
        ((17, 15), SIV_256, SIV_512),
        ((16, 17, 30), GCM_SIV, SIV_512),
        ((17, 30, 15, 15), GCM_SIV, SIV_512),
        ((16,), None, None),
    ],
)
def test_the_clients_order_decides_the_aead_that_both_can(offered, at_chrony, at_ntpd_rs):
    chosen = {}
    for fraction in (0.0, LAST):
        choice = AEADS.choose(asking(*offered), V4, fraction)
        if choice:
            chosen[choice.serving.backend.name] = choice.aead
    expected = {"chrony": at_chrony, "ntpd-rs": at_ntpd_rs}
    assert chosen == {name: aead for name, aead in expected.items() if aead}


def test_128_gcm_siv_without_record_1024_is_not_offered():
    choice = AEADS.choose(Request((0,), (30, 15)), V4, 0.0)
    assert (choice.serving.backend.name, choice.aead) == ("chrony", SIV_256)
    assert AEADS.choose(Request((0,), (30,)), V4, 0.0) is None


def test_what_any_backend_serves_whether_up_or_not():
    balancer = Balancer([serving("down", "192.0.2.1", aeads=[GCM_SIV], up=[]), serving(*TWO, aeads=[SIV_256])])
    assert balancer.serves_any([GCM_SIV])
    assert balancer.serves_any([SIV_512, SIV_256])
    assert not balancer.serves_any([SIV_512])
    assert not balancer.serves_any([])


# Wishes.

ODD_PORT = serving("Odd", "192.0.2.9", "2001:db8::9", port=4123)
WISHES = Balancer([serving(*ONE), serving(*TWO, up=[]), ODD_PORT, serving("six", "2001:db8::1")])
ODD, SIX = ("Odd", "192.0.2.9"), ("Odd", "2001:db8::9")
FREE4 = {ONE: 5, ODD: 5}
FREE6 = {SIX: 5, ("six", "2001:db8::1"): 5}


@pytest.mark.parametrize(
    ("server", "port", "client", "expected"),
    [
        ("one", None, V4, {ONE: 10}),
        ("ONE", None, V4, {ONE: 10}),
        ("odd", None, V4, {ODD: 10}),
        ("oDD", None, V6, {SIX: 10}),
        ("192.0.2.1", None, V4, {ONE: 10}),
        ("2001:db8::9", None, V6, {SIX: 10}),
        ("2001:0DB8:0:0:0::0009", None, V6, {SIX: 10}),
        ("2001:db8::0.0.0.9", None, V6, {SIX: 10}),
        (None, 4123, V4, {ODD: 10}),
        (None, 123, V4, {ONE: 10}),
        ("one", 123, V4, {ONE: 10}),
        pytest.param("one", 4123, V4, {ONE: 10}, id="the server counts more than the port"),
        pytest.param("unknown", 4123, V4, {ODD: 10}, id="the port still counts"),
        pytest.param("two", None, V4, FREE4, id="name of one that is down"),
        pytest.param("192.0.2.2", None, V4, FREE4, id="address of one that is down"),
        pytest.param("two", 4123, V4, {ODD: 10}, id="down, but the port still counts"),
        pytest.param("one", None, V6, FREE6, id="name without an address of the client's family"),
        pytest.param("192.0.2.1", None, V6, FREE6, id="address of the other family"),
        ("unknown", None, V4, FREE4),
        ("192.0.2.77", None, V4, FREE4),
        ("[2001:db8::9]", None, V6, FREE6),
        ("fe80::1%eth0", None, V6, FREE6),
        (None, 0, V4, FREE4),
        (None, 65535, V6, FREE6),
    ],
)
def test_wishes(server, port, client, expected):
    assert shares(WISHES, 10, asking(server=server, port=port), client) == expected


def test_a_wish_for_a_backend_that_cannot_the_aead_is_ignored():
    assert shares(AEADS, 10, asking(17, server="chrony")) == {("ntpd-rs", "192.0.2.2"): 10}


def test_a_backend_named_after_one_of_its_addresses():
    balancer = Balancer([serving("192.0.2.1", "192.0.2.1", "192.0.2.2")])
    assert set(shares(balancer, 10, asking(server="192.0.2.1")).values()) == {5}


@given(st.text(max_size=20), st.none() | st.integers(0, 65535), st.floats(0, 1, exclude_max=True))
def test_no_wish_leaves_a_client_without_a_backend(server, port, fraction):
    assert got(WISHES, asking(server=server, port=port), fraction=fraction) in FREE4


def test_wishes_of_clients_do_not_take_memory():
    balancer = Balancer([serving(*ONE)])
    for number in range(1000):
        got(balancer, asking(number, server=f"name{number}", port=number))
    assert len(balancer._tables) < 10
