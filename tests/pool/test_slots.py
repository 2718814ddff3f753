"""ntspool/pool/slots.py: different backends in a client's slots, which stay where they are."""

from collections import Counter
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.pool.ranking import ranking
from ntspool.pool.slots import in_slot

PREFIXES = [bytes((number >> 8 & 255, number & 255, 9)) for number in range(600)]


def names(count):
    return [f"ntp-{number}" for number in range(count)]


def slots(prefix, declared, up=None, wanted=range(4)):
    """Return who stands in each slot of a client."""
    ranked, eligible = ranking(tuple((name, 10) for name in sorted(declared))), set(declared if up is None else up)
    return [
        in_slot(
            slot,
            lambda which: ranked.ranked(prefix, which, declared),
            eligible,
            lambda which: ranked.ranked(prefix, which, eligible),
        )
        for slot in wanted
    ]


@pytest.mark.parametrize("count", [4, 5, 10, 20, 100])
def test_four_slots_are_four_backends(count):
    for prefix in PREFIXES:
        assert len(set(slots(prefix, names(count)))) == 4
    assert len(set(slots(PREFIXES[0], names(count), wanted=range(10)))) == min(count, 10)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_slots_go_round(count):
    for prefix in PREFIXES[:100]:
        got = slots(prefix, names(count), wanted=range(10))
        assert set(got) == set(names(count))
        assert all(got[slot] == got[slot % count] for slot in range(10))


@pytest.mark.parametrize("count", [10, 20, 60])
def test_each_slot_gives_each_backend_its_share(count):
    counts = [Counter(each) for each in zip(*(slots(prefix, names(count)) for prefix in PREFIXES), strict=True)]
    for each in counts:
        square = sum((each[name] - 600 / count) ** 2 * count / 600 for name in names(count))
        # Four standard deviations above what is expected with so many degrees of freedom.
        assert square < count + 4 * (2 * count) ** 0.5


@pytest.mark.parametrize("count", [4, 5, 11, 20, 60])
def test_one_that_is_down_moves_only_its_own_slot(count):
    every = names(count)
    up = set(every) - {"ntp-1"}
    for prefix in PREFIXES:
        before, after = (slots(prefix, every, among, range(10)) for among in (every, up))
        assert all(was == now for was, now in zip(before, after, strict=True) if was != "ntp-1")
        assert len(set(after[:4])) == min(4, count - 1)


def test_one_that_is_removed_moves_slot_0_only_if_it_was_there():
    every, left = names(20), [name for name in names(20) if name != "ntp-1"]
    displaced = affected = 0
    for prefix in PREFIXES:
        before, after = slots(prefix, every), slots(prefix, left)
        if before[0] != "ntp-1":
            assert after[0] == before[0]
        if "ntp-1" not in before:
            assert after == before
        else:
            affected += 1
            displaced += sum(was != now for was, now in zip(before, after, strict=True)) - 1
    # The next in order may hold a later slot: one of three at the most, of 19.
    assert affected > 80
    assert displaced / affected < 3 / 19


@given(st.integers(1, 40), st.binary(min_size=3, max_size=3), st.data())
@settings(max_examples=60, deadline=None)
def test_the_first_slots_differ_as_long_as_there_are_enough(count, prefix, data):
    every = names(count)
    up = data.draw(st.sets(st.sampled_from(every), min_size=1))
    got = slots(prefix, every, up, range(10))
    assert set(got) <= up
    wanted = min(len(up), 10)
    assert len(set(got[:wanted])) == wanted


def test_who_comes_back_moves_back_only_what_it_lost():
    every = names(20)
    for prefix in PREFIXES[:40]:
        holders = slots(prefix, every)
        for one, two in combinations(holders, 2):
            both = slots(prefix, every, set(every) - {one, two})
            single = slots(prefix, every, set(every) - {one})
            for was, now, holder in zip(both, single, holders, strict=True):
                assert was == now or holder in (one, two)


def test_the_order_of_declaration_does_not_matter():
    every = names(20)
    assert all(slots(prefix, every) == slots(prefix, every[::-1]) for prefix in PREFIXES[:100])


def test_neighbours_get_different_backends():
    assert sum(slots(one, names(20)) == slots(two, names(20)) for one, two in pairwise(PREFIXES[:200])) == 0
