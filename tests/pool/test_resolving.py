"""What DNS answers change, and when the DNS is asked again."""

from ipaddress import ip_address
from math import inf
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.resolving import (
    CONFIRMATIONS,
    LONGEST_RETRY,
    LONGEST_TTL,
    SHORTEST_TTL,
    UNKNOWN,
    Answer,
    Failure,
    Question,
    RecordType,
    due,
    learn,
    next_due,
)

A, AAAA, SRV = RecordType
V4, V6 = (ip_address("192.0.2.1"), ip_address("192.0.2.2")), (ip_address("2001:db8::1"),)
NO, BAD = Answer((), 60.0), Failure("SERVFAIL")
NTP = Question.host("ntp.example")


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


# Whatever the DNS says.

ADDRESSES = st.lists(st.ip_addresses(v=4), max_size=3).map(tuple)
OUTCOMES = st.one_of(
    st.just(NO),
    st.builds(Answer, ADDRESSES, st.floats(0, 1e6)),
    st.builds(Failure, st.sampled_from(["SERVFAIL", "no answer"])),
)


@given(history=st.lists(st.tuples(OUTCOMES, OUTCOMES), min_size=1, max_size=12), now=st.floats(0, 1e9))
def test_no_history_empties_a_name_by_surprise(history, now):
    known, denied = UNKNOWN, 0
    for outcomes in history:
        before, known = known, learn(known, dict(zip((A, AAAA), outcomes, strict=True)), now)
        assert now + SHORTEST_TTL <= known.due <= now + LONGEST_TTL
        found = any(isinstance(each, Answer) and each.records for each in outcomes)
        for kind, outcome in zip((A, AAAA), outcomes, strict=True):
            held, had = known.records.get(kind, ()), before.records.get(kind, ())
            if isinstance(outcome, Failure):
                assert held == had
            elif outcome.records or found:
                assert set(held) == set(outcome.records)
            else:
                assert held in {(), had}
        denied = 0 if found else denied + (all(_records(each) == () for each in outcomes))
        if _held(before) and not _held(known):
            assert denied >= CONFIRMATIONS


def _records(outcome):
    return outcome.records if isinstance(outcome, Answer) else None


def test_what_is_known_cannot_be_changed_by_accident():
    with pytest.raises(TypeError):
        UNKNOWN.records[A] = V4  # type: ignore[index]
    assert isinstance(_told((Answer(V4, 1), NO)).records, MappingProxyType)
