"""The herd's simulation: conservation, calm below capacity, and the clients' retry rules as they were measured."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.herd import COMINGS, MIXES, Case, fill, percentile, simulate, span
from benches.herd_clients import Chrony, Failure, NtpdRs, Ntpsec
from benches.herd_server import Policy

ROUGH = Policy(100.0, backlog=50, accepted=16, batch=8)
POLICIES = {
    "late": replace(ROUGH, backlog=10**9, accepted=10**9),
    "kernel": replace(ROUGH, accepted=8),
    "close": replace(ROUGH, limit=200),
    "codel": replace(ROUGH, target=0.5),
    "error": replace(ROUGH, limit=20, answer_error=True),
    "slow error": replace(ROUGH, limit=4, answer_error=True, backlog=2000, accepted=8),
    "timeout": replace(ROUGH, timeout=2.0),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("coming", COMINGS)
@pytest.mark.parametrize("mix", ["mostly chrony", "thirds"])
def test_every_client_is_served_or_counted_and_every_attempt_has_one_end(policy, coming, mix):
    result = simulate(Case(policy, POLICIES[policy], coming, mix, clients=900))
    counts = result.counts
    assert len(result.waits) + result.unserved == 900
    assert counts["served"] == len(result.waits)
    # A client that is not served is at the end either in a session or between two.
    assert 0 <= counts["attempts"] - counts["served"] - counts["failed"] <= result.unserved
    assert counts["failed"] <= counts["turned away"] + counts["errors"] + counts["timed out"] + counts["cut"]
    assert result.unserved == 0 or "error" in policy
    assert all(wait >= 0 for wait in result.waits)
    assert result.work * POLICIES[policy].capacity >= len(result.waits) * 0.999999


@given(st.sampled_from(sorted(POLICIES)), st.sampled_from(sorted(MIXES)), st.integers(1, 60))
def test_below_capacity_nobody_is_turned_away_and_nothing_wasted(policy, mix, clients):
    result = simulate(Case(policy, POLICIES[policy], "at once", mix, clients))
    assert result.counts == {"attempts": clients, "served": clients} or "error" in policy
    assert result.unserved == 0


def test_the_same_case_gives_the_same_result():
    case = Case("x", POLICIES["close"], clients=2000)
    assert simulate(case) == simulate(case)


def test_nobody_is_served_faster_than_the_capacity():
    result = simulate(Case("late", replace(ROUGH, backlog=10**9), mix="chrony only", clients=1200))
    assert result.last >= 1200 / ROUGH.capacity
    assert result.curve == sorted(result.curve)


def test_a_long_queue_makes_work_that_nobody_waits_for():
    late = simulate(Case("late", POLICIES["late"], clients=6000))
    close = simulate(Case("close", POLICIES["close"], clients=6000))
    assert late.counts["wasted"] > close.counts["wasted"]
    assert late.waste > close.waste


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 16), (2, 32), (3, 64), (30, 2**19)])
def test_chrony_doubles_its_wait(attempt, seconds):
    client = Chrony(2.0)
    client.attempts = attempt
    assert seconds <= client.again(0.0, Failure.BEFORE_TLS, Random(1)) <= seconds * 1.02


def test_chrony_waits_a_thousand_seconds_after_an_error_and_for_its_next_poll():
    client = Chrony(64.0)
    client.attempts = 1
    assert 1024 <= client.again(0.0, Failure.AFTER_TLS, Random(1)) <= 1045
    assert 64 <= client.again(0.0, Failure.BEFORE_TLS, Random(1)) <= 66


def test_the_others_wait_always_the_same():
    for poll, seconds in ((64.0, 1024), (1024.0, 4096)):
        assert seconds <= Ntpsec(poll).again(0.0, Failure.AFTER_TLS, Random(1)) <= seconds + 1
    assert 1 <= NtpdRs(64.0).again(0.0, Failure.AFTER_TLS, Random(1)) <= 1.01


def test_patience():
    assert Chrony(2.0).deadline(10, 13) == 26
    assert Ntpsec(2.0).deadline(10, 13) == 16
    assert NtpdRs(2.0).deadline(10, 13) == 15


@given(st.lists(st.floats(0, 100), min_size=1).map(sorted), st.integers(1, 100))
def test_a_percentile_is_one_of_the_values(waits, percent):
    found = percentile(waits, percent)
    assert found in waits
    assert sum(wait <= found for wait in waits) >= len(waits) * percent / 100


def test_spans_and_tables():
    assert [span(each) for each in (0.04, 119, 120, 7200, 2 * 86400)] == [
        "0.0 s",
        "119.0 s",
        "2.0 min",
        "2.0 h",
        "2.0 d",
    ]
    assert fill("a <!-- begin x -->old<!-- end x --> b", {"x": "new"}) == "a <!-- begin x -->\nnew\n<!-- end x --> b"
    with pytest.raises(ValueError, match="no place for y"):
        fill("a", {"y": "new"})
