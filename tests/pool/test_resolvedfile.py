"""The file of last good answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.pool.resolvedfile import decode, encode
from ntspool.pool.resolving import Question, RecordType, recalled
from tests.pool.test_discovery import ADDRESSES, SERVICE, TARGETS, V4, _known


@given(
    hosts=st.dictionaries(st.sampled_from("abc"), st.tuples(ADDRESSES, st.lists(st.ip_addresses(v=6)).map(tuple))),
    targets=st.lists(TARGETS).map(tuple),
)
def test_what_is_kept_comes_back_due_at_once(hosts, targets):
    knowledge = {Question.host(name): _known(A=v4, AAAA=v6) for name, (v4, v6) in hosts.items() if v4 or v6}
    if targets:
        knowledge[Question.service(SERVICE)] = _known(SRV=targets)
    assert decode(encode(knowledge, knowledge)) == knowledge


def test_only_what_is_asked_for_is_kept():
    kept = Question.host("ntp.example")
    knowledge = {kept: _known(A=V4), Question.host("other"): _known(A=V4)}
    assert decode(encode([kept], knowledge)) == {kept: recalled({RecordType.A: V4, RecordType.AAAA: ()})}


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
        b'{"version": 1, "names": {"a": {"SRV": [[Infinity, 2, 3, "b"]]}}}',
        b'{"version": 1, "names": {"a": {"TXT": ["x"]}}}',
        b'{"version": 1, "names": {"a": 3}}',
        b"[" * 100_000,
    ],
)
def test_a_file_that_is_damaged(data):
    with pytest.raises(StateError):
        decode(data)
