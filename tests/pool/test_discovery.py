"""Which backends follow from what names resolve to, and which questions they raise."""

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.cookies import CookieFormat
from ntspool.pool.discovery import Declared, Discovered, backends, wanted
from ntspool.pool.model import Backend
from ntspool.pool.resolving import Question, RecordType, Target, recalled
from ntspool.wire.aead import Aead

V4, V6 = (ip_address("192.0.2.1"), ip_address("192.0.2.2")), (ip_address("2001:db8::1"),)
SERVICE = "_ntske._tcp.example"
ADDRESSES = st.lists(st.ip_addresses(v=4), max_size=3).map(tuple)
TARGETS = st.builds(
    Target,
    st.integers(0, 3),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.sampled_from(["", "a.example", "b.example", "c.example", "_d.example", "x" * 64, "192.0.2.1", "A"]),
)


def _known(**records):
    return recalled({RecordType(kind): tuple(each) for kind, each in records.items()})


def _backend(name="", addresses=(), **more):
    fields = {"port": 123, "weight": 10, "cookies": CookieFormat.CHRONY, "key_group": name}
    return Backend(name=name, addresses=addresses, aeads=(Aead.AES_SIV_CMAC_256,), **fields | more)


DISCOVERED = Discovered(SERVICE, _backend())
A_EXAMPLE, B_EXAMPLE = Target(0, 0, 4460, "a.example"), Target(0, 0, 4461, "b.example")


def _follow(*entries, targets=(), **hosts):
    knowledge = {Question.host(f"{name}.example"): _known(A=addresses) for name, addresses in hosts.items()}
    return backends(entries, {**knowledge, Question.service(SERVICE): _known(SRV=targets)})


def test_a_backend_has_the_addresses_that_are_stated_and_those_of_its_names():
    declared = Declared(_backend("x", V6), ("a.example", "b.example"))
    assert wanted([declared], {}) == (Question.host("a.example"), Question.host("b.example"))
    assert _follow(declared) == ((_backend("x", V6),), {})
    assert _follow(declared, a=V4[:1], b=V4) == ((_backend("x", (*V6, *V4)),), {})


def test_a_service_is_as_many_backends_as_it_has_targets():
    found, left_out = _follow(DISCOVERED, targets=[A_EXAMPLE, B_EXAMPLE], a=V4)
    assert found == (_backend("a.example", V4), _backend("b.example"))
    assert left_out == {}
    knowledge = {Question.service(SERVICE): _known(SRV=[A_EXAMPLE])}
    assert wanted([DISCOVERED], {}) == (Question.service(SERVICE),)
    assert wanted([DISCOVERED], knowledge) == (Question.service(SERVICE), Question.host("a.example"))


def test_all_that_a_service_states_goes_to_its_backends():
    pattern = _backend(cookies=CookieFormat.NTPSEC, key_group="shared", port=4123)
    [found], _ = _follow(replace(DISCOVERED, pattern=pattern), targets=[A_EXAMPLE])
    assert found == replace(pattern, name="a.example")


def test_only_the_lowest_priority_counts():
    found, _ = _follow(DISCOVERED, targets=[replace(A_EXAMPLE, priority=10), replace(B_EXAMPLE, priority=5)])
    assert [each.name for each in found] == ["b.example"]


def test_a_service_that_is_decidedly_not_there_has_no_backends():
    assert _follow(DISCOVERED, targets=[Target(0, 0, 0, "")]) == ((), {})


@pytest.mark.parametrize(
    ("stated", "weights"),
    [
        ((0, 0), [10, 10]),
        ((1, 3), [1, 3]),
        ((0, 7), [1, 7]),
        ((256, 128), [256, 128]),
        ((65535, 32768), [256, 128]),
        ((65535, 1), [256, 1]),
    ],
)
def test_weights_of_records_are_those_of_backends_in_proportion(stated, weights):
    targets = [replace(each, weight=weight) for each, weight in zip((A_EXAMPLE, B_EXAMPLE), stated, strict=True)]
    found, _ = _follow(DISCOVERED, targets=targets)
    assert [each.weight for each in found] == weights
    found, _ = _follow(replace(DISCOVERED, stated=frozenset({"weight"})), targets=targets)
    assert [each.weight for each in found] == [10, 10]


def test_the_port_of_an_ntp_service_is_that_of_its_backends_unless_stated():
    entry = Discovered("_ntp._udp.example", _backend(port=4000))
    knowledge = {Question.service("_ntp._udp.example"): _known(SRV=[Target(0, 0, 11123, "a.example")])}
    assert backends([entry], knowledge)[0][0].port == 11123
    assert backends([replace(entry, stated=frozenset({"port"}))], knowledge)[0][0].port == 4000


def test_a_discovered_backend_that_cannot_be_is_left_out_and_the_reason_told():
    long = ".".join(["a" * 50] * 2)
    targets = [
        A_EXAMPLE,
        B_EXAMPLE,
        Target(0, 0, 4462, "b.example"),
        Target(0, 0, 1, "_c.example"),
        Target(0, 0, 1, long),
    ]
    found, left_out = _follow(DISCOVERED, Declared(_backend("A.example", V4)), targets=targets)
    assert [each.name for each in found] == ["b.example", "A.example"]
    assert found[0].port == 123
    assert left_out == {
        "a.example": "is the name of another backend",
        "b.example": "is the name of another backend",
        "_c.example": "is not a DNS name (labels of 1 to 63 letters, digits and inner hyphens, no final dot)",
        long: "is longer than 99 characters",
    }
    assert Question.host("_c.example") not in wanted([DISCOVERED], {Question.service(SERVICE): _known(SRV=targets)})


def test_a_discovered_backend_cannot_take_a_key_group_of_another_cookie_format():
    declared = Declared(_backend("x", V4, key_group="a.example", cookies=CookieFormat.NTPSEC))
    found, left_out = _follow(DISCOVERED, declared, targets=[A_EXAMPLE])
    assert [each.name for each in found] == ["x"]
    assert left_out == {"a.example": "key group a.example has ntpsec cookies"}


def test_a_port_that_is_none():
    entry = Discovered("_ntp._udp.example", _backend())
    knowledge = {Question.service("_ntp._udp.example"): _known(SRV=[Target(0, 0, 0, "a.example")])}
    assert backends([entry], knowledge) == ((), {"a.example": "has port 0"})


@given(targets=st.lists(TARGETS), port=st.booleans(), hosts=st.dictionaries(st.sampled_from("abc"), ADDRESSES))
def test_no_records_yield_a_backend_that_the_configuration_would_refuse(targets, port, hosts):
    entries = [Declared(_backend("a.example", V4)), replace(DISCOVERED, service="_ntp._udp.e" if port else SERVICE)]
    knowledge = {Question.host(f"{name}.example"): _known(A=these) for name, these in hosts.items()}
    knowledge[Question.service(entries[1].service)] = _known(SRV=targets)
    found, _ = backends(entries, knowledge)
    assert found[0] == entries[0].backend
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert 1 <= each.weight <= 256
        assert 1 <= each.port <= 65535
        assert each.name in {"a.example", "b.example", "c.example"}
