"""One backend of the pool at a time may restart its daemon, and none for ever."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.pool import turns
from ntspool.pool.turns import Turn

LIFE = 120.0


def test_a_turn_is_granted_to_one_until_it_is_given_back():
    held = turns.ask(None, "a", 1000, LIFE)
    assert held == Turn("a", 1120)
    assert turns.ask(held, "b", 1001, LIFE) is None
    ended = turns.give_back(held, "a", 1002)
    assert turns.ask(ended, "b", 1002, LIFE) == Turn("b", 1122)


def test_a_turn_that_is_not_given_back_ends():
    held = Turn("a", 1120)
    assert turns.ask(held, "b", 1119.9, LIFE) is None
    assert turns.ask(held, "b", 1120, LIFE) == Turn("b", 1240)


def test_the_holder_may_ask_again():
    assert turns.ask(Turn("a", 1120), "a", 1100, LIFE) == Turn("a", 1220)


def test_nobody_ends_the_turn_of_another():
    assert turns.give_back(Turn("a", 1120), "b", 1001) == Turn("a", 1120)
    assert turns.give_back(None, "b", 1001) is None


def test_giving_back_late_does_not_make_a_turn_longer():
    assert turns.give_back(Turn("a", 1120), "a", 5000) == Turn("a", 1120)


def test_skew_of_clocks_does_not_break_a_turn_but_a_clock_set_back_does():
    assert turns.ask(Turn("a", 1000 + LIFE + 60), "b", 1000, LIFE) is None
    assert turns.ask(Turn("a", 9999999), "b", 1000, LIFE) == Turn("b", 1120)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.floats(0, 200)), max_size=60))
def test_never_two_at_the_same_time(events):
    """Whoever was granted a turn is alone until it gives it back or its life is over."""
    now, held, working = 0.0, None, {}
    for backend, asks, pause in events:
        now += pause
        working = {name: end for name, end in working.items() if now < end}
        if asks:
            granted = turns.ask(held, backend, now, LIFE)
            if granted is not None:
                held = granted
                working[backend] = now + LIFE
        else:
            held = turns.give_back(held, backend, now)
            working.pop(backend, None)
        assert len(working) <= 1


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_turn_is_kept(holder, expires):
    assert turns.decode(Turn(holder, expires).encode()) == Turn(holder, expires)


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"holder": "a"}',
        b'{"holder": "a", "expires": "soon"}',
        b'{"holder": 1, "expires": 1}',
        b'{"holder": "a", "expires": NaN}',
        b'{"holder": "a", "expires": 1e999}',
        json.dumps({"holder": "a", "expires": 10**400}).encode(),
        b"[" * 100000,
    ],
)
def test_a_damaged_entry_is_refused(kept):
    with pytest.raises(StateError, match="damaged; remove it"):
        turns.decode(kept)
