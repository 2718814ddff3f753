"""ntspool/pool/keyringfile.py: what is kept of a keyring on disk, and that damage is told without telling secrets."""

import base64
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ntspool.errors import StateError
from ntspool.pool import keyringfile
from ntspool.pool.cookies import CookieFormat
from ntspool.pool.keyring import ROOT_LENGTH, SLOTS, STATES, EndedEpoch, Epoch, Keyring, create
from ntspool.wire.secret import Secret

NOW = 1_800_000_000.25
FRESH = random.Random(7).randbytes
RING = create(NOW, FRESH).rotate(NOW + 1, FRESH).revoke(2, NOW + 2, FRESH).revoke(5, NOW + 3, FRESH)

times = st.floats(0, 1e11)
roots = st.lists(
    st.binary(min_size=ROOT_LENGTH, max_size=ROOT_LENGTH), min_size=len(STATES), max_size=len(STATES), unique=True
)


@st.composite
def keyrings(draw):
    numbers = [draw(st.integers(0, 2**40))]
    for _ in STATES[1:]:
        numbers.append(numbers[-1] + 1 + SLOTS * draw(st.integers(0, 3)))
    revoked = [draw(st.booleans()), draw(st.booleans()), *(False for _ in STATES[2:])]
    alive = zip(numbers, draw(roots), revoked, strict=True)
    ended = st.builds(EndedEpoch, st.integers(0, 2**40), times, times, st.booleans())
    return Keyring(
        tuple(Epoch(number, draw(times), Secret(root), gone) for number, root, gone in alive),
        draw(times),
        draw(st.integers(0, 2**40)),
        tuple(draw(st.lists(ended, max_size=5))),
    )


@given(keyrings())
def test_round_trip(ring):
    assert keyringfile.decode(keyringfile.encode(ring)) == ring


def test_the_form_on_disk():
    fresh = random.Random(7).randbytes
    made = [fresh(ROOT_LENGTH) for _ in range(11)]
    held = [
        (2, NOW, 7, True),
        (3, NOW, 2, False),
        (4, NOW, 3, False),
        *((n, NOW + 3, n - 1, False) for n in (9, 10, 11)),
    ]
    assert json.loads(keyringfile.encode(RING)) == {
        "format": 2,
        "rotated": NOW + 1,
        "first": 3,
        "epochs": [
            {"number": number, "created": created, "root": base64.b64encode(made[at]).decode(), "revoked": revoked}
            for number, created, at, revoked in held
        ],
        "ended": [
            {"number": 5, "created": NOW, "ended": NOW + 3, "revoked": True},
            {"number": 1, "created": NOW, "ended": NOW + 1, "revoked": False},
        ],
    }


def kept(**changes):
    return json.loads(keyringfile.encode(RING)) | changes


def epochs(at=0, **changes):
    """Return the epochs as kept, one of them changed."""
    listed = kept()["epochs"]
    listed[at] |= changes
    return listed


def ended(**changes):
    first, *others = kept()["ended"]
    return [first | changes, *others]


def numbered(*numbers):
    return [each | {"number": number} for each, number in zip(epochs(), numbers, strict=True)]


UNREADABLE = "damaged: it cannot be read; restore it by `ntspool keys restore`"


@pytest.mark.parametrize(
    ("damaged", "words"),
    [
        (kept(format=1), "has format 1; this ntspool reads format 2"),
        (kept(format=3), "has format 3; this ntspool reads format 2"),
        (kept(format=None), "format None"),
        ({}, UNREADABLE),
        ([], UNREADABLE),
        (None, UNREADABLE),
        ("text", UNREADABLE),
        (kept(epochs=None), UNREADABLE),
        (kept(epochs=7), UNREADABLE),
        (kept(epochs=["text"] * 6), UNREADABLE),
        (kept(epochs={"a": 1}), UNREADABLE),
        (kept(rotated=None), UNREADABLE),
        (kept(rotated="soon"), UNREADABLE),
        (kept(rotated=float("nan")), "out of range"),
        (kept(rotated=10**400), UNREADABLE),
        (kept(first=None), UNREADABLE),
        (kept(ended=None), UNREADABLE),
        (kept(ended=[7]), UNREADABLE),
        (kept(ended=ended(number="one")), UNREADABLE),
        (kept(ended=ended(created=float("inf"))), "out of range"),
        (kept(ended=ended(ended=float("nan"))), "out of range"),
        (kept(epochs=[]), "holds 0 epochs instead of 6"),
        (kept(epochs=epochs()[:4]), "holds 4 epochs instead of 6"),
        (kept(epochs=[*epochs(), epochs()[0] | {"number": 12}]), "holds 7 epochs instead of 6"),
        (kept(epochs=epochs()[::-1]), "out of range"),
        (kept(epochs=numbered(2, 4, 3, 9, 10, 11)), "not in order"),
        (kept(epochs=numbered(2, 3, 4, 8, 9, 10)), "not in order"),
        (kept(epochs=numbered(2, 3, 4, 4, 5, 6)), "not in order"),
        (kept(epochs=numbered(-1, 0, 1, 2, 3, 4)), "out of range"),
        (kept(epochs=numbered(*range(2**63 - 4, 2**63 + 2))), "out of range"),
        (kept(epochs=epochs(number=float("inf"))), UNREADABLE),
        (kept(epochs=epochs(number="one")), UNREADABLE),
        (kept(epochs=epochs(created=None)), UNREADABLE),
        (kept(epochs=epochs(created=float("-inf"))), "out of range"),
        (kept(epochs=epochs(at=2, revoked=True)), "to be minted under is revoked"),
        (kept(epochs=epochs(at=5, revoked=True)), "to be minted under is revoked"),
        (kept(epochs=epochs(root=None)), UNREADABLE),
        (kept(epochs=epochs(root="ä")), UNREADABLE),
        (kept(epochs=epochs(root="AAA")), UNREADABLE),
        (kept(epochs=epochs(root=epochs()[0]["root"] + "\n")), UNREADABLE),
        (kept(epochs=epochs(root="")), "has not 32 bytes"),
        (kept(epochs=epochs(root=base64.b64encode(bytes(31)).decode())), "has not 32 bytes"),
        (kept(epochs=epochs(root=base64.b64encode(bytes(33)).decode())), "has not 32 bytes"),
        (kept(epochs=epochs(root=epochs()[1]["root"])), "have the same root"),
    ],
)
def test_damage_is_told(damaged, words):
    with pytest.raises(StateError) as refusal:
        keyringfile.decode(json.dumps(damaged).encode())
    assert words in str(refusal.value)


