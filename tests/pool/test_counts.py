"""Counting sessions: nothing is lost when counts are merged, and clients cannot make the counts grow."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.counts import BOUNDS, KINDS, OTHER, RATE_SPAN, Rate, SessionCounts, kind

SESSIONS = st.lists(
    st.tuples(
        st.sampled_from(["ok", "refused", "timeout"]),
        st.floats(0, 20),
        st.sampled_from(["", "record 7 twice", "no ALPN"]),
    )
)


def _counted(sessions):
    counts = SessionCounts()
    for outcome, seconds, reason in sessions:
        counts.end(outcome, seconds, seconds / 2 if outcome == "ok" else None)
        if outcome == "ok":
            counts.assign("ntp-1", 15, 3)
        else:
            counts.fail(reason or outcome)
    return counts


@given(SESSIONS, SESSIONS)
def test_two_that_count_by_themselves_are_one_that_counted_all(some, others):
    merged, whole = _counted(some), _counted(some + others)
    merged.merge(_counted(others))
    for counter in ("outcomes", "reasons", "aeads", "backends", "minted"):
        assert getattr(merged, counter) == getattr(whole, counter)
    for durations in ("durations", "handshakes"):
        ours, theirs = getattr(merged, durations), getattr(whole, durations)
        assert ours.buckets == theirs.buckets
        assert abs(ours.seconds - theirs.seconds) < 1e-6
    assert merged.total == len(some) + len(others)


@given(SESSIONS)
def test_every_session_is_in_one_bucket_one_outcome_and_has_a_reason_unless_it_is_ok(sessions):
    counts = _counted(sessions)
    assert counts.total == counts.outcomes.total() == len(sessions)
    assert sum(counts.handshakes.buckets) == counts.outcomes["ok"]
    assert counts.backends.total() == counts.aeads.total() == counts.outcomes["ok"]
    assert counts.reasons.total() == len(sessions) - counts.outcomes["ok"]
    for index, bound in enumerate(BOUNDS):
        assert sum(counts.durations.buckets[: index + 1]) == sum(seconds <= bound for _, seconds, _ in sessions)


def test_a_kind_is_a_reason_without_the_numbers_that_came_from_outside():
    assert kind("record 4711 comes twice") == kind("record 5 comes twice") == "record N comes twice"
    assert (
        kind("no backend for IPV4 is UP and serves these AEADs") == "no backend for IPV4 is UP and serves these AEADs"
    )
    assert kind("tlsv1 alert unknown ca") == "tlsv1 alert unknown ca"


@given(st.lists(st.text(alphabet="abcdefgh", min_size=1, max_size=3), min_size=0, max_size=3 * KINDS))
def test_kinds_are_bounded_and_none_is_lost(reasons):
    counts, merged = SessionCounts(), SessionCounts(reasons=Counter({"known before": 1}))
    for reason in reasons:
        counts.fail(reason)
    merged.merge(counts)
    for each in (counts, merged):
        assert len(each.reasons) <= KINDS + 1
    assert counts.reasons.total() == len(reasons)
    assert merged.reasons.total() == len(reasons) + 1
    if len(set(reasons)) > KINDS:
        assert counts.reasons[OTHER]


def test_a_rate_is_of_the_last_minute():
    rate = Rate(100.0)
    assert rate(100.0) == 0
    rate.add(30, 110.0)
    assert rate(110.0) == 3.0
    assert rate(100.0 + RATE_SPAN) == 0.5
    rate.add(60, 165.0)
    assert rate(165.0) == 1.5
    assert rate(171.0) == 1.0
    assert rate(1000.0) == 0


@given(st.lists(st.tuples(st.floats(0.1, 30), st.integers(0, 1000)), max_size=50))
def test_a_rate_is_what_was_added_within_the_span(steps):
    now, added = 0.0, []
    rate = Rate(now)
    for pause, number in steps:
        now += pause
        rate.add(number, now)
        added.append((now, number))
    expected = sum(number for then, number in added if then > now - RATE_SPAN)
    assert abs(rate(now) * min(RATE_SPAN, max(now, 1.0)) - expected) < 1e-6
