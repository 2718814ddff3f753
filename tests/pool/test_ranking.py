"""ntspool/pool/ranking.py: fair orders that follow from names and weights alone and lose a backend without a stir."""

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.pool.ranking import FEW, Ranking, ranking, rendezvous

PREFIXES = [bytes((number >> 8 & 255, number & 255, 7)) for number in range(2000)]


def members(count, weight=lambda number: 10):
    return tuple(sorted((f"ntp-{number}", weight(number)) for number in range(count)))


def first(ranked, prefix, within, slot=0):
    return next(ranked.ranked(prefix, slot, within))


def chi_square(counts, expected):
    return sum((counts[who] - count) ** 2 / count for who, count in expected.items())


def firsts(every, clients=100_000):
    """Return who comes first for how many of so many clients."""
    ranked, within = Ranking(every), dict(every)
    return Counter(first(ranked, number.to_bytes(3, "big"), within) for number in range(clients))


@pytest.mark.parametrize("count", [2, 20, FEW, FEW + 1, 100])
def test_everybody_comes_once_in_any_order(count):
    every = members(count)
    for prefix in PREFIXES[:20]:
        order = list(Ranking(every).ranked(prefix, 0, dict(every)))
        assert sorted(order) == [name for name, _ in every]
        assert list(ranking(every).ranked(prefix, 0, set(dict(every)))) == order


@pytest.mark.parametrize(
    ("count", "quantile"),
    # What is exceeded once in a thousand times, with as many degrees of freedom as others are.
    [(3, 13.8), (20, 43.8)],
)
def test_shares_of_100_000_clients_are_the_weights_exactly(count, quantile):
    every = members(count, lambda number: 1 + number % 3 * 20)
    total = sum(dict(every).values())
    expected = {name: 100_000 * weight / total for name, weight in every}
    assert chi_square(firsts(every), expected) < quantile


@pytest.mark.parametrize(("count", "deviation"), [(FEW + 1, 0.01), (100, 0.012), (1000, 0.03)])
def test_shares_by_seats_are_the_weights_but_for_little(count, deviation):
    every = members(count, lambda number: 10 + number % 2 * 10)
    total = sum(dict(every).values())
    expected = {name: 100_000 * weight / total for name, weight in every}
    counts = firsts(every)
    # Chance alone gives each degree of freedom 1; shared seats add their variance, in clients.
    allowed = count * (1 + deviation**2 * 100_000 / count)
    assert chi_square(counts, expected) < allowed + 4 * (2 * allowed) ** 0.5
    heavy = sum(counts[name] for name, weight in every if weight == 20)
    assert heavy / 100_000 == pytest.approx(sum(w for _, w in every if w == 20) / total, abs=0.01)


@pytest.mark.parametrize("count", [2, 20, 60, 300])
def test_one_that_goes_moves_only_those_that_it_came_first_for(count):
    every = members(count)
    lost = "ntp-1"
    smaller = tuple(each for each in every if each[0] != lost)
    before, after = Ranking(every), Ranking(smaller)
    names, left, moved = dict(every), dict(smaller), Counter()
    for prefix in PREFIXES:
        was = first(before, prefix, names)
        skipped, removed = first(before, prefix, left), first(after, prefix, left)
        if was != lost:
            assert skipped == removed == was
        else:
            moved[skipped] += 1
    # Its clients go to many others, not to one neighbour.
    assert len(moved) >= min(count - 1, sum(moved.values()) // 2, 10)


@given(
    st.dictionaries(st.text(max_size=80), st.integers(1, 256), min_size=2, max_size=50),
    st.binary(min_size=3, max_size=6),
    st.integers(0, 9),
    st.data(),
)
@settings(max_examples=50, deadline=None)
def test_skipping_leaves_the_others_in_their_order(weights, prefix, slot, data):
    every = tuple(sorted(weights.items()))
    within = data.draw(st.sets(st.sampled_from(sorted(weights))))
    order = list(Ranking(every).ranked(prefix, slot, weights))
    kept = list(Ranking(every).ranked(prefix, slot, within))
    assert sorted(kept) == sorted(within)
    met = [name for name in order if name in within]
    assert kept == met


def test_slots_have_orders_of_their_own():
    for every in (members(20), members(100)):
        one, two = ([first(ranking(every), prefix, dict(every), slot) for prefix in PREFIXES[:500]] for slot in (0, 1))
        same = sum(first == second for first, second in zip(one, two, strict=True))
        assert same < 500 * 3 / len(every) + 20


def test_one_left_of_a_thousand_is_found():
    every = members(1000)
    for prefix in PREFIXES[:50]:
        assert list(ranking(every).ranked(prefix, 0, {"ntp-7"})) == ["ntp-7"]


def test_who_is_no_member_comes_last():
    assert sorted(Ranking(members(2)).ranked(b"abc", 0, ["ntp-1", "stranger"])) == ["ntp-1", "stranger"]


def test_weights_that_differ_as_much_as_they_can():
    every = (("heavy", 256), *((f"light-{number:02}", 1) for number in range(64)))
    counts = firsts(every, 32_000)
    assert counts["heavy"] == pytest.approx(32_000 * 256 / 320, rel=0.02)
    assert min(counts[name] for name, _ in every) > 60


def test_a_huge_pool_of_tiny_weights_owns_parts_of_seats():
    every = (*((f"heavy-{number:03}", 256) for number in range(300)), *((f"light-{n:03}", 1) for n in range(300)))
    counts = firsts(every, 50_000)
    light = sum(count for name, count in counts.items() if name.startswith("light"))
    assert light == pytest.approx(50_000 / 257, rel=0.3)


def test_rendezvous_is_even():
    wins = Counter(min("abcd", key=lambda name: rendezvous(prefix, name)) for prefix in PREFIXES)
    assert chi_square(wins, dict.fromkeys("abcd", 500)) < 16.3


PROGRAM = """
from ntspool.pool.ranking import Ranking
from itertools import islice
for count in (10, 100):
    names = {f"ntp-{n}": 1 + n % 7 for n in range(count)}
    ranked = Ranking(sorted(names.items()))
    print([list(islice(ranked.ranked(bytes([n, 2, 3]), n % 10, set(names)), 4)) for n in range(200)])
"""


def test_the_hash_seed_changes_nothing():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_orders_never_change_between_versions():
    """Gateways of two versions must agree: whoever changes these must say so in the changelog."""
    few, many = members(3), members(100)
    assert list(Ranking(few).ranked(b"\xc6\x33\x64", 0, dict(few))) == ["ntp-1", "ntp-0", "ntp-2"]
    got = [first(ranking(many), b"\xc6\x33\x64", dict(many), slot) for slot in range(4)]
    assert got == ["ntp-75", "ntp-75", "ntp-30", "ntp-98"]
