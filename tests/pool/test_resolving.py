"""What DNS answers change, when the DNS is asked again, and which backends follow."""

from dataclasses import replace
from ipaddress import ip_address
from math import inf
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.pool import resolvedfile
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.model import Backend
from ntspool.pool.resolving import (
    CONFIRMATIONS,
    LONGEST_RETRY,
    LONGEST_TTL,
    SHORTEST_TTL,
    UNKNOWN,
    Answer,
    Declared,
    Discovered,
    Failure,
    Question,
    RecordType,
    Target,
    backends,
    due,
    learn,
    next_due,
    recalled,
    wanted,
)
from ntspool.wire.aead import Aead

A, AAAA, SRV = RecordType
V4, V6 = (ip_address("192.0.2.1"), ip_address("192.0.2.2")), (ip_address("2001:db8::1"),)
NO, BAD = Answer((), 60.0), Failure("SERVFAIL")
NTP, SERVICE = Question.host("ntp.example"), "_ntske._tcp.example"


def _known(**records):
    return recalled({RecordType(kind): tuple(each) for kind, each in records.items()})


def _told(*outcomes, known=UNKNOWN, now=0.0):
    """Return what is known after look-ups of both families, one after the other."""
    for v4, v6 in outcomes:
        known = learn(known, {A: v4, AAAA: v6}, now)
    return known


def _held(known):
    return tuple(each for kind in (A, AAAA, SRV) for each in known.records.get(kind, ()))


# What answers change.


def test_answers_replace_what_was_known():
    known = _told((Answer(V4, 60), Answer(V6, 60)), (Answer(V4[:1], 60), Answer(V6, 60)))
    assert _held(known) == (V4[0], *V6)
    assert not known.trouble


def test_another_order_is_no_change():
    assert _told((Answer(V4[::-1], 60), NO)).records == _told((Answer(V4, 60), NO)).records


@pytest.mark.parametrize("failure", [BAD, Failure("no answer")])
def test_a_failure_keeps_the_last_good_addresses_however_long_it_lasts(failure):
    known = _told((Answer(V4, 60), Answer(V6, 60)), *[(failure, failure)] * 50)
    assert _held(known) == (*V4, *V6)
    assert known.trouble == failure.reason
    assert _held(_told((Answer(V4, 60), failure), known=known)) == (*V4, *V6)
    assert not _told((Answer(V4, 60), NO), known=known).trouble


def test_a_family_that_is_denied_is_removed_at_once_when_the_other_is_there():
    both = (Answer(V4, 60), Answer(V6, 60))
    assert _held(_told(both, (Answer(V4, 60), NO))) == V4
    assert _held(_told(both, (NO, Answer(V6, 60)))) == V6
    assert _held(_told(both, (NO, BAD))) == V6, "what is not answered is still believed"


def test_a_name_that_is_denied_keeps_its_addresses_until_that_is_confirmed():
    known = _told((Answer(V4, 60), Answer(V6, 60)))
    for _ in range(CONFIRMATIONS - 1):
        known = _told((NO, NO), known=known)
        assert _held(known) == (*V4, *V6)
        assert known.trouble == "there are no such records"
    assert _held(_told((NO, NO), known=known)) == ()
    assert _held(_told((Answer(V4, 60), NO), (NO, NO), known=known)) == V4, "it is counted from the start again"


def test_failures_in_between_confirm_nothing():
    known = _told((Answer(V4, 60), NO), *[(NO, NO), (BAD, BAD)] * (CONFIRMATIONS - 1), *[(NO, BAD)] * 9)
    assert _held(known) == V4
    assert _held(_told((NO, NO), known=known)) == ()


def test_what_cannot_be_used_is_trouble():
    assert _told((Answer(V4, 60, "0.0.0.0 is odd"), NO)).trouble == "0.0.0.0 is odd"


# When it is asked again.


@pytest.mark.parametrize(
    ("outcomes", "after"),
    [
        ((Answer(V4, 300), Answer(V6, 60)), 60),
        ((Answer(V4, 300), NO), 60),
        ((Answer(V4, 0), Answer(V6, 60)), SHORTEST_TTL),
        ((Answer(V4, 86400), Answer(V6, 86400)), LONGEST_TTL),
        ((Answer((), 0), Answer((), 86400)), SHORTEST_TTL),
        ((Answer(V4, 300), BAD), SHORTEST_TTL),
        ((BAD, BAD), SHORTEST_TTL),
    ],
)
def test_it_is_asked_again_when_the_first_answer_expires(outcomes, after):
    assert _told(outcomes, now=1000.0).due == 1000.0 + after


