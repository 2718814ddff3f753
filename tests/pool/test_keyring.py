"""ntspool/pool/keyring.py: which keys come out of the roots, and what rotations and revocations make of the epochs."""

import base64
import random
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ntspool.pool import keyfiles, keyring
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat
from ntspool.pool.keyring import HISTORY, ROOT_LENGTH, STATES, EndedEpoch, Epoch, EpochState, Keyring
from ntspool.wire.aead import Aead
from ntspool.wire.secret import Secret

ROOT = bytes(range(32))
NOW = 1_800_000_000.25
LATER = NOW + 86400
FRESH = random.Random(3).randbytes
RING = keyring.create(NOW, FRESH)
FUTURE, NEXT, CURRENT, PREVIOUS, RETIRED, REVOKED = EpochState

numbers = st.integers(0, 2**40)
roots = st.binary(min_size=ROOT_LENGTH, max_size=ROOT_LENGTH)
groups = st.text(st.characters(codec="utf-8"), max_size=20)
# An epoch to revoke, by its place among those alive, or a rotation.
steps = st.lists(st.sampled_from(["rotate", *range(len(STATES))]), max_size=30)


def walk(ring, steps, fresh=FRESH):
    """Yield the keyrings that `steps` lead through; a step that revokes what is revoked already is left out."""
    for step in steps:
        if step == "rotate":
            ring = ring.rotate(LATER, fresh)
        elif not ring.epochs[step].revoked:
            ring = ring.revoke(ring.epochs[step].number, LATER, fresh)
        yield ring


def numbers_of(ring):
    return [epoch.number for epoch in ring.epochs]


# Derivation.


GOLDEN_256 = "659fd24f48ed57f6ebc92c6c9b133d9a3783d557df7d3ee4690211242214a877"
GOLDEN_512 = (
    "113f94eea16c9c1166e4ac8b13d9c0c9b8afefaae9425f503aeffce668b3f4af"
    "9f13d206dc095baaf2a707b8d5ae330e230ccad89ae3ed48be7c8a9c09af6dc4"
)
GOLDEN_WRAPPED = "5fe392ce3eba9752c9cd2cec37be5d87d41e0d187d09d75268272f194e360001"


@pytest.mark.parametrize(
    ("number", "group", "aead", "secret"),
    [
        (7, "europe", Aead.AES_SIV_CMAC_256, GOLDEN_256),
        (7, "europe", Aead.AES_SIV_CMAC_512, GOLDEN_512),
        (2**32 + 1, "anycast-1", Aead.AES_SIV_CMAC_256, GOLDEN_WRAPPED),
    ],
)
def test_keys_are_those_that_backends_already_hold(number, group, aead, secret):
    """Made with `openssl kdf`: a key that changes here makes every cookie in the field worthless."""
    key = Epoch(number, NOW, Secret(ROOT)).key(group, aead)
    assert (key.id, key.secret.reveal().hex()) == (number % 2**32, secret)


@given(st.sets(st.tuples(roots, numbers, groups, st.sampled_from(Aead)), min_size=2, max_size=8))
@example({(ROOT, 1, "a", aead) for aead in Aead})
@example({(ROOT, number, "a", Aead.AES_SIV_CMAC_256) for number in (0, 1, 256, 2**32, 2**32 + 1, 2**40)})
@example({(ROOT, 0, group, Aead.AES_SIV_CMAC_256) for group in ("", "a", "b", "aa", "a\0", "\0" * 9)})
@example({(bytes([first]) + ROOT[1:], 1, "a", Aead.AES_SIV_CMAC_256) for first in range(8)})
def test_no_two_keys_have_a_beginning_in_common(inputs):
    secrets = [
        Epoch(number, NOW, Secret(root)).key(group, aead).secret.reveal() for root, number, group, aead in inputs
    ]
    assert len({secret[:16] for secret in secrets}) == len(inputs)


def test_when_an_epoch_was_made_and_whether_it_is_revoked_does_not_change_its_keys():
    aead = Aead.AES_SIV_CMAC_256
    assert Epoch(1, 0.0, Secret(ROOT)).key("a", aead) == Epoch(1, NOW, Secret(ROOT), revoked=True).key("a", aead)