@pytest.mark.parametrize("missing", ["format", "rotated", "first", "epochs", "ended"])
def test_what_is_missing_is_damage(missing):
    incomplete = kept()
    del incomplete[missing]
    with pytest.raises(StateError, match="cannot be read"):
        keyringfile.decode(json.dumps(incomplete).encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"\0", b"\xff", b"[" * 100_000, b'{"format": 2', keyringfile.encode(RING)[:-3], b"9" * 5000, b"\xfe\xff"],
)
def test_what_is_no_json_is_damage(data):
    with pytest.raises(StateError, match="damaged: it cannot be read"):
        keyringfile.decode(data)


@pytest.mark.parametrize(
    "damaged",
    [
        kept(epochs=epochs(root=epochs()[0]["root"] + "\n")),
        kept(epochs=epochs(root="ä" + epochs()[0]["root"])),
        kept(epochs=epochs(number=epochs()[0]["root"])),
        kept(epochs=epochs(created=epochs()[0]["root"])),
        kept(epochs=epochs(root=epochs()[0]["root"][:-4])),
        kept(epochs=[epochs()[0]] * 6),
    ],
)
def test_a_refusal_quotes_no_secret(damaged):
    """Neither its words nor what a traceback would show."""
    with pytest.raises(StateError) as refusal:
        keyringfile.decode(json.dumps(damaged).encode())
    shown = repr(refusal.value) + repr(refusal.value.__cause__)
    assert epochs()[0]["root"][:16] not in shown
    assert refusal.value.__cause__ is None
    assert refusal.value.__context__ is None or refusal.value.__suppress_context__


@given(st.binary(max_size=60))
def test_any_bytes_raise_only_state_errors(data):
    with pytest.raises(StateError):
        keyringfile.decode(data)


ENCODED = keyringfile.encode(RING)


@given(st.integers(0, len(ENCODED) - 1), st.integers(0, 40), st.binary(max_size=8))
def test_a_changed_file_is_refused_or_means_a_usable_keyring(at, cut, put):
    try:
        ring = keyringfile.decode(ENCODED[:at] + put + ENCODED[at + cut :])
    except StateError:
        return
    check_usable(ring)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from([10**400, 2**64]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
changed_epochs = st.builds(
    lambda at, new: {"epochs": epochs(at, **new)},
    st.integers(0, 5),
    st.dictionaries(st.sampled_from(["number", "created", "root", "revoked"]), values),
)
changed_ended = st.dictionaries(st.sampled_from(["number", "created", "ended", "revoked"]), values).map(
    lambda new: {"ended": ended(**new)}
)
changed = st.dictionaries(st.sampled_from(["format", "rotated", "first", "epochs", "ended"]), values)


@settings(max_examples=300)
@given(changed | changed_epochs | changed_ended)
def test_changed_json_is_refused_or_means_a_usable_keyring(changes):
    try:
        ring = keyringfile.decode(json.dumps(kept(**changes)).encode())
    except StateError:
        return
    check_usable(ring)


def check_usable(ring):
    """Whatever was accepted can be used, kept again, rotated and revoked."""
    assert keyringfile.decode(keyringfile.encode(ring)) == ring
    rotated = ring.rotate(NOW, FRESH)
    assert keyringfile.decode(keyringfile.encode(rotated)) == rotated
    assert ring.revoke(ring.current.number, NOW, FRESH).current == rotated.current
    assert len(rotated.keys("europe", CookieFormat.CHRONY).keys) == 4
