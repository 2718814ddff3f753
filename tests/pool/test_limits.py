"""Limits by prefix: what one may have, what an attacker with many cannot bring about, and how much memory it takes."""

import os
import random
import sys
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.limits import UNLIMITED, Limits, PrefixLimit, PrefixTable, TurnedAway

SALT = bytes(range(16))


def packed(address):
    return ip_address(address).packed


def limits(address=UNLIMITED, network=UNLIMITED, slots=1024):
    return Limits(address, network, SALT, slots)


def visit(table, address, now):
    """Let a client come and go; return why it was turned away, None if it was not."""
    verdict = table.admit(packed(address), now)
    if isinstance(verdict, TurnedAway):
        return verdict
    table.release(verdict)
    return None


def test_a_bucket_gives_a_burst_and_then_a_rate():
    table = limits(PrefixLimit(rate=2.0, burst=5))
    assert [visit(table, "192.0.2.1", 100.0) for _ in range(6)] == [None] * 5 + [TurnedAway.ADDRESS_RATE]
    assert visit(table, "192.0.2.1", 100.49) is TurnedAway.ADDRESS_RATE
    assert visit(table, "192.0.2.1", 100.5) is None
    assert visit(table, "192.0.2.1", 100.5) is TurnedAway.ADDRESS_RATE
    assert [visit(table, "192.0.2.1", 200.0) for _ in range(6)].count(None) == 5
    assert visit(table, "192.0.2.2", 200.0) is None


@pytest.mark.parametrize(
    ("first", "neighbour", "stranger"),
    [("192.0.2.1", "192.0.2.254", "192.0.3.1"), ("2001:db8:0:1::1", "2001:db8:0:ffff::1", "2001:db8:1::1")],
)
def test_a_network_shares_its_own_limits(first, neighbour, stranger):
    table = limits(network=PrefixLimit(rate=1.0, burst=2))
    assert [visit(table, each, 0.0) for each in (first, first, neighbour, stranger)] == [
        None,
        None,
        TurnedAway.NETWORK_RATE,
        None,
    ]
    table = limits(network=PrefixLimit(sessions=1))
    place = table.admit(packed(first), 0.0)
    assert table.admit(packed(neighbour), 0.0) is TurnedAway.NETWORK_SESSIONS
    assert not isinstance(table.admit(packed(stranger), 0.0), TurnedAway)
    table.release(place)
    assert not isinstance(table.admit(packed(neighbour), 0.0), TurnedAway)


def test_all_of_an_ipv6_hosts_addresses_are_one():
    table = limits(PrefixLimit(rate=1.0, burst=1))
    assert visit(table, "2001:db8::1", 0.0) is None
    assert visit(table, "2001:db8::ffff:2", 0.0) is TurnedAway.ADDRESS_RATE
    assert visit(table, "2001:db8:0:1::1", 0.0) is None


def test_open_sessions_come_before_rates_and_addresses_before_networks():
    table = limits(PrefixLimit(2, 1.0, 2), PrefixLimit(3, 1.0, 3))
    places = [table.admit(packed("192.0.2.1"), 0.0) for _ in range(2)]
    assert table.admit(packed("192.0.2.1"), 0.0) is TurnedAway.ADDRESS_SESSIONS
    table.admit(packed("192.0.2.2"), 0.0)
    assert table.admit(packed("192.0.2.2"), 0.0) is TurnedAway.NETWORK_SESSIONS
    for place in places:
        table.release(place)
    assert table.admit(packed("192.0.2.1"), 0.0) is TurnedAway.ADDRESS_RATE
    assert table.admit(packed("192.0.2.3"), 0.0) is TurnedAway.NETWORK_RATE


def test_who_is_turned_away_pays_nothing():
    table = limits(PrefixLimit(rate=1.0, burst=1), PrefixLimit(rate=1.0, burst=2))
    assert visit(table, "192.0.2.1", 0.0) is None
    assert [visit(table, "192.0.2.1", 0.5) for _ in range(50)] == [TurnedAway.ADDRESS_RATE] * 50
    assert visit(table, "192.0.2.2", 0.5) is None
    assert visit(table, "192.0.2.1", 1.0) is None