@pytest.mark.parametrize("cookie_format", CookieFormat)
def test_the_keys_of_a_key_file(cookie_format):
    """Daemons that read keys only when they start get two more future ones."""
    aead = SERVER_AEAD[cookie_format]
    count = 6 if cookie_format in (CookieFormat.NTPSEC, CookieFormat.NTPD_RS) else 4
    keys = RING.keys("europe", cookie_format)
    assert keys.keys == tuple(epoch.key("europe", aead) for epoch in RING.epochs[:count])
    assert keys.keys[keys.current] == RING.current.key("europe", aead)
    assert keys.keys[keys.current + 1] == RING.next.key("europe", aead)


@given(st.integers(0, 2**34) | st.integers(2**32 - 8, 2**32 + 2), st.sampled_from(CookieFormat))
def test_ids_are_consecutive_also_where_they_wrap_around(first, cookie_format):
    ring = Keyring(tuple(Epoch(first + n, NOW, Secret(ROOT)) for n in range(len(STATES))), NOW, first)
    keys = ring.keys("europe", cookie_format)
    assert [key.id for key in keys.keys] == [(first + n) % 2**32 for n in range(len(keys.keys))]
    assert keyfiles.parse(cookie_format, keyfiles.render(cookie_format, keys, int(NOW))) == keys


# States.


def test_a_new_keyring():
    fresh = random.Random(3).randbytes
    assert numbers_of(RING) == [1, 2, 3, 4, 5, 6]
    assert [epoch.root.reveal() for epoch in RING.epochs] == [fresh(ROOT_LENGTH) for _ in range(6)]
    assert {epoch.created for epoch in RING.epochs} == {RING.rotated} == {NOW}
    assert (RING.current, RING.next) == (RING.epochs[2], RING.epochs[3])
    assert (RING.first, RING.ended) == (3, ())
    assert [epoch.number for epoch in RING.mintable] == [3, 2, 1]


def test_an_epoch_goes_through_its_states():
    ring, states = RING, []
    for _ in range(7):
        states.append(ring.state(6))
        ring = ring.rotate(LATER, FRESH)
    assert states == [FUTURE, FUTURE, NEXT, CURRENT, PREVIOUS, PREVIOUS, RETIRED]
    assert ring.state(0) is None
    assert ring.state(100) is None


def test_a_rotation_shifts():
    rotated = RING.rotate(LATER, lambda length: ROOT[:length])
    assert rotated.epochs == (*RING.epochs[1:], Epoch(7, LATER, Secret(ROOT)))
    assert rotated.current == RING.next
    assert (rotated.rotated, rotated.first) == (LATER, 3)
    assert rotated.ended == (EndedEpoch(1, NOW, LATER, revoked=False),)


def test_only_so_many_ended_epochs_are_remembered():
    *_, ring = walk(RING, ["rotate"] * (HISTORY + 5))
    assert [past.number for past in ring.ended] == list(range(HISTORY + 5, 5, -1))
    assert (ring.state(6), ring.state(5)) == (RETIRED, None)


# Revocation.


@pytest.mark.parametrize(
    ("index", "alive", "current"),
    [
        (0, [1, 2, 3, 4, 5, 6], 3),
        (1, [1, 2, 3, 4, 5, 6], 3),
        (2, [2, 3, 4, 5, 6, 7], 4),
        (3, [1, 2, 3, 8, 9, 10], 3),
        (4, [1, 2, 3, 4, 9, 10], 3),
        (5, [1, 2, 3, 4, 5, 10], 3),
    ],
)
def test_a_revoked_epoch_is_gone_wherever_it_stood(index, alive, current):
    revoked = RING.epochs[index]
    ring = RING.revoke(revoked.number, LATER, FRESH)
    assert ring.state(revoked.number) is REVOKED
    assert revoked.root.reveal() not in {epoch.root.reveal() for epoch in ring.epochs}
    assert numbers_of(ring) == alive
    assert ring.current.number == current
    assert revoked.number not in {epoch.number for epoch in ring.mintable}
    assert ring.rotated == (LATER if index == 2 else NOW)


@pytest.mark.parametrize("index", [3, 4, 5])
def test_no_root_that_was_promised_after_a_revoked_epoch_is_kept(index):
    """Nothing older is replaced: its cookies are in use."""
    ring = RING.revoke(RING.epochs[index].number, LATER, FRESH)
    kept = [epoch in RING.epochs for epoch in ring.epochs]
    assert kept == [True] * index + [False] * (6 - index)
    assert ring.ended == (EndedEpoch(RING.epochs[index].number, NOW, LATER, revoked=True),)


