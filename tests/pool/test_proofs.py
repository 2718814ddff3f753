"""ntspool/pool/proofs.py: what one answer more or less means for minting and for rotations."""

import random

import pytest

from ntspool.pool.keyring import create
from ntspool.pool.proofs import Proof, accepted, carried_over, lagging, mint_epoch, obstacles, refused

FRESH = random.Random(5).randbytes
RING = create(0.0, FRESH)
LIFE = 100.0


def rotated(times, ring=RING):
    for _ in range(times):
        ring = ring.rotate(0.0, FRESH)
    return ring


FOURTH = rotated(4)
"""Epochs 5 to 10, 7 is current: a rotation would forget 5, and 6 is the oldest that is kept."""


def proved(*answers, ring=RING, proof=None):
    """Return the proof after answers (time, epoch of the cookie, epoch of the cookies in the answer)."""
    proof = proof or Proof(seen=0.0)
    for now, epoch, mints in answers:
        proof = accepted(proof, epoch, mints, ring, now)
    return proof


# What is believed.


def test_nothing_is_believed_at_first():
    proof = Proof(seen=7.0)
    assert (dict(proof.accepts), proof.mints, dict(proof.reached)) == ({}, None, {})
    assert mint_epoch(RING, [proof]) is None
    assert lagging(proof, RING.current)


def test_an_answer_proves_the_epoch_of_its_cookie_from_then_on():
    proof = proved((10.0, 3, 3), (20.0, 3, 3), (30.0, 4, 3))
    assert proof.accepts == {3: 10.0, 4: 30.0}
    assert (proof.mints, proof.seen) == (3, 30.0)
    assert not lagging(proof, RING.current)
    assert not lagging(proof, RING.next)
    assert lagging(proof, RING.epochs[4])


def test_a_refusal_takes_back_what_was_proved_and_nothing_else():
    before = proved((10.0, 3, 3), (30.0, 4, 3))
    proof = refused(before, 4, RING, 40.0)
    assert proof.accepts == {3: 10.0}
    assert (proof.mints, proof.seen) == (3, 30.0), "a refusal proves nothing"
    assert refused(proof, 4, RING, 50.0) == proof
    assert before.accepts == {3: 10.0, 4: 30.0}, "values do not change"


def test_epochs_that_are_gone_are_forgotten():
    proof = proved((10.0, 1, 1), (10.0, 2, 1), (20.0, 4, 4))
    later = accepted(proof, 4, 4, rotated(1), 30.0)
    assert later.accepts == {2: 10.0, 4: 20.0}
    assert set(later.reached) == {2, 3, 4}
    assert refused(proof, 4, rotated(1), 30.0).accepts == {2: 10.0}


# Minting.


@pytest.mark.parametrize(
    ("accepts", "minted"), [([3], 3), ([2], 2), ([1], 1), ([1, 2], 2), ([3, 4], 3), ([4], None), ([4, 5, 6], None)]
)
def test_the_newest_proved_epoch_that_is_not_to_come_is_minted_under(accepts, minted):
    epoch = mint_epoch(RING, [proved(*((1.0, number, 3) for number in accepts))])
    assert (epoch and epoch.number) == minted


def test_every_address_must_have_proved_it():
    both, older = proved((1.0, 2, 2), (1.0, 3, 2)), proved((1.0, 2, 2))
    assert mint_epoch(RING, [both]).number == 3
    assert mint_epoch(RING, [both, older]).number == 2
    assert mint_epoch(RING, [both, proved((1.0, 3, 3)), older]) is None


def test_for_no_address_nothing_is_minted():
    assert mint_epoch(RING, []) is None


@pytest.mark.parametrize("mints", [None, 0, 7])
def test_nothing_is_minted_for_a_backend_that_mints_under_what_is_not_alive(mints):
    """Its clients would lose their cookies with the next key file, and come back to us for nothing."""
    assert mint_epoch(RING, [proved((1.0, 3, mints))]) is None
    assert mint_epoch(RING, [proved((1.0, 3, 3)), proved((1.0, 3, mints))]) is None


@pytest.mark.parametrize("mints", range(1, 7))
def test_a_backend_may_be_ahead_or_behind_in_what_it_mints_under(mints):
    assert mint_epoch(RING, [proved((1.0, 3, mints))]).number == 3


def test_nothing_is_minted_under_a_revoked_epoch():
    ring = RING.revoke(2, 0.0, FRESH)
    assert mint_epoch(ring, [proved((1.0, 1, 2), (1.0, 2, 2), ring=ring)]).number == 1
    assert mint_epoch(ring, [proved((1.0, 2, 2), ring=ring)]) is None


# Reaching: since when no new cookie of anything older comes into the world.


