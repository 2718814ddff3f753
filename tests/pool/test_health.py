"""ntspool/pool/health.py: the rise/fall machine, walked probe by probe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.health import Health, Rules, State, observe

rules_ = st.builds(Rules, rise=st.integers(1, 5), fall=st.integers(1, 5))
walks = st.lists(st.booleans(), max_size=30)


def walk(probes, rules):
    """Yield the health after each probe, True being a success and False a failure."""
    health = Health()
    for number, success in enumerate(probes):
        health = observe(health, None if success else f"cause {number}", rules)
        yield health


@pytest.mark.parametrize(
    ("rise", "fall", "probes", "shown"),
    [
        (2, 3, "+", "UP"),
        (2, 3, "-", "DOWN"),
        (2, 3, "+-", "UP, UP 1/3"),
        (2, 3, "+---", "UP, UP 1/3, UP 2/3, DOWN"),
        (2, 3, "+--+--+---", "UP, UP 1/3, UP 2/3, UP, UP 1/3, UP 2/3, UP, UP 1/3, UP 2/3, DOWN"),
        (2, 3, "-++", "DOWN, DOWN 1/2, UP"),
        (2, 3, "-+-++", "DOWN, DOWN 1/2, DOWN, DOWN 1/2, UP"),
        (2, 3, "+---++-", "UP, UP 1/3, UP 2/3, DOWN, DOWN 1/2, UP, UP 1/3"),
        (2, 3, "----+", "DOWN, DOWN, DOWN, DOWN, DOWN 1/2"),
        (1, 1, "+-+-", "UP, DOWN, UP, DOWN"),
        (3, 1, "+-+++", "UP, DOWN, DOWN 1/3, DOWN 2/3, UP"),
        (1, 2, "-+--", "DOWN, UP, UP 1/2, DOWN"),
    ],
)
def test_walks(rise, fall, probes, shown):
    rules = Rules(rise, fall)
    steps = walk([probe == "+" for probe in probes], rules)
    assert ", ".join(health.describe(rules) for health in steps) == shown


def test_before_the_first_probe():
    health = Health()
    assert (health.state, health.probed, health.cause) == (State.DOWN, False, "not probed yet")
    assert health.describe(Rules(2, 3)) == "DOWN"


@given(walks, rules_)
def test_up_and_down_are_what_the_last_probes_say(probes, rules):
    """The same machine said otherwise: the last long enough run of equal probes decides."""
    for end, health in enumerate(walk(probes, rules), 1):
        state, run = probes[0], 0
        for index, probe in enumerate(probes[:end]):
            run = run + 1 if index and probe == probes[index - 1] else 1
            if run >= (rules.rise if probe else rules.fall):
                state = probe
        assert health.state is (State.UP if state else State.DOWN)
        assert health.probed
        assert health.against == (0 if probes[end - 1] == state else run)


@given(walks, rules_)
def test_never_up_without_a_success(probes, rules):
    for end, health in enumerate(walk(probes, rules), 1):
        assert health.state is State.DOWN or any(probes[:end])


@given(walks, st.integers(1, 5), st.integers(2, 5))
def test_a_single_failure_never_takes_down(probes, rise, fall):
    states = [health.state for health in walk(probes, Rules(rise, fall))]
    for index in range(1, len(probes)):
        if states[index - 1 : index + 1] == [State.UP, State.DOWN]:
            assert probes[index - 1 : index + 1] == [False, False]


@given(walks.filter(len), rules_)
def test_the_cause_is_that_of_the_state(probes, rules):
    for end, health in enumerate(walk(probes, rules), 1):
        if health.state is State.UP:
            assert health.cause == ""
        else:
            failures = [index for index in range(end) if not probes[index]]
            assert health.cause == f"cause {failures[-1]}"


@given(walks, rules_)
def test_enough_equal_probes_always_decide(probes, rules):
    *_, up = walk([*probes, *[True] * rules.rise], rules)
    *_, down = walk([*probes, *[False] * rules.fall], rules)
    assert (up.state, up.against) == (State.UP, 0)
    assert (down.state, down.against) == (State.DOWN, 0)