def test_without_limits_everybody_comes_in_and_counts_are_kept_for_when_there_are_some():
    table = limits()
    places = [table.admit(packed("192.0.2.1"), 0.0) for _ in range(1000)]
    assert not any(isinstance(each, TurnedAway) for each in places)
    table.addresses.adopt(PrefixLimit(sessions=1000))
    assert table.admit(packed("192.0.2.1"), 0.0) is TurnedAway.ADDRESS_SESSIONS
    table.release(places.pop())
    assert not isinstance(table.admit(packed("192.0.2.1"), 0.0), TurnedAway)


@given(
    rate=st.sampled_from([0.1, 1.0, 50.0, 333.3]),
    burst=st.integers(1, 50),
    gaps=st.lists(st.floats(0, 2, allow_subnormal=False), max_size=200),
)
def test_no_prefix_ever_gets_more_than_its_rate_and_burst(rate, burst, gaps):
    table, now, served = limits(PrefixLimit(rate=rate, burst=burst)), 1e6, []
    for gap in gaps:
        now += gap
        if visit(table, "192.0.2.1", now) is None:
            served.append(now)
    for first in range(len(served)):
        for last in range(first, len(served)):
            assert last - first + 1 <= burst + (served[last] - served[first]) * rate + 0.01


def test_a_flood_of_prefixes_resets_nobodys_bucket():
    table = limits(PrefixLimit(rate=0.01, burst=3), slots=1024)
    assert [visit(table, "192.0.2.1", 0.0) for _ in range(4)][-1] is TurnedAway.ADDRESS_RATE
    rng = random.Random(8915)
    for number in range(20_000):
        visit(table, ip_address(rng.getrandbits(32)), number / 20_000)
    assert visit(table, "192.0.2.1", 1.0) is TurnedAway.ADDRESS_RATE
    assert visit(table, "192.0.2.1", 100.0) is None


def test_a_flood_of_prefixes_takes_nobodys_place_in_the_count():
    table = limits(PrefixLimit(sessions=2), slots=64)
    held = [table.admit(packed("192.0.2.1"), 0.0) for _ in range(2)]
    for number in range(5_000):
        visit(table, ip_address(0x0A000000 + number), number)
    assert table.admit(packed("192.0.2.1"), 9e9) is TurnedAway.ADDRESS_SESSIONS
    for place in held:
        table.release(place)
    assert not any(table.addresses._open)


def test_prefixes_without_a_slot_share_one_bucket():
    table = limits(PrefixLimit(rate=0.001, burst=4), slots=64)
    admitted = sum(visit(table, ip_address(0x0A000000 + number), 0.0) is None for number in range(100_000))
    # Each of the 64 slots once or, if its prefix came by again, no more; and the shared bucket.
    assert admitted == 64 + 4
    # Once the buckets are full again, the slots are for others.
    assert visit(table, "192.0.2.1", 4000.0) is None


def test_at_the_default_size_slots_are_found_while_a_third_is_taken():
    table = Limits(PrefixLimit(sessions=1), UNLIMITED, os.urandom(16))
    for number in range(22_000):
        table.admit(packed(ip_address(0x0A000000 + number * 7)), 0.0)
    refused = sum(visit(table, ip_address(0xC0000000 + number), 0.0) is not None for number in range(3_000))
    assert refused < 10


def size(table):
    return sum(sys.getsizeof(each) for each in (table._hashes, table._full_at, table._open))


def test_memory_does_not_grow():
    table = PrefixTable(PrefixLimit(rate=10.0, burst=10), SALT)
    before = size(table)
    assert table.size < before < 1_400_000
    for number in range(100_000):
        table.take(slot := table.slot(number.to_bytes(8, "big"), number), number)
        table.give_back(slot)
    assert size(table) == before


def test_the_salt_decides_where_a_prefix_stands():
    slots = {PrefixTable(UNLIMITED, os.urandom(16)).slot(b"\xc0\0\2\1", 0.0) for _ in range(20)}
    assert len(slots) > 15
