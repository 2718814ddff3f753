"""What a rotation owes to other gateways, and what gateways tell each other."""

import json
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import WireError
from ntspool.pool import cluster
from ntspool.pool.cluster import GONE, GatewayReport, Peer, decode, neighbours, obstacles, reached
from ntspool.pool.keyring import create
from ntspool.pool.proofs import Proof, accepted
from ntspool.pool.publishing import Gateway, Neighbours

LIFE = 100.0


def root(length):
    root.last += 1
    return root.last.to_bytes(length, "big")


root.last = 0


def rotated(times, now=0.0):
    keyring = create(0.0, root)
    for _ in range(times):
        keyring = keyring.rotate(now, root)
    return keyring


YOUNG, OLD = rotated(0), rotated(3)
"""Rings whose oldest epoch was never minted under, and one that was."""

REPORT = GatewayReport("south", time=1000.0, started=900.0, version="1", epoch=OLD.current.number)


def waits(keyring, report, now, *, alive=True):
    return obstacles(keyring, [Peer(report, alive)], LIFE, now).get(f"gateway {report.name}")


def test_one_that_has_moved_on_long_enough_ago_holds_nothing_up():
    kept = OLD.epochs[1].number
    report = replace(REPORT, reached={kept: 850.0})
    assert waits(OLD, report, 1000.0) is None
    assert waits(OLD, report, 949.0) == f"cookies of epoch {kept - 1} may be in use for another 1 s"


def test_a_clock_that_is_behind_shortens_no_cookies_life():
    kept = OLD.epochs[1].number
    slow = replace(REPORT, time=995.0, reached={kept: 895.0})
    assert waits(OLD, slow, 1000.0) is None, "it was 900 by our clock"
    assert waits(OLD, replace(slow, reached={kept: 896.0}), 1000.0) is not None
    fast = replace(REPORT, time=1005.0, reached={kept: 901.0})
    assert waits(OLD, fast, 1000.0) is not None


def test_one_whose_backends_are_behind_holds_it_up_while_it_may_mint():
    kept = OLD.epochs[1].number
    assert waits(OLD, REPORT, 1000.0) == f"its backends have not moved on to epoch {kept} or a newer one"
    lost = waits(OLD, REPORT, 1500.0, alive=False)
    assert lost == f"it has not been heard of for 500 s and had not moved on to epoch {kept} or a newer one"
    assert waits(OLD, REPORT, 1000.0 + GONE, alive=False) is not None
    assert waits(OLD, REPORT, 1001.0 + GONE, alive=False) is None
    # A cookie's life counts where it is longer.
    assert obstacles(OLD, [Peer(REPORT, alive=False)], GONE, 1001.0 + GONE)


def test_one_that_lives_must_have_taken_over_the_last_rotation():
    behind = replace(REPORT, epoch=OLD.current.number - 1, reached={OLD.epochs[1].number: 0.0})
    assert waits(OLD, behind, 1000.0) == f"it has not taken over epoch {OLD.current.number} yet"
    assert waits(OLD, behind, 1000.0, alive=False) is None
    assert waits(YOUNG, replace(REPORT, epoch=YOUNG.current.number), 1000.0) is None


def test_one_that_ended_in_good_order_is_waited_for_as_long_as_its_cookies_live():
    ended = replace(REPORT, stopped=True)
    oldest = OLD.epochs[0].number
    assert waits(OLD, ended, 1040.0, alive=False) == f"cookies of epoch {oldest} may be in use for another 60 s"
    assert waits(OLD, ended, 1101.0, alive=False) is None
    moved = replace(ended, reached={OLD.epochs[1].number: 900.0})
    assert waits(OLD, moved, 1000.0, alive=False) is None


def test_what_was_reached_is_what_all_addresses_reached():
    keyring = rotated(0)
    current = keyring.current.number
    early = accepted(Proof(seen=0.0), current, current, keyring, 10.0)
    late = accepted(Proof(seen=0.0), current, current, keyring, 20.0)
    told = reached(keyring, [early, late], LIFE, 30.0)
    assert told == {epoch.number: 20.0 for epoch in keyring.epochs if epoch.number <= current}
    assert reached(keyring, [early, late, Proof(seen=25.0)], LIFE, 30.0) == {}
    # Who is dead for so long has no cookies left, and nobody who has none holds anything up.
    assert reached(keyring, [early, late, Proof(seen=-200.0)], LIFE, 30.0) == told
    assert reached(keyring, [], LIFE, 30.0) == dict.fromkeys((epoch.number for epoch in keyring.epochs), 0.0)


def test_who_lives_and_who_does_not_is_told_to_the_dns():
    shown = Gateway((ip_address("192.0.2.1"),), weight=5)
    north = replace(REPORT, name="north", published=shown, ready=True)
    peers = [
        Peer(replace(north, name="south", withdrawn="cut off"), alive=True),
        Peer(north, alive=True),
        Peer(replace(north, name="west"), alive=False),
        Peer(replace(north, name="east", published=None), alive=True),
    ]
    hidden = replace(shown, ready=False)
    assert neighbours(peers, current=True) == Neighbours((shown, hidden), (shown,), current=True)
    assert not neighbours(peers, current=False).current


words = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=9)
times = st.floats(0, 2e9)
reports = st.builds(
    GatewayReport,
    name=words,
    time=times,
    started=times,
    version=words,
    published=st.none()
    | st.builds(
        Gateway,
        addresses=st.lists(st.ip_addresses(), max_size=3).map(tuple),
        host=words,
        port=st.integers(1, 65535),
        priority=st.integers(0, 65535),
        weight=st.integers(0, 65535),
        ready=st.booleans(),
    ),
    ready=st.booleans(),
    withdrawn=words,
    stopped=st.booleans(),
    epoch=st.integers(0, 2**40),
    revisions=st.dictionaries(words, words, max_size=3),
    reached=st.dictionaries(st.integers(0, 2**40), times, max_size=6),
)


@given(reports)
def test_a_report_comes_back_whole(report):
    assert decode(report.encode()) == report


@given(reports, st.data())
def test_what_is_not_a_report_is_refused(report, data):
    told = json.loads(report.encode())
    key = data.draw(st.sampled_from(sorted(told)))
    told[key] = data.draw(st.sampled_from([None, [], {"a": {}}, "x" * 300, "\n", float("nan"), [[1]]]))
    try:
        assert isinstance(decode(json.dumps(told).encode()), GatewayReport)
    except WireError:
        return


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b'{"format": 2}', b"{}", b"[" * 10**5])
def test_nonsense_is_refused(data):
    with pytest.raises(WireError):
        decode(data)


@given(st.integers(0, 6), st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0, 5000)), max_size=6))
def test_no_cookie_of_a_gateway_loses_its_key_within_its_life(rotations, fates):
    """Whoever minted under the oldest epoch within `life`, and may still be there, holds the rotation up."""
    keyring, now = rotated(rotations), 5000.0
    kept = keyring.epochs[1].number
    peers = []
    for index, (alive, moved, since) in enumerate(fates):
        told = {kept: since} if moved else {}
        report = replace(REPORT, name=str(index), time=now, epoch=keyring.current.number, reached=told)
        peers.append(Peer(report, alive))
    held_up = cluster.obstacles(keyring, peers, LIFE, now)
    dangerous = [
        f"gateway {index}"
        for index, (_, moved, since) in enumerate(fates)
        if (not moved or now - since < LIFE) and keyring.epochs[0].number >= keyring.first
    ]
    assert sorted(held_up) == sorted(dangerous)
