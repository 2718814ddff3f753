"""ntspool/pool/keyring.py: which keys come out of the roots, and what is kept of them on disk."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.pool import keyfiles, keyring
from ntspool.pool.cookies import SERVER_AEAD, CookieFormat
from ntspool.pool.keyring import EPOCHS, ROOT_LENGTH, Epoch, Keyring
from ntspool.wire.aead import Aead

ROOT = bytes(range(32))
ROOTS = bytes(range(128))
NOW = 1_800_000_000.25
RING = keyring.create(NOW, ROOTS)

numbers = st.integers(0, 2**40)
roots = st.binary(min_size=ROOT_LENGTH, max_size=ROOT_LENGTH)
times = st.floats(0, 1e11)
groups = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def keyrings(draw):
    first = draw(numbers)
    return Keyring(tuple(Epoch(first + n, draw(times), draw(roots)) for n in range(EPOCHS)), draw(times))


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
    key = Epoch(number, NOW, ROOT).key(group, aead)
    assert (key.id, key.secret.hex()) == (number % 2**32, secret)


@given(st.sets(st.tuples(roots, numbers, groups, st.sampled_from(Aead)), min_size=2, max_size=8))
@example({(ROOT, 1, "a", aead) for aead in Aead})
@example({(ROOT, number, "a", Aead.AES_SIV_CMAC_256) for number in (0, 1, 256, 2**32, 2**32 + 1, 2**40)})
@example({(ROOT, 0, group, Aead.AES_SIV_CMAC_256) for group in ("", "a", "b", "aa", "a\0", "\0" * 9)})
@example({(bytes([first]) + ROOT[1:], 1, "a", Aead.AES_SIV_CMAC_256) for first in range(8)})
def test_no_two_keys_have_a_beginning_in_common(inputs):
    secrets = [Epoch(number, NOW, root).key(group, aead).secret for root, number, group, aead in inputs]
    assert len({secret[:16] for secret in secrets}) == len(inputs)


def test_when_an_epoch_was_made_does_not_change_its_keys():
    aead = Aead.AES_SIV_CMAC_256
    assert Epoch(1, 0.0, ROOT).key("a", aead) == Epoch(1, NOW, ROOT).key("a", aead)


@pytest.mark.parametrize("cookie_format", CookieFormat)
def test_the_keys_of_a_key_file(cookie_format):
    aead = SERVER_AEAD[cookie_format]
    keys = RING.keys("europe", cookie_format)
    assert keys.keys == tuple(epoch.key("europe", aead) for epoch in RING.epochs)
    assert keys.keys[keys.current] == RING.current.key("europe", aead)
    assert keys.keys[-1] == RING.next.key("europe", aead)
    assert keyfiles.parse(cookie_format, keyfiles.render(cookie_format, keys, int(NOW))).keys == keys.keys


@given(st.integers(0, 2**34) | st.integers(2**32 - 8, 2**32 + 2), st.sampled_from(CookieFormat))
def test_ids_are_consecutive_also_where_they_wrap_around(first, cookie_format):
    ring = Keyring(tuple(Epoch(first + n, NOW, ROOT) for n in range(EPOCHS)), NOW)
    keys = ring.keys("europe", cookie_format)
    assert [key.id for key in keys.keys] == [(first + n) % 2**32 for n in range(EPOCHS)]
    assert keyfiles.render(cookie_format, keys, int(NOW))


# Rotation.


def test_a_new_keyring():
    assert [epoch.number for epoch in RING.epochs] == [1, 2, 3, 4]
    assert b"".join(epoch.root for epoch in RING.epochs) == ROOTS
    assert {epoch.created for epoch in RING.epochs} == {RING.rotated} == {NOW}
    assert (RING.current, RING.next) == (RING.epochs[2], RING.epochs[3])


@given(keyrings(), times, roots)
def test_a_rotation_shifts(ring, now, root):
    rotated = ring.rotate(now, root)
    assert rotated.epochs == (*ring.epochs[1:], Epoch(ring.next.number + 1, now, root))
    assert rotated.current == ring.next
    assert rotated.rotated == now


def test_a_cookie_lives_for_two_more_rotations():
    ring, minted_under = RING, RING.current
    for lives in (True, True, False):
        ring = ring.rotate(NOW, ROOT)
        assert (minted_under in ring.epochs) == lives


# On disk.


@given(keyrings())
def test_round_trip(ring):
    assert keyring.decode(ring.encode()) == ring


def test_the_form_on_disk():
    assert json.loads(RING.encode()) == {
        "format": 1,
        "rotated": NOW,
        "epochs": [
            {"number": 1 + n, "created": NOW, "root": base64.b64encode(ROOTS[32 * n : 32 * n + 32]).decode()}
            for n in range(4)
        ],
    }


def test_secrets_are_not_shown():
    keys = RING.keys("europe", CookieFormat.CHRONY)
    shown = repr(RING) + repr(keys)
    assert "Epoch(number=4" in shown
    secrets = [epoch.root for epoch in RING.epochs] + [key.secret for key in keys.keys]
    for secret in secrets:
        for spelt in (repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()):
            assert spelt not in shown


def kept(**changes):
    return json.loads(RING.encode()) | changes


def epochs(**changes):
    """Return the epochs as kept, the first of them changed."""
    first, *others = kept()["epochs"]
    return [first | changes, *others]


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (kept(format=2), "format 2; this ntspool reads format 1"),
        (kept(format=None), "format None"),
        ({}, "damaged; restore"),
        ([], "damaged; restore"),
        (None, "damaged; restore"),
        ("text", "damaged; restore"),
        (kept(epochs=None), "damaged; restore"),
        (kept(epochs=7), "damaged; restore"),
        (kept(epochs=["text"] * 4), "damaged; restore"),
        (kept(rotated=None), "damaged; restore"),
        (kept(rotated="soon"), "damaged; restore"),
        (kept(rotated=float("nan")), "out of range"),
        (kept(rotated=10**400), "damaged; restore"),
        (kept(epochs=[]), "four epochs in a row"),
        (kept(epochs=epochs()[:3]), "four epochs in a row"),
        (kept(epochs=epochs()[1:]), "four epochs in a row"),
        (kept(epochs=[*epochs(), epochs()[0] | {"number": 5}]), "four epochs in a row"),
        (kept(epochs=epochs()[::-1]), "four epochs in a row"),
        (kept(epochs=epochs(number=0)), "four epochs in a row"),
        (kept(epochs=[epochs(number=n - 1)[0] for n in range(4)]), "out of range"),
        (kept(epochs=[epochs(number=2**64 + n)[0] for n in range(4)]), "out of range"),
        (kept(epochs=epochs(number=float("inf"))), "damaged; restore"),
        (kept(epochs=epochs(number="one")), "damaged; restore"),
        (kept(epochs=epochs(created=None)), "damaged; restore"),
        (kept(epochs=epochs(created=float("-inf"))), "out of range"),
        (kept(epochs=epochs(root=None)), "damaged; restore"),
        (kept(epochs=epochs(root="ä")), "damaged; restore"),
        (kept(epochs=epochs(root="AAA")), "damaged; restore"),
        (kept(epochs=epochs(root=epochs()[0]["root"] + "\n")), "damaged; restore"),
        (kept(epochs=epochs(root="")), "has not 32 bytes"),
        (kept(epochs=epochs(root=base64.b64encode(bytes(31)).decode())), "has not 32 bytes"),
        (kept(epochs=epochs(root=base64.b64encode(bytes(33)).decode())), "has not 32 bytes"),
    ],
)
def test_damage_is_told(damaged, words):
    with pytest.raises(StateError, match=words):
        keyring.decode(json.dumps(damaged).encode())


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\xff", b"[" * 100_000, b'{"format": 1', RING.encode()[:-3], b"9" * 5000, b"\xfe\xff"]
)
def test_what_is_no_json_is_damage(data):
    with pytest.raises(StateError, match="damaged; restore it from a backup"):
        keyring.decode(data)


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_state_errors(data):
    with pytest.raises(StateError):
        keyring.decode(data)


ENCODED = RING.encode()


@given(st.integers(0, len(ENCODED) - 1), st.integers(0, 40), st.binary(max_size=8))
def test_a_changed_file_is_refused_or_means_a_usable_keyring(at, cut, put):
    try:
        ring = keyring.decode(ENCODED[:at] + put + ENCODED[at + cut :])
    except StateError:
        return
    check_usable(ring)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([10**400, 2**64]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
changed_epochs = st.dictionaries(st.sampled_from(["number", "created", "root"]), values).map(lambda new: epochs(**new))


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(["format", "rotated", "epochs"]), values), st.none() | changed_epochs)
def test_changed_json_is_refused_or_means_a_usable_keyring(changes, new_epochs):
    changed = kept(**changes) | ({} if new_epochs is None else {"epochs": new_epochs})
    try:
        ring = keyring.decode(json.dumps(changed).encode())
    except StateError:
        return
    check_usable(ring)


def check_usable(ring):
    """Whatever was accepted can be used, kept again and rotated."""
    assert keyring.decode(ring.encode()) == ring
    assert len(ring.rotate(NOW, ROOT).keys("europe", CookieFormat.CHRONY).keys) == EPOCHS
    assert replace(ring, rotated=NOW).rotated == NOW
