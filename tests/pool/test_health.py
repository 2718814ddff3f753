"""ntspool/pool/health.py: the rise/fall machine, walked probe by probe."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.causes import NOT_PROBED, Cause, Failure
from ntspool.pool.health import Health, Rules, State, best, observe, ramp, revive

SILENCE, REFUSAL, NAK = Failure(Cause.NO_ANSWER), Failure(Cause.REFUSED), Failure(Cause.NAK)
RULES = Rules(2, 3)

rules_ = st.builds(Rules, rise=st.integers(1, 5), fall=st.integers(1, 5))
counted = st.sampled_from([SILENCE, REFUSAL, Failure(Cause.KISS, "RATE")])
walks = st.lists(st.none() | counted, max_size=30)


def walk(probes, rules, **options):
    """Yield the health after each probe, of which the first is at time 0 and every other a second later."""
    health = Health()
    for number, failure in enumerate(probes):
        health = observe(health, failure, rules, float(number), **options)
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
        (2, 3, "+!", "UP, DOWN"),
        (2, 3, "+-!", "UP, UP 1/3, DOWN"),
        (2, 3, "!+!++", "DOWN, DOWN 1/2, DOWN, DOWN 1/2, UP"),
    ],
)
def test_walks(rise, fall, probes, shown):
    rules = Rules(rise, fall)
    steps = walk([{"+": None, "-": SILENCE, "!": NAK}[probe] for probe in probes], rules)
    assert ", ".join(health.describe(rules) for health in steps) == shown


def test_before_the_first_probe():
    health = Health()
    assert (health.state, health.probed, health.failure) == (State.DOWN, False, NOT_PROBED)
    assert health.cause == "not probed yet"
    assert health.describe(RULES) == "DOWN"


@given(walks, rules_)
def test_up_and_down_are_what_the_last_probes_say(probes, rules):
    """The same machine said otherwise: the last long enough run of equal probes decides."""
    probes = list(probes)
    for end, health in enumerate(walk(probes, rules), 1):
        state, run = probes[0] is None, 0
        for index, probe in enumerate(probes[:end]):
            run = run + 1 if index and (probe is None) == (probes[index - 1] is None) else 1
            if run >= (rules.rise if probe is None else rules.fall):
                state = probe is None
        assert health.up == state
        assert health.probed
        assert health.against == (0 if (probes[end - 1] is None) == state else run)


@given(st.lists(st.none() | counted | st.just(NAK), max_size=30), rules_)
def test_never_up_without_a_success_nor_after_evidence(probes, rules):
    for end, health in enumerate(walk(probes, rules), 1):
        assert not health.up or (None in probes[:end] and probes[end - 1] is not NAK)


@given(walks.filter(len), rules_)
def test_the_cause_is_the_newest_one_of_what_is_not_well(probes, rules):
    for end, health in enumerate(walk(probes, rules), 1):
        failures = [probe for probe in probes[:end] if probe is not None]
        assert health.failure == (None if health.up and not health.against else failures[-1])


@given(walks, rules_)
def test_enough_equal_probes_always_decide(probes, rules):
    *_, up = walk([*probes, *[None] * rules.rise], rules)
    *_, down = walk([*probes, *[SILENCE] * rules.fall], rules)
    assert (up.state, up.against) == (State.UP, 0)
    assert (down.state, down.against) == (State.DOWN, 0)


def test_silence_is_dated_from_its_first_probe_for_who_was_up():
    dates = [each.silent_since for each in walk([None, *[SILENCE] * 4, REFUSAL, NAK, SILENCE], RULES)]
    assert dates == [None, 1.0, 1.0, 1.0, 1.0, 1.0, None, None]


def test_who_is_held_is_not_taken_down_by_silence_but_by_everything_else():
    *_, silent = walk([None, *[SILENCE] * 9], RULES, held=True)
    assert (silent.up, silent.describe(RULES), silent.silent_since) == (True, "UP 3/3", 1.0)
    assert observe(silent, REFUSAL, RULES, 10.0, held=True).up
    assert not observe(silent, NAK, RULES, 10.0, held=True).up
    assert not observe(silent, SILENCE, RULES, 10.0).up
    assert observe(silent, None, RULES, 10.0, held=True) == Health(State.UP, probed=True, failure=None)


def test_who_is_revived_is_up_until_one_more_silence():
    *_, down = walk([None, *[SILENCE] * 3], RULES)
    revived = revive(down, RULES)
    assert (revived.up, revived.silent_since, revived.cause) == (True, 1.0, "no answer")
    assert observe(revived, None, RULES, 9.0).describe(RULES) == "UP"
    assert not observe(revived, SILENCE, RULES, 9.0).up
    assert revive(revived, RULES) is revived


def test_an_address_is_as_well_as_its_best_aead():
    up, falling = Health(State.UP, failure=None), Health(State.UP, against=2, failure=SILENCE)
    down, rising = Health(failure=NAK), Health(against=1, failure=NAK)
    assert best([down, falling, up, rising]) is up
    assert best([down, falling, rising]) is falling
    assert best([down, rising]) is rising
    assert best([]) == Health()


def test_only_who_comes_back_starts_slowly():
    first, *_, again = walk([None, NAK, None, None], RULES)
    assert (first.risen, again.risen) == (None, 3.0)
    assert observe(again, None, RULES, 5.0).risen == 3.0
    assert observe(again, NAK, RULES, 5.0).risen is None


def test_the_weight_grows_by_tenths():
    shares = [ramp(100.0, 100.0 + seconds, 20.0) for seconds in (0, 1.9, 2, 10, 19.9, 20, 999)]
    assert shares == [0.1, 0.1, 0.2, 0.6, 1.0, 1.0, 1.0]
    assert ramp(None, 0.0, 20.0) == ramp(100.0, 100.0, 0.0) == 1.0