def test_an_epoch_is_reached_when_gateway_and_backend_both_mint_under_it():
    assert proved((10.0, 3, 3)).reached == {1: 10.0, 2: 10.0, 3: 10.0}
    assert proved((10.0, 3, 1)).reached == {1: 10.0}, "the backend is behind"
    assert proved((10.0, 1, 3)).reached == {1: 10.0}, "we mint under 1, as it opens nothing newer"
    assert proved((10.0, 3, 5)).reached == {1: 10.0, 2: 10.0, 3: 10.0}, "a future epoch is nothing that we mint under"
    assert proved((10.0, 4, 4)).reached == {}, "nothing is minted for it"
    assert proved((10.0, 3, None)).reached == {}


def test_it_stays_reached_since_it_first_was():
    proof = proved((10.0, 1, 1), (20.0, 2, 2), (30.0, 3, 3), (40.0, 3, 3))
    assert proof.reached == {1: 10.0, 2: 20.0, 3: 30.0}


def test_a_backend_that_falls_back_begins_anew():
    proof = proved((10.0, 2, 3), (10.0, 3, 3))
    proof = refused(proof, 3, RING, 20.0)
    assert proof.reached == {1: 10.0, 2: 10.0}
    proof = accepted(proof, 2, 1, RING, 30.0)
    assert proof.reached == {1: 10.0}
    assert accepted(proof, 3, 3, RING, 40.0).reached == {1: 10.0, 2: 40.0, 3: 40.0}


# Rotations.


def test_before_anything_was_minted_under_what_is_forgotten_a_rotation_is_free():
    for ring in (RING, rotated(1)):
        assert obstacles(ring, [("a", Proof(seen=0.0))], LIFE, 0.0) == {}
    assert obstacles(rotated(2), [("a", Proof(seen=0.0))], LIFE, 0.0) == {
        "a": "it has not loaded epoch 4 or a newer one"
    }


def test_without_backends_a_rotation_is_free():
    assert obstacles(FOURTH, [], LIFE, 0.0) == {}


@pytest.mark.parametrize(
    ("answer", "now", "reason"),
    [
        ((10.0, 7, 7), 110.0, None),
        ((10.0, 7, 7), 109.0, "cookies of epoch 5 may be in use for another 1 s"),
        ((10.0, 7, 7), 10.0, "cookies of epoch 5 may be in use for another 100 s"),
        ((10.0, 6, 6), 110.0, None),
        ((10.0, 5, 7), 110.0, "it has not loaded epoch 6 or a newer one"),
        ((10.0, 7, 5), 110.0, "it has not loaded epoch 6 or a newer one"),
        ((10.0, 7, None), 110.0, "it has not loaded epoch 6 or a newer one"),
        ((10.0, 5, 5), 210.0, "it has not loaded epoch 6 or a newer one"),
        ((10.0, 5, 5), 210.1, None),
    ],
)
def test_a_rotation_waits_for_cookies_and_not_for_the_dead(answer, now, reason):
    known = [("a", proved(answer, ring=FOURTH))]
    assert obstacles(FOURTH, known, LIFE, now) == ({} if reason is None else {"a": reason})


def test_every_backend_that_a_rotation_waits_for_is_named():
    known = [("good", proved((10.0, 7, 7), ring=FOURTH)), ("new", Proof(seen=50.0)), ("dead", Proof(seen=-100.0))]
    assert obstacles(FOURTH, known, LIFE, 120.0) == {"new": "it has not loaded epoch 6 or a newer one"}


# Another keyring.


def test_a_rotation_takes_no_proof_away_but_of_what_it_retires():
    after = carried_over(proved((10.0, 2, 2), (10.0, 3, 2)), RING, rotated(1))
    assert (after.accepts, after.reached) == ({2: 10.0, 3: 10.0}, {2: 10.0})
    assert (after.mints, after.seen) == (2, 10.0)


def test_what_was_proved_of_a_revoked_epoch_holds_no_more():
    proof = proved((10.0, 2, 3), (10.0, 3, 3), (10.0, 4, 3))
    after = carried_over(proof, RING, RING.revoke(2, 20.0, FRESH))
    assert after.accepts == {3: 10.0, 4: 10.0}
    assert after.reached == proof.reached, "older cookies have come to their end all the same"
    after = carried_over(proof, RING, RING.revoke(4, 20.0, FRESH))
    assert after.accepts == {2: 10.0, 3: 10.0}


def test_under_a_foreign_keyring_nothing_is_proved():
    """It is what `ntspool keys restore` brings after a gateway without its keyring has made a new one."""
    foreign = create(0.0, FRESH)
    after = carried_over(proved((10.0, 3, 3), (10.0, 4, 3)), RING, foreign)
    assert (dict(after.accepts), dict(after.reached)) == ({}, {})
    assert mint_epoch(foreign, [after]) is None


def test_an_older_backup_keeps_what_it_has_in_common():
    proof = proved((10.0, 6, 6), (10.0, 7, 6), ring=rotated(3))
    assert carried_over(proof, rotated(3), RING).accepts == {6: 10.0}
