"""Orders for backends: what they change, and that what is kept comes back."""

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.pool import admin
from ntspool.pool.admin import AS_DECLARED, Mode, Order
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.model import Backend
from ntspool.wire.aead import Aead

BACKEND = Backend("ntp-1", (ip_address("192.0.2.1"),), 123, 10, CookieFormat.CHRONY, (Aead.AES_SIV_CMAC_256,), "ntp-1")
ORDERS = st.builds(Order, st.sampled_from(Mode), st.none() | st.integers(0, admin.HIGHEST_WEIGHT))


def test_an_order_replaces_the_weight_and_nothing_else():
    assert Order(Mode.DRAIN).apply(BACKEND) is BACKEND
    weighed = Order(weight=0).apply(BACKEND)
    assert weighed.weight == 0
    assert Order(weight=10).apply(weighed) == BACKEND


@given(st.dictionaries(st.text(max_size=20), ORDERS))
def test_what_is_kept_comes_back(orders):
    assert admin.decode(admin.encode(orders)) == orders


@given(st.lists(st.tuples(st.sampled_from("abc"), ORDERS), max_size=20))
def test_the_last_order_of_each_holds_and_what_is_as_declared_is_not_kept(steps):
    orders = {}
    for name, order in steps:
        orders = admin.given(orders, name, order)
    last = dict(steps)
    assert {name: orders.get(name, AS_DECLARED) for name in last} == last
    assert AS_DECLARED not in orders.values()
    assert admin.without(orders, {"a"}).keys() == orders.keys() - {"a"}


@given(
    st.binary(max_size=40)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.sampled_from(["drain", "format", "backends", "mode", "weight"]),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["format", "backends", "mode", "weight", "a"]), inner, max_size=4)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_what_is_damaged_is_told_and_nothing_else_happens(data):
    try:
        orders = admin.decode(data)
    except StateError:
        return
    assert all(isinstance(each, Order) for each in orders.values())


@pytest.mark.parametrize("weight", [-1, 257, 1.0, True, "10"])
def test_a_weight_out_of_range_is_damage(weight):
    data = json.dumps({"format": 1, "backends": {"a": {"mode": "ready", "weight": weight}}}).encode()
    with pytest.raises(StateError, match="damaged"):
        admin.decode(data)


def test_a_newer_format_is_told():
    with pytest.raises(StateError, match="of format 2; this ntspool reads format 1"):
        admin.decode(b'{"format": 2, "backends": {}}')


@pytest.mark.parametrize(
    ("order", "words"),
    [(AS_DECLARED, "ready"), (Order(Mode.MAINT, 7), "maint, weight 7"), (Order(weight=0), "ready, weight 0")],
)
def test_an_order_in_words(order, words):
    assert str(order) == words
