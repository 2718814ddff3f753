import pickle
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.access import EVERYBODY, Access


def access(allow=(), deny=()):
    return Access(tuple(map(ip_network, allow)), tuple(map(ip_network, deny)))


@pytest.mark.parametrize(
    ("rules", "inside", "outside"),
    [
        (EVERYBODY, ["192.0.2.1", "2001:db8::1"], []),
        (access(deny=["192.0.2.0/24"]), ["192.0.3.1", "2001:db8::1"], ["192.0.2.0", "192.0.2.255"]),
        (access(allow=["192.0.2.0/24"]), ["192.0.2.9"], ["192.0.3.1", "2001:db8::1"]),
        (access(["10.1.2.0/24"], ["10.0.0.0/8"]), ["10.1.2.3"], ["10.1.3.3", "11.0.0.1"]),
        (access(["10.0.0.0/8"], ["10.1.2.0/24"]), ["10.1.3.3"], ["10.1.2.3", "11.0.0.1"]),
        (access(["0.0.0.0/0"], ["2001:db8::/32"]), ["1.2.3.4"], ["2001:db8:1::1", "2a00::1"]),
        (access(deny=["::/0", "192.0.2.1"]), ["0.0.0.0", "192.0.2.2"], ["::", "2001:db8::1", "192.0.2.1"]),
        (access(["2001:db8::1"], ["2001:db8::/64"]), ["2001:db8::1"], ["2001:db8::2", "2001:db9::1"]),
    ],
)
def test_the_smallest_network_decides(rules, inside, outside):
    assert [each for each in inside + outside if rules.allows(ip_address(each).packed)] == inside


NETWORKS = st.sets(
    st.ip_addresses(network="10.0.0.0/29").flatmap(
        lambda address: st.integers(28, 32).map(lambda length: ip_network((address, length), strict=False))
    ),
    max_size=6,
)


@given(allow=NETWORKS, deny=NETWORKS, address=st.ip_addresses(network="10.0.0.0/28"))
def test_it_is_what_a_look_at_every_network_says(allow, deny, address):
    deny -= allow
    around = [each for each in allow | deny if address in each]
    expected = max(around, key=lambda each: each.prefixlen) in allow if around else not allow
    assert Access(tuple(allow), tuple(deny)).allows(address.packed) == expected


def test_it_is_a_value_that_travels_to_workers():
    rules = access(["10.0.0.0/8"], ["10.1.0.0/16"])
    assert pickle.loads(pickle.dumps(rules)) == rules
    assert hash(rules) == hash(access(["10.0.0.0/8"], ["10.1.0.0/16"])) != hash(EVERYBODY)
    assert not pickle.loads(pickle.dumps(rules)).allows(ip_address("10.1.0.1").packed)
