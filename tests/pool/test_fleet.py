"""ntspool/pool/fleet.py: what the probes of a whole pool mean, with time handed in."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ntspool.pool.causes import Cause, Failure
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.fleet import Condition, Fleet, FleetRules, Mode, Target
from ntspool.pool.health import Rules
from ntspool.pool.sample import Sample
from ntspool.wire.aead import Aead

SIV, GCM = Aead.AES_SIV_CMAC_256, Aead.AES_128_GCM_SIV
SILENCE, NAK = Failure(Cause.NO_ANSWER), Failure(Cause.NAK)
RULES = FleetRules(Rules(2, 3), round=30.0, max_age=34.0)
HOUR = 3600.0


def target(number, family=4):
    address = f"192.0.2.{number}" if family == 4 else f"2001:db8::{number:x}"
    return Target(f"ntp-{number}", ip_address(address), 123, CookieFormat.CHRONY, f"ntp-{number}")


class Pool:
    """A fleet, its targets and a clock."""

    def __init__(self, size, rules=RULES, families=(4,)):
        self.fleet = Fleet(rules)
        self.now = 1000.0
        self.targets = [target(number, family) for number in range(1, size + 1) for family in families]
        for each in self.targets:
            self.probe(each)

    def probe(self, where, failure=None, aead=SIV, wait=0.0):
        self.now += wait
        return self.fleet.observe(where, {aead: failure}, self.now)

    def round(self, failures, seconds=2.0):
        """Probe every target of `failures` once, each with its failure or None."""
        self.now += seconds
        for where, failure in failures.items():
            self.probe(where, failure, wait=0.1)

    def up(self):
        return [each for each in self.targets if self.fleet[each].health.up]

    def measure(self, where, offset, wait=1.0, local=0.0, good=True):
        self.now += wait
        found = Sample(offset, 0.001, 0.005, 2, self.now)
        self.fleet.measure(where, found, good=good)
        return self.fleet.accuse(where, local, self.now)


# AEADs.


def test_an_address_is_up_with_the_aeads_that_are():
    pool = Pool(1)
    [one] = pool.targets
    pool.fleet.observe(one, {SIV: None, GCM: NAK}, pool.now)
    condition = pool.fleet[one]
    assert condition.health.up
    assert {aead: check.up for aead, check in condition.aeads.items()} == {SIV: True, GCM: False}
    assert condition.aeads[GCM].failure == NAK


def test_a_change_is_told_with_what_was_before():
    pool = Pool(1)
    [one] = pool.targets
    [(told, before, after)] = pool.probe(one, NAK)
    assert told == one
    assert (before.health.up, after.health.up) == (True, False)
    assert after == pool.fleet[one]


def test_what_is_not_watched_any_more_is_forgotten():
    pool = Pool(2)
    one, two = pool.targets
    pool.fleet.observe(one, {SIV: None, GCM: None}, pool.now)
    pool.probe(one, NAK)
    pool.fleet.keep({one: (GCM,)})
    assert pool.fleet[two] == Condition()
    assert list(pool.fleet[one].aeads) == [GCM]
    assert pool.fleet[one].health.up


# Panic.


def test_a_pool_that_falls_silent_is_kept_and_judged_again_when_it_answers():
    pool = Pool(4)
    everybody = pool.targets
    for _ in range(50):
        pool.round(dict.fromkeys(everybody, SILENCE))
        assert pool.up() == everybody
    assert pool.fleet.panicking == {4}
    pool.round(dict.fromkeys(everybody[:2]))
    assert pool.fleet.panicking == frozenset()
    pool.round(dict.fromkeys(everybody[2:], SILENCE))
    assert pool.up() == everybody[:2], "two of four do not answer though we are not cut off"


def test_who_went_down_before_most_fell_silent_is_brought_back():
    pool = Pool(4)
    first, second, third, last = pool.targets
    for _ in range(3):
        pool.round({first: SILENCE, last: None})
    assert pool.up() == [second, third, last]
    pool.round({second: SILENCE, last: None})
    assert pool.fleet.panicking == frozenset()
    changed = []
    pool.now += 2
    for where in (third, second, third, second, third):
        changed += pool.probe(where, SILENCE, wait=1)
    assert pool.fleet.panicking == {4}
    assert pool.up() == pool.targets
    assert (first, True) in [(where, after.health.up and not before.health.up) for where, before, after in changed]


def test_who_has_been_down_for_longer_than_a_round_stays_so():
    pool = Pool(3)
    first, *others = pool.targets
    for _ in range(3):
        pool.round({first: SILENCE, others[0]: None, others[1]: None})
    pool.now += HOUR
    for _ in range(5):
        pool.round(dict.fromkeys(others, SILENCE))
    assert pool.up() == others


@pytest.mark.parametrize("evidence", [NAK, Failure(Cause.UNSYNCHRONISED), Failure(Cause.OFFSET)])
def test_evidence_counts_in_a_panic_too(evidence):
    pool = Pool(4)
    for _ in range(5):
        pool.round(dict.fromkeys(pool.targets, SILENCE))
    pool.probe(pool.targets[0], evidence)
    assert pool.up() == pool.targets[1:]


@pytest.mark.parametrize("failure", [Failure(Cause.REFUSED), Failure(Cause.KISS, "RATE"), Failure(Cause.UNREACHABLE)])
def test_what_our_own_firewall_or_haste_may_cause_is_silence_too(failure):
    pool = Pool(4)
    for _ in range(5):
        pool.round(dict.fromkeys(pool.targets, failure))
    assert pool.fleet.panicking == {4}
    assert pool.up() == pool.targets


def test_one_family_panics_alone():
    pool = Pool(3, families=(4, 6))
    unreachable = Failure(Cause.UNREACHABLE)
    for _ in range(5):
        pool.round({each: unreachable if each.address.version == 6 else None for each in pool.targets})
    assert pool.fleet.panicking == {6}
    assert pool.up() == pool.targets


def test_who_never_answered_is_no_loss():
    fleet = Fleet(RULES)
    for number in range(1, 5):
        fleet.observe(target(number), {SIV: SILENCE}, 1000.0)
    assert fleet.panicking == frozenset()
    assert not any(fleet[target(number)].health.up for number in range(1, 5))


events = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([None, SILENCE]), st.floats(0, 20)), max_size=60)


@given(events)
def test_silence_never_empties_the_pool(events):
    pool = Pool(4)
    for index, failure, wait in events:
        pool.probe(pool.targets[index], failure, wait=wait)
        assert pool.up()


# The offset vote.


@pytest.mark.parametrize("clock", [(0, 0, 0, 0), (86400, 86400, 86400, 86400), (0, 86400, -0.3, 7)])
@pytest.mark.parametrize("lie", [0.3, -0.3])
def test_one_of_three_that_is_off_is_found_be_our_own_clock_right_wrong_or_stepped(clock, lie):
    pool = Pool(3)
    one, two, three = pool.targets
    pool.measure(one, 0.0, local=clock[0])
    pool.measure(two, 0.0, local=clock[1])
    accusation = pool.measure(three, lie, local=clock[2])
    assert str(accusation) == f"offset vote ({lie:+.3f} s, 2 of 3 agree)"
    assert pool.measure(one, 0.0, local=clock[3]) is None
    assert pool.fleet.ballot.mode is Mode.MAJORITY
    assert pool.fleet.offset(three) == pytest.approx(lie, abs=1e-4)


def test_two_are_judged_with_the_help_of_the_local_clock():
    pool = Pool(2)
    one, two = pool.targets
    assert pool.measure(one, 0.0, local=0.02) is None
    assert pool.measure(two, 0.3, local=0.02).detail == "+0.287 s, 2 of 3 agree"
    assert pool.fleet.ballot.mode is Mode.LOCAL_CLOCK
    assert pool.measure(two, 0.01, local=0.3) is None, "now it is the local clock that is off"
    assert pool.measure(one, 0.0, local=0.3) is None


def test_one_that_differs_from_the_local_clock_is_not_accused():
    """Nobody would be left, and which of the two is wrong is not known."""
    pool = Pool(1)
    assert pool.measure(pool.targets[0], 5.0) is None
    assert pool.fleet.ballot.mode is Mode.NO_MAJORITY
    assert pool.fleet.offset(pool.targets[0]) is None


def test_without_a_majority_nobody_is_accused():
    pool = Pool(4)
    for where, offset in zip(pool.targets, (0.0, 0.0, 1.0, 1.0), strict=True):
        pool.measure(where, offset)
    assert pool.fleet.ballot.mode is Mode.NO_MAJORITY
    assert [pool.fleet.accuse(where, 0.0, pool.now) for where in pool.targets] == [None] * 4


def test_a_backend_has_one_vote_whatever_its_addresses():
    pool = Pool(3, families=(4, 6))
    liars = pool.targets[:2]
    honest = pool.targets[2:3] + pool.targets[4:5]
    for where in honest:
        pool.measure(where, 0.0)
    accusations = [pool.measure(where, 0.3) for where in liars]
    assert [str(each) for each in accusations] == ["offset vote (+0.300 s, 2 of 3 agree)"] * 2


def test_a_machine_that_was_suspended_does_not_accuse_its_backends_one_after_the_other():
    """Its counter stood still, so all clocks are ahead by as much; the first is taken for a liar, nobody else."""
    pool = Pool(7)
    for where in pool.targets:
        pool.measure(where, 0.0)
    accused = [where for where in pool.targets if pool.measure(where, 600.0)]
    assert accused == pool.targets[:1]
    assert not any(pool.measure(where, 600.0) for where in pool.targets)


def test_two_liars_in_a_row_are_both_found():
    pool = Pool(5)
    for where in pool.targets:
        pool.measure(where, 0.0)
    for lie in (0.3, -0.3), (0.3, 0.3):
        for where, offset in zip(pool.targets[:2], lie, strict=True):
            pool.measure(where, offset)
        accusations = [pool.measure(where, offset) for where, offset in zip(pool.targets[:2], lie, strict=True)]
        assert all(accusations), "at the second probe at the latest"


def test_old_samples_have_no_vote():
    pool = Pool(3)
    for where in pool.targets:
        pool.measure(where, 0.0)
    assert pool.measure(pool.targets[0], 0.3, wait=35.0) is None
    assert pool.fleet.ballot.voters == 2, "itself and the local clock"


def test_a_clock_that_no_client_would_take_has_no_vote_and_is_shown():
    pool = Pool(3)
    for where in pool.targets:
        pool.measure(where, 0.0)
    assert pool.measure(pool.targets[0], 7.0, good=False) is None
    assert pool.fleet.ballot.voters == 3, "the other two and the local clock"
    assert pool.fleet[pool.targets[0]].sample.offset == 7.0


# Slow start.


def test_who_comes_back_gets_its_weight_by_and_by():
    pool = Pool(2, FleetRules(Rules(2, 3), 30.0, 34.0, slow_start=100.0))
    one, two = pool.targets
    assert pool.fleet.share(one, pool.now) == 1.0
    pool.probe(one, NAK)
    assert pool.fleet.share(one, pool.now) == 0.0
    pool.probe(one)
    pool.probe(one)
    assert pool.fleet.share(one, pool.now) == 0.1
    assert pool.fleet.share(one, pool.now + 55) == 0.6
    assert pool.fleet.share(one, pool.now + 100) == 1.0
    assert pool.fleet.share(two, pool.now) == 1.0
