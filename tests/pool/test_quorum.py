"""Whose fault it is: the backend's, or one gateway's network."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool.quorum import Opinion, Verdict, decode, judge

NAMES = ("a", "b", "c", "d", "e")


def sees(up, down=""):
    return Opinion(frozenset(up), dict.fromkeys(down, "no answer"))


def test_agreement_is_no_news():
    assert judge(sees("abc", "d"), {"south": sees("abc", "d"), "west": sees("abc", "d")}, 0.5) == Verdict()
    assert judge(sees("abc"), {}, 0.5) == Verdict()


def test_what_most_do_not_reach_is_the_backends_fault():
    verdict = judge(sees("abcd"), {"south": sees("abc", "d"), "west": sees("abc", "d")}, 0.5)
    assert verdict.outvoted == {"d": "does not answer 2 of 3 gateways: south, west"}
    assert verdict.heeded == {"d"}
    assert not verdict.cut_off


def test_what_only_one_does_not_reach_is_its_networks_fault():
    verdict = judge(sees("abc", "d"), {"south": sees("abcd"), "west": sees("abcd")}, 0.5)
    assert verdict.unreachable == {"d": "answers 2 of 3 gateways, but here: no answer"}
    assert (verdict.outvoted, verdict.heeded, verdict.cut_off) == ({}, frozenset(), "")


def test_two_gateways_do_not_outvote_each_other():
    assert judge(sees("abcd"), {"south": sees("abc", "d")}, 0.5) == Verdict()
    assert judge(sees("abc", "d"), {"south": sees("abcd")}, 0.5) == Verdict()


@pytest.mark.parametrize("others", [{"south": sees("abcde")}, {"south": sees("abcde"), "west": sees("", "abcde")}])
def test_one_that_misses_most_of_what_others_see_is_cut_off(others):
    verdict = judge(sees("a", "bcde"), others, 0.5)
    assert verdict.cut_off.endswith("of 5 backends that answer the other gateways do not answer this one")


def test_one_that_misses_less_or_sees_more_is_not():
    assert not judge(sees("abc", "de"), {"south": sees("abcde"), "west": sees("abcde")}, 0.5).cut_off
    # Two halves of a network: the larger one stays.
    assert judge(sees("ab", "cde"), {"south": sees("cde", "ab")}, 0.5).cut_off
    assert not judge(sees("cde", "ab"), {"south": sees("ab", "cde")}, 0.5).cut_off


def test_a_pool_is_not_emptied_by_hearsay():
    blind = sees("", "abcde")
    verdict = judge(sees("abcde"), {"south": blind, "west": blind}, 0.5)
    assert set(verdict.outvoted) == set(NAMES)
    assert verdict.heeded == frozenset()


opinions = st.dictionaries(st.sampled_from(NAMES), st.booleans()).map(
    lambda seen: Opinion(
        frozenset(name for name, up in seen.items() if up), {name: "why" for name, up in seen.items() if not up}
    )
)


@given(opinions, st.dictionaries(st.sampled_from(["s", "w", "e", "x"]), opinions), st.floats(0, 1))
def test_what_holds_of_every_verdict(own, others, share):
    verdict = judge(own, others, share)
    assert verdict.outvoted.keys() <= own.up
    assert verdict.unreachable.keys() <= own.down.keys()
    assert verdict.heeded <= verdict.outvoted.keys()
    if own.up:
        assert verdict.heeded < own.up
    if not others:
        assert verdict == Verdict()


@given(opinions, opinions)
def test_of_two_gateways_at_most_one_is_cut_off(one, other):
    assert not (judge(one, {"o": other}, 0.5).cut_off and judge(other, {"o": one}, 0.5).cut_off)


@given(opinions)
def test_an_opinion_comes_back_whole(opinion):
    assert decode(opinion.encode()) == opinion


@pytest.mark.parametrize(
    "told", [3, [], {}, {"format": 2}, {"format": 1, "up": 3, "down": {}}, {"format": 1, "up": [[]], "down": {}}]
)
def test_nonsense_is_refused(told):
    with pytest.raises(WireError):
        decode(json.dumps(told).encode())