def test_retries_come_ever_more_seldom_up_to_a_limit():
    dues = [_told(*[(BAD, BAD)] * failures).due for failures in range(1, 50)]
    assert dues[:4] == [SHORTEST_TTL * factor for factor in (1, 2, 4, 8)]
    assert dues == sorted(dues)
    assert dues[-1] == LONGEST_RETRY


def test_what_is_new_is_due_at_once_and_nothing_is_due_without_names():
    knowledge = {NTP: _told((Answer(V4, 60), NO), now=100.0)}
    other = Question.host("other.example")
    assert due([NTP, other], knowledge, 159.9) == [other]
    assert due([NTP, other], knowledge, 160.0) == [NTP, other]
    assert next_due([NTP], knowledge) == 160.0
    assert next_due([NTP, other], knowledge) == -inf
    assert next_due([], knowledge) == inf


# Which backends follow.


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
    known = _told((Answer(V4, 60), NO))
    known = learn(known, {SRV: Answer((Target(0, 0, 0, ""),), 60)}, 0)
    assert backends([DISCOVERED], {Question.service(SERVICE): known}) == ((), {})
    assert not known.trouble


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


# Whatever the DNS says.

ADDRESSES = st.lists(st.ip_addresses(v=4), max_size=3).map(tuple)
OUTCOMES = st.one_of(
    st.builds(Answer, ADDRESSES, st.floats(0, 1e6)), st.builds(Failure, st.sampled_from(["SERVFAIL", "no answer"]))
)


@given(history=st.lists(st.tuples(OUTCOMES, OUTCOMES), min_size=1, max_size=12), now=st.floats(0, 1e9))
def test_no_history_empties_a_name_by_surprise(history, now):
    """Every address held was named by the last answer of its type, and they go only by answers that say so."""
    known, denied = UNKNOWN, 0
    for outcomes in history:
        before, known = known, learn(known, dict(zip((A, AAAA), outcomes, strict=True)), now)
        assert known.due - now + 1e-3 >= SHORTEST_TTL
        assert known.due - now <= LONGEST_TTL + 1e-3
        named = [set(each.records) if isinstance(each, Answer) else None for each in outcomes]
        for kind, these in zip((A, AAAA), named, strict=True):
            held, had = set(known.records.get(kind, ())), set(before.records.get(kind, ()))
            assert held == (had if these is None or not any(_held(known)) or held == had else these)
        denied = (
            denied + 1 if named == [set(), set()] else denied if None in named and not named[0] and not named[1] else 0
        )
        if _held(before) and not _held(known):
            assert denied >= CONFIRMATIONS


TARGETS = st.builds(
    Target,
    st.integers(0, 3),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.sampled_from(["", "a.example", "b.example", "c.example", "_d.example", "x" * 64, "192.0.2.1", "A"]),
)


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


# What is kept on disk.


@given(
    hosts=st.dictionaries(st.sampled_from("abc"), st.tuples(ADDRESSES, st.lists(st.ip_addresses(v=6)).map(tuple))),
    targets=st.lists(TARGETS).map(tuple),
)
def test_what_is_kept_comes_back_due_at_once(hosts, targets):
    knowledge = {Question.host(name): _known(A=v4, AAAA=v6) for name, (v4, v6) in hosts.items() if v4 or v6}
    if targets:
        knowledge[Question.service(SERVICE)] = _known(SRV=targets)
    assert resolvedfile.decode(resolvedfile.encode(knowledge, knowledge)) == knowledge


def test_only_what_is_asked_for_is_kept():
    knowledge = {NTP: _known(A=V4), Question.host("other"): _known(A=V4)}
    assert resolvedfile.decode(resolvedfile.encode([NTP], knowledge)) == {NTP: recalled({A: V4, AAAA: ()})}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version": 2, "names": {}}',
        b'{"version": 1, "names": []}',
        b'{"version": 1, "names": {"a": {"A": ["x"]}}}',
        b'{"version": 1, "names": {"a": {"AAAA": ["192.0.2.1"]}}}',
        b'{"version": 1, "names": {"a": {"SRV": [[1, 2]]}}}',
        b'{"version": 1, "names": {"a": {"TXT": ["x"]}}}',
        b'{"version": 1, "names": {"a": 3}}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_damaged(data):
    with pytest.raises(StateError):
        resolvedfile.decode(data)


def test_what_is_known_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        UNKNOWN.records[A] = V4  # type: ignore[index]
    assert isinstance(_told((Answer(V4, 1), NO)).records, MappingProxyType)