@pytest.mark.parametrize("cookie_format", CookieFormat)
@pytest.mark.parametrize("index", range(6))
def test_no_key_of_a_revoked_epoch_gets_into_a_key_file(index, cookie_format):
    revoked = RING.epochs[index]
    ring = RING.revoke(revoked.number, LATER, FRESH)
    secrets = {key.secret.reveal() for key in ring.keys("europe", cookie_format).keys}
    assert revoked.key("europe", SERVER_AEAD[cookie_format]).secret.reveal() not in secrets


@pytest.mark.parametrize("index", range(6))
def test_an_epoch_is_revoked_once(index):
    number = RING.epochs[index].number
    ring = RING.revoke(number, LATER, FRESH)
    with pytest.raises(KeyError):
        ring.revoke(number, LATER, FRESH)


@pytest.mark.parametrize("number", [0, 7, -1])
def test_what_is_not_alive_is_not_revoked(number):
    with pytest.raises(KeyError):
        RING.revoke(number, LATER, FRESH)


@pytest.mark.parametrize("index", range(6))
def test_a_revoked_epoch_stays_so_through_many_rotations(index):
    number = RING.epochs[index].number
    ring = RING.revoke(number, LATER, FRESH)
    for rotated in walk(ring, ["rotate"] * 12):
        assert rotated.state(number) is REVOKED
    [ended] = [past for past in rotated.ended if past.number == number]
    assert ended.revoked
    assert [b - a for a, b in pairwise(numbers_of(rotated))] == [1] * 5, "the gap has passed by"


def test_revoking_the_next_epoch_again_and_again():
    ring = RING
    for expected in (8, 12, 16):
        ring = ring.revoke(ring.next.number, LATER, FRESH)
        assert ring.next.number == expected
    assert [past.number for past in ring.ended] == [12, 8, 4]


def test_without_gaps_for_ntpd_rs_nobody_elses_key_is_given_out():
    ring = RING.revoke(4, LATER, FRESH)
    keys = ring.keys("europe", CookieFormat.NTPD_RS)
    assert [key.id for key in keys.keys] == list(range(1, 11))
    assert keys.keys[keys.current].id == 3
    others = {epoch.key("europe", Aead.AES_SIV_CMAC_512).secret.reveal() for epoch in (*RING.epochs, *ring.epochs)}
    assert others.isdisjoint(key.secret.reveal() for key in keys.keys[3:7]), "what fills the gap belongs to no epoch"


@given(steps, st.integers(0, 2**64))
def test_whatever_is_rotated_and_revoked(steps, seed):
    fresh = random.Random(seed).randbytes
    ring = keyring.create(NOW, fresh)
    seen, gone = {epoch.root.reveal(): epoch.number for epoch in ring.epochs}, set()
    for after in walk(ring, steps, fresh):
        assert len(after.epochs) == len(STATES)
        assert all(b > a and (b - a) % 4 == 1 for a, b in pairwise(numbers_of(after))), "chrony's slots"
        assert not any(epoch.revoked for epoch in after.epochs[2:]), "no revoked epoch comes to be minted under"
        assert after.current in after.mintable
        for epoch in after.epochs:
            if epoch.root.reveal() not in seen and not epoch.revoked:
                assert epoch.number not in seen.values(), "ids never collide"
            assert seen.setdefault(epoch.root.reveal(), epoch.number) == epoch.number, "no two epochs share material"
        gone |= {epoch.root.reveal() for epoch in ring.epochs if epoch not in after.epochs}
        assert gone.isdisjoint(epoch.root.reveal() for epoch in after.epochs), "roots never come back"
        ring = after
    for cookie_format in CookieFormat:
        keys = ring.keys("europe", cookie_format)
        assert keys.keys[keys.current].id == ring.current.key_id
        assert {epoch.key_id for epoch in ring.epochs[:4]} <= {key.id for key in keys.keys}
        assert keyfiles.parse(cookie_format, keyfiles.render(cookie_format, keys, int(NOW))) == keys


def test_secrets_are_not_shown():
    keys = RING.keys("europe", CookieFormat.CHRONY)
    shown = repr(RING) + repr(keys)
    assert "Epoch(number=4" in shown
    secrets = [epoch.root.reveal() for epoch in RING.epochs] + [key.secret.reveal() for key in keys.keys]
    for secret in secrets:
        for spelt in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()):
            assert spelt not in shown
